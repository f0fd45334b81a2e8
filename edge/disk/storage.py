"""Objects on disk, as the cache sees them. Lives on the loop, and never waits for the disk there.

Decides what is taken, what is found, and what is forgotten. Writing is the writer's thread, reading a few more; what
lies where is the index; what is done about age, room and errors is upkeep's. It must not know HTTP.

Promises. `find` and `select` touch memory only. `put` takes an object or says no, at once. What is removed is not found
from that moment on, nor after a crash (but for the moment until the writer has it written: a millisecond or so). What
`load` gives is what was put under that key, byte for byte, or nothing.

The object in memory and the one on disk are the same, or there is only one: whoever stores a newer response in memory
calls `overtaken`. So an object that came from disk and leaves the memory again need not be written again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol

from cdnlab.net.clock import now, wall
from edge.disk.directory import Directory
from edge.disk.files import Files, Segment
from edge.disk.found import Found, Pieces, Remote
from edge.disk.incoming import Incoming
from edge.disk.index import Index, Place, Places, Waiting, key_hash
from edge.disk.jobs import Arrival, Commit, Copy, Drop, Job, Piece, Put, Remove, fits
from edge.disk.layout import SEGMENT_MAX, SEGMENT_MIN, Bad, BadRecord, Kind
from edge.disk.place import same, segment_of
from edge.disk.read import read_object
from edge.disk.readers import Readers
from edge.disk.reasons import Dropped, State
from edge.disk.record import Head, object_of, table_of
from edge.disk.upkeep import Upkeep
from edge.disk.writer import Writer
from edge.object import StoredObject
from edge.storage import FieldOf
from edge.vary import variant_key

SEGMENTS = 64  # in how many the directory is cut: one of them goes at a time, and each is an open file
READERS = 4  # threads that read
READS_MAX = 256  # reads under way or waiting; beyond them what lies on disk counts as absent
QUEUE_MAX = 32 << 20  # bytes that may wait to be written
ARRIVAL = 5.0  # seconds for which a request waits for what has just been handed over
OBJECT_SHARE = 8  # no object takes more than this part of the directory
OBJECTS_MAX = 1_000_000  # objects in the index, which takes about 130 bytes of memory for each

log = logging.getLogger("cdnlab.disk")


class Marks(Protocol):
    """What the purge part does with its marks, which are opaque here."""

    def pack(self, stored: StoredObject) -> bytes:
        """What is to be written of an object's mark, so that it can be judged when it is read."""

    def unpack(self, raw: bytes) -> object:
        """The mark of an object that was read, whoever wrote it."""


class NoMarks:
    """For a cache without purges."""

    def pack(self, stored: StoredObject) -> bytes:
        """Nothing."""
        return b""

    def unpack(self, raw: bytes) -> object:
        """Nothing."""
        return None


