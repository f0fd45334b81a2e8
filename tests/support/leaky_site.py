"""An application with sessions, written as people write them: some of its pages say the wrong thing to a shared cache.

/login    a form with a token; POST user=NAME&password=x begins a session
others    whatever a test puts into `pages`: a function from (name of the user or "", the request) to fields and body
"""

from __future__ import annotations

import itertools
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

FORM = """<form method=post action=/login><input type=hidden name=token value={token}>
<input name=user><input type=password name=password></form>"""


@dataclass
class Asked:
    """One request: who asks, and with what."""

    user: str
    session: str
    path: str
    fields: dict[str, str]


Reply = tuple[list[str], str]
Page = Callable[[Asked], Reply]


@dataclass
class App:
    """The application's state."""

    pages: dict[str, Page] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    asked: list[Asked] = field(default_factory=list)
    serial: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    port: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    app: App

    def do_GET(self) -> None:
        """A page, or the form."""
        asked = self._asked()
        self.app.asked.append(asked)
        path = asked.path.partition("?")[0]
        if path == "/login":
            token = secrets.token_hex(8)
            self.app.tokens.add(token)
            return self._send(
                200, ["Cache-Control: no-store", f"Set-Cookie: token={token}"], FORM.format(token=token)
            )
        page = self.app.pages.get(path)
        if page is None:
            return self._send(404, [], "nothing here")
        fields, body = page(asked)
        status = next((int(one.split()[1]) for one in fields if one.startswith("Status: ")), 200)
        if asked.fields.get("if-none-match") in [one[6:] for one in fields if one.startswith("ETag: ")]:
            status, body = 304, ""
        self._send(status, [one for one in fields if not one.startswith("Status: ")], body)

    def do_POST(self) -> None:
        """The form."""
        asked = self._asked()
        said = parse_qs(self.rfile.read(int(asked.fields.get("content-length", "0"))).decode())
        token = said.get("token", [""])[0]
        if token not in self.app.tokens or f"token={token}" not in asked.fields.get("cookie", ""):
            return self._send(403, [], "no token")
        if said.get("password") != ["x"]:
            return self._send(200, ["Cache-Control: no-store"], "wrong password")
        session = secrets.token_hex(16)
        self.app.sessions[session] = said["user"][0]
        self._send(303, [f"Set-Cookie: session={session}; HttpOnly; Path=/", "Location: /home"], "")

    def _asked(self) -> Asked:
        given = {name.lower(): value for name, value in self.headers.items()}
        found = re.search(r"session=([0-9a-f]+)", given.get("cookie", ""))
        session = found[1] if found else ""
        return Asked(self.app.sessions.get(session, ""), session, self.path, given)

    def _send(self, status: int, fields: list[str], body: str) -> None:
        data = body.encode()
        lines = [f"HTTP/1.1 {status} Whatever", *fields, f"Content-Length: {len(data)}"]
        if not any(one.startswith("Content-Type") for one in fields):
            lines.append("Content-Type: text/html; charset=utf-8")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self.wfile.write(head + (b"" if status == 304 else data))

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


@contextmanager
def leaky_site() -> Iterator[App]:
    """The application on a free port, served by threads."""
    app = App()
    handler = type("AppHandler", (Handler,), {"app": app})
    with Server(("127.0.0.1", 0), handler) as server:
        app.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield app
        finally:
            server.shutdown()
            thread.join()
