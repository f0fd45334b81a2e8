"""What a shared cache may do with an answer, by the edge's own rules (RFC 9111 §3, §4.2). Pure.

Decides how long an answer is fresh, which field says so, and why it may not be stored. The rules are the edge's, so
that an audit and an edge never say two things of one response.
"""

from __future__ import annotations

from dataclasses import dataclass

from cdnlab.lab.audit_sample import Sample
from cdnlab.wire.errors import Malformed
from cdnlab.wire.response import ResponseBlock
from edge.admission import Admission, Asked
from edge.decision import NotReused, Stale
from edge.freshness import Source
from edge.response import ResponseFacts
from edge.storable import NotStored

OBJECT_MAX = 1 << 62
"""Bytes of the largest body: how much one cache takes says nothing of the response."""
_VOLATILE = frozenset({"date", "age"})

_FIELDS = {
    Source.S_MAXAGE: "s-maxage",
    Source.MAX_AGE: "max-age",
    Source.EXPIRES: "Expires",
    Source.HEURISTIC: "a guess from Last-Modified",
}


@dataclass(frozen=True, slots=True)
class Ruling:
    """lifetime in whole seconds; by: the field that gives it, "" without one; refused: why it may not be stored."""

    lifetime: int
    by: str
    refused: str
    sentence: str
    """The refusal in words."""
    heuristic: bool
    vary: tuple[str, ...]
    """The request fields that choose among responses, in lower case; ("*",) for any."""


def rule(sample: Sample, target: str, authorized: bool, wall: float) -> Ruling | None:
    """What the fields of an answer to GET mean for a shared cache; None where they are no HTTP. `target` is the URL."""
    fields = sample.answer.fields
    told = [(name.encode(), value.encode("latin-1", "replace")) for name, value in fields]
    lines = [name + b": " + value for name, value in told if name.decode() not in _VOLATILE]
    start = b"HTTP/1.1 %d " % sample.status
    try:
        facts = ResponseFacts(ResponseBlock(b"\r\n".join([start, *lines])))
    except Malformed:
        return None
    volatile = tuple((name, value) for name, value in told if name.decode() in _VOLATILE)
    asked = Asked(0.0, b"GET", target.encode(), None, authorized)
    found = Admission(
        facts, volatile, asked, length=sample.answer.size, object_max=OBJECT_MAX, now=0.0, wall=wall
    )
    by = _FIELDS.get(found.source, "")
    if facts.control.targeted and found.source in (Source.S_MAXAGE, Source.MAX_AGE):
        by = f"CDN-Cache-Control: {by}"
    return Ruling(
        found.lifetime,
        by,
        str(found.reason or ""),
        found.reason.sentence if found.reason else "",
        found.source is Source.HEURISTIC,
        ("*",) if facts.vary is None else tuple(name.decode() for name in facts.vary),
    )


def in_words(detail: str) -> str:
    """The sentence of a reason that a cache named in Cache-Status; "" where it is none that this edge knows. Of two
    with a slash between, why the response was not stored says more than why what lay there did not do."""
    for word in reversed(detail.split("/")):
        for kind in _REASONS:
            try:
                return kind(word).sentence
            except ValueError:
                continue
    return ""


_REASONS = (NotStored, NotReused, Stale)
