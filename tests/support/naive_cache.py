"""A cache as nobody should build one, to be audited: it stores by URL every answer to GET but those with no-store.

`cookies_too`: what it stores keeps its Set-Cookie. `obeys`: it lets no-cache through. `ages`: what Age it claims,
answer by answer; without it, none. It says `X-Cache: HIT` or `MISS`, as caches did before RFC 9211.
"""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PASSED_ON = (
    "content-type",
    "cache-control",
    "set-cookie",
    "etag",
    "last-modified",
    "vary",
    "location",
    "date",
)


@dataclass
class Naive:
    """What it holds, and how it behaves."""

    origin: str
    cookies_too: bool = True
    obeys: bool = True
    ages: Iterator[int] | None = None
    stored: dict[str, tuple[int, list[tuple[str, str]], bytes]] = field(default_factory=dict)
    port: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: object) -> None:
        """Redirects are the client's."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    naive: Naive

    def do_GET(self) -> None:
        """From the store, else from the origin."""
        asked = self.headers.get("Cache-Control", "")
        passing = self.naive.obeys and "no-cache" in asked
        found = None if passing else self.naive.stored.get(self.path)
        if found is None:
            answer = self._fetch(None)
            if not passing and answer[0] == 200 and ("Cache-Control", "no-store") not in answer[1]:
                kept = [one for one in answer[1] if self.naive.cookies_too or one[0].lower() != "set-cookie"]
                self.naive.stored[self.path] = (answer[0], kept, answer[2])
            return self._send("MISS", *answer)
        self._send("HIT", *found)

    def do_POST(self) -> None:
        """Through."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._send("PASS", *self._fetch(body))

    def _fetch(self, body: bytes | None) -> tuple[int, list[tuple[str, str]], bytes]:
        hop = ("host", "connection", "content-length")
        fields = {name: value for name, value in self.headers.items() if name.lower() not in hop}
        request = urllib.request.Request(self.naive.origin + self.path, body, fields, method=self.command)
        try:
            answer = urllib.request.build_opener(_NoRedirect).open(request, timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() in PASSED_ON]
            return answer.status, kept, answer.read()

    def _send(self, said: str, status: int, fields: list[tuple[str, str]], body: bytes) -> None:
        lines = [
            f"HTTP/1.1 {status} Whatever",
            *(f"{name}: {value}" for name, value in fields),
            f"X-Cache: {said}",
        ]
        if said == "HIT" and self.naive.ages is not None:
            lines.append(f"Age: {next(self.naive.ages)}")
        lines.append(f"Content-Length: {len(body)}")
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


@contextmanager
def naive_cache(origin: str, **ways: object) -> Iterator[Naive]:
    """One before `origin`, on a free port, served by threads."""
    naive = Naive(origin, **ways)  # type: ignore[arg-type]
    with _Server(("127.0.0.1", 0), type("NaiveHandler", (_Handler,), {"naive": naive})) as server:
        naive.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield naive
        finally:
            server.shutdown()
            thread.join()
