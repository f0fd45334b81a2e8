"""The system calls of the disk storage, all in one place, and the segments they are made on.

`Files` is the seam: tests put one in its place that runs out of space, fails, or cuts a write short. A `Segment` is one
file; it is read by any thread, and written by the writer's alone.

Decides nothing about what is written. Must not know records' meaning or the loop.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from edge.disk.layout import SEGMENT_HEAD, Bad, BadRecord, read_segment_head, segment_head

SUFFIX = ".seg"
_DIGITS = 10


class Files:
    """What the disk storage asks of the system. OSError as the system says."""

    def open(self, path: Path, flags: int) -> int:
        """A descriptor of a regular file that is no link."""
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)

    def write(self, fd: int, parts: Sequence[bytes | memoryview], offset: int) -> int:
        """Bytes written, as the system pleases."""
        return os.pwritev(fd, parts, offset)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Up to `size` bytes; fewer at the end of the file."""
        return os.pread(fd, size, offset)

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file off."""
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        """Have what was written lie on the medium."""
        if hasattr(os, "fdatasync"):
            os.fdatasync(fd)
        else:
            os.fsync(fd)

    def unlink(self, path: Path) -> None:
        """Remove a file; none there is fine."""
        path.unlink(missing_ok=True)

    def close(self, fd: int) -> None:
        """Let go of a descriptor."""
        os.close(fd)

    def free(self, path: Path) -> int:
        """Bytes that a file below `path` could still take."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize


class Segment:
    """One segment file. `capacity` is what it may grow to, `size` what it has grown to; `users` are reads under way:
    the last of them closes a segment that is `gone`."""

    __slots__ = ("_files", "before", "capacity", "fd", "gone", "number", "path", "size", "users")

    def __init__(self, files: Files, path: Path, number: int, fd: int, capacity: int, size: int) -> None:
        self._files = files
        self.path = path
        self.number = number
        self.fd = fd
        self.capacity = capacity
        self.size = size
        self.before = 0
        """What its head says that the segment before it has grown to; 0 if it does not know."""
        self.users = 0
        self.gone = False

    def append(self, parts: Sequence[bytes | memoryview]) -> None:
        """Write at the end, all or nothing: what a failed write leaves is cut off, or read as torn. OSError."""
        at, left = self.size, list(parts)
        try:
            while left:
                done = self._files.write(self.fd, left, at)
                if done <= 0:
                    raise OSError(errno.EIO, "nothing was written")
                at += done
                left = _rest(left, done)
        except OSError:
            if at > self.size:
                self._cut()
            raise
        self.size = at

    def _cut(self) -> None:
        try:
            self._files.truncate(self.fd, self.size)
        except OSError:
            pass  # nothing is appended behind it: after a failure the writer begins another segment

    def read(self, size: int, offset: int) -> bytes:
        """All of `size` bytes, or what the file has of them. OSError."""
        found = self._files.read(self.fd, size, offset)
        if len(found) == size or not found:
            return found
        parts, at = [found], len(found)
        while at < size:
            more = self._files.read(self.fd, size - at, offset + at)
            if not more:
                break
            parts.append(more)
            at += len(more)
        return b"".join(parts)

    def sync(self) -> None:
        """Have all of it lie on the medium; nothing to do for one that is gone by now. OSError."""
        fd = self.fd  # the loop closes what is gone, at any moment
        if fd >= 0:
            self._files.sync(fd)

    def release(self) -> None:
        """One read less."""
        self.users -= 1
        self.close_if_unused()

    def close_if_unused(self) -> None:
        """Close a segment that is gone, once nobody reads it."""
        if self.gone and not self.users and self.fd >= 0:
            fd, self.fd = self.fd, -1
            self._files.close(fd)


def _rest(parts: list[bytes | memoryview], done: int) -> list[bytes | memoryview]:
    while parts and done >= len(parts[0]):
        done -= len(parts[0])
        parts = parts[1:]
    if parts and done:
        parts = [memoryview(parts[0])[done:], *parts[1:]]
    return parts


def segment_path(directory: Path, number: int) -> Path:
    """Where segment `number` lies."""
    return directory / f"{number:0{_DIGITS}}{SUFFIX}"


def segment_number(name: str) -> int | None:
    """The number in a segment's file name; None for any other name."""
    stem = name.removesuffix(SUFFIX)
    if stem == name or len(stem) != _DIGITS or not (stem.isascii() and stem.isdigit()):
        return None
    return int(stem) or None


def create(files: Files, directory: Path, number: int, capacity: int, secret: bytes, before: int) -> Segment:
    """A new segment, open for writing; a file of that name is an error. OSError, and then there is none."""
    path = segment_path(directory, number)
    fd = files.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    segment = Segment(files, path, number, fd, capacity, 0)
    try:
        segment.append([segment_head(secret, number, capacity, before)])
    except OSError:
        files.close(fd)
        files.unlink(path)
        raise
    return segment


def reopen(files: Files, directory: Path, number: int, secret: bytes) -> Segment:
    """A segment that was there before, open for reading. OSError; BadRecord if its head is not ours."""
    path = segment_path(directory, number)
    fd = files.open(path, os.O_RDONLY)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise BadRecord(Bad.HEAD)
        capacity, before = read_segment_head(secret, number, files.read(fd, SEGMENT_HEAD, 0))
    except (OSError, BadRecord):
        files.close(fd)
        raise
    segment = Segment(files, path, number, fd, capacity, found.st_size)
    segment.before = before
    return segment
