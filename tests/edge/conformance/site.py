"""The edge as its user starts it, before an origin whose every answer the test states.

    page = site.page()
    page.get(answer=answer("Cache-Control: max-age=60"))
    page.get().hit()

`cdnlab edge --listen … --origin …` with no other option runs as a process of its own, once per test worker; each test
asks for targets of its own, so they share it without meeting. The origin is a thread for each connection and plain
sockets: it answers a target with whatever the step under way says, and notes what it was asked. Responses are read
here by a few plain lines, not by the code under test. Age and Date tell the edge that a response is old, so hardly a
test has to wait.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

PATIENCE = 10.0
"""Seconds that any wait may take; only a test that fails comes near it."""

ZONE = "AWAY-9:30"
"""The edge's local time, nine and a half hours from everybody's: no date may depend on it."""

ROOT = Path(__file__).resolve().parents[3]
_MARK = re.compile(r"\{([+-]\d+)(?: (\w+))?\}")
_numbers = itertools.count(1)


def at(seconds: float = 0, form: str = "imf") -> str:
    """The HTTP-date so many seconds from now, in one of its three forms: imf, rfc850, asctime."""
    instant = time.time() + seconds
    imf, moment = formatdate(instant, usegmt=True), time.gmtime(instant)
    if form == "imf":
        return imf
    day, month, clock = imf[:3], imf[8:11], imf[17:25]
    if form == "asctime":
        return f"{day} {month} {moment.tm_mday:2} {clock} {moment.tm_year}"
    whole = ("Mon", "Tues", "Wednes", "Thurs", "Fri", "Satur", "Sun")[moment.tm_wday]
    return f"{whole}day, {moment.tm_mday:02}-{month}-{moment.tm_year % 100:02} {clock} GMT"


def dated(field: str) -> str:
    """A field with its dates filled in: {-60} is a minute ago, {+60 asctime} a minute ahead in that form. Tables hold
    such marks, so that a test has the same name whenever it is collected."""
    return _MARK.sub(lambda found: at(float(found[1]), found[2] or "imf"), field)


@dataclass(frozen=True)
class Answer:
    """What the origin says: `answer()` makes one."""

    status: int
    fields: tuple[str, ...]
    body: bytes
    before: bytes = b""
    """Interim responses, as bytes."""
    framing: str = "length"
    """length, chunked, or close (the body ends with the connection)."""
    cut: int | None = None
    """Close after so many bytes of the body."""
    silent: bool = False
    """Close without a word."""
    delay: float = 0.0
    """Seconds before the head."""
    trailers: tuple[str, ...] = ()
    stall: float = 0.0
    """Seconds between the head and the body."""

    def head(self) -> bytes:
        names = {line.partition(":")[0].lower() for line in self.fields}
        lines = [f"HTTP/1.1 {self.status} Said", *self.fields]
        if self.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        elif self.framing == "length" and self.status not in (204, 304) and "content-length" not in names:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


def answer(
    *fields: str,
    status: int = 200,
    body: bytes | None = None,
    date: float | None = 0,
    before: bytes = b"",
    framing: str = "length",
    cut: int | None = None,
    delay: float = 0.0,
    trailers: tuple[str, ...] = (),
    stall: float = 0.0,
) -> Answer:
    """A response. `date`: seconds from now in its Date field, None for none; a body that no other response has unless
    one is given."""
    fields = tuple(map(dated, fields))
    if date is not None and not any(line.lower().startswith("date:") for line in fields):
        fields = (f"Date: {at(date)}", *fields)
    if body is None:
        body = b"" if status in (204, 304) else b"body %d" % next(_numbers)
    return Answer(status, fields, body, before, framing, cut, False, delay, trailers, stall)


def unmodified(*fields: str, date: float | None = 0) -> Answer:
    """304."""
    return answer(*fields, status=304, date=date)


GONE = Answer(0, (), b"", silent=True)
"""The origin closes the connection without a word."""


@dataclass
class Message:
    """Fields by lower-case name, in order."""

    fields: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        return [value for each, value in self.fields if each == name.lower()]

    def __getitem__(self, name: str) -> str:
        return ", ".join(self.all(name))

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))


@dataclass
class Asked(Message):
    """A request as the origin got it."""

    method: str = ""
    target: str = ""
    body: bytes = b""

    @property
    def conditional(self) -> bool:
        return "if-none-match" in self or "if-modified-since" in self


Says = Answer | Callable[[Asked], Answer]
"""What the origin says, to whatever it is asked or by what it is asked."""


def whole_or_part(body: bytes, *fields: str) -> Callable[[Asked], Answer]:
    """An origin that answers Range and If-Range: the part that was asked for with 206, else the whole."""
    tag = next((line.partition(": ")[2] for line in fields if line.startswith("ETag: ")), None)

    def says(asked: Asked) -> Answer:
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked["range"])
        if found is None or asked["if-range"] not in ("", tag):
            return answer(*fields, body=body)
        first, last = found.groups()
        start = int(first) if first else max(0, len(body) - int(last))
        end = min(int(last), len(body) - 1) if first and last else len(body) - 1
        spans = f"Content-Range: bytes {start}-{end}/{len(body)}"
        return answer(*fields, spans, status=206, body=body[start : end + 1])

    return says


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


class Origin:
    """Answers on a real socket, a thread per connection."""

    def __init__(self) -> None:
        self.answers: dict[str, Says] = {}
        self.asked: dict[str, list[Asked]] = {}
        self._sock = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._sock.getsockname()[1]
        threading.Thread(target=self._accept, name="origin", daemon=True).start()

    def close(self) -> None:
        self._sock.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._sock.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(sock,), name="origin", daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), sock, sock.makefile("rb") as file:
            while self._exchange(sock, file):
                pass

    def _exchange(self, sock: socket.socket, file: object) -> bool:
        line, fields = _head(file)
        method, target, _ = line.split(" ")
        asked = Asked(fields, method, target)
        if "100-continue" in asked["expect"].lower():
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        asked.body = (
            _body(file, asked)[0] if "content-length" in asked or "transfer-encoding" in asked else b""
        )
        says = self.answers.get(target) or answer("Cache-Control: no-store", body=b"unplanned")
        say = says if isinstance(says, Answer) else says(asked)
        self.asked.setdefault(target, []).append(asked)
        if say.delay:
            time.sleep(say.delay)
        if say.silent:
            return False
        bodiless = method == "HEAD" or say.status in (204, 304)
        if say.stall:
            sock.sendall(say.before + say.head())
            time.sleep(say.stall)
            sock.sendall(_framed(say))
        else:
            sock.sendall(say.before + say.head() + (b"" if bodiless else _framed(say)))
        return say.cut is None and say.framing != "close"


def _framed(say: Answer) -> bytes:
    body = say.body if say.cut is None else say.body[: say.cut]
    if say.framing != "chunked":
        return body
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    if say.cut is not None:
        return chunk
    return chunk + b"0\r\n" + "".join(f"{line}\r\n" for line in say.trailers).encode() + b"\r\n"


def _head(file: object) -> tuple[str, list[tuple[str, str]]]:
    """The first line and the fields of a message."""
    lines: list[str] = []
    while (raw := file.readline()) != b"\r\n":  # type: ignore[attr-defined]
        if not raw:
            raise EOFError
        lines.append(raw.rstrip(b"\r\n").decode("latin-1"))
    pairs = (line.partition(":") for line in lines[1:])
    return lines[0], [(name.lower(), value.strip()) for name, _, value in pairs]


def _body(file: object, message: Message) -> tuple[bytes, bool]:
    """The body, and whether it is complete."""
    read: Callable[[int], bytes] = file.read  # type: ignore[attr-defined]
    line: Callable[[], bytes] = file.readline  # type: ignore[attr-defined]
    if "content-length" in message:
        size = int(message["content-length"])
        body = read(size)
        return body, len(body) == size
    if message["transfer-encoding"] != "chunked":
        return read(-1), True
    body = b""
    while True:
        start = line()
        if not start.endswith(b"\r\n"):
            return body, False
        size = int(start, 16)
        if not size:
            while line() not in (b"\r\n", b""):
                pass
            return body, True
        piece = read(size)
        body += piece
        if len(piece) < size or line() != b"\r\n":
            return body, False


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
            line, fields = _head(file)
            status = int(line.split(" ")[1])
            if status >= 200 or status == 101:
                break
            interims.append("\r\n".join([line, *(f"{name}: {value}" for name, value in fields)]).encode())
        reply = Reply(fields, status, interims=interims)
        if method != "HEAD" and status not in (204, 304):
            with contextlib.suppress(ConnectionResetError):
                reply.whole = False
                reply.body, reply.whole = _body(file, reply)
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
