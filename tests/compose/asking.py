"""Clients, conditions and an application for the smoke test: what is asked over a published port, and waited for.

Knows ports of this machine; nothing of containers or of what the lab is.
"""

from __future__ import annotations

import http.client
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from tests.compose.engine import Failed

#: Seconds for anything a loaded machine may be slow at.
PATIENCE = 60.0


def until(what: str, seen: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """What `seen` gives as soon as it is true. Failed after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        if found := seen():
            return found
        if time.monotonic() > deadline:
            raise Failed(f"after {patience:.0f} s still not: {what}")
        time.sleep(0.1)


def hold(what: str, holds: object) -> None:
    """Failed unless it holds."""
    if not holds:
        raise Failed(what)


class Answer:
    """One answer: status, fields, body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.fields = response.headers
        self.body = response.read().decode("utf-8", "replace")

    def field(self, name: str) -> str:
        """A field's value, or nothing."""
        return str(self.fields.get(name, ""))

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def balancer(self) -> str:
        """The name that its balancer gave in Via."""
        return self.field("Via").rpartition(" ")[2]


def ask(port: int | str, path: str = "/", fields: Mapping[str, str] = {}, timeout: float = 10) -> Answer:
    """GET from a published port, on a connection of its own. OSError, HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=timeout)
    try:
        connection.request("GET", path, headers=dict(fields))
        return Answer(connection.getresponse())
    finally:
        connection.close()


class Clients(threading.Thread):
    """Asks for `/` all the time, one connection after another, and knows how long nobody was answered."""

    def __init__(self, port: str) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._ends = threading.Event()
        self.answered = [time.monotonic()]
        self.balancers = [""]
        self.failed = 0

    def run(self) -> None:
        """Until told to end."""
        while not self._ends.wait(0.02):
            try:
                answer = ask(self._port, timeout=1)
            except (OSError, http.client.HTTPException):
                self.failed += 1
                continue
            if answer.status == 200:
                self.answered.append(time.monotonic())
                self.balancers.append(answer.balancer)
            else:
                self.failed += 1

    def end(self) -> str:
        """Stop, and say what was noticed."""
        self._ends.set()
        self.join(PATIENCE)
        times = self.answered
        gap = max(later - earlier for earlier, later in pairwise(times))
        return f"{len(times) - 1} clients answered, {self.failed} not, longest gap {gap:.2f} s"


class Application(http.server.BaseHTTPRequestHandler):
    """Somebody's application."""

    protocol_version = "HTTP/1.1"
    BODY = b"somebody's application\n"

    def do_GET(self) -> None:
        """Any path."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.BODY)))
        self.send_header("Cache-Control", "max-age=60")
        self.end_headers()
        self.wfile.write(self.BODY)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def application() -> Iterator[int]:
    """The port of one that listens on every address of this machine, as containers need it."""
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Application)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
