"""May a response be sent in a content coding of ours, and if not, why not.

Decides from status, fields and length. Every "no" is a member of NotCoded: the same name is the metric's label. Nothing
is ever decoded here, and nothing coded twice: what an origin has coded stays as it came, whether it is right or not.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from cdnlab.wire.fields import directives
from edge.coding import digests
from edge.coding.rules import Rules

_NO_TRANSFORM = (b"cache-control", b"cdn-cache-control")
_BODILESS = frozenset({204, 205, 206, 304})


class NotCoded(StrEnum):
    """Why there is no compressed form of a stored response."""

    STATUS = "status"
    CODED = "coded"
    NO_TRANSFORM = "no-transform"
    TYPE = "type"
    DIGEST = "digest"
    SIGNED = "signed"
    SMALL = "small"
    LARGE = "large"
    WRONG_DIGEST = "wrong-digest"
    NOT_SMALLER = "not-smaller"
    BUSY = "busy"
    GONE = "gone"
    FAILED = "failed"

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return _SENTENCES[self]


_SENTENCES = {
    NotCoded.STATUS: "a response of this status has no body, or a part of one",
    NotCoded.CODED: "the origin has coded it",
    NotCoded.NO_TRANSFORM: "the response says no-transform",
    NotCoded.TYPE: "its media type is not one that gets smaller",
    NotCoded.DIGEST: "it bears a digest that can't be checked and would become false",
    NotCoded.SIGNED: "it bears a signature that may cover what a coding changes",
    NotCoded.SMALL: "the body is too small to be worth it",
    NotCoded.LARGE: "the body is too large to be worth it",
    NotCoded.WRONG_DIGEST: "the body is not the one that its digest promises",
    NotCoded.NOT_SMALLER: "the coded body was hardly smaller",
    NotCoded.BUSY: "as many forms wait to be made as may wait",
    NotCoded.GONE: "the object had left the storage before its form was made",
    NotCoded.FAILED: "the coder failed; the log says how",
}


def refusal(status: int, index: Mapping[bytes, bytes], length: int | None, rules: Rules) -> NotCoded | None:
    """Why a response with these fields has no coded form; None if it may have. `length` is its body's, None while
    it is not known.

    RFC 9110 §7.7 and RFC 9111 §5.2.2.6 (no-transform, in a targeted field too: RFC 9213 only says which of the two
    decides about storing, and whoever says it in either means it), RFC 9421 (signatures).
    """
    if status in _BODILESS or status < 200 or b"content-range" in index:
        return NotCoded.STATUS
    if index.get(b"content-encoding", b"").strip(b" \t").lower() not in (b"", b"identity"):
        return NotCoded.CODED
    if any(b"no-transform" in directives(index[name]) for name in _NO_TRANSFORM if name in index):
        return NotCoded.NO_TRANSFORM
    if not rules.types.holds(index.get(b"content-type")):
        return NotCoded.TYPE
    if any(name in index for name in digests.OBSOLETE) or digests.promised(index) is None:
        return NotCoded.DIGEST
    if b"signature-input" in index or b"signature" in index:
        return NotCoded.SIGNED
    return _by_length(length, rules)


def _by_length(length: int | None, rules: Rules) -> NotCoded | None:
    if length is None:
        return None
    if length < rules.smallest:
        return NotCoded.SMALL
    return NotCoded.LARGE if length > rules.largest else None


def useful(size: int, coded: int, rules: Rules) -> bool:
    """Is a coded body so much smaller that the second copy, and the client's work, are worth it?"""
    return coded <= size * (1 - rules.least_saving)
