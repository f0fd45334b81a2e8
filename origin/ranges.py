"""Which bytes of a representation a Range field asks for (RFC 9110 §14).

Decides between the whole, one part, several parts and 416. Many, overlapping or tiny ranges cost no more than
the whole: past MAX_RANGES the field is ignored, overlapping parts become one, and parts never add up to more
than the representation. Must not know what the bytes are. Pure.
"""

from __future__ import annotations

import re

MAX_RANGES = 8  # a viewer asks for one or two; Apache's default is 200, after CVE-2011-3192
_SPEC = re.compile(r"(\d{0,19})-(\d{0,19})")

Span = tuple[int, int]
"""First byte and the byte after the last."""


class Unsatisfiable(Exception):
    """No part of the range lies in the representation: 416."""


def parse(field: str | None, size: int) -> list[Span] | None:
    """The spans to send, or None for the whole representation of `size` bytes.

    A field that is malformed, of another unit, or of too many ranges is ignored, as §14.2 allows.
    Raises Unsatisfiable when it is well-formed and nothing of it can be served.
    """
    if field is None:
        return None
    unit, equals, listed = field.partition("=")
    members = [member.strip() for member in listed.split(",", MAX_RANGES + 1) if member.strip()]
    if unit.strip().lower() != "bytes" or not equals or not members or len(members) > MAX_RANGES:
        return None
    spans: list[Span] = []
    for member in members:
        found = _SPEC.fullmatch(member)
        if found is None or found[0] == "-" or _backwards(found[1], found[2]):
            return None
        span = _span(found[1], found[2], size)
        if span is not None:
            spans.append(span)
    if not spans:
        raise Unsatisfiable
    return coalesce(spans)


def coalesce(spans: list[Span]) -> list[Span]:
    """The same spans in the order asked for; sorted and joined if any two overlap or touch (§15.3.7.2)."""
    joined: list[Span] = []
    for first, end in sorted(spans):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return spans if len(joined) == len(spans) else joined


def content_range(span: Span, size: int) -> str:
    """The Content-Range value of one span."""
    return f"bytes {span[0]}-{span[1] - 1}/{size}"


def _backwards(first: str, last: str) -> bool:
    return bool(first and last) and int(last) < int(first)


def _span(first: str, last: str, size: int) -> Span | None:
    if not first:
        return (max(0, size - int(last)), size) if int(last) and size else None
    if int(first) >= size:
        return None
    return int(first), min(int(last) + 1, size) if last else size
