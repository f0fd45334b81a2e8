"""What a lookup gives, and what reading it gives: an object whole, or its head and a way to its body in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor

from edge.disk.files import Segment
from edge.disk.index import Place
from edge.disk.layout import PIECE, Bad, BadRecord
from edge.disk.read import read_piece
from edge.object import StoredObject


class Found:
    """That an object lies on disk, or is on its way there: enough to `load` it. `names` are those of its Vary."""

    __slots__ = ("key", "key_hash", "names", "place", "variant", "variant_hash")

    def __init__(
        self,
        key: bytes,
        variant: bytes | None,
        key_hash: int,
        variant_hash: int | None,
        place: Place,
        names: tuple[bytes, ...] = (),
    ) -> None:
        self.key = key
        self.variant = variant
        self.key_hash = key_hash
        self.variant_hash = variant_hash
        self.place = place
        self.names = names


class Pieces:
    """A body that lies on disk in pieces. As long as this is there, so are they: whatever becomes of their segments'
    files, these stay open. Belongs to the loop."""

    __slots__ = ("_bad", "_pool", "_secret", "_segments", "size", "table")

    def __init__(
        self,
        size: int,
        pool: Executor,
        secret: bytes,
        table: list[tuple[int, int, bytes]],
        segments: dict[int, Segment],
        bad: Callable[[Bad], None],
    ) -> None:
        """`segments` are those of the table; `bad` is told why a piece is not right."""
        self.size = size
        self.table = table
        self._pool = pool
        self._secret = secret
        self._segments = segments
        self._bad = bad
        for segment in segments.values():
            segment.users += 1

    async def stream(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` to before `end`, proven, in parts of at most PIECE bytes. BadRecord: what came before
        was right, and the rest cannot be had."""
        end = self.size if end is None else min(end, self.size)
        for number in range(start // PIECE, -(-end // PIECE)):
            base = number * PIECE
            piece = await self._piece(number, min(PIECE, self.size - base))
            yield piece[max(0, start - base) : end - base]

    async def _piece(self, number: int, size: int) -> bytes:
        segment, offset, proof = self.table[number]
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, read_piece, self._segments[segment], offset, size, proof, self._secret
            )
        except BadRecord as bad:
            self._bad(bad.reason)
            raise
        except OSError:
            self._bad(Bad.UNREADABLE)
            raise BadRecord(Bad.UNREADABLE) from None

    def __del__(self) -> None:
        """Nobody reads it any more: counted references end with the last of them, so this is no matter of chance."""
        for segment in self._segments.values():
            segment.release()


class Remote(StoredObject):
    """An object whose body stays on disk: `body` is b"", `pieces` read it."""

    __slots__ = ("pieces",)

    pieces: Pieces

    @property
    def length(self) -> int:
        """Bytes of its body."""
        return self.pieces.size
