"""How bytes lie on disk: segments, records, and what proves that a record is whole.

Theory. A directory holds segments, numbered files of one fixed size that are only ever appended to. A segment is a
header and then records, each beginning at a multiple of 64 bytes:

    segment   magic · version · size · number · size of the one before · digest                   64 bytes
    record    magic · kind · flags · status · sizes · times · digest of the body                    64 bytes
              digest of these · digest of these and of meta                                         32 bytes
              meta: key, variant, names of Vary, status line and fields, …
              body: of a small object all of it, of a piece its bytes

    OBJECT    a response with its body                  PIECE    up to 128 KiB of a large body, and nothing else
    LARGE     a response whose body lies in pieces;     REMOVE   what lies under a key, or one variant of it, before
              its meta lists where, and their digests            this record is gone

A response is there from the moment on at which the record that names it (OBJECT, LARGE) is whole. Of two for one key
the later one counts, by segment number, then by offset. Nothing is ever changed in place, so whatever a crash cuts off
is the end of a segment, and there the reading stops.

The digests are BLAKE2b of 128 bits, keyed with the directory's secret and salted with the record's own place. CRC-32 is
four times as fast, but lets one torn record in 2^32 through, and says nothing of a whole record at the wrong place: a
block that a file system put back elsewhere, a file of another directory, a body that looks like a record. BLAKE2b
makes a GiB in about a second, outside of the interpreter's lock and off the loop, and is in the standard library
wherever Python is. The body has a digest of its own, so that a start reads heads only, and so that a piece is proven
before any of it is sent. The fixed part has one, so that its sizes are known to be right before they are used: a record
that the file's end cuts off is a crash, one with a wrong size is damage, and the two have different consequences.

Decides the layout. Must not know files, threads, nor what a response means. Pure.
"""

from __future__ import annotations

import struct
from enum import IntEnum, StrEnum
from hashlib import blake2b

VERSION = 1
ALIGN = 64  # bytes; what a record's place is counted in
PIECE = 1 << 17  # bytes of a large body that are proven, and held in memory, at a time
SEGMENT_MIN, SEGMENT_MAX = 1 << 20, 1 << 30  # bytes; a place has 24 bits for the offset in units of ALIGN
DIGEST = 16
SECRET = 32

_SEGMENT = struct.Struct("<8sIIQQ16x")
_SEGMENT_MAGIC = b"cdnlabS\n"
SEGMENT_HEAD = _SEGMENT.size + DIGEST

_RECORD = struct.Struct("<4sBBHIIQddd16s")
_MAGIC = b"cdR\n"
HEAD = _RECORD.size + 2 * DIGEST

TABLE_ENTRY = struct.Struct("<QI16s")
"""Where a piece's record lies, segment and offset, and the digest of its bytes."""


class Kind(IntEnum):
    """What a record is."""

    OBJECT = 1
    LARGE = 2
    PIECE = 3
    REMOVE = 4


class Flag(IntEnum):
    """Bits of a record's flags."""

    OPEN = 1  # a request with Authorization may be answered from it
    SOFT = 2  # to be validated before it is used
    VARIANT = 4  # it is one of several under its key
    ALL = 8  # of REMOVE: whatever lies under the key


class Bad(StrEnum):
    """Why what was read is not used."""

    ZEROS = "zeros"
    TORN = "torn"
    HEAD = "head"
    BODY = "body"
    OTHER = "other"
    GONE = "gone"
    UNREADABLE = "unreadable"

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return _SENTENCES[self]


_SENTENCES = {
    Bad.ZEROS: "there are only zeros where it should begin",
    Bad.TORN: "the file ends inside of it",
    Bad.HEAD: "its head is not what was written",
    Bad.BODY: "its body is not what was written",
    Bad.OTHER: "it belongs to another key",
    Bad.GONE: "its segment has been given up",
    Bad.UNREADABLE: "the system could not read it",
}


class BadRecord(Exception):
    """What was read is not to be used; `reason` says why."""

    def __init__(self, reason: Bad) -> None:
        super().__init__(reason.sentence)
        self.reason = reason


class Frame:
    """A record's fixed part. Times are wall seconds; `total` is the size of the whole body, wherever it lies;
    `body_size` are the bytes of body in this record."""

    __slots__ = (
        "body_digest", "body_size", "born", "flags", "fresh_until", "kind", "meta_size", "status", "stored_at",
        "total",
    )  # fmt: skip

    def __init__(
        self,
        kind: Kind,
        *,
        flags: int = 0,
        status: int = 0,
        total: int = 0,
        born: float = 0.0,
        fresh_until: float = 0.0,
        stored_at: float = 0.0,
    ) -> None:
        self.kind = kind
        self.flags = flags
        self.status = status
        self.total = total
        self.born = born
        self.fresh_until = fresh_until
        self.stored_at = stored_at
        self.meta_size = 0
        self.body_size = 0
        self.body_digest = bytes(DIGEST)

    @property
    def head_size(self) -> int:
        """Bytes of the fixed part and meta together."""
        return HEAD + self.meta_size

    @property
    def size(self) -> int:
        """Bytes that the record takes, padding included."""
        return padded(HEAD + self.meta_size + self.body_size)


