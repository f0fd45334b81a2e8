"""A stored response as a record's meta, and back.

Decides which of an object's properties go to disk, and in what form: times as wall time, since the clock that ages are
measured by begins anew with each boot; the purge mark as the bytes that the purge part makes of it. What a start cannot
know of an object is taken for the worse: one from before a step back of the wall clock is to be validated. Must not
know where records lie. Pure.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

from edge.directives import ResponseControl
from edge.disk.layout import TABLE_ENTRY, Bad, BadRecord, Flag, Frame, Kind
from edge.freshness import Source
from edge.object import StoredObject

Stored = TypeVar("Stored", bound=StoredObject)

_LENGTHS = struct.Struct("<10I")
_CLOCK_ERROR = 2.0  # seconds that the wall clock may have been set back without consequence


class Head:
    """What the head of an OBJECT or a LARGE says: `frame`, the object's properties, and where its pieces lie."""

    __slots__ = (
        "chain", "control", "frame", "groups", "key", "mark", "names", "source", "start", "table", "tags", "variant",
    )  # fmt: skip

    def __init__(self, frame: Frame, meta: bytes) -> None:
        """BadRecord if meta is not what `meta_of` made."""
        parts = _split(meta)
        key, variant, names, start, chain, control, source, tags, groups, tail = parts
        self.frame = frame
        self.key = key
        self.variant = variant if frame.flags & Flag.VARIANT else None
        self.names = unpack_list(names)
        self.start = start
        self.chain = chain
        self.control = control
        self.source = source
        self.tags = unpack_list(tags)
        self.groups = unpack_list(groups)
        (size,) = struct.unpack_from("<I", tail)
        self.mark = tail[4 : 4 + size]
        self.table = tail[4 + size :]


def meta_of(
    stored: StoredObject, names: Sequence[bytes], mark: bytes, table: Sequence[tuple[int, int, bytes]] = ()
) -> bytes:
    """The meta of an object; `table` are a large body's pieces in order: segment, offset, digest."""
    tail = struct.pack("<I", len(mark)) + mark + b"".join([TABLE_ENTRY.pack(*row) for row in table])
    parts = (
        stored.key,
        stored.variant or b"",
        pack_list(names),
        stored.start,
        stored.chain,
        control_bytes(stored.control),
        str(stored.source).encode(),
        pack_list(stored.tags),
        pack_list(stored.groups),
        tail,
    )
    return _LENGTHS.pack(*map(len, parts)) + b"".join(parts)


def frame_of(stored: StoredObject, kind: Kind, total: int, wall_offset: float, wall: float) -> Frame:
    """The fixed part of an object's record; `wall_offset` is what turns its times into wall time."""
    flags = (Flag.OPEN if stored.open else 0) | (Flag.SOFT if stored.soft else 0)
    return Frame(
        kind,
        flags=flags | (Flag.VARIANT if stored.variant is not None else 0),
        status=stored.status,
        total=total,
        born=stored.born + wall_offset,
        fresh_until=stored.fresh_until + wall_offset,
        stored_at=wall,
    )


def identity(meta: bytes) -> tuple[bytes, bytes, tuple[bytes, ...]]:
    """(key, variant, names) of an object's meta, for a start, which needs no more. BadRecord."""
    if len(meta) < _LENGTHS.size:
        raise BadRecord(Bad.HEAD)
    key, variant, names, *_ = _LENGTHS.unpack_from(meta)
    first, second = _LENGTHS.size + key, _LENGTHS.size + key + variant
    if second + names > len(meta):
        raise BadRecord(Bad.HEAD)
    return meta[_LENGTHS.size : first], meta[first:second], unpack_list(meta[second : second + names])


def removal(key: bytes, variant: bytes | None) -> tuple[Frame, bytes]:
    """The record that says that what lies under a key, or one variant of it, is gone."""
    parts = (key, variant or b"", *[b""] * 8)
    flags = Flag.ALL if variant is None else Flag.VARIANT
    return Frame(Kind.REMOVE, flags=flags), _LENGTHS.pack(*map(len, parts)) + b"".join(parts)


