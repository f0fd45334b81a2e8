"""Repr-Digest and Content-Digest of a coded form (RFC 9530).

Decides what becomes of an origin's digests when a coding is applied. Both are taken over coded bytes (§2, §3: of the
content, of the representation), so the origin's become false. They could be dropped, which takes a check away that
somebody meant clients to have, or the response left alone. This file does a third thing: the body is held against what
the origin promised, and if it is right the form bears digests of its own bytes, by the same algorithms. A body that is
not what was promised is not coded, so a client still sees that it is wrong.

Only sha-256 and sha-512 are known here; the others of RFC 9530 are deprecated (§5). A field without one of the two
can't be checked, and its response is left alone. So is one with Content-MD5 or Digest, which these fields replaced:
who sends them has clients that know nothing else. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from cdnlab.wire.structured import parse_dictionary, serialise_dictionary

FIELDS = (b"content-digest", b"repr-digest")
OBSOLETE = (b"content-md5", b"digest")
_KNOWN = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}


def promised(index: Mapping[bytes, bytes]) -> dict[bytes, dict[str, bytes]] | None:
    """By field, what it promises by each algorithm known here; None if a field can't be checked. {} without any."""
    found: dict[bytes, dict[str, bytes]] = {}
    for name in FIELDS:
        if name in index:
            sums = _sums(index[name])
            if not sums:
                return None
            found[name] = sums
    return found


def _sums(value: bytes) -> dict[str, bytes]:
    try:
        members = parse_dictionary(value)
    except ValueError:
        return {}
    return {key: bare for key, (bare, _) in members.items() if key in _KNOWN and isinstance(bare, bytes)}


def kept(promises: Mapping[bytes, Mapping[str, bytes]], body: bytes) -> bool:
    """Is this the body that was promised?"""
    expected = {pair for sums in promises.values() for pair in sums.items()}
    return all(_KNOWN[algorithm](body).digest() == value for algorithm, value in expected)


def restated(promises: Mapping[bytes, Mapping[str, bytes]], body: bytes) -> dict[bytes, bytes]:
    """The same fields by name, for other bytes: a whole 200, whose content is its representation."""
    return {
        name: serialise_dictionary({key: (_KNOWN[key](body).digest(), {}) for key in sums})
        for name, sums in promises.items()
    }
