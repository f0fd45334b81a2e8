"""S3-FIFO: a small queue through which new objects pass, a main queue for those that were asked for in it, and ghosts
of those that were not: who comes back while it is remembered goes to the main queue at once.

Yang, Zhang, Qiu, Yue, Rashmi: FIFO queues are all you need for cache eviction, SOSP 2023, algorithm 1. The small queue
is a tenth of the bytes, the ghosts stand for nine tenths, two hits bring an object from the small queue to the main
one, and a counter goes to three. Agrees object for object with libcachesim's S3FIFO, which is its authors' own and
differs from the printed algorithm in two things that we follow: until the first eviction, what finds the small queue
full goes to the main queue; and the main queue gives up an object when it is over its own share, where the paper asks
whether the small queue is under its. In one thing we differ: an object of a tenth of the capacity or more is not stored
there; here it passes through the small queue as any other.

Amortised O(1): each step of a queue takes back one hit. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge.eviction.chain import Chain
from edge.eviction.ghosts import Ghosts
from edge.eviction.policy import Entry, Policy, identity, register

SMALL, GHOST = 0.1, 0.9  # shares of the capacity
_HIT, _HITS = 2, 6  # rank: colour, two bits of hits, one for the main queue
_MAIN = 8
_MOVES = 4  # two hits or more


@register
class S3Fifo(Policy):
    """Two queues and the ghosts."""

    __slots__ = ("_full", "_ghosts", "_main", "_main_max", "_returned", "_small", "_small_max")

    name = "s3fifo"

    def __init__(self, capacity: int = 0) -> None:
        super().__init__(capacity)
        self._small_max = int(capacity * SMALL)
        self._main_max = capacity - self._small_max
        self._small, self._main = Chain(), Chain()
        self._ghosts = Ghosts(int(capacity * GHOST))
        self._returned = False
        self._full = False
        """Whether anything had to go yet."""

    def admits(self, entry: Entry, short: int) -> bool:
        """Always; but is it a ghost?"""
        self._returned = self._ghosts.take(identity(entry))
        return True

    def added(self, entry: Entry) -> None:
        """To the main queue if it came back, else to the small one."""
        early = not self._full and self._small.bytes >= self._small_max
        if self._returned or early:
            entry.rank = self.colour | _MAIN
            self._main.push(entry)
        else:
            entry.rank = self.colour
            self._small.push(entry)
        self._returned = False

    def touched(self, entries: Sequence[Entry]) -> None:
        """Count up to three hits; nothing moves."""
        for entry in entries:
            rank = entry.rank
            if rank & _HITS != _HITS:
                entry.rank = rank + _HIT

    def removed(self, entry: Entry) -> None:
        """Unlink it. No ghost: it did not go for want of room."""
        self._of(entry).unlink(entry)

    def replaced(self, old: Entry, new: Entry) -> None:
        """It keeps its place and its hits, and was asked for."""
        self._of(old).swap(old, new)
        new.rank = old.rank
        self.touched((new,))

    def resized(self, entry: Entry, by: int) -> None:
        """The sum of its queue changes."""
        self._of(entry).bytes += by

    def victim(self) -> Any:
        """From the main queue if that is over its share, else from the small one."""
        self._full = True
        if self._main.bytes <= self._main_max:
            entry = self._from_small()
            if entry is not None:
                return entry
        return self._from_main() or self._from_small()

    @property
    def memory(self) -> int:
        """The ghosts."""
        return self._ghosts.memory

    def _of(self, entry: Entry) -> Chain:
        return self._main if entry.rank & _MAIN else self._small

    def _from_small(self) -> Any:
        small, main = self._small, self._main
        while (entry := small.oldest) is not None:
            small.unlink(entry)
            if entry.rank & _HITS < _MOVES or self.patience <= 0:
                self._ghosts.add(identity(entry), entry.size)
                break
            self.patience -= 1
            entry.rank = self.colour | _MAIN
            main.push(entry)
        return entry

    def _from_main(self) -> Any:
        main = self._main
        while (entry := main.oldest) is not None:
            main.unlink(entry)
            if not entry.rank & _HITS or self.patience <= 0:
                break
            self.patience -= 1
            entry.rank -= _HIT
            main.push(entry)
        return entry
