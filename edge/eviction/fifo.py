"""First in, first out: the object that was stored longest ago goes first, however often it is asked for.

The plainest order there is, and the measure for the others. Agrees with libcachesim's FIFO object for object, with one
addition that a simulator has no need of: a stale object that was fetched again is a new one, and goes to the end. Pure.
"""

from __future__ import annotations

from typing import Any

from edge.eviction.chain import Chain
from edge.eviction.policy import Entry, Policy, register


@register
class Fifo(Policy):
    """The order of arrival."""

    __slots__ = ("_chain",)

    name = "fifo"

    def __init__(self, capacity: int = 0) -> None:
        super().__init__(capacity)
        self._chain = Chain()

    def added(self, entry: Entry) -> None:
        """It is the last in line."""
        entry.rank = self.colour
        self._chain.push(entry)

    def removed(self, entry: Entry) -> None:
        """Unlink it."""
        self._chain.unlink(entry)

    def resized(self, entry: Entry, by: int) -> None:
        """Only the sum changes."""
        self._chain.bytes += by

    def victim(self) -> Any:
        """The first in line."""
        entry = self._chain.oldest
        if entry is not None:
            self._chain.unlink(entry)
        return entry
