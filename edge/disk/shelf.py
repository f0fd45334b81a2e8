"""The cache's side of the disk: asks it where memory has nothing, and gives it what memory has no room for.

Decides the order: memory, disk, origin. A small object that is found comes to memory, and the request is looked at
again with it there, so that conditions, ranges, staleness and forms are decided in one place. A large one stays on
disk and is poured from there. While the disk is read the request waits; others for the same object wait with it.

An object that is found has met the purge rules before it is used, as every stored response does: by its mark.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from cdnlab.net import tasks
from cdnlab.net.clock import now
from edge.disk.found import Found, Remote
from edge.disk.incoming import Incoming
from edge.disk.pour import Pour
from edge.disk.storage import DiskStorage
from edge.object import StoredObject, Variants
from edge.storable import NotStored

if TYPE_CHECKING:
    from cdnlab.net.exchange import Exchange
    from edge.cache import Cache
    from edge.reader import Reader
    from edge.request import RequestFacts

WAITERS_MAX = (
    1000  # requests that wait for one object to be read; the next ones go on as if it were not there
)

SPILL = (
    4 << 20
)  # bytes that may wait while memory is written out at the end, so few that they are written in time

log = logging.getLogger("cdnlab.disk")


class Waiter:
    """A request that waits for the disk. Stands where its client's source stands."""

    __slots__ = ("alone", "facts", "reader", "x")

    def __init__(self, reader: Reader, facts: RequestFacts, alone: bool) -> None:
        self.reader: Reader | None = reader
        self.x: Exchange = reader.x
        self.facts = facts
        self.alone = alone

    def pause(self) -> None:
        """Nothing is being sent."""

    def resume(self) -> None:
        """Nothing is being sent."""

    def client_gone(self, reason: str) -> None:
        """Nobody waits any more."""
        self.reader = None


