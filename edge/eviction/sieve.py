"""SIEVE: a hand goes from the oldest object to the newest, and takes the first that was not asked for since it last
came by. New objects stand where the hand comes last, so most that are never asked for go soon.

Zhang, Yang, Yue, Vigfusson, Rashmi: SIEVE is Simpler than LRU, NSDI 2024, algorithm 1. Agrees with libcachesim's Sieve
object for object. Amortised O(1): each step of the hand takes back one hit. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge.eviction.chain import Chain
from edge.eviction.policy import Entry, Policy, register

_VISITED = 2


@register
class Sieve(Policy):
    """The order of arrival, a mark per object, and a hand. rank: colour, visited."""

    __slots__ = ("_chain", "_hand")

    name = "sieve"

    def __init__(self, capacity: int = 0) -> None:
        super().__init__(capacity)
        self._chain = Chain()
        self._hand: Any = None

    def added(self, entry: Entry) -> None:
        """It is the newest, and not yet asked for."""
        entry.rank = self.colour
        self._chain.push(entry)

    def touched(self, entries: Sequence[Entry]) -> None:
        """Mark each; nothing moves."""
        visited = self.colour | _VISITED
        for entry in entries:
            entry.rank = visited

    def removed(self, entry: Entry) -> None:
        """The hand does not stay on what is gone."""
        if entry is self._hand:
            self._hand = entry.newer
        self._chain.unlink(entry)

    def replaced(self, old: Entry, new: Entry) -> None:
        """It keeps its place, and was asked for."""
        if old is self._hand:
            self._hand = new
        self._chain.swap(old, new)
        new.rank = self.colour | _VISITED

    def resized(self, entry: Entry, by: int) -> None:
        """Only the sum changes."""
        self._chain.bytes += by

    def victim(self) -> Any:
        """The first without a mark; marks on the way are taken back."""
        chain, unmarked = self._chain, self.colour
        entry = self._hand or chain.oldest
        if entry is None:
            return None
        patience = self.patience
        while entry.rank != unmarked and patience > 0:
            patience -= 1
            entry.rank = unmarked
            entry = entry.newer or chain.oldest
        self.patience = patience
        self._hand = entry.newer
        chain.unlink(entry)
        return entry
