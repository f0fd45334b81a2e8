"""Where a record lies, in one int of 60 bits: the size up to which Python keeps an int in 32 bytes.

    segment number 30 · offset in units of 64 bytes 24 · reading size 4 · hits lately 2

Decides nothing. Pure.
"""

from __future__ import annotations

from edge.disk.layout import ALIGN

HITS_MAX = 3
_LEAST = 12  # log2 of the smallest reading size: a page
_HITS_MASK = 3


def place(number: int, offset: int, size: int) -> int:
    """The place of a record of `size` bytes that answered no request yet."""
    step = min(max(0, (size - 1).bit_length() - _LEAST), 15)
    return number << 30 | (offset // ALIGN) << 6 | step << 2


def segment_of(found: int) -> int:
    """The segment's number."""
    return found >> 30


def offset_of(found: int) -> int:
    """The record's first byte in its segment."""
    return (found >> 6 & 0xFFFFFF) * ALIGN


def reading_size(found: int) -> int:
    """Bytes of which one read gets all of the record, or of a longer one the beginning."""
    return 1 << (found >> 2 & 15) + _LEAST


def hits_of(found: int) -> int:
    """How often it answered lately, up to HITS_MAX."""
    return found & _HITS_MASK


def touched(found: int) -> int:
    """The same place after one more hit."""
    return found + 1 if found & _HITS_MASK < HITS_MAX else found


def same(one: int, other: int) -> bool:
    """Do both name the same record?"""
    return one >> 6 == other >> 6
