"""Asks the running lab: HTTP over lab.sock with the standard library, so that a command starts at once.

It knows where the lab's socket is and how its refusals read. What is asked, and how the answer is shown, is the
commands' own.
"""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

from cdnlab.lab.errors import FAILED, LabError
from cdnlab.lab.state import StateDirectory

#: Longer than anything the lab waits for itself.
TIMEOUT = 30.0


class Refused(LabError):
    """The lab heard what was asked, and said no."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(
    state: StateDirectory, path: str, body: dict[str, Any] | None = None, *, within: float = TIMEOUT
) -> dict[str, Any]:
    """GET `path` of the lab in `state`, or POST `body` to it; the answer. LabError if no lab runs or it refuses.

    `within`: seconds of silence after which it does not answer.
    """
    connection = _UnixConnection(str(state.socket), within)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
    except (FileNotFoundError, ConnectionRefusedError):
        raise no_lab(state) from None
    except (OSError, http.client.HTTPException) as error:
        raise LabError(f"the lab in {state.path} does not answer: {error}", "end it: cdnlab down") from error
    finally:
        connection.close()
    return _answer(response.status, text)


def no_lab(state: StateDirectory) -> LabError:
    """The error when no lab runs in `state`."""
    return LabError(f"no lab is running in {state.path}", "start one: cdnlab up", FAILED)


def _answer(status: int, text: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        raise LabError(f"the lab answered {status}: {text[:200].decode('utf-8', 'replace')}") from None
    if status != 200:
        raise Refused(str(answer.get("error", status)), "", int(answer.get("code", FAILED)))
    return dict(answer)
