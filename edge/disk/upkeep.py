"""Age, room and errors: what a disk storage does besides what it is asked.

*Start.* What lies in the directory is read newest segment first, so that whatever is known of a key is the newest that
there is, and serving can begin at once. What was put or removed meanwhile is newer than all of it.

*Room.* The directory is a ring of segments: the oldest goes as a whole, which is one unlink and no holes. What was
asked for since it was written is written once more at the end of the log, if it is small, fresh, and up to half a
segment of it: FIFO with re-insertion (CLOCK, of whole segments). LRU would have to write at each hit, or to leave
holes and pay for moving what lies around them; plain FIFO would drop what is asked for each second. Half a segment
bounds the writing to twice what comes in.

*Errors.* A write that fails (no room, a broken disk) stops the writing, once with an event, and is tried again after
5 s, then after twice as long, up to a minute. Where there was no room the oldest segment goes, and for some minutes the
storage takes no more than was there, so that a directory on too small a disk settles at the disk's size.

*Removals* that cannot be written down would be undone by a restart. So the segments go in which the removed lies.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING

from cdnlab.net import tasks
from cdnlab.net.clock import now
from edge.disk.directory import NO_ROOM
from edge.disk.files import Segment, segment_path
from edge.disk.index import Places
from edge.disk.jobs import Copy, Drop, Job, Remove
from edge.disk.layout import SEGMENT_HEAD, Bad, BadRecord, Kind
from edge.disk.place import hits_of, reading_size, same, segment_of
from edge.disk.reasons import State
from edge.disk.scan import Found as Record
from edge.disk.scan import Scan, scan, sizes
from edge.disk.writer import failures, wrote

if TYPE_CHECKING:
    from edge.disk.found import Found
    from edge.disk.storage import DiskStorage

RETRY, RETRY_MAX = 5.0, 60.0  # seconds until a failed disk is tried again
SHRUNK = 600.0  # seconds for which no more is taken than there was room for
SLICE = 250  # entries between two turns of the loop, a fraction of a millisecond
KEPT_SHARE = 2  # of a segment that goes, this part at the most is written once more
REMOVED_MAX = (
    200_000  # keys remembered as removed while the start goes on; beyond them the unread segments go
)

log = logging.getLogger("cdnlab.disk")


class Upkeep:
    """See above. Lives on the loop."""

    def __init__(self, storage: DiskStorage, say: Callable[[str], None]) -> None:
        self.state = State.STARTING
        self.evicted = self.segments_evicted = self.kept = self.failures = 0
        self.adopted = 0
        """Objects that the start has found so far."""
        self._storage = storage
        self._say = say
        self._unread: dict[int, int] = {}  # segments that the start has not read yet, and their sizes
        self._removed: set[int] = set()
        self._removed_variants: set[tuple[int, int]] = set()
        self._adopting: set[int] = set()  # the segment whose records are being entered into the index
        self._pool: Executor | None = None
        self._starting = True
        self._tasks: list[asyncio.Task[None]] = []
        self._limit = storage.capacity
        self._limit_until = 0.0
        self._retry_at = self._retry = 0.0
        self._evicting = False
        self._complained = False

    @property
    def busy(self) -> bool:
        """Is a start or an eviction under way?"""
        return self._starting or self._evicting

    # -- the start ----------------------------------------------------------------------------------------------------

    def start(self, pool: Executor) -> None:
        """Look at what lies in the directory, and begin to read it."""
        storage, directory = self._storage, self._storage.directory
        numbers = directory.segments()
        self._unread = sizes(directory.path, numbers)
        storage.writer.next_number = max(numbers, default=0) + 1
        storage.writer.before = self._unread[numbers[-1]] if numbers else 0
        foreign = directory.foreign()
        if foreign:
            log.warning(
                "%s holds files that are not ours, and stay: %s", directory.path, ", ".join(foreign[:5])
            )
        if directory.fresh:
            self._give_up_unread()
        self._make_room()
        self._pool = pool
        self._tasks.append(tasks.spawn(self._read_all(pool), "disk index"))

    async def _read_all(self, pool: Executor) -> None:
        started, before = now(), 0
        expected = max(self._unread, default=0)
        for number in sorted(self._unread, reverse=True):
            if number not in self._unread:
                continue  # it had to go meanwhile
            if number != expected:
                await self._doubt(number, "a segment is missing behind it")
            before = await self._read(number, before, pool)
            expected = number - 1
        self._starting = False
        self._removed.clear()
        self._removed_variants.clear()
        if self.state is State.STARTING:
            self.state = State.READY
        if self.adopted:
            self._say(f"knows what lies on disk again, {self.adopted} objects, after {now() - started:.1f} s")

    async def _read(self, number: int, size: int, pool: Executor) -> int:
        """Read one segment, which should have `size` bytes if that is known; the size of the one before it."""
        storage = self._storage
        work = partial(scan, storage.files, storage.directory, number, lambda: self.state is State.CLOSED)
        try:
            found = await asyncio.get_running_loop().run_in_executor(pool, work)
        except BadRecord as bad:
            if number not in self._unread:
                return 0
            storage.bad[bad.reason] += 1
            if bad.reason is not Bad.TORN or size > SEGMENT_HEAD:
                await self._doubt(number, bad.reason.sentence)
            self._drop_unread(number)
            return 0
        except OSError as error:
            if number not in self._unread:  # it had to go before it was opened
                return 0
            log.warning("cannot read segment %d: %s", number, error.strerror or error)
            storage.bad[Bad.UNREADABLE] += 1
            await self._doubt(number, Bad.UNREADABLE.sentence)
            self._unread.pop(number, None)
            return 0
        if number not in self._unread:  # it had to go while it was read
            found.segment.gone = True
            found.segment.close_if_unused()
            return 0
        if found.broken is not None or found.segment.size < size:
            storage.bad[found.broken or Bad.TORN] += 1
            await self._doubt(number, (found.broken or Bad.TORN).sentence)
        await self._adopt(number, found)
        return found.segment.before

    async def _adopt(self, number: int, found: Scan) -> None:
        index = self._storage.index
        self._storage.segments[number] = found.segment
        self._unread.pop(number, None)
        self._adopting = {number}
        for count, record in enumerate(reversed(found.found), 1):
            if number not in self._storage.segments:
                return
            self._take(record)
            if count % SLICE == 0:
                await asyncio.sleep(0)
        if index.objects > self._storage.objects_max:
            self._give_up_unread()

    def _take(self, record: Record) -> None:
        kind, key, variant, names, where = record
        if kind is Kind.REMOVE:
            self._remember(key, variant)
        elif key not in self._removed and (variant is None or (key, variant) not in self._removed_variants):
            self.adopted += self._storage.index.adopt(key, variant, names, where)

    def _remember(self, key: int, variant: int | None) -> None:
        if variant is None:
            self._removed.add(key)
        else:
            self._removed_variants.add((key, variant))

    def removed(self, key: int, variant: int | None) -> set[int]:
        """The loop removed something; the segments that may still hold it, unread."""
        if not self._starting:
            return set()
        self._remember(key, variant)
        if len(self._removed) + len(self._removed_variants) > REMOVED_MAX:
            self._give_up_unread()
        return self._adopting.union(self._unread)

    async def _doubt(self, number: int, why: str) -> None:
        """A part of the log is missing or wrong: what lies before it may have been removed by it."""
        directory = self._storage.directory
        log.warning(
            "segment %d in %s: %s; what is as old is validated before use", number, directory.path, why
        )
        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, directory.doubt, number)
        except OSError as error:
            log.warning("cannot note that in %s: %s", directory.path, error.strerror or error)

    def _give_up_unread(self) -> None:
        for number in tuple(self._unread):
            self._drop_unread(number)

    def _drop_unread(self, number: int) -> None:
        size = self._unread.pop(number, None)
        if size is not None:
            self._unlink(number)

    # -- room ---------------------------------------------------------------------------------------------------------

    @property
    def used(self) -> int:
        """Bytes of the segments' files."""
        segments = self._storage.segments.values()
        return sum(segment.size for segment in segments) + sum(self._unread.values())

    @property
    def limit(self) -> int:
        """Bytes that may be used at the moment."""
        if self._limit < self._storage.capacity and now() > self._limit_until:
            self._limit = self._storage.capacity
        return self._limit

    def after(self, begun: list[Segment], jobs: list[Job]) -> None:
        """Some jobs are done."""
        error = failures(jobs)
        if error is not None:
            self._failed(error)
        elif self._retry and wrote(jobs):
            self._works()
        if begun or self._storage.index.objects > self._storage.objects_max:
            self._make_room()

    def _make_room(self) -> None:
        if not self._evicting and self._too_much():
            self._evicting = True
            self._tasks.append(tasks.spawn(self._evict(), "disk eviction"))

    def _too_much(self) -> bool:
        storage = self._storage
        newest = max(storage.segments, default=0)
        full = sum(s.size for n, s in storage.segments.items() if n != newest) + sum(self._unread.values())
        if newest:
            full += storage.segments[newest].capacity
        alone = len(storage.segments) + len(self._unread) <= 1
        return not alone and (full > self.limit or storage.index.objects > storage.objects_max)

    async def _evict(self) -> None:
        try:
            while self._too_much():
                await self._evict_oldest(keep=True)
        finally:
            self._evicting = False
            self._tasks = [task for task in self._tasks if not task.done()]

    async def _evict_oldest(self, *, keep: bool) -> None:
        storage = self._storage
        if self._unread and min(self._unread) < min(storage.segments, default=1 << 40):
            self.segments_evicted += 1
            self._drop_unread(min(self._unread))
            return
        number = min(storage.segments)
        segment = storage.segments[number]
        self.segments_evicted += 1
        budget = segment.capacity // KEPT_SHARE if keep else 0
        soft = number <= storage.directory.doubtful
        for count, (key, variant, place) in enumerate(self._leaving(number), 1):
            size = reading_size(place)
            if hits_of(place) and size <= budget and not self.failing:
                budget -= size
                storage.submit(Copy(key, variant, place, segment, soft=soft))
            else:
                storage.index.remove(key, variant)
                self.evicted += 1
            if count % SLICE == 0:
                await asyncio.sleep(0)
        self._let_go(number)

    def _leaving(self, number: int) -> Iterator[tuple[int, int | None, int]]:
        index = self._storage.index
        seen: set[int] = set()
        for key in index.leave(number):
            if key not in seen:
                seen.add(key)
                for variant, place in index.within(number, key):
                    yield key, variant, place

    def _let_go(self, number: int) -> None:
        """The segment is no longer known; its file goes after the copies that were asked for."""
        segment = self._storage.segments.pop(number)
        self._storage.leaving[number] = segment
        segment.gone = True
        segment.users += 1  # until the copies are made and the file is gone
        self._unlink(number, segment)

    def _unlink(self, number: int, segment: Segment | None = None) -> None:
        storage = self._storage
        path = segment_path(storage.directory.path, number)
        storage.submit(_DropSegment(number, partial(storage.files.unlink, path), segment))

    def dropped(self, job: Drop) -> None:
        """A file is gone, or cannot be removed."""
        self._storage.leaving.pop(job.number, None)
        if isinstance(job, _DropSegment) and job.segment is not None:
            job.segment.release()
        if job.error is not None:
            why = job.error.strerror or job.error
            self._complain(f"cannot remove segment {job.number}: {why}; remove it before the next start")

    def copied(self, job: Copy) -> None:
        """A record was written once more, or could not be."""
        index = self._storage.index
        if job.new is not None and index.move(job.key, job.variant, job.old, job.new):
            self.kept += 1
            return
        at = index.at(job.key, job.variant)
        if isinstance(at, int) and same(at, job.old):
            index.remove(job.key, job.variant)
            self.evicted += 1

    # -- errors -------------------------------------------------------------------------------------------------------

    @property
    def failing(self) -> bool:
        """Is writing not worth a try at the moment? The first to ask after a while is told no, and tries."""
        if not self._retry_at:
            return False
        if now() < self._retry_at:
            return True
        self._retry_at = 0.0
        self._storage.writer.mend()
        return False

    def _failed(self, error: OSError) -> None:
        if self._retry_at:
            return  # jobs that were under way when it was found out
        self.failures += 1
        full = error.errno in NO_ROOM
        first, self._retry = not self._retry, min(max(RETRY, 2 * self._retry), RETRY_MAX)
        self._retry_at = now() + self._retry
        if self.state is not State.CLOSED:
            self.state = State.FULL if full else State.FAILING
        if first:
            where, why = self._storage.directory.path, error.strerror or error
            self._complain(
                f"cannot write to {where}: {why}; new objects stay in memory only, and it is tried again"
            )
        if full:
            self._shrink()

    def _shrink(self) -> None:
        self._limit = max(self._storage.segment_size, self.used - self._storage.segment_size)
        self._limit_until = now() + SHRUNK
        self._make_room()

    def _works(self) -> None:
        if self.state in (State.FULL, State.FAILING):
            self._retry = self._retry_at = 0.0
            self.state = State.READY
            self._complained = False
            self._say(f"{self._storage.directory.path} takes objects again")

    def _complain(self, text: str) -> None:
        log.error("%s", text)
        self._say(text)

    def not_recorded(self, job: Remove) -> None:
        """A removal is not written down, so what it removed goes with all that lies beside it."""
        for number in job.segments:
            if number in self._unread:
                self._drop_unread(number)
            elif number in self._storage.segments:
                self._lose(number)

    def _lose(self, number: int) -> None:
        """Without re-insertion, and at once: removals are few where writing fails."""
        for key, variant, _ in list(self._leaving(number)):
            self._storage.index.remove(key, variant)
            self.evicted += 1
        self._let_go(number)

    def unreadable(self, segment: Segment, error: OSError) -> None:
        """Reading failed."""
        if not self._complained:
            self._complained = True
            self._complain(f"cannot read {segment.path}: {error.strerror or error}; what lies there is lost")

    def forget(self, found: Found, reason: Bad) -> None:
        """What was read is not right, or cannot be read: it is absent from now on."""
        storage = self._storage
        storage.bad[reason] += 1
        if reason is Bad.OTHER:  # two keys with one hash: it is right, for the other one
            return
        known = storage.index.find(found.key_hash)
        at = storage.index.at(found.key_hash, found.variant_hash)
        if at is found.place or (
            isinstance(at, int) and isinstance(found.place, int) and same(at, found.place)
        ):
            storage.index.remove(found.key_hash, found.variant_hash)
        if reason is not Bad.GONE:
            what = (
                f"a record in segment {segment_of(found.place)}"
                if isinstance(found.place, int)
                else "a record"
            )
            log.warning(
                "%s is not used: %s%s", what, reason.sentence, " (a variant)" * isinstance(known, Places)
            )

    def close(self) -> None:
        """No more is taken."""
        self.state = State.CLOSED
        for task in self._tasks:
            task.cancel()


class _DropSegment(Drop):
    __slots__ = ("segment",)

    def __init__(self, number: int, unlink: Callable[[], None], segment: Segment | None) -> None:
        super().__init__(number, unlink)
        self.segment = segment
