"""Asks one node's admin API, also for something that changes it.

It must not know what is asked. The standard library's client, as for all short commands: it is there at once.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from typing import Any

from cdnlab.lab.ask import no_lab
from cdnlab.lab.errors import FAILED, MISUSED, LabError
from cdnlab.lab.state import StateDirectory

Json = dict[str, Any]

ANSWER = 3.0
"""Seconds for a node to answer."""
LARGEST = 1 << 20


class NoAnswer(Exception):
    """The node did not answer; str() says why, as one clause."""


def admin_token(where: StateDirectory) -> str:
    """The lab's admin token. LabError without a lab."""
    from cdnlab.node.secrets import SecretsError, load

    try:
        return load(where.secrets).admin_token
    except SecretsError:
        raise no_lab(where) from None


def tell(
    node: str,
    address: tuple[str, int] | None,
    path: str,
    body: Json | None,
    token: str,
    within: float = ANSWER,
) -> Json:
    """POST `body` to `path` of the node's admin API, or GET it without one; the answer, which has `within` seconds.
    NoAnswer; LabError for what it refuses."""
    if address is None:
        raise NoAnswer("its admin API is off")
    connection = http.client.HTTPConnection(*address, timeout=within)
    headers = {"Host": node, "Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        if body is None:
            connection.request("GET", path, headers=headers)
        else:
            connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read(LARGEST)
    except TimeoutError:
        raise NoAnswer(f"no answer within {round(within, 1):g} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(_words(error)) from None
    finally:
        connection.close()
    return _checked(node, response.status, text)


def _checked(node: str, status: int, text: bytes) -> Json:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise NoAnswer("what listens there is no node of a lab")
    if status == 400:
        raise LabError(str(answer.get("error")), str(answer.get("remedy", "")), MISUSED)
    if status == 401:
        remedy = "name the lab's state directory with --state"
        raise LabError(f"{node} does not take this lab's admin token", remedy, FAILED)
    if status >= 300:
        raise NoAnswer(str(answer.get("error", status)))
    if answer.get("node") != node:
        raise NoAnswer(f"{str(answer.get('node'))[:60]!r} listens there instead")
    return answer


def _words(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return f"its address does not resolve ({error.strerror})"
    number = getattr(error, "errno", None)
    return os.strerror(number).lower() if number else str(error) or type(error).__name__