class Shelf:
    """See above. `large_max`: bytes that a body may have to be stored, if it is too large for memory."""

    __slots__ = ("_arriving", "_asked", "cache", "disk", "hits", "large_max")

    def __init__(self, disk: DiskStorage, cache: Cache, large_max: int) -> None:
        self.disk = disk
        self.cache = cache
        self.large_max = min(large_max, disk.object_max)
        self.hits = 0
        """Requests for which something was found here."""
        self._asked: dict[tuple[int, int | None], list[Waiter]] = {}
        self._arriving: set[tuple[bytes, bytes | None]] = set()

    # -- reading ----------------------------------------------------------------------------------------------------

    def ask(self, reader: Reader, facts: RequestFacts, alone: bool) -> bool:
        """Does the disk have something for this request? Then the request waits until it is read, and is looked at
        again; False if it does not."""
        found = self.disk.select(reader.key, reader.field)
        if found is None:
            return False
        which = (found.key_hash, found.variant_hash)
        waiters = self._asked.get(which)
        if waiters is not None and len(waiters) >= WAITERS_MAX:
            return False
        waiter = Waiter(reader, facts, alone)
        reader.x.source = waiter
        if waiters is not None:
            waiters.append(waiter)
        else:
            self._asked[which] = [waiter]
            tasks.spawn(self._read(found, which), "disk read")
        return True

    async def _read(self, found: Found, which: tuple[int, int | None]) -> None:
        stored: StoredObject | None = None
        try:
            stored = await self.disk.load(found)
            if stored is not None:
                self._take_in(stored, found.names)
        except Exception:
            log.exception("what lies on disk could not be used")
        finally:
            waiters = self._asked.pop(which, [])
        for waiter in waiters:
            if waiter.reader is not None:
                waiter.x.source = None
                self.hits += stored is not None
                self.cache.lookup(waiter.x, waiter.facts, waiter.alone, Read(stored))

    def _take_in(self, stored: StoredObject, names: tuple[bytes, ...]) -> None:
        """A small one comes to memory, if memory has it, or something newer, not already."""
        storage, coder = self.cache.storage, self.cache.coder
        if isinstance(stored, Remote):
            return
        known = storage.find(stored.key)
        if isinstance(known, Variants) and stored.variant is not None:
            known = known.objects.get(stored.variant) if known.names == names else known
        if known is not None:
            return
        if coder is not None and stored.forms is None:
            coder.adopt(stored)
        storage.put(stored, names)

    def pour(
        self,
        reader: Reader,
        stored: Remote,
        status: int,
        head: bytes,
        part: tuple[int, int],
        backend: str,
        reason: str,
    ) -> None:
        """Answer with a body that stays on disk, or a part of it: (start, end), end not included."""
        Pour(self.cache, reader, stored, status, head, part, backend, reason).start()

    # -- writing ----------------------------------------------------------------------------------------------------

    def evicted(self, stored: StoredObject, names: tuple[bytes, ...]) -> None:
        """It went from memory for want of room. A Partial is not worth a place; parts are for the moment."""
        if type(stored) is StoredObject:
            self.disk.put(stored, names)

    async def spill(self, seconds: float) -> None:
        """The process ends: write what lies in memory, as much as `seconds` allow."""
        storage, disk, end = self.cache.storage, self.disk, now() + seconds
        for stored in list(storage):
            while disk.queued > SPILL and now() < end:  # noqa: ASYNC110 - once in a node's life
                await asyncio.sleep(0.002)
            if now() >= end:
                return
            known = storage.find(stored.key)
            self.evicted(stored, known.names if isinstance(known, Variants) else ())

    def keep(self, stored: StoredObject, names: tuple[bytes, ...]) -> bool:
        """Memory has no room for a new object; False if the disk has none either. What either has is older."""
        self._clear_memory(stored, names)
        self.disk.overtaken(stored)
        return type(stored) is StoredObject and self.disk.put(stored, names)

    def begin(self, key: bytes, variant: bytes | None) -> Incoming | NotStored:
        """A body that is too large for memory begins to arrive; why it can't be kept."""
        which = (key, variant)
        if which in self._arriving:
            return NotStored.ARRIVING
        incoming = self.disk.begin()
        if incoming is None:
            return NotStored.NO_ROOM
        self._arriving.add(which)
        return incoming

    def end(self, incoming: Incoming, key: bytes, variant: bytes | None) -> None:
        """Nothing more of it will arrive; what was not committed by now is given up."""
        self._arriving.discard((key, variant))
        incoming.on_room = None
        if not incoming.committed:
            incoming.abort()

    def commit(self, incoming: Incoming, stored: StoredObject, names: tuple[bytes, ...]) -> bool:
        """The body is complete. What memory has for it is older."""
        self._clear_memory(stored, names)
        return incoming.commit(stored, names)

    def renew(self, old: Remote, fresh: Remote, names: tuple[bytes, ...]) -> bool:
        """A 304 has confirmed a body on disk: it gets a new head. False if that can't be written."""
        self._clear_memory(fresh, names)
        return self.disk.renew(old, fresh, names)

    def _clear_memory(self, stored: StoredObject, names: tuple[bytes, ...]) -> None:
        storage = self.cache.storage
        known = storage.find(stored.key)
        if isinstance(known, Variants) and known.names == names and stored.variant is not None:
            old = known.objects.get(stored.variant)
            if old is not None:
                storage.discard(old)
        elif known is not None:
            storage.remove(stored.key)


class Read:
    """That the disk has been asked, and what it gave."""

    __slots__ = ("stored",)

    def __init__(self, stored: StoredObject | None) -> None:
        self.stored = stored


def renewed(old: Remote, stored: StoredObject) -> Remote:
    """The body of one under the head of the other."""
    fresh = Remote.__new__(Remote)
    for name in StoredObject.__slots__:
        setattr(fresh, name, getattr(stored, name))
    fresh.pieces = old.pieces
    return fresh
