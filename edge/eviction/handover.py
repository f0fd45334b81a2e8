"""From one policy to another while requests come: a policy that is two, until the old one is empty.

Each object is held by one of the two; the lowest bit of its rank, the colour, says by which. Objects go over in the
order in which the old one would have given them up, so the first to go is the first to go still. Whatever arrives
meanwhile is the new one's. A slice of it takes as long as its caller allows. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge.eviction.policy import Entry, Policy


class Handover(Policy):
    """The old policy and the new one."""

    __slots__ = ("new", "old")

    def __init__(self, old: Policy, new: Policy) -> None:
        super().__init__(new.capacity)
        new.colour = 1 - old.colour
        self.old, self.new = old, new

    def advance(self, count: int) -> bool:
        """Hand over up to `count` objects; True when none is left."""
        self.old.patience = count
        for _ in range(count):
            entry = self.old.victim()
            if entry is None:
                return True
            self.new.added(entry)
        return False

    def admits(self, entry: Entry, short: int) -> bool:
        """The new one's to say."""
        return self.new.admits(entry, short)

    def added(self, entry: Entry) -> None:
        """The new one's."""
        self.new.added(entry)

    def touched(self, entries: Sequence[Entry]) -> None:
        """To each its own, in order."""
        colour = self.new.colour
        self.old.touched([entry for entry in entries if entry.rank & 1 != colour])
        self.new.touched([entry for entry in entries if entry.rank & 1 == colour])

    def removed(self, entry: Entry) -> None:
        """From the one that holds it."""
        self._of(entry).removed(entry)

    def replaced(self, old: Entry, new: Entry) -> None:
        """What takes the place of an old one's object is the new one's."""
        if self._of(old) is self.new:
            self.new.replaced(old, new)
        else:
            self.old.removed(old)
            self.new.added(new)

    def resized(self, entry: Entry, by: int) -> None:
        """In the one that holds it."""
        self._of(entry).resized(entry, by)

    def victim(self) -> Any:
        """The old one's, as long as it has any."""
        self.old.patience = self.new.patience = self.patience
        return self.old.victim() or self.new.victim()

    @property
    def memory(self) -> int:
        """Of both."""
        return self.old.memory + self.new.memory

    def _of(self, entry: Entry) -> Policy:
        return self.new if entry.rank & 1 == self.new.colour else self.old
