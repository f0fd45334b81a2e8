"""The first message of TLS, read without a key: which server a client asks for (RFC 8446 §4.1.2, RFC 6066 §3).

Decides whether the bytes of a connection begin with a ClientHello, and what name stands in it. It must not decide where
that leads, nor keep a byte back: whoever relays sends on exactly what it read.

A ClientHello may be cut anywhere: into segments by TCP, and into several records by the client (RFC 8446 §5.1). Records
of one byte are allowed, so reading again from the start with each segment would let a client cost seconds of work. What
has been read is therefore kept as a state, and each byte is looked at once; the message itself is parsed once, when it
is complete. Two bounds hold: of the message and of all bytes, headers of records included.
"""

from __future__ import annotations

import re

from cdnlab.wire.errors import Malformed, Why

MESSAGE_BYTES = 16384
"""A longer ClientHello is none: those with post-quantum keys have 2 KiB (HAProxy: its buffer, 16 KiB)."""
TOTAL_BYTES = 2 * MESSAGE_BYTES
"""All bytes up to its end: it may come in many records, but not in one for each byte."""

HANDSHAKE = 22
CLIENT_HELLO = 1
RECORD_BYTES = 1 << 14
"""The longest plaintext of a record (RFC 8446 §5.1)."""
_SERVER_NAME = 0
_HOST_NAME = 0
_RANDOM = 32

_NAME = re.compile(
    rb"(?=.{1,255}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\Z"
)


class ClientHello:
    """Reads one ClientHello as it comes; then `server_name` is what it asks for, in lower case, or None."""

    __slots__ = ("_header", "_left", "_message", "_total", "complete", "server_name")

    def __init__(self) -> None:
        """Begin before the first byte."""
        self._header = bytearray()
        self._left = 0
        self._message = bytearray()
        self._total = 0
        self.complete = False
        self.server_name: str | None = None

    def feed(self, data: bytes) -> bool:
        """Take the next bytes of the connection; whether the message is complete now. Malformed if it is none.

        Bytes after the message are not looked at. Nothing may be fed after it is complete.
        """
        at, size = 0, len(data)
        self._total += size
        while at < size:
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                self._message += piece
                if self._whole():
                    self.server_name = _server_name(bytes(self._message))
                    self.complete = True
                    return True
            else:
                piece = data[at : at + 5 - len(self._header)]
                at += len(piece)
                self._header += piece
                self._check_header()
        if self._total > TOTAL_BYTES:
            raise _malformed(self._message)
        return False

    def _check_header(self) -> None:
        """A record's header, or the part of it that is there: type, version 3.x, length."""
        header = self._header
        if header[0] != HANDSHAKE or (len(header) > 1 and header[1] != 3):
            raise _malformed(header)
        if len(header) == 5:
            length = header[3] << 8 | header[4]
            if not 0 < length <= RECORD_BYTES:  # handshake records are never empty (§5.1)
                raise _malformed(header)
            self._left = length
            header.clear()

    def _whole(self) -> bool:
        """Whether all of the message is there. A record must not go on after it."""
        message = self._message
        if message[0] != CLIENT_HELLO:
            raise _malformed(message)
        if len(message) < 4:
            return False
        length = 4 + int.from_bytes(message[1:4], "big")
        if length > MESSAGE_BYTES or len(message) > length:
            raise _malformed(message)
        return len(message) == length and not self._left


class _Cursor:
    """Takes vectors off a block; Malformed where it ends too early."""

    __slots__ = ("at", "block", "end")

    def __init__(self, block: bytes, at: int = 0) -> None:
        self.block = block
        self.at = at
        self.end = len(block)

    def take(self, size: int) -> bytes:
        if self.end - self.at < size:
            raise _malformed(self.block)
        self.at += size
        return self.block[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, prefix: int, least: int = 0, multiple: int = 1) -> bytes:
        """A vector whose length stands in `prefix` bytes (RFC 8446 §3.4)."""
        length = self.number(prefix)
        if length < least or length % multiple:
            raise _malformed(self.block)
        return self.take(length)


def _server_name(message: bytes) -> str | None:
    """The name that a whole ClientHello asks for."""
    cursor = _Cursor(message, 4)
    cursor.take(2 + _RANDOM)
    if len(cursor.vector(1)) > 32:
        raise _malformed(message)
    cursor.vector(2, 2, 2)  # cipher suites
    cursor.vector(1, 1)  # compression methods
    if cursor.at == cursor.end:  # before TLS 1.2 there need be no extensions
        return None
    extensions = _Cursor(cursor.vector(2))
    if cursor.at != cursor.end:
        raise _malformed(message)
    seen: set[bytes] = set()
    name: str | None = None
    while extensions.at < extensions.end:
        kind, body = extensions.take(2), extensions.vector(2)
        if kind in seen:  # §4.2: which of two would the backend go by?
            raise _malformed(message)
        seen.add(kind)
        if int.from_bytes(kind, "big") == _SERVER_NAME:
            name = _host_name(body)
    return name


def _host_name(body: bytes) -> str | None:
    """The one host name of a server_name extension (RFC 6066 §3); None if it has only names of other kinds."""
    outer = _Cursor(body)
    names = _Cursor(outer.vector(2, 1))
    if outer.at != outer.end:
        raise _malformed(body)
    found: str | None = None
    while names.at < names.end:
        kind, name = names.number(1), names.vector(2, 1)
        if kind != _HOST_NAME:
            continue
        if found is not None or not _NAME.match(name):
            raise _malformed(body)
        found = name.decode("ascii").lower()
    return found


def _malformed(data: bytes | bytearray) -> Malformed:
    return Malformed(Why.CLIENT_HELLO, bytes(data[:16]))
