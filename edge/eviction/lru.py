"""Least recently used: the object that has waited longest for a request goes first.

Mattson, Gecsei, Slutz, Traiger: Evaluation techniques for storage hierarchies, IBM Systems Journal 9(2), 1970. Agrees
with libcachesim's LRU object for object. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge.eviction.chain import Chain
from edge.eviction.policy import Entry, Policy, register


@register
class Lru(Policy):
    """The order of last use."""

    __slots__ = ("_chain",)

    name = "lru"

    def __init__(self, capacity: int = 0) -> None:
        super().__init__(capacity)
        self._chain = Chain()

    def added(self, entry: Entry) -> None:
        """It counts as used now."""
        entry.rank = self.colour
        self._chain.push(entry)

    def touched(self, entries: Sequence[Entry]) -> None:
        """Move each to the end. Of several hits only the last one says where an entry stands, and what is asked for
        most is in a batch many times."""
        self._chain.renew(reversed(dict.fromkeys(reversed(entries))))

    def removed(self, entry: Entry) -> None:
        """Unlink it."""
        self._chain.unlink(entry)

    def resized(self, entry: Entry, by: int) -> None:
        """Only the sum changes."""
        self._chain.bytes += by

    def victim(self) -> Any:
        """The one used longest ago."""
        entry = self._chain.oldest
        if entry is not None:
            self._chain.unlink(entry)
        return entry