class DiskStorage:
    """Objects below one directory, in `capacity` bytes."""

    def __init__(
        self,
        directory: Directory,
        capacity: int,
        *,
        files: Files | None = None,
        variants_max: int = 32,
        objects_max: int = OBJECTS_MAX,
        keep_free: int = 0,
        marks: Marks | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`say` hears of changes that people should read about."""
        self.directory = directory
        self.capacity = capacity
        self.files = files or Files()
        self.marks = marks or NoMarks()
        self.segment_size = min(max(capacity // SEGMENTS, SEGMENT_MIN), SEGMENT_MAX)
        self.object_max = capacity // OBJECT_SHARE
        self.index = Index(variants_max)
        self.objects_max = objects_max
        self.segments: dict[int, Segment] = {}
        self.leaving: dict[int, Segment] = {}
        """Segments that are to go once what is worth it has been copied out of them."""
        self.wall_offset = wall() - now()
        self.dropped: dict[Dropped, int] = dict.fromkeys(Dropped, 0)
        self.bad: dict[Bad, int] = dict.fromkeys(Bad, 0)
        self.queued = 0
        """Bytes that wait to be written."""
        self.written = self.written_bytes = self.loaded = self.reads_refused = 0
        self._reading = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool = Readers(READERS)
        self.writer = Writer(
            self.files, directory, self.segment_size, keep_free, self.wall_offset, wall, self._report
        )
        self.upkeep = Upkeep(self, say)

    def start(self) -> None:
        """Begin to serve, with an index that is empty yet; what lies in the directory is read beside."""
        self._loop = asyncio.get_running_loop()
        self.upkeep.start(self._pool)
        self.writer.start()

    @property
    def state(self) -> State:
        """What it can do at the moment."""
        return self.upkeep.state

    @property
    def objects(self) -> int:
        """Objects that can be found."""
        return self.index.objects

    @property
    def used(self) -> int:
        """Bytes of the segments' files."""
        return self.upkeep.used

    # -- what is asked of it -----------------------------------------------------------------------------------------

    def find(self, key: bytes) -> Place | Places | None:
        """What is known under a key; None is a miss."""
        return self.index.find(key_hash(key))

    def names(self, key: bytes) -> tuple[bytes, ...]:
        """The request fields that choose among what lies under a key; () if none do."""
        known = self.find(key)
        return known.names if isinstance(known, Places) else ()

    def select(self, key: bytes, field: FieldOf) -> Found | None:
        """The object for a request (RFC 9111 §4.1); None if there is none."""
        hashed = key_hash(key)
        known = self.index.find(hashed)
        if known is None:
            return None
        if not isinstance(known, Places):
            return Found(key, None, hashed, None, known)
        variant = variant_key(known.names, field)
        second = key_hash(variant)
        place = known.objects.get(second)
        return None if place is None else Found(key, variant, hashed, second, place, known.names)

    async def load(self, found: Found) -> StoredObject | None:
        """Read it; a Remote if its body is large; None if that is not possible, or it was removed meanwhile."""
        place = found.place
        if isinstance(place, Waiting):
            if place.stored is not None or not place.wanted:
                return place.stored if place.wanted else None
            await _arrival(place)
            arrived = self.index.at(found.key_hash, found.variant_hash)
            if not isinstance(arrived, int):
                return None
            found.place = place = arrived
        segment = self._segment(segment_of(place))
        if segment is None or self._loop is None:
            self.upkeep.forget(found, Bad.GONE)
            return None
        if self._reading >= READS_MAX:
            self.reads_refused += 1
            return None
        return await self._load(found, place, segment, self._loop)

    async def _load(
        self, found: Found, place: int, segment: Segment, loop: asyncio.AbstractEventLoop
    ) -> StoredObject | None:
        secret = self.directory.secret
        self._reading += 1
        segment.users += 1
        try:
            head, body = await loop.run_in_executor(
                self._pool, read_object, segment, place, secret, found.key, found.variant
            )
            at = self.index.at(found.key_hash, found.variant_hash)
            if not isinstance(at, int) or not same(at, place):
                return None  # removed, or moved: a miss in either case
            stored = self._object(found, head, body, place)
        except BadRecord as bad:
            self.upkeep.forget(found, bad.reason)
            return None
        except OSError as error:
            self.upkeep.unreadable(segment, error)
            self.upkeep.forget(found, Bad.UNREADABLE)
            return None
        finally:
            self._reading -= 1
            segment.release()
        self.index.touch(found.key_hash, found.variant_hash)
        self.loaded += 1
        return stored

    def _segment(self, number: int) -> Segment | None:
        return self.segments.get(number) or self.leaving.get(number)

    def _object(self, found: Found, head: Head, body: bytes, place: int) -> StoredObject:
        whole = head.frame.kind is Kind.OBJECT
        kind = StoredObject if whole else Remote
        mark = self.marks.unpack(head.mark) if head.mark else None
        doubtful = segment_of(place) <= self.directory.doubtful
        stored = object_of(kind, head, body, mark, self.wall_offset, wall(), doubtful=doubtful)
        if isinstance(stored, Remote):
            stored.pieces = self._pieces(found, head.frame.total, table_of(head))
        return stored

    def _pieces(self, found: Found, size: int, table: list[tuple[int, int, bytes]]) -> Pieces:
        segments = {number: self._segment(number) for number, _, _ in table}
        held = {number: segment for number, segment in segments.items() if segment is not None}
        if len(held) < len(segments):
            raise BadRecord(Bad.GONE)

        def bad(reason: Bad) -> None:
            self.upkeep.forget(found, reason)

        return Pieces(size, self._pool, self.directory.secret, table, held, bad)

    # -- what it is given --------------------------------------------------------------------------------------------

    def put(self, stored: StoredObject, names: tuple[bytes, ...]) -> bool:
        """Take an object with its body; False if it is not taken. Whatever lay there for it before is gone."""
        hashed, second = _hashes(stored)
        known = self.index.at(hashed, second)
        if known is not None:  # it came from here
            return True
        reason = self._refusal(stored, len(stored.body), len(stored.body))
        self._make_way(stored.key, hashed, names)
        if reason is not None:
            self.drop(reason)
            return False
        waiting = Waiting(stored)
        self.index.put(hashed, second, names, waiting)
        self._submit(Put(hashed, second, stored, names, self.marks.pack(stored), waiting))
        return True

    def renew(self, old: Remote, stored: StoredObject, names: tuple[bytes, ...]) -> bool:
        """Take a new head for a body that lies here already, in place of the old one; False if it is not taken."""
        self.overtaken(old)
        self.overtaken(stored)
        self._make_way(stored.key, key_hash(stored.key), names)
        reason = self._refusal(stored, old.length, 0)
        if reason is not None:
            self.drop(reason)
            return False
        arrival = Arrival()
        arrival.table = old.pieces.table
        self._commit(stored, names, arrival, old.length)
        return True

    def begin(self) -> Incoming | None:
        """Take a body that is larger than memory should hold, while it arrives; None if that cannot be."""
        if self.upkeep.failing or self.queued > QUEUE_MAX:
            self.drop(Dropped.FAILING if self.upkeep.failing else Dropped.QUEUE)
            return None
        return Incoming(self)

    def write_piece(self, incoming: Incoming, data: bytes) -> None:
        """For Incoming."""
        self._submit(_ArrivingPiece(incoming, data))

    def commit(self, incoming: Incoming, stored: StoredObject, names: tuple[bytes, ...]) -> bool:
        """For Incoming: everything has been handed over."""
        self.overtaken(stored)
        self._make_way(stored.key, key_hash(stored.key), names)
        reason = self._refusal(stored, incoming.total, 0)
        if reason is not None:
            self.drop(reason)
            return False
        self._commit(stored, names, incoming.arrival, incoming.total)
        return True

    def _commit(self, stored: StoredObject, names: tuple[bytes, ...], arrival: Arrival, total: int) -> None:
        hashed, second = _hashes(stored)
        waiting = Waiting()
        self.index.put(hashed, second, names, waiting)
        self._submit(Commit(hashed, second, stored, names, self.marks.pack(stored), waiting, arrival, total))

    def takes(self, size: int) -> bool:
        """May a body of `size` bytes lie here?"""
        return size <= self.object_max and fits(size, self.segment_size)

    def _refusal(self, stored: StoredObject, size: int, waiting: int) -> Dropped | None:
        if self.upkeep.state is State.CLOSED:
            return Dropped.CLOSED
        if not self.takes(size) or len(stored.start) + len(stored.key) > self.segment_size // 4:
            return Dropped.TOO_LARGE
        if stored.fresh_until <= now() and stored.etag is None and stored.last_modified is None:
            return Dropped.WORTHLESS
        if self.upkeep.failing:
            return Dropped.FAILING
        return Dropped.QUEUE if self.queued + waiting > QUEUE_MAX else None

    def _make_way(self, key: bytes, hashed: int, names: tuple[bytes, ...]) -> None:
        """What lies under a key and varies otherwise than what comes is overtaken by it."""
        known = self.index.find(hashed)
        if known is not None and (known.names if isinstance(known, Places) else ()) != names:
            self.remove(key)

    def overtaken(self, stored: StoredObject) -> None:
        """A newer response was stored in memory: what lies here for it is not to be found any more."""
        self.remove(stored.key, stored.variant)

    def discard(self, stored: StoredObject) -> None:
        """It is not to be used any more."""
        self.remove(stored.key, stored.variant)

    def remove(self, key: bytes, variant: bytes | None = None) -> int:
        """Remove whatever lies under a key, or one variant of it; how many objects that were."""
        hashed = key_hash(key)
        second = None if variant is None else key_hash(variant)
        gone = self.index.remove(hashed, second)
        unknown = self.upkeep.removed(hashed, second)
        if gone or unknown:
            lying = {segment_of(place) for place in gone if isinstance(place, int)}
            self._submit(Remove(key, variant, frozenset(lying | unknown)))
        return len(gone)

    def drop(self, reason: Dropped) -> None:
        """An object was not written."""
        self.dropped[reason] += 1

    # -- between the loop and the writer -----------------------------------------------------------------------------

    def _submit(self, job: Job) -> None:
        self.queued += job.cost
        self.writer.submit(job)

    def submit(self, job: Job) -> None:
        """For upkeep."""
        self._submit(job)

    def _report(self, begun: list[Segment], jobs: list[Job]) -> None:
        """In the writer's thread."""
        loop = self._loop
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._done, begun, jobs)
        except RuntimeError:
            pass  # the loop has ended before the writer

    def _done(self, begun: list[Segment], jobs: list[Job]) -> None:
        for segment in begun:
            self.segments[segment.number] = segment
        for job in jobs:
            self.queued -= job.cost
            self._outcome(job)
        self.upkeep.after(begun, jobs)

    def _outcome(self, job: Job) -> None:
        if isinstance(job, Put):
            self._put_is_done(job)
        elif isinstance(job, _ArrivingPiece):
            job.incoming.written(len(job.data), ok=job.error is None)
        elif isinstance(job, Copy):
            self.upkeep.copied(job)
        elif isinstance(job, Remove) and job.error is not None:
            self.upkeep.not_recorded(job)
        elif isinstance(job, Drop):
            self.upkeep.dropped(job)

    def _put_is_done(self, job: Put) -> None:
        self._enter(job)
        for hear in job.waiting.heard:
            hear()

    def _enter(self, job: Put) -> None:
        if job.place is not None and self.index.arrive(job.key, job.variant, job.waiting, job.place):
            self.written += 1
            self.written_bytes += len(job.stored.body) or getattr(job, "total", 0)
            return
        if self.index.at(job.key, job.variant) is job.waiting:
            self.index.remove(job.key, job.variant)
        self.drop(Dropped.FAILING if job.error is not None else Dropped.OVERTAKEN)

    async def close(self, patience: float = 2.0) -> None:
        """Write what waits, within `patience` seconds, and let go of the directory."""
        if self.upkeep.state is State.CLOSED:
            return
        self.upkeep.close()
        self.writer.stop()
        loop = asyncio.get_running_loop()
        ended = await loop.run_in_executor(None, self.writer.join, patience)
        await asyncio.sleep(0)  # the writer's last report
        if ended:
            await loop.run_in_executor(self._pool, partial(self.directory.close, ended=True))
        self._pool.shutdown()
        if not ended:
            return  # the thread still writes: the system ends it with the process, and the lock with both
        for segment in self.segments.values():
            segment.gone = True
            segment.close_if_unused()


class _ArrivingPiece(Piece):
    __slots__ = ("incoming",)

    def __init__(self, incoming: Incoming, data: bytes) -> None:
        super().__init__(incoming.arrival, data)
        self.incoming = incoming


async def _arrival(waiting: Waiting) -> None:
    """Its pieces are written, and its head will be in a moment."""
    arrived = asyncio.Event()
    waiting.heard.append(arrived.set)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ARRIVAL):
            await arrived.wait()


def _hashes(stored: StoredObject) -> tuple[int, int | None]:
    return key_hash(stored.key), None if stored.variant is None else key_hash(stored.variant)
