"""Byte ranges: one out of a stored body, and where the body of a 206 lies (RFC 9110 §14).

Decides start and end, or that the range can't be met, or that the whole body is the answer: also where a
request asks for several ranges, so that many, overlapping or tiny ranges never cost more than the body
once. Pure.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_PART = re.compile(rb"bytes[ \t]+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.IGNORECASE)
_ONE = re.compile(rb"bytes=[ \t]*(\d*)-(\d*)[ \t]*", re.IGNORECASE)
_BEYOND = 10**18  # behind the end of any body; a longer number is read as this (RFC 9110 §14.1.2)


class Part(NamedTuple):
    """Bytes `start` to before `end` of a representation of `size` bytes, None where that is unknown."""

    start: int
    end: int
    size: int | None


def content_range(value: bytes | None) -> Part | None:
    """What a Content-Range says; None without one, or where it makes no sense (RFC 9110 §14.4)."""
    match = _PART.fullmatch(value) if value is not None else None
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    size = None if match[3] == b"*" else int(match[3])
    if last < first or (size is not None and last >= size):
        return None
    return Part(first, last + 1, size)


class Unsatisfiable(ValueError):
    """The range starts behind the end: 416 (RFC 9110 §15.5.17)."""


def well_formed(value: bytes) -> bool:
    """Is this one byte range? Others are answered with the whole body, and never sent on: an origin that answers a
    hundred overlapping ranges sends a hundred bodies."""
    match = _ONE.fullmatch(value)
    return match is not None and match.groups() != (b"", b"")


def single(value: bytes, size: int) -> tuple[int, int] | None:
    """(start, end), end not included, of a Range value over a body of `size` bytes.

    None: answer with the whole body (another unit, several ranges, not well-formed: RFC 9110 §14.2 lets a
    server ignore it). Raises Unsatisfiable.
    """
    match = _ONE.fullmatch(value)
    if match is None:
        return None
    first, last = match.groups()
    if not first:
        return _suffix(last, size)
    start = _position(first)
    if last and _position(last) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return start, min(_position(last) + 1, size) if last else size


def _position(digits: bytes) -> int:
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= 18 else _BEYOND


def _suffix(length: bytes, size: int) -> tuple[int, int] | None:
    if not length:
        return None
    wanted = _position(length)
    if wanted == 0 or size == 0:
        raise Unsatisfiable
    return max(0, size - wanted), size
