"""The one thread that writes, and one beside it that syncs.

Decides when a segment is full and when what was written is made to lie on the medium; what is written, and in what
order, the loop decides. The loop never waits for it: jobs go in by a queue, outcomes come back in batches. A sync may
take a second on a busy disk, and nothing depends on it (docs/storage.md), so the writer does not wait for it either.

After a failed write everything but removals fails at once, until the loop says `mend`: nobody learns anything from a
hundred attempts a second at a full disk.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from time import monotonic

from edge.disk.directory import Directory
from edge.disk.files import Files, Segment, create
from edge.disk.jobs import Drop, Job, Piece, Remove
from edge.disk.layout import HEAD, Frame, encode, padded

BATCH = 64  # jobs after which the loop hears of them
SYNC = 10.0  # seconds that what was written may lie in the system's cache only

log = logging.getLogger("cdnlab.disk")


class Writer:
    """`report` is called in the writer's thread with the segments that were begun and the jobs that are done."""

    def __init__(
        self,
        files: Files,
        directory: Directory,
        segment_size: int,
        keep_free: int,
        wall_offset: float,
        wall: Callable[[], float],
        report: Callable[[list[Segment], list[Job]], None],
    ) -> None:
        self.secret = directory.secret
        self.wall_offset = wall_offset
        self.wall = wall
        self.next_number = 1
        self.before = 0
        """Bytes of the newest segment that was there at the start."""
        self._files = files
        self._directory = directory
        self._segment_size = segment_size
        self._keep_free = keep_free
        self._report = report
        self._jobs: deque[Job | None] = deque()
        self._wake = threading.Event()
        self._current: Segment | None = None
        self._begun: list[Segment] = []
        self._broken: OSError | None = None
        self._syncs: SimpleQueue[Segment | None] = SimpleQueue()
        self._syncer = threading.Thread(target=self._sync_all, name="disk sync", daemon=True)
        self._unsynced = 0.0  # when the oldest write was made that may not lie on the medium; 0 for none
        self._thread = threading.Thread(target=self._run, name="disk writer", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()
        self._syncer.start()

    def submit(self, job: Job) -> None:
        """Do it after all that was submitted before. Never blocks."""
        self._jobs.append(job)
        self._wake.set()

    def mend(self) -> None:
        """Try again what failed."""
        self._broken = None

    def stop(self) -> None:
        """End once everything is done that was submitted."""
        self._jobs.append(None)
        self._wake.set()

    def join(self, timeout: float) -> bool:
        """Wait for the end; False if it did not come within `timeout` seconds."""
        end = monotonic() + timeout
        for thread in (self._thread, self._syncer):
            if thread.ident is not None:
                thread.join(max(0.0, end - monotonic()))
        return not (self._thread.is_alive() or self._syncer.is_alive())

    def append(self, frame: Frame, meta: bytes, body: bytes | memoryview) -> tuple[int, int]:
        """Write a record at the end of the log; its segment's number and its offset. OSError."""
        size = padded(HEAD + len(meta) + len(body))
        segment = self._current
        if segment is None or segment.size + size > segment.capacity:
            segment = self._begin()
        offset = segment.size
        try:
            segment.append(encode(frame, meta, body, self.secret, segment.number, offset))
        except OSError:
            self._current = None
            raise
        self._unsynced = self._unsynced or monotonic()
        return segment.number, offset

    # -- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._wake.wait(SYNC if self._unsynced else None)
            self._wake.clear()
            if self._work():
                break
            if self._unsynced and monotonic() - self._unsynced > SYNC:
                self._sync()
        self._sync()
        self._syncs.put(None)

    def _work(self) -> bool:
        """Everything that waits; True if the end was asked for."""
        jobs = self._jobs
        while jobs:
            batch: list[Job] = []
            while jobs and len(batch) < BATCH:
                job = jobs.popleft()
                if job is None:
                    self._tell(batch)
                    return True
                self._do(job)
                batch.append(job)
            self._tell(batch)
        return False

    def _tell(self, batch: list[Job]) -> None:
        begun, self._begun = self._begun, []
        self._report(begun, batch)

    def _do(self, job: Job) -> None:
        broken = self._broken
        if broken is not None and not isinstance(job, (Remove, Drop)):
            job.error = broken
            return
        try:
            job.do(self)
        except OSError as error:
            job.error = error.with_traceback(None)
            if not isinstance(job, Drop):
                self._broken = job.error
        except Exception as error:  # a job that cannot be done must not end the thread
            log.exception("the disk storage could not do a %s", type(job).__name__)
            job.error = OSError(errno.EINVAL, str(error))

    def _begin(self) -> Segment:
        """A new segment; the one before it is complete."""
        self._sync()
        path = self._directory.path
        if self._keep_free and self._files.free(path) - self._segment_size < self._keep_free:
            raise OSError(errno.ENOSPC, "less than edge.disk.keep_free is left")
        before = self._begun_before()
        segment = create(self._files, path, self.next_number, self._segment_size, self.secret, before)
        self.next_number += 1
        self.before = 0
        self._current = segment
        self._begun.append(segment)
        return segment

    def _begun_before(self) -> int:
        return self._current.size if self._current is not None else self.before

    def _sync(self) -> None:
        """Have what was written lie on the medium, by and by."""
        segment, since = self._current, self._unsynced
        self._unsynced = 0.0
        if segment is not None and since:
            self._syncs.put(segment)

    def _sync_all(self) -> None:
        """The second thread. A failure is the next write's to find."""
        while (segment := self._syncs.get()) is not None:
            try:
                segment.sync()
            except OSError as error:
                if not segment.gone:
                    log.warning(
                        "the disk storage could not sync %s: %s", segment.path, error.strerror or error
                    )


def failures(jobs: Sequence[Job]) -> OSError | None:
    """The first error of these jobs, but for those of removing files."""
    return next((job.error for job in jobs if job.error is not None and not isinstance(job, Drop)), None)


def wrote(jobs: Sequence[Job]) -> bool:
    """Has one of these jobs written an object, or a piece of one? A removal is small, and says nothing of room."""
    return any(
        isinstance(job, Piece) or getattr(job, "place", None) or getattr(job, "new", None)
        for job in jobs
        if job.error is None
    )
