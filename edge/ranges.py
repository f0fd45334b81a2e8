"""One byte range out of a complete stored body (RFC 9110 §14).

Decides start and end, or that the range can't be met, or that the whole body is the answer: also where a
request asks for several ranges, so that many, overlapping or tiny ranges never cost more than the body
once. Pure.
"""

from __future__ import annotations

import re

_ONE = re.compile(rb"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.IGNORECASE)


class Unsatisfiable(ValueError):
    """The range starts behind the end: 416 (RFC 9110 §15.5.17)."""


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
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return start, min(int(last) + 1, size) if last else size


def _suffix(length: bytes, size: int) -> tuple[int, int] | None:
    if not length:
        return None
    wanted = int(length)
    if wanted == 0 or size == 0:
        raise Unsatisfiable
    return max(0, size - wanted), size
