"""Reading what a place names, and proving it, in a thread.

Decides that what comes back is what was written there for this key, or raises. Must not touch the index or the loop.
"""

from __future__ import annotations

from edge.disk.files import Segment
from edge.disk.layout import (
    HEAD,
    PIECE,
    TABLE_ENTRY,
    Bad,
    BadRecord,
    Frame,
    Kind,
    prove_body,
    prove_head,
    read_frame,
)
from edge.disk.place import offset_of, reading_size
from edge.disk.record import Head

_FIRST = 1 << 16  # bytes of the first read: all of most records


def read_object(
    segment: Segment, place: int, secret: bytes, key: bytes, variant: bytes | None
) -> tuple[Head, bytes]:
    """The head at a place, and its body: b"" where that lies in pieces. BadRecord, OSError."""
    offset = offset_of(place)
    data = segment.read(min(reading_size(place), _FIRST), offset)
    frame = read_frame(data, secret, segment.number, offset)
    wanted = frame.head_size + frame.body_size
    if wanted > segment.capacity:
        raise BadRecord(Bad.HEAD)
    if wanted > len(data):
        data += segment.read(wanted - len(data), offset + len(data))
    meta = prove_head(frame, data, secret, segment.number, offset)
    if frame.kind not in (Kind.OBJECT, Kind.LARGE):
        raise BadRecord(Bad.OTHER)
    head = Head(frame, meta)
    if head.key != key or head.variant != variant:
        raise BadRecord(Bad.OTHER)
    body = memoryview(data)[frame.head_size : wanted]
    prove_body(frame.body_digest, body, secret, segment.number, offset, frame.body_size)
    _check_sizes(frame, head)
    return head, bytes(body)


def _check_sizes(frame: Frame, head: Head) -> None:
    pieces = -(-frame.total // PIECE) if frame.kind is Kind.LARGE else 0
    inline = frame.total if frame.kind is Kind.OBJECT else 0
    if len(head.table) != pieces * TABLE_ENTRY.size or frame.body_size != inline:
        raise BadRecord(Bad.HEAD)


def read_piece(segment: Segment, offset: int, size: int, proof: bytes, secret: bytes) -> bytes:
    """`size` bytes of body, which `proof` was made of. BadRecord, OSError."""
    data = segment.read(size, offset + HEAD)
    prove_body(proof, data, secret, segment.number, offset, size)
    return data
