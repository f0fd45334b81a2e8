"""A body on its way to several readers, each at its own pace.

Keeps the pieces: all of them while the body is to be stored, so that a late reader starts at the first one; else each
until everybody has it. Decides nothing about storing. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.reader import Reader

SLICE = 1 << 18  # bytes given at a time to a reader that lags behind a complete body


class Stream:
    """`kept`: no piece is dropped. `received` counts the bytes that came."""

    __slots__ = ("_base", "_body", "_pieces", "kept", "received")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._base = 0  # number of the first piece still here
        self._body: bytes | None = None
        self.kept = False
        self.received = 0

    def add(self, piece: bytes) -> None:
        """It has arrived."""
        self._pieces.append(piece)

    def let_go(self) -> list[bytes]:
        """The body is kept elsewhere from here on: its pieces so far. Each is dropped once everybody has it."""
        self.kept = False
        return list(self._pieces)

    def complete(self) -> bytes:
        """The end of a kept body has arrived: the body. Readers that lag are served from it."""
        self._body = body = b"".join(self._pieces)
        self._pieces = []
        return body

    def give(self, reader: Reader) -> bool:
        """Write what the reader lacks until it pauses; True if it has all there is."""
        body = self._body
        if body is not None:
            while not reader.paused and reader.sent < len(body):
                self._write(reader, body[reader.sent : reader.sent + SLICE])
            return reader.sent >= len(body)
        end = self._base + len(self._pieces)
        while not reader.paused and reader.next < end:
            piece = self._pieces[reader.next - self._base]
            reader.next += 1
            self._write(reader, piece)
        return reader.next >= end

    @staticmethod
    def _write(reader: Reader, piece: bytes) -> None:
        reader.sent += len(piece)
        reader.x.write(piece)

    def trim(self, readers: Sequence[Reader]) -> None:
        """Drop the pieces that all of these have had, unless the body is kept."""
        if self._pieces and not self.kept and self._body is None:
            least = min((reader.next for reader in readers), default=self._base + len(self._pieces))
            del self._pieces[: least - self._base]
            self._base = least

    @property
    def waiting(self) -> int:
        """Bytes held."""
        return len(self._body) if self._body is not None else sum(map(len, self._pieces))
