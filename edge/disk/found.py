"""What a lookup gives, and what reading it gives: an object whole, or its head and a way to its body in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor

from edge.disk.files import Segment
from edge.disk.index import Place
from edge.disk.layout import PIECE, Bad, BadRecord
from edge.disk.read import read_piece
from edge.object import StoredObject


class Found:
    """That an object lies on disk, or is on its way there: enough to `load` it."""

    __slots__ = ("key", "key_hash", "place", "variant", "variant_hash")

    def __init__(
        self, key: bytes, variant: bytes | None, key_hash: int, variant_hash: int | None, place: Place
    ) -> None:
        self.key = key
        self.variant = variant
        self.key_hash = key_hash
        self.variant_hash = variant_hash
        self.place = place


class Loaded:
    """An object that was read. `stored.body` is the body if it is `whole`, else b"", and `stream` reads it.

    One that is not whole keeps its segments from being closed until `close`.
    """

    __slots__ = ("_bad", "_pool", "_secret", "_segments", "_table", "size", "stored", "whole")

    def __init__(
        self,
        stored: StoredObject,
        size: int,
        pool: Executor | None = None,
        secret: bytes = b"",
        table: list[tuple[int, int, bytes]] | None = None,
        segments: dict[int, Segment] | None = None,
        bad: Callable[[Bad], None] | None = None,
    ) -> None:
        """`segments` are those of the table, their users counted already; `bad` is told why a piece is not right."""
        self.stored = stored
        self.size = size
        self.whole = table is None
        self._pool = pool
        self._secret = secret
        self._table = table or []
        self._segments = segments or {}
        self._bad = bad

    async def stream(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` to before `end`, proven, in parts of at most PIECE bytes. BadRecord, and then what
        came before was right and the rest cannot be had."""
        end = self.size if end is None else min(end, self.size)
        if self.whole:
            if start < end:
                yield self.stored.body[start:end]
            return
        for number in range(start // PIECE, -(-end // PIECE)):
            base = number * PIECE
            piece = await self._piece(number, min(PIECE, self.size - base))
            yield piece[max(0, start - base) : end - base]

    async def _piece(self, number: int, size: int) -> bytes:
        segment, offset, proof = self._table[number]
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._pool, read_piece, self._segments[segment], offset, size, proof, self._secret
            )
        except BadRecord as bad:
            self._tell(bad.reason)
            raise
        except OSError:
            self._tell(Bad.UNREADABLE)
            raise BadRecord(Bad.UNREADABLE) from None

    def _tell(self, reason: Bad) -> None:
        if self._bad is not None:
            self._bad(reason)

    def close(self) -> None:
        """Nothing more will be read. On the loop; once is enough, twice does no harm."""
        segments, self._segments = self._segments, {}
        for segment in segments.values():
            segment.release()
