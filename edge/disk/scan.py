"""Reading a segment from its beginning, to learn what lies in it; heads only.

Runs in a thread beside a loop that serves, so it lets go of the interpreter every half millisecond of work. Decides
where the readable part ends, and whether what ends it is a crash or damage. Must not touch the index.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import sleep

from edge.disk.directory import Directory
from edge.disk.files import Files, Segment, reopen, segment_path
from edge.disk.index import key_hash
from edge.disk.layout import (
    HEAD,
    SEGMENT_HEAD,
    Bad,
    BadRecord,
    Flag,
    Frame,
    Kind,
    padded,
    prove_head,
    read_frame,
)
from edge.disk.place import place
from edge.disk.record import identity

CHUNK = 1 << 18  # bytes read at once: many small records, or the head of a large one
_WORK = 64  # records between two rests, about half a millisecond
_REST = 0.0005  # seconds

Found = tuple[Kind, int, int | None, tuple[bytes, ...], int]
"""Kind, hash of the key, hash of the variant key, names of Vary, place. For a removal the place is 0."""


class Scan:
    """What a segment holds, oldest record first. `broken`: bytes were changed or are missing, so that something that
    was removed may look as if it had not been."""

    __slots__ = ("broken", "found", "segment")

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.found: list[Found] = []
        self.broken: Bad | None = None


def scan(files: Files, directory: Directory, number: int, ended: Callable[[], bool]) -> Scan:
    """Read segment `number`, unless the storage has `ended` meanwhile. OSError; BadRecord if it is none of ours."""
    segment = reopen(files, directory.path, number, directory.secret)
    result = Scan(segment)
    try:
        _records(result, directory.secret, ended)
    except BadRecord as bad:
        if bad.reason is not Bad.TORN:
            result.broken = bad.reason
    except OSError:
        result.broken = Bad.UNREADABLE
    return result


def _records(result: Scan, secret: bytes, ended: Callable[[], bool]) -> None:
    segment, at, base, data = result.segment, SEGMENT_HEAD, 0, b""
    count = 0
    while at < segment.size:
        start = at - base
        if start + HEAD > len(data):
            data, base, start = segment.read(CHUNK, at), at, 0
        frame = read_frame(memoryview(data)[start:], secret, segment.number, at)
        if start + frame.head_size > len(data):
            data, base, start = segment.read(frame.head_size, at), at, 0
        if at + frame.head_size > segment.size:
            raise BadRecord(Bad.TORN)
        meta = prove_head(frame, memoryview(data)[start:], secret, segment.number, at)
        if at + frame.head_size + frame.body_size > segment.size:
            raise BadRecord(Bad.TORN)
        if frame.kind is not Kind.PIECE:
            result.found.append(_found(frame, meta, segment.number, at))
        at += padded(frame.head_size + frame.body_size)
        count += 1
        if count % _WORK == 0:
            sleep(_REST)
            if ended():
                return


def _found(frame: Frame, meta: bytes, number: int, at: int) -> Found:
    key, variant, names = identity(meta)
    hashed = key_hash(variant) if frame.flags & Flag.VARIANT else None
    where = 0 if frame.kind is Kind.REMOVE else place(number, at, frame.size)
    return frame.kind, key_hash(key), hashed, names, where


def sizes(path: Path, numbers: list[int]) -> dict[int, int]:
    """Bytes of the segment files with these numbers; those that cannot be looked at count as empty."""
    found = {}
    for number in numbers:
        try:
            found[number] = segment_path(path, number).lstat().st_size
        except OSError:
            found[number] = 0
    return found
