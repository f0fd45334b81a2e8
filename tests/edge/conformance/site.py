"""The edge as its user starts it, before an origin whose every answer the test states.

    page = site.page()
    page.get(answer=answer("Cache-Control: max-age=60"))
    page.get().hit()

`cdnlab edge --listen … --origin …` with no other option runs as a process of its own, once per test worker; each test
asks for targets of its own, so they share it without meeting. Age and Date tell the edge that a response is old, so
hardly a test has to wait.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.edge.conformance.scripted import (
    Answer,
    Asked,
    Message,
    Origin,
    Says,
    answer,
    dated,
    read_body,
    read_head,
)

PATIENCE = 10.0
"""Seconds that any wait may take; only a test that fails comes near it."""

ZONE = "AWAY-9:30"
"""The edge's local time, nine and a half hours from everybody's: no date may depend on it."""

ROOT = Path(__file__).resolve().parents[3]
_numbers = itertools.count(1)


@dataclass
class Reply(Message):
    """What the client got, and what the origin was asked meanwhile."""

    status: int = 0
    body: bytes = b""
    whole: bool = True
    """Did the body end as its framing says?"""
    interims: list[bytes] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    expected: bytes | None = None
    """The body that the origin sent last for this target."""

    def __str__(self) -> str:
        asked = [f"{each.method} {dict(each.fields)}" for each in self.asked]
        return f"{self.status} {self['cache-status']!r} {self.body[:80]!r}, the origin was asked {asked}"

    @property
    def age(self) -> int:
        values = self.all("age")
        assert len(values) == 1, f"Age {values}: {self}"
        return int(values[0])

    @property
    def said(self) -> str:
        """The edge's own member of Cache-Status: the last."""
        return self["cache-status"].split(", ")[-1]

    def hit(self) -> Reply:
        """It came from the store, whole, and nobody was asked."""
        assert not self.asked, f"reused was expected: {self}"
        if self.status not in (206, 304, 416) and self.expected is not None and self.body:
            assert self.body == self.expected, str(self)
        return self

    def fetched(self) -> Reply:
        """The origin was asked, and what it said is what the client got."""
        assert self.asked, f"no reuse was expected: {self}"
        if self.expected is not None and self.status not in (206, 304, 416) and self.body:
            assert self.body == self.expected, str(self)
        return self

    def validated(self, **preconditions: str | None) -> Reply:
        """The origin was asked about the stored response, with these fields (if_none_match="…"); None is absent."""
        assert self.asked, f"validation was expected: {self}"
        assert self.asked[0].conditional, f"a conditional request was expected: {self}"
        for name, value in preconditions.items():
            assert (self.asked[0][name.replace("_", "-")] or None) == value, str(self)
        return self


TEXT = b"0123456789abcdefghij"
"""What parts are taken from, where nothing else is said."""


def is_part(reply: Reply, first: int, last: int, text: bytes = TEXT) -> None:
    """The reply is a 206 with these bytes of the text."""
    assert reply.status == 206, str(reply)
    assert reply.body == text[first : last + 1]
    assert reply.all("content-range") == [f"bytes {first}-{last}/{len(text)}"]
    assert reply.all("content-length") == [str(last + 1 - first)]


