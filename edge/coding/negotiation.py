"""Which content codings a client likes, and how much (RFC 9110 §12.5.3).

Decides an order among the codings that this node offers. It knows no response: whether there is a form in one of these
codings is for others to see. Computed once for each distinct header block. Pure.

Three readings that the RFC leaves open:

- Without Accept-Encoding any coding is acceptable. Whoever does not send it is mostly a program that can't decode, so
  it gets none.
- A field that is malformed anywhere says nothing at all: half of it may be the half that refuses.
- Nothing can be done for a client that refuses identity and everything that there is. It gets identity, which §12.4.1
  allows ("disregard"): a 406 would make a page fail that can be read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from cdnlab.forward.client import SIBLING_FIELD
from cdnlab.wire import via
from cdnlab.wire.fields import directives, split_list

IDENTITY = b"identity"
BARE = b"bare"
"""No coding at all, nor a word about one: what an edge gets that asks this one as its shield. It makes forms of its
own; were it given Vary, it would keep a copy for each way to accept codings, and parts of coded ones."""
_ALIASES = {b"x-gzip": b"gzip", b"x-compress": b"compress"}  # RFC 9110 §8.4.1.3, §8.4.1.1
_REMEMBERED_LENGTH = 256  # longer values are read each time: clients choose them
_MEMBER = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]*;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?"
)


def weights(value: bytes) -> dict[bytes, int] | None:
    """Each coding's weight in thousandths, `*` among them; None if any member is malformed.

    The same coding twice counts with its lowest weight: if one of them refuses, the client refuses.
    """
    found: dict[bytes, int] = {}
    for member in split_list(value):
        match = _MEMBER.fullmatch(member)
        if match is None:
            return None
        name = match[1].lower()
        name = _ALIASES.get(name, name)
        weight = round(float(match[2]) * 1000) if match[2] is not None else 1000
        found[name] = min(weight, found.get(name, 1000))
    return found


def preference(value: bytes | None, offered: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Those of `offered` that a client with this Accept-Encoding likes at least as much as identity, the best first.

    Among equals the order of `offered` counts, so the same field always gives the same order. () means identity.
    """
    given = weights(value) if value else None
    if not given:
        return ()
    others = given.get(b"*", 0)
    least = max(1, given.get(IDENTITY, others))
    liked = [
        (-weight, place)
        for place, coding in enumerate(offered)
        if (weight := given.get(coding, others)) >= least
    ]
    return tuple([offered[place] for _, place in sorted(liked)])


_remembered = lru_cache(maxsize=256)(preference)


def wanted(
    index: Mapping[bytes, bytes], offered: tuple[bytes, ...], edges: frozenset[bytes] = frozenset()
) -> tuple[bytes, ...]:
    """What `preference` says of a request with these fields; () too where it says no-transform (RFC 9111 §5.2.1.6).

    (BARE,) where the last member of Via is one of `edges`, names in lower case, which asks for itself: a sibling that
    passes on what it gets, and keeps it for a moment at most, asks for its client. Anybody may claim to be an edge: it
    gets identity.
    """
    if b"via" in index and SIBLING_FIELD not in index and edges.intersection(via.names(index[b"via"])[-1:]):
        return (BARE,)
    value = index.get(b"accept-encoding")
    if value is None or b"no-transform" in directives(index.get(b"cache-control", b"")):
        return ()
    return _remembered(value, offered) if len(value) <= _REMEMBERED_LENGTH else preference(value, offered)
