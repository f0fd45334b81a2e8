"""A body on its way from the disk to a client, a proven piece at a time, at the client's pace.

Decides nothing about what is sent. The first piece is read before the head is sent, so that an object that turns out
bad is a miss; where a later one does, the connection breaks, since nothing else says that a body is not complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING

from cdnlab.net import tasks
from edge.disk.found import Remote
from edge.disk.layout import BadRecord
from edge.results import Result

if TYPE_CHECKING:
    from edge.cache import Cache
    from edge.reader import Reader


class Pour:
    """One answer. The source of its client's response."""

    __slots__ = (
        "_backend",
        "_cache",
        "_head",
        "_part",
        "_reader",
        "_reason",
        "_room",
        "_status",
        "_stored",
        "gone",
    )

    def __init__(
        self,
        cache: Cache,
        reader: Reader,
        stored: Remote,
        status: int,
        head: bytes,
        part: tuple[int, int],
        backend: str,
        reason: str,
    ) -> None:
        self._cache = cache
        self._reader = reader
        self._stored = stored
        self._status = status
        self._head = head
        self._part = part
        self._backend = backend
        self._reason = reason
        self._room = asyncio.Event()
        self._room.set()
        self.gone = False

    def start(self) -> None:
        """Begin to read."""
        reader = self._reader
        reader.fetch = None
        reader.x.source = self
        tasks.spawn(self._run(), "disk stream")

    def pause(self) -> None:
        """Its client reads slowly."""
        self._room.clear()

    def resume(self) -> None:
        """Its client has room again."""
        self._room.set()

    def client_gone(self, reason: str) -> None:
        """Its client is gone."""
        self.gone = True
        self._room.set()

    async def _run(self) -> None:
        async with aclosing(self._stored.pieces.stream(*self._part)) as pieces:
            await self._pour(pieces)

    async def _pour(self, pieces: AsyncIterator[bytes]) -> None:
        reader, x = self._reader, self._reader.x
        try:
            first = await anext(pieces, b"")
        except BadRecord:
            if not self.gone:
                x.source = None
                self._cache.lookup(x, reader.facts, True)
            return
        if not self.gone:
            start, end = self._part
            x.respond(self._status, self._head, end - start)
            self._write(first)
        try:
            async for piece in pieces:
                await self._room.wait()
                if self.gone:
                    break
                self._write(piece)
        except BadRecord as bad:
            self._break_off(bad)
            return
        self._finish()

    def _break_off(self, bad: BadRecord) -> None:
        if not self.gone:
            self._reader.result = Result.ERROR
            self._record(str(bad.reason))
            self._reader.x.source = None
            self._reader.x.abort(bad.reason.sentence)

    def _write(self, piece: bytes) -> None:
        self._reader.sent += len(piece)
        self._reader.x.write(piece)

    def _finish(self) -> None:
        self._record("client_gone" if self.gone else self._reason)
        if not self.gone:
            self._reader.x.source = None
            self._reader.x.finish()

    def _record(self, reason: str) -> None:
        self._cache.replies.record(self._reader, self._status, self._reader.result, reason, self._backend)
