"""A server that answers each path with the bytes a test gives it, and remembers what it was asked."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Site(socketserver.ThreadingTCPServer):
    """`answers`: path -> raw response; any other path gets 404. The connection is closed after each."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        self.port: int = self.server_address[1]
        self.answers: dict[str, bytes] = {}
        self.asked: list[tuple[str, dict[str, str], str]] = []
        """(request line, fields by lower-case name, peer address), oldest first."""

    def answer(self, path: str, *fields: str, status: str = "200 OK", body: bytes = b"") -> None:
        """Answer `path` with `status`, `fields` ("Name: value") and `body` of a declared length."""
        lines = [f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}", "", ""]
        self.answers[path] = "\r\n".join(lines).encode("latin-1") + body


class Conversation(socketserver.StreamRequestHandler):
    """One request, one answer."""

    server: Site

    def handle(self) -> None:
        """Read a head, answer by its path."""
        line = self.rfile.readline().decode("latin-1").strip()
        fields = {}
        while raw := self.rfile.readline().strip():
            name, _, value = raw.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        if not line:
            return
        self.server.asked.append((line, fields, self.client_address[0]))
        missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        self.wfile.write(self.server.answers.get(line.split(" ")[1], missing))


@contextmanager
def scripted_site() -> Iterator[Site]:
    """A site on a free port of 127.0.0.1, served by threads of its own."""
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            site.shutdown()
            thread.join()