def padded(size: int) -> int:
    """`size` up to the next place a record can begin at."""
    return (size + ALIGN - 1) & -ALIGN


def digest(secret: bytes, number: int, offset: int, *parts: bytes | memoryview) -> bytes:
    """The proof that these bytes were written at this place of this directory."""
    state = blake2b(key=secret, digest_size=DIGEST, salt=struct.pack("<QQ", number, offset))
    for part in parts:
        state.update(part)
    return state.digest()


def segment_head(secret: bytes, number: int, size: int, before: int) -> bytes:
    """The first bytes of segment `number`, which may grow to `size` bytes; the one before it has grown to `before`."""
    fixed = _SEGMENT.pack(_SEGMENT_MAGIC, VERSION, size, number, before)
    return fixed + digest(secret, number, 0, fixed)


def read_segment_head(secret: bytes, number: int, data: bytes) -> tuple[int, int]:
    """(size that segment `number` may grow to, size of the one before it). BadRecord."""
    if len(data) < SEGMENT_HEAD:
        raise BadRecord(Bad.TORN)
    fixed = data[: _SEGMENT.size]
    magic, version, size, named, before = _SEGMENT.unpack(fixed)
    if (magic, version, named) != (_SEGMENT_MAGIC, VERSION, number):
        raise BadRecord(Bad.HEAD)
    if data[_SEGMENT.size : SEGMENT_HEAD] != digest(secret, number, 0, fixed):
        raise BadRecord(Bad.HEAD)
    return size, before


def encode(
    frame: Frame, meta: bytes, body: bytes | memoryview, secret: bytes, number: int, offset: int
) -> list[bytes | memoryview]:
    """The record as it lies at `offset` of segment `number`, in parts to be written one after the other.

    Fills the frame's sizes and digest. Takes a millisecond per MiB of body.
    """
    frame.meta_size, frame.body_size = len(meta), len(body)
    frame.body_digest = digest(secret, number, offset, body)
    fixed = _fixed(frame)
    proof = digest(secret, number, offset, fixed)
    head = fixed + proof + digest(secret, number, offset, fixed, meta)
    padding = bytes(frame.size - HEAD - len(meta) - len(body))
    return [head, meta, body, padding]


def _fixed(frame: Frame) -> bytes:
    return _RECORD.pack(
        _MAGIC, frame.kind, frame.flags, frame.status, frame.meta_size, frame.body_size, frame.total, frame.born,
        frame.fresh_until, frame.stored_at, frame.body_digest,
    )  # fmt: skip


_KINDS = {int(kind): kind for kind in Kind}


def read_frame(data: bytes | memoryview, secret: bytes, number: int, offset: int) -> Frame:
    """The fixed part of the record that begins at the start of `data`. BadRecord."""
    if len(data) < HEAD:
        raise BadRecord(Bad.TORN if len(data) and any(data[:4]) else Bad.ZEROS)
    magic, kind, flags, status, meta, body, total, born, fresh, stored, proof = _RECORD.unpack_from(data)
    if magic != _MAGIC or kind not in _KINDS:
        raise BadRecord(Bad.ZEROS if not any(magic) else Bad.HEAD)
    fixed = memoryview(data)[: _RECORD.size]
    if data[_RECORD.size : _RECORD.size + DIGEST] != digest(secret, number, offset, fixed):
        raise BadRecord(Bad.HEAD)
    frame = Frame(
        _KINDS[kind],
        flags=flags,
        status=status,
        total=total,
        born=born,
        fresh_until=fresh,
        stored_at=stored,
    )
    frame.meta_size, frame.body_size, frame.body_digest = meta, body, proof
    return frame


def prove_head(frame: Frame, data: bytes | memoryview, secret: bytes, number: int, offset: int) -> bytes:
    """The meta of the record that begins at the start of `data`, which holds at least its head. BadRecord."""
    if len(data) < frame.head_size:
        raise BadRecord(Bad.TORN)
    view = memoryview(data)
    meta = bytes(view[HEAD : frame.head_size])
    if view[HEAD - DIGEST : HEAD] != digest(secret, number, offset, view[: _RECORD.size], meta):
        raise BadRecord(Bad.HEAD)
    return meta


def prove_body(
    proof: bytes, body: bytes | memoryview, secret: bytes, number: int, offset: int, size: int
) -> None:
    """BadRecord unless `body` are the `size` bytes that `proof` was made of."""
    if len(body) != size:
        raise BadRecord(Bad.TORN)
    if digest(secret, number, offset, body) != proof:
        raise BadRecord(Bad.BODY)
