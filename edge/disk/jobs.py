"""What the loop asks of the writer, in the order in which it asked.

Each job is done in the writer's thread and comes back to the loop with its outcome. A record's place in the log is its
place in this order, so what the loop removed after it was put is gone after a crash, too. Must not touch the index.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edge.disk.layout import (
    PIECE,
    TABLE_ENTRY,
    BadRecord,
    Flag,
    Frame,
    Kind,
    padded,
    prove_body,
    prove_head,
    read_frame,
)
from edge.disk.place import offset_of, place, reading_size
from edge.disk.record import frame_of, meta_of, removal

if TYPE_CHECKING:
    from edge.disk.files import Segment
    from edge.disk.index import Waiting
    from edge.disk.writer import Writer
    from edge.object import StoredObject


class Job:
    """`cost`: bytes it holds in memory while it waits; `error`: what the system said, None if all went well."""

    __slots__ = ("cost", "error")

    def __init__(self, cost: int = 0) -> None:
        self.cost = cost
        self.error: OSError | None = None

    def do(self, writer: Writer) -> None:
        """The work, in the writer's thread. OSError."""
        raise NotImplementedError


class Put(Job):
    """Write an object with its body. `place` is where it lies then; None if it was not wanted any more."""

    __slots__ = ("key", "mark", "names", "place", "stored", "variant", "waiting")

    def __init__(
        self,
        key: int,
        variant: int | None,
        stored: StoredObject,
        names: tuple[bytes, ...],
        mark: bytes,
        waiting: Waiting,
    ) -> None:
        super().__init__(stored.size)
        self.key = key
        self.variant = variant
        self.stored = stored
        self.names = names
        self.mark = mark
        self.waiting = waiting
        self.place: int | None = None

    def do(self, writer: Writer) -> None:
        """Small bodies go beside the head, others before it in pieces."""
        if not self.waiting.wanted:
            return
        body = self.stored.body
        if len(body) <= PIECE:
            self.place = self._write(writer, Kind.OBJECT, len(body), body, [])
            return
        view = memoryview(body)
        table = [write_piece(writer, view[at : at + PIECE]) for at in range(0, len(body), PIECE)]
        self.place = self._write(writer, Kind.LARGE, len(body), b"", table)

    def _write(
        self, writer: Writer, kind: Kind, total: int, body: bytes, table: list[tuple[int, int, bytes]]
    ) -> int:
        frame = frame_of(self.stored, kind, total, writer.wall_offset, writer.wall())
        meta = meta_of(self.stored, self.names, self.mark, table)
        return place(*writer.append(frame, meta, body), frame.size)


class Piece(Job):
    """Write a piece of a body that is still arriving, and enter it into the body's table."""

    __slots__ = ("arrival", "data")

    def __init__(self, arrival: Arrival, data: bytes) -> None:
        super().__init__(len(data))
        self.arrival = arrival
        self.data = data

    def do(self, writer: Writer) -> None:
        """Unless the body was given up."""
        if self.arrival.wanted:
            self.arrival.table.append(write_piece(writer, self.data))


class Arrival:
    """A body that arrives in pieces: where they lie so far."""

    __slots__ = ("table", "wanted")

    def __init__(self) -> None:
        self.table: list[tuple[int, int, bytes]] = []
        self.wanted = True


class Commit(Put):
    """Write the head of a body whose pieces have all been asked for before."""

    __slots__ = ("arrival", "total")

    def __init__(
        self,
        key: int,
        variant: int | None,
        stored: StoredObject,
        names: tuple[bytes, ...],
        mark: bytes,
        waiting: Waiting,
        arrival: Arrival,
        total: int,
    ) -> None:
        super().__init__(key, variant, stored, names, mark, waiting)
        self.arrival = arrival
        self.total = total

    def do(self, writer: Writer) -> None:
        """The object exists once this is written."""
        table = self.arrival.table
        if self.waiting.wanted and self.arrival.wanted and len(table) == -(-self.total // PIECE):
            self.place = self._write(writer, Kind.LARGE, self.total, b"", table)


class Remove(Job):
    """Write down that something is gone. If that cannot be written, the `segments` it lies in have to go instead."""

    __slots__ = ("key", "segments", "variant")

    def __init__(self, key: bytes, variant: bytes | None, segments: frozenset[int]) -> None:
        super().__init__(len(key) + 200)
        self.key = key
        self.variant = variant
        self.segments = segments

    def do(self, writer: Writer) -> None:
        """Tried even while nothing else is, since a lost removal is worse than a lost object."""
        frame, meta = removal(self.key, self.variant)
        writer.append(frame, meta, b"")


class Copy(Job):
    """Write a record of a segment that is to go once more, at the end of the log; `new` is where it lies then."""

    __slots__ = ("key", "new", "old", "segment", "soft", "variant")

    def __init__(self, key: int, variant: int | None, old: int, segment: Segment, *, soft: bool) -> None:
        super().__init__(reading_size(old))
        self.key = key
        self.variant = variant
        self.old = old
        self.segment = segment
        self.soft = soft
        self.new: int | None = None

    def do(self, writer: Writer) -> None:
        """Only what is whole, and still fresh: what is stale has no claim to a second round."""
        try:
            frame, meta, body = self._read(writer)
        except BadRecord:
            return
        if frame.kind is not Kind.OBJECT or frame.fresh_until <= writer.wall():
            return
        if self.soft:
            frame.flags |= Flag.SOFT
        self.new = place(*writer.append(frame, meta, body), frame.size)

    def _read(self, writer: Writer) -> tuple[Frame, bytes, memoryview]:
        number, offset = self.segment.number, offset_of(self.old)
        data = self.segment.read(reading_size(self.old), offset)
        frame = read_frame(data, writer.secret, number, offset)
        meta = prove_head(frame, data, writer.secret, number, offset)
        body = memoryview(data)[frame.head_size : frame.head_size + frame.body_size]
        prove_body(frame.body_digest, body, writer.secret, number, offset, frame.body_size)
        return frame, meta, body


class Drop(Job):
    """Remove a segment's file. Its space comes back when the last reader is done with it."""

    __slots__ = ("number", "unlink")

    def __init__(self, number: int, unlink: Callable[[], None]) -> None:
        super().__init__()
        self.number = number
        self.unlink = unlink

    def do(self, writer: Writer) -> None:
        """Needs no room, so it works on a full disk."""
        self.unlink()


def write_piece(writer: Writer, data: bytes | memoryview) -> tuple[int, int, bytes]:
    """(segment, offset, digest of the bytes) of a piece that was written. OSError."""
    frame = Frame(Kind.PIECE)
    number, offset = writer.append(frame, b"", data)
    return number, offset, frame.body_digest


def fits(size: int, capacity: int) -> bool:
    """May a body of `size` bytes lie in segments of `capacity` bytes? Its head has to fit into one of them."""
    return padded(size // PIECE * TABLE_ENTRY.size + (1 << 16)) < capacity // 2
