"""The normal form of Accept-Encoding and Accept-Language: one for all values that ask the same of an origin.

Decides by RFC 9110 §12.4.2, §12.5.3 and §12.5.4, for the variant key only: RFC 9111 §4.1 lets a cache normalise what it
compares where the field's own definition makes two values equal. What is forwarded stays the client's: it is
what the origin was asked, and some origins read more into a field than its definition says.

Two values share a normal form only if they say the same. A value that is not of the field's grammar, that names
one thing twice with two weights, or that is very long has itself as its normal form; since every other normal form is
short, well formed and names nothing twice, it meets no stranger there.

    case, white space, spelling of weights      say nothing
    order                                       of what is weighed differently says nothing. Of codings of one weight,
                                                neither; of languages of one weight it may be read as preference
                                                (§12.5.4 says that some do), so it stays
    q=0                                         of a coding is the same as not naming it, but for `identity` and
                                                beside `*`. Of a language it is not: an origin without any of the
                                                wanted ones may still avoid that one
    x-gzip, x-compress                          are gzip and compress (§8.4.1)
"""

from __future__ import annotations

import re
from functools import lru_cache

LONGEST = 1024
"""Bytes of a value that is looked into. Browsers send some 30 of Accept-Encoding and 80 of Accept-Language."""
REMEMBERED = 512
"""Values of each field that are remembered: with LONGEST, half a megabyte."""

_WEIGHT = rb"(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"  # §12.4.2
_CODING = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)" + _WEIGHT)
_LANGUAGE = re.compile(rb"([A-Za-z]{1,8}(?:-[0-9A-Za-z]{1,8})*|\*)" + _WEIGHT)  # RFC 4647 §2.1
_SAME_CODING = {b"x-gzip": b"gzip", b"x-compress": b"compress"}


def codings(value: bytes) -> bytes:
    """The normal form of an Accept-Encoding value; b"" for whoever takes nothing but identity."""
    return value if len(value) > LONGEST else _codings(value)


def languages(value: bytes) -> bytes:
    """The normal form of an Accept-Language value."""
    return value if len(value) > LONGEST else _languages(value)


@lru_cache(REMEMBERED)
def _codings(value: bytes) -> bytes:
    weights = _weights(_CODING, value)
    if weights is None:
        return value
    if b"*" not in weights:
        found = {name: weight for name, weight in weights.items() if weight or name == b"identity"}
    elif not weights[
        b"*"
    ]:  # refuses what is not named, identity too: the one thing that would be taken unnamed
        found = {name: weight for name, weight in weights.items() if weight or name == b"identity"}
        found.setdefault(b"identity", 0)
    else:
        found = weights
    if list(found) == [b"identity"] and found[b"identity"]:
        return b""  # its weight is compared with no other
    return _written(sorted(found.items(), key=lambda one: (-one[1], one[0])))


@lru_cache(REMEMBERED)
def _languages(value: bytes) -> bytes:
    weights = _weights(_LANGUAGE, value)
    if weights is None:
        return value
    wanted = [one for one in weights.items() if one[1]]
    unwanted = [one for one in weights.items() if not one[1]]
    return _written(sorted(wanted, key=lambda one: -one[1]) + sorted(unwanted))


def _weights(member: re.Pattern[bytes], value: bytes) -> dict[bytes, int] | None:
    """Lower-case name -> thousandths, in the order of the value; None for what is not of the grammar, or at odds with
    itself. Empty members of a list say nothing (RFC 9110 §5.6.1)."""
    found: dict[bytes, int] = {}
    for piece in value.split(b","):
        piece = piece.strip(b" \t")
        if not piece:
            continue
        match = member.fullmatch(piece)
        if match is None:
            return None
        name = match[1].lower()
        if member is _CODING:
            name = _SAME_CODING.get(name, name)
        weight = 1000 if match[2] is None else round(float(match[2]) * 1000)
        if found.setdefault(name, weight) != weight:
            return None
    return found


def _written(members: list[tuple[bytes, int]]) -> bytes:
    return b",".join(
        [name if weight == 1000 else b"%b;q=%b" % (name, _weight(weight)) for name, weight in members]
    )


def _weight(thousandths: int) -> bytes:
    return (b"0.%03d" % thousandths).rstrip(b"0").rstrip(b".")
