"""Rules by path prefix, found by walking a key's path once from the root down.

Decides what a prefix covers, as routes do: `http://host/a` covers /a, /a?x and all below /a/, not /ab; `http://host/a/`
covers what lies below, not /a itself. A table of prefixes by length would cut and hash the key once per length: a
target of eight kilobytes made of slashes took ten milliseconds. A tree by segment looks at each byte once, and ends
where no rule goes deeper. Must not know what the rules do. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.purge.rules import Newest


class _Node:
    """A path's end so far; `newest` are the rules over it and all below."""

    __slots__ = ("below", "newest")

    def __init__(self) -> None:
        self.below: dict[bytes, _Node] = {}
        self.newest: Newest | None = None


class Prefixes:
    """A tree of path segments per origin."""

    __slots__ = ("_origins",)

    def __init__(self) -> None:
        self._origins: dict[bytes, _Node] = {}

    def __bool__(self) -> bool:
        return bool(self._origins)

    def newest(self, prefix: bytes, make: Callable[[], Newest]) -> Newest:
        """The record of a prefix, made by `make` if it has none. The last segment of `/a/` is empty: what is below."""
        origin, segments = _segments(prefix)
        node = self._origins.get(origin)
        if node is None:
            node = self._origins[origin] = _Node()
        for segment in segments:
            below = node.below.get(segment)
            if below is None:
                below = node.below[segment] = _Node()
            node = below
        if node.newest is None:
            node.newest = make()
        return node.newest

    def covering(self, key: bytes) -> Iterator[Newest]:
        """The records of the prefixes that cover a key."""
        start = key.find(b"/", key.find(b"://") + 3)
        node = self._origins.get(key if start < 0 else key[:start])
        if node is None:
            return
        for segment in _segments(key)[1]:
            under = node.below.get(b"")
            if under is not None and under.newest is not None and segment != b"":
                yield under.newest
            below = node.below.get(segment)
            if below is None:
                return
            node = below
            if node.newest is not None:
                yield node.newest


def _segments(key: bytes) -> tuple[bytes, list[bytes]]:
    """scheme://host, and the segments of the path; the query is no part of it."""
    start = key.find(b"/", key.find(b"://") + 3)
    if start < 0:
        return key, [b""]
    return key[:start], key.partition(b"?")[0][start + 1 :].split(b"/")
