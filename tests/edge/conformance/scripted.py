"""An origin on a real socket that answers each target with what a test says, and notes what it was asked.

A thread for each connection and plain sockets: nothing here is the code under test, nor reads messages by it.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate

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
        line, fields = read_head(file)
        method, target, _ = line.split(" ")
        asked = Asked(fields, method, target)
        if "100-continue" in asked["expect"].lower():
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        asked.body = (
            read_body(file, asked)[0] if "content-length" in asked or "transfer-encoding" in asked else b""
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


def read_head(file: object) -> tuple[str, list[tuple[str, str]]]:
    """The first line and the fields of a message."""
    lines: list[str] = []
    while (raw := file.readline()) != b"\r\n":  # type: ignore[attr-defined]
        if not raw:
            raise EOFError
        lines.append(raw.rstrip(b"\r\n").decode("latin-1"))
    pairs = (line.partition(":") for line in lines[1:])
    return lines[0], [(name.lower(), value.strip()) for name, _, value in pairs]


def read_body(file: object, message: Message) -> tuple[bytes, bool]:
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