class Page:
    """One target, known to no other test."""

    def __init__(self, site: Site, target: str, host: str) -> None:
        self.site = site
        self.target = target
        self.host = host
        self.url = f"http://{host}{target}"

    def at(self, suffix: str, host: str | None = None) -> Page:
        """Another target that begins like this one."""
        return Page(self.site, self.target + suffix, host or self.host)

    def get(self, *fields: str, answer: Says | None = None) -> Reply:
        return self.ask("GET", *fields, answer=answer)

    def head(self, *fields: str, answer: Says | None = None) -> Reply:
        return self.ask("HEAD", *fields, answer=answer)

    def ask(self, method: str, *fields: str, answer: Says | None = None, body: bytes | None = None) -> Reply:
        """One request on a connection of its own. `answer` is what the origin says, should it be asked."""
        origin = self.site.origin
        if answer is not None:
            origin.answers[self.target] = answer
        else:
            origin.answers.pop(self.target, None)
        before = len(self.asked)
        reply = self.site.exchange(method, self.target, self.host, fields, body)
        reply.asked = self.asked[before:]
        said = answer.body if isinstance(answer, Answer) else b"unplanned" if answer is None else None
        status = answer.status if isinstance(answer, Answer) else 200
        if reply.asked and method == "GET" and status not in (304, 0):
            self.site.last[self.url] = said if status != 206 else None
        reply.expected = said if reply.asked and method != "GET" else self.site.last.get(self.url)
        return reply

    @property
    def last(self) -> bytes | None:
        """The body that the origin sent last for a GET."""
        return self.site.last[self.url]

    @property
    def asked(self) -> list[Asked]:
        """All that the origin was asked for this target so far."""
        return self.site.origin.asked.get(self.target, [])

    def until_asked(self, count: int) -> list[Asked]:
        """Wait until the origin has been asked so often."""
        until(lambda: len(self.asked) >= count, f"the origin was asked {len(self.asked)} times, not {count}")
        return self.asked


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE:g} s: {what}"
        time.sleep(0.005)


class Site:
    """The edge and the origin behind it."""

    def __init__(self, port: int, origin: Origin) -> None:
        self.port = port
        self.origin = origin
        self.last: dict[str, bytes | None] = {}

    def page(self, suffix: str = "", host: str = "shop.example") -> Page:
        """A target that nobody has asked for yet."""
        return Page(self, f"/{next(_numbers)}{suffix}", host)

    def holding(self, *fields: str, suffix: str = "", ask: tuple[str, ...] = (), **more: Any) -> Page:
        """A page that was asked for once, by a request with the fields `ask`, and answered answer(*fields, **more)."""
        page = self.page(suffix)
        page.get(*ask, answer=answer(*fields, **more)).fetched()
        return page

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def exchange(
        self, method: str, target: str, host: str, fields: tuple[str, ...], body: bytes | None
    ) -> Reply:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *map(dated, fields)]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        with self.connect() as sock:
            sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))
            with sock.makefile("rb") as file:
                return self._reply(file, method)

    def _reply(self, file: object, method: str) -> Reply:
        interims: list[bytes] = []
        while True:
            line, fields = read_head(file)
            status = int(line.split(" ")[1])
            if status >= 200 or status == 101:
                break
            interims.append("\r\n".join([line, *(f"{name}: {value}" for name, value in fields)]).encode())
        reply = Reply(fields, status, interims=interims)
        if method != "HEAD" and status not in (204, 304):
            with contextlib.suppress(ConnectionResetError):
                reply.whole = False
                reply.body, reply.whole = read_body(file, reply)
        return reply


@contextlib.contextmanager
def running() -> Iterator[Site]:
    """A site: `cdnlab edge` in its own process until the block ends."""
    origin = Origin()
    process, port = _start(origin)
    try:
        yield Site(port, origin)
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)
        origin.close()


def _start(origin: Origin) -> tuple[subprocess.Popen[bytes], int]:
    for _ in range(5):
        port = _free_port()
        process = subprocess.Popen(
            [sys.executable, "-m", "cdnlab", "edge", "--listen", f"127.0.0.1:{port}",
             "--origin", f"http://127.0.0.1:{origin.port}"],
            cwd=ROOT, env={**os.environ, "TZ": ZONE}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        said = b""
        for line in process.stderr:
            said += line
            if b"ready" in line:
                threading.Thread(target=process.stderr.read, name="edge's words", daemon=True).start()
                return process, port
        process.communicate(timeout=PATIENCE)
        if b"in use" not in said:
            break
    raise AssertionError(f"the edge did not start: {said.decode()}")


def _free_port() -> int:
    """A port that is free, with the one 1021 above it, where the admin API stands."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port: int = sock.getsockname()[1]
            if port + 1021 > 65535:
                continue
            with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port + 1021)):
                return port
