"""Which other queries a stored response answers: No-Vary-Search (draft-ietf-httpbis-no-vary-search-10, with the editor
as an RFC; its sections are cited).

Decides what the field says, whether two queries mean the same under it, and which full key a query's equal was stored
under. The storage knows full keys only. A response that bears the field is told to `Searches`, which remembers per path
what the path's latest one said (§7 describes just that), and per meaning of a query the latest full key. It is asked
after a full key was looked for in vain, and costs one truth test until some response has borne the field.

What it answers is a place to look, no more: whoever looks must see that what lies there bears the same field still
(`variation_of`), and is fresh. What is stale is not revalidated for another URI, but fetched anew.

Names and values are compared as bytes. The draft decodes them as UTF-8, by which all malformed sequences become the
same character; that two URIs which differ so are held apart costs a hit, and takes nothing from anyone (§8).

It must not know storage, freshness or Vary, which holds besides (§7). Pure.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from cdnlab.wire import structured
from cdnlab.wire.memo import Generations

LONGEST = 4096
"""Bytes of the field's value; a longer one counts as none."""
BUDGET = 8 << 20
"""Bytes of memory for what is remembered of paths, and as many for keys; the oldest half goes first."""
_ENTRY = 300  # bytes of an entry beside its keys: two bytes objects, a slot in a dict that is two thirds full


class Variation(NamedTuple):
    """What of a query makes a difference (§4, where it is called URL variation config).

    only       the parameters that `names` holds count, and no others; else all count that it doesn't hold
    names      decoded
    any_order  the order of parameters with different names says nothing
    """

    only: bool
    names: frozenset[bytes]
    any_order: bool

    def meaning(self, query: bytes) -> bytes:
        """16 bytes that two queries share exactly if they are equivalent (§6); the query is what stands behind `?`."""
        pairs = [(_decoded(name), _decoded(value)) for name, value in _pairs(query)]
        pairs = [pair for pair in pairs if (pair[0] in self.names) is self.only]
        if self.any_order:
            pairs.sort(key=lambda pair: pair[0])
        digest = blake2b(digest_size=16)
        for name, value in pairs:
            digest.update(b"%d,%d:" % (len(name), len(value)))  # or a name could end as its value begins
            digest.update(name)
            digest.update(value)
        return digest.digest()


def _pairs(query: bytes) -> list[tuple[bytes, bytes]]:
    """As application/x-www-form-urlencoded is read (WHATWG URL): nothing between two `&` is no parameter."""
    found = []
    for piece in query.split(b"&"):
        if piece:
            name, _, value = piece.partition(b"=")
            found.append((name, value))
    return found


def _decoded(text: bytes) -> bytes:
    text = text.replace(b"+", b" ")
    return unquote_to_bytes(text) if b"%" in text else text


# -- the field ----------------------------------------------------------------------------------------------------


def variation(value: bytes | None) -> Variation | None:
    """What a No-Vary-Search value says (§5.1); None without one, for an invalid one, and for one that says nothing.

    `params` and `except` together are invalid, and so is `params` alone, although an early draft had them and some
    pages on the subject still do: such a response is found under its own URI.
    """
    return None if not value or len(value) > LONGEST else _variation(value)


@lru_cache(256)
def _variation(value: bytes) -> Variation | None:
    try:
        said = structured.parse_dictionary(value)
    except ValueError:
        return None
    any_order = said.get("key-order", (False, {}))[0]
    if not isinstance(any_order, bool) or ("params" in said and "except" in said):
        return None
    only = "except" in said
    listed = said["except" if only else "params"][0] if only or "params" in said else []
    if not isinstance(listed, list):
        return None
    names = set()
    for name, _ in listed:
        if type(name) is not str:  # a Token or a Display String is one, too, and neither is meant
            return None
        names.add(_decoded(name.encode()))
    found = Variation(only, frozenset(names), any_order)
    return found if only or names or any_order else None


_LINE = re.compile(rb"\r\nno-vary-search:([^\r\n]*)", re.IGNORECASE)


def variation_of(start: bytes) -> Variation | None:
    """What a stored head says: its status line and fields, each ended by CRLF."""
    values = _LINE.findall(start)
    return variation(b", ".join([value.strip(b" \t") for value in values])) if values else None


# -- what is known of paths ---------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where the equal of a query may lie: a full key, and what the response there must still say."""

    key: bytes
    variation: Variation


class _Path(NamedTuple):
    """What a path's latest field said; the meanings of queries that were found by it bear its number."""

    path: bytes
    variation: Variation
    number: int

    def entry(self, query: bytes) -> bytes:
        return b"%d " % self.number + self.variation.meaning(query)


def _cost_of_path(known: _Path) -> int:
    return _ENTRY + len(known.path) + sum(80 + len(name) for name in known.variation.names)


def _cost_of_key(key: bytes) -> int:
    return _ENTRY + len(key)


class Searches:
    """What is remembered, within a budget of bytes."""

    __slots__ = ("_keys", "_number", "_paths")

    def __init__(self, budget: int = BUDGET) -> None:
        self._paths: Generations[_Path] = Generations(budget)
        self._keys: Generations[bytes] = Generations(budget)
        self._number = 0

    def __bool__(self) -> bool:
        """Has any response borne the field? Until then nobody needs to ask."""
        return self._number > 0

    def stored(self, key: bytes, said: Variation | None) -> None:
        """A response that says so was stored under a full key: scheme://host/path?query."""
        if said is None:
            return
        path, _, query = key.partition(b"?")
        known = self._path(path)
        if known is None or known.variation != said:
            self._number += 1
            known = _Path(path, said, self._number)
            self._paths.keep(path, known, _cost_of_path(known))
        self._keys.keep(known.entry(query), key, _cost_of_key(key))

    def find(self, key: bytes) -> Place | None:
        """Where to look for an equal of what a full key names; None if nothing is known of one."""
        path, _, query = key.partition(b"?")
        known = self._path(path)
        if known is None:
            return None
        entry = known.entry(query)
        found = self._keys.young.get(entry) or self._keys.recall(entry, _cost_of_key)
        return None if found is None or found == key else Place(found, known.variation)

    def forget(self, key: bytes) -> bytes | None:
        """What a full key names is no longer true: the full key of the equal that would have been found for it, which
        is as untrue now, or None. RFC 9111 §4.4 does not ask for this (§7), but who posts to a page, or purges it,
        would not understand why the old one is still there."""
        place = self.find(key)
        if place is None:
            return None
        path, _, query = key.partition(b"?")
        known = self._path(path)
        if known is not None:
            self._keys.young.pop(known.entry(query), None)
        return place.key

    def _path(self, path: bytes) -> _Path | None:
        return self._paths.young.get(path) or self._paths.recall(path, _cost_of_path)
