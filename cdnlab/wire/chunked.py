"""The chunked transfer coding, both ways (RFC 9112 §7.1).

Decides where a chunked body ends. Bytes are parsed and framed anew, never relayed raw: an extension or a line
end that two readers take differently must not reach the second. Must not know connections, nor the reader.
"""

from __future__ import annotations

from cdnlab.wire.errors import Malformed, Why
from cdnlab.wire.fields import VALUE_BYTES, Field, parse_lines

SIZE_DIGITS = 15  # hexadecimal, so every chunk is below 2^60
EXTENSION_BYTES = 256  # of one chunk; nobody in the field sends any
# of one body, as in Go's net/http: one-byte chunks with long extensions cost more than they carry
EXTENSIONS_TOTAL = 16384
TRAILER_BYTES = 16384
TRAILER_COUNT = 64

LAST_CHUNK = b"0\r\n\r\n"

_HEX = b"0123456789abcdefABCDEF"
_LINE_BYTES = SIZE_DIGITS + EXTENSION_BYTES

_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


class ChunkedDecoder:
    """One body. feed() the bytes as they come; when `done`, `trailers` holds its trailer fields and `rest`
    the bytes that followed. `status` is that of the Malformed it raises: 400 for requests, 502 for
    responses."""

    __slots__ = ("_buffer", "_extensions", "_left", "_state", "_status", "done", "rest", "trailers")

    def __init__(self, status: int = 400) -> None:
        self.done = False
        self.trailers: tuple[Field, ...] = ()
        self.rest = b""
        self._status = status
        self._state = _SIZE
        self._left = 0  # bytes of data that the chunk still owes
        self._buffer = b""  # an unfinished size line, CRLF or trailer section
        self._extensions = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of body in `data`, in order, possibly none. Raises Malformed. After `done` it must not
        be called."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        pieces: list[bytes] = []
        at = 0
        end = len(data)
        while at < end:
            if self._state == _DATA:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._state = _DATA_END
            elif self._state == _DATA_END:
                if data[at : at + 2] != b"\r\n":
                    self._short_line_end(data[at:])
                    break
                at += 2
                self._state = _SIZE
            elif self._state == _SIZE:
                stop = data.find(b"\r\n", at, at + _LINE_BYTES + 2)
                if stop < 0:
                    self._unfinished_size(data[at:])
                    break
                self._begin_chunk(data[at:stop])
                at = stop + 2
            else:
                self._end_body(data, at)
                break
        return pieces

    def _short_line_end(self, data: bytes) -> None:
        if data != b"\r":
            raise Malformed(Why.CHUNK_END, data[:2], status=self._status)
        self._buffer = data

    def _unfinished_size(self, data: bytes) -> None:
        if len(data) > _LINE_BYTES + 1:
            raise Malformed(Why.CHUNK_EXTENSION, status=self._status)
        self._parse_size(data[:-1] if data.endswith(b"\r") else data, finished=False)
        self._buffer = data

    def _begin_chunk(self, line: bytes) -> None:
        self._left = self._parse_size(line, finished=True)
        self._state = _DATA if self._left else _TRAILERS

    def _parse_size(self, line: bytes, *, finished: bool) -> int:
        digits, mark, extension = line.partition(b";")
        if mark:
            digits = digits.rstrip(b" \t")  # RFC 9112 §7.1.1: BWS before the semicolon
            self._check_extension(extension, finished)
        elif not finished:
            digits = digits.rstrip(b" \t")
        if digits.translate(None, _HEX) or len(digits) > SIZE_DIGITS or (not digits and (finished or line)):
            raise Malformed(Why.CHUNK_SIZE, line, status=self._status)
        return int(digits, 16) if digits else 0

    def _check_extension(self, extension: bytes, finished: bool) -> None:
        if finished:
            self._extensions += len(extension) + 1
        too_large = len(extension) >= EXTENSION_BYTES or self._extensions > EXTENSIONS_TOTAL
        if too_large or extension.translate(None, VALUE_BYTES):
            raise Malformed(Why.CHUNK_EXTENSION, extension, status=self._status)

    def _end_body(self, data: bytes, at: int) -> None:
        """The trailer section: nothing or field lines, then an empty line."""
        if data.startswith(b"\r\n", at):
            self._finish((), data[at + 2 :])
            return
        stop = data.find(b"\r\n\r\n", at, at + TRAILER_BYTES + 4)
        if stop < 0:
            if len(data) - at > TRAILER_BYTES + 3:
                raise Malformed(Why.TRAILERS, status=self._status)
            self._buffer = data[at:]
            return
        _, fields = parse_lines(data[at:stop], self._status)
        if len(fields) > TRAILER_COUNT:
            raise Malformed(Why.TRAILERS, status=self._status)
        self._finish(fields, data[stop + 4 :])

    def _finish(self, trailers: tuple[Field, ...], rest: bytes) -> None:
        self.trailers = trailers
        self.rest = rest
        self.done = True
        self._state = _DONE


def encode_chunk(data: bytes) -> bytes:
    """`data` as one chunk; b"" for empty data, since an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


FORBIDDEN_TRAILERS: frozenset[bytes] = frozenset(
    b"""age authorization cache-control connection content-encoding content-length content-range content-type
    cookie date expect expires host keep-alive location max-forwards pragma proxy-authenticate
    proxy-authentication-info proxy-authorization proxy-connection range retry-after set-cookie te trailer
    transfer-encoding upgrade vary via warning www-authenticate""".split()
)
"""Fields that a recipient must know before the body: framing, routing, authentication, modifiers, caching
(RFC 9110 §6.5.1)."""

_FORBIDDEN_PREFIXES = (b"access-control-", b"cdn-", b"cdnlab-", b"if-", b"x-forwarded-")


def sendable_trailers(trailers: tuple[Field, ...]) -> tuple[Field, ...]:
    """Those of `trailers` that may be sent as trailers."""
    return tuple(
        field
        for field in trailers
        if field[0] not in FORBIDDEN_TRAILERS and not field[0].startswith(_FORBIDDEN_PREFIXES)
    )


def last_chunk(trailers: tuple[Field, ...]) -> bytes:
    """The end of a chunked body with those of `trailers` that may be sent as trailers."""
    if not trailers:
        return LAST_CHUNK
    lines = b"".join(b"%b: %b\r\n" % field for field in sendable_trailers(trailers))
    return b"0\r\n" + lines + b"\r\n"