def object_of(
    kind: type[Stored],
    head: Head,
    body: bytes,
    mark: object,
    wall_offset: float,
    wall: float,
    *,
    doubtful: bool,
) -> Stored:
    """The object that a head describes, of class `kind`. `mark` is what the purge part read in its mark.

    `doubtful`: what was written after it may be lost, so it is to be validated before it is used. So is one that was
    written later than now by the wall clock, since nobody knows how old it is.
    """
    frame = head.frame
    stored = kind(
        key=head.key,
        variant=head.variant,
        status=frame.status,
        start=head.start,
        chain=head.chain,
        body=body,
        born=frame.born - wall_offset,
        fresh_until=frame.fresh_until - wall_offset,
        control=control_from(head.control),
        source=Source(head.source.decode()),
        open=bool(frame.flags & Flag.OPEN),
        tags=head.tags,
        groups=head.groups,
        mark=mark,
    )
    ahead = frame.stored_at - wall > _CLOCK_ERROR
    stored.soft = doubtful or ahead or bool(frame.flags & Flag.SOFT)
    return stored


def table_of(head: Head) -> list[tuple[int, int, bytes]]:
    """A large body's pieces in order: segment, offset, digest. BadRecord."""
    if len(head.table) % TABLE_ENTRY.size:
        raise BadRecord(Bad.HEAD)
    return list(TABLE_ENTRY.iter_unpack(head.table))


def pack_list(members: Sequence[bytes]) -> bytes:
    """Byte strings as one."""
    return b"".join([struct.pack("<I", len(member)) + member for member in members])


def unpack_list(packed: bytes) -> tuple[bytes, ...]:
    """What pack_list was given. BadRecord."""
    found, at = [], 0
    while at < len(packed):
        if at + 4 > len(packed):
            raise BadRecord(Bad.HEAD)
        (size,) = struct.unpack_from("<I", packed, at)
        at += 4 + size
        if at > len(packed):
            raise BadRecord(Bad.HEAD)
        found.append(packed[at - size : at])
    return tuple(found)


def _split(meta: bytes) -> list[bytes]:
    if len(meta) < _LENGTHS.size:
        raise BadRecord(Bad.HEAD)
    lengths = _LENGTHS.unpack_from(meta)
    if _LENGTHS.size + sum(lengths) != len(meta) or lengths[-1] < 4:
        raise BadRecord(Bad.HEAD)
    parts, at = [], _LENGTHS.size
    for length in lengths:
        parts.append(meta[at : at + length])
        at += length
    return parts


@lru_cache(maxsize=1024)
def control_bytes(control: ResponseControl) -> bytes:
    """A control's slots by name. The head that is stored need not bear the field that it was read from."""
    said = {name: getattr(control, name) for name in ResponseControl.__slots__}
    return json.dumps(said, default=_plain, separators=(",", ":")).encode()


def _plain(value: object) -> list[str]:
    if not isinstance(value, frozenset):
        raise TypeError(f"a control holds a {type(value).__name__}")
    return sorted(name.decode("latin-1") for name in value)


@lru_cache(maxsize=1024)
def control_from(said: bytes) -> ResponseControl:
    """What control_bytes was given. BadRecord if it was written by a version that knew other directives."""
    try:
        given = json.loads(said)
    except ValueError:
        raise BadRecord(Bad.HEAD) from None
    if not isinstance(given, dict) or given.keys() != set(ResponseControl.__slots__):
        raise BadRecord(Bad.HEAD)
    control = ResponseControl.__new__(ResponseControl)
    for name, value in given.items():
        names = isinstance(value, list)
        setattr(control, name, frozenset(each.encode("latin-1") for each in value) if names else value)
    return control
