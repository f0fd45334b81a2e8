"""ARC: one list of objects asked for once, one of those asked for again, and ghosts of both. A ghost that comes back
says which of the two lists was too short, and the target between them moves that way.

Megiddo, Modha: ARC: a self-tuning, low overhead replacement cache, FAST 2003, figure 4; the names t1, t2, b1, b2 and p
are the paper's. Its pages are of one size. With objects of one byte, each a page, this agrees object for object with
libcachesim's ARC. With other sizes we do otherwise in two things. The target moves by a ghost's size, a page of the
paper, where there it moves by one byte, which is never felt. And the paper's two bounds, t1 + b1 <= c and all four <=
2c, hold in bytes, where one ghost is dropped there per eviction, of whatever size. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge.eviction.chain import Chain
from edge.eviction.ghosts import Ghosts
from edge.eviction.policy import DROPS, Entry, Policy, identity, register

_ONCE, _AGAIN, _LIST = 2, 4, 6  # rank: colour, the list


@register
class Arc(Policy):
    """Two lists by last use, their ghosts, and the target."""

    __slots__ = ("_arriving", "_b1", "_b2", "_returned", "p", "t1", "t2")

    name = "arc"

    def __init__(self, capacity: int = 0) -> None:
        super().__init__(capacity)
        self.t1, self.t2 = Chain(), Chain()
        self._b1, self._b2 = Ghosts(2 * capacity), Ghosts(2 * capacity)
        self.p = 0.0
        """The bytes that t1 should have."""
        self._returned: Ghosts | None = None
        self._arriving = 0

    def admits(self, entry: Entry, short: int) -> bool:
        """Always; a ghost moves the target (cases II and III)."""
        b1, b2, c = self._b1, self._b2, self.capacity
        name, self._arriving, self._returned = identity(entry), entry.size, None
        ones, twos = b1.bytes, b2.bytes
        if b1.take(name):
            self.p = min(self.p + max(twos / ones, 1) * entry.size, c)
            self._returned = b1
        elif b2.take(name):
            self.p = max(self.p - max(ones / twos, 1) * entry.size, 0)
            self._returned = b2
        return True

    def added(self, entry: Entry) -> None:
        """Who came back was asked for again."""
        if self._returned is None:
            entry.rank = self.colour | _ONCE
            self.t1.push(entry)
        else:
            entry.rank = self.colour | _AGAIN
            self.t2.push(entry)
        self._returned, self._arriving = None, 0

    def touched(self, entries: Sequence[Entry]) -> None:
        """Each was asked for again (case I)."""
        t1, t2, again = self.t1, self.t2, self.colour | _AGAIN
        for entry in entries:
            now_in = entry.rank & _LIST
            if now_in == _AGAIN:
                t2.move(entry)
            elif now_in:
                t1.unlink(entry)
                entry.rank = again
                t2.push(entry)

    def removed(self, entry: Entry) -> None:
        """Unlink it. No ghost: it did not go for want of room."""
        self._of(entry).unlink(entry)
        entry.rank = self.colour

    def replaced(self, old: Entry, new: Entry) -> None:
        """It was asked for again."""
        self.removed(old)
        new.rank = self.colour | _AGAIN
        self.t2.push(new)

    def resized(self, entry: Entry, by: int) -> None:
        """The sum of its list changes."""
        self._of(entry).bytes += by

    def victim(self) -> Any:
        """Case IV, or REPLACE alone if the one that arrives was a ghost."""
        t1, b1, b2, c = self.t1, self._b1, self._b2, self.capacity
        if self._returned is not None:
            return self._replace()
        first = t1.bytes + self._arriving
        if first + b1.bytes > c:
            if not b1.count and t1.oldest is not None:
                return self._give_up(t1, None)
            b1.shrink(c - first, DROPS)
        else:
            b2.shrink(2 * c - first - b1.bytes - self.t2.bytes, DROPS)
        return self._replace()

    @property
    def memory(self) -> int:
        """The ghosts."""
        return self._b1.memory + self._b2.memory

    def _of(self, entry: Entry) -> Chain:
        return self.t2 if entry.rank & _LIST == _AGAIN else self.t1

    def _replace(self) -> Any:
        have, p = self.t1.bytes, self.p
        over = have > p or (have == p and self._returned is self._b2)
        if self.t1.oldest is not None and (over or self.t2.oldest is None):
            return self._give_up(self.t1, self._b1)
        return self._give_up(self.t2, self._b2)

    def _give_up(self, chain: Chain, ghosts: Ghosts | None) -> Any:
        entry = chain.oldest
        if entry is not None:
            chain.unlink(entry)
            entry.rank = self.colour
            if ghosts is not None:
                ghosts.add(identity(entry), entry.size)
        return entry
