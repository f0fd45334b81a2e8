"""W-TinyLFU: new objects pass through a small window; on leaving it, one enters the main part only if it was asked for
more often than what it would displace. The main part is a segmented LRU: on probation, and protected once asked again.

Einziger, Friedman, Manes: TinyLFU, ACM Transactions on Storage 13(4), 2017: a window of a hundredth, four fifths of
the rest protected, counts halved when ten requests have come for each object. With sizes that differ, the newcomer must
beat the sum of all that would go for it (aggregated victims; Einziger, Eytan, Friedman, Manes: Lightweight robust size
aware cache management, ACM Transactions on Storage 18(3), 2022). An object that is larger than the window stands the
same trial on arrival, and is not stored if it fails.

The paper counts in the sketch whatever is asked for. We count a stored object's requests with the object, exactly and
without a memory access more, and its count enters the sketch when it leaves. libcachesim's variant differs too much
to agree: it counts no hits in the window and counts again at eviction, has no doorkeeper, halves after 32 requests per
*byte* of the cache, lets the window grow until the cache is full, and puts newcomers among the protected while there is
room. So a model of the paper is what the tests compare with, object for object. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from edge.eviction.chain import Chain
from edge.eviction.policy import Entry, Policy, identity, register
from edge.eviction.sketch import COUNT_MAX, Sketch

WINDOW, PROTECTED = 0.01, 0.8  # of the capacity; of the rest
SAMPLE = 10  # requests per object between halvings
OBJECT = 1024  # bytes of capacity for which the sketch expects a key
KEYS = (1 << 10, 1 << 20)  # the least and the most that it expects
TRIAL = 64  # an object that would displace more is judged by so many of them
MOVES = 500  # from list to list in one call; what is too much for a list stays in it until the next

_WINDOW, _PROBATION, _PROTECTED, _LIST = 2, 4, 6, 6  # rank: colour, the list, four bits of count, the epoch
_ONE, _COUNT = 8, COUNT_MAX * 8
_EPOCH = 7


@register
class WTinyLfu(Policy):
    """Window, probation, protected, and the sketch of what is not stored."""

    __slots__ = (
        "_epoch", "_held", "_main_max", "_probation", "_protected", "_protected_max", "_seen", "_sketch", "_window",
        "_window_max", "_wins",
    )  # fmt: skip

    name = "wtinylfu"

    def __init__(self, capacity: int = 0, keys: int = 0) -> None:
        """`keys`: how many the sketch should tell apart; by default one for each KiB."""
        super().__init__(capacity)
        self._window_max = int(capacity * WINDOW)
        self._main_max = capacity - self._window_max
        self._protected_max = int(self._main_max * PROTECTED)
        self._window, self._probation, self._protected = Chain(), Chain(), Chain()
        low, high = KEYS
        self._sketch = Sketch(keys or min(max(capacity // OBJECT, low), high))
        self._held = self._seen = self._epoch = 0
        self._wins = 0
        """How often the one that is about to be added was asked for, this time included."""

    # -- what happens to entries ------------------------------------------------------------------------------------

    def admits(self, entry: Entry, short: int) -> bool:
        """Count it; one that is larger than the window must be worth what it displaces."""
        name = identity(entry)
        self._seen += 1
        if self._seen >= SAMPLE * max(self._held, 1):
            self._halve()
        self._wins = count = min(self._sketch.estimate(name) + 1, COUNT_MAX)
        if entry.size > self._window_max and short > 0 and not self._beats(count, short):
            self._sketch.raise_to(name, count)
            return False
        return True

    def added(self, entry: Entry) -> None:
        """Into the window, which gives up what is too much to the main part."""
        count, self._wins = self._wins or 1, 0
        self._held += 1
        self._enter(entry, count, _PROBATION if entry.size > self._window_max else _WINDOW)
        self._spill()

    def touched(self, entries: Sequence[Entry]) -> None:
        """Count, and move to the end: of the window, or of the protected."""
        window, protected = self._window, self._protected
        sample = SAMPLE * max(self._held, 1)
        for entry in entries:
            self._seen += 1
            if self._seen >= sample:
                self._halve()
            rank = entry.rank
            now_in = rank & _LIST
            if not now_in:
                continue
            count = (rank & _COUNT) >> self._epoch - (rank >> _EPOCH) & _COUNT
            rank = self._epoch << _EPOCH | min(count + _ONE, _COUNT) | self.colour
            if now_in == _PROBATION:
                self._probation.unlink(entry)
                protected.push(entry)
                entry.rank = rank | _PROTECTED
                if protected.bytes > self._protected_max:
                    self._demote()
            else:
                (window if now_in == _WINDOW else protected).move(entry)
                entry.rank = rank | now_in

    def removed(self, entry: Entry) -> None:
        """Unlink it; what was asked for stays known."""
        self._leave(entry)

    def replaced(self, old: Entry, new: Entry) -> None:
        """It keeps its place and its count, and was asked for."""
        self._of(old).swap(old, new)
        new.rank, old.rank = old.rank, self.colour
        self.touched((new,))

    def resized(self, entry: Entry, by: int) -> None:
        """The sum of its list changes."""
        self._of(entry).bytes += by

    def victim(self) -> Any:
        """The loser between what leaves the window and what it would displace."""
        for _ in range(MOVES):
            candidate = self._window.oldest
            if candidate is None or self._window.bytes < self._window_max:
                break
            short = self._main_bytes + candidate.size - self._main_max
            if short > 0 and not self._beats(self._count_of(candidate), short):
                return self._leave(candidate)
            self._move(candidate, self._window, self._probation, _PROBATION)
            if short > 0:
                break
        return self._leave(self._probation.oldest or self._protected.oldest or self._window.oldest)

    @property
    def memory(self) -> int:
        """The sketch."""
        return self._sketch.memory

    # -- how it is done -----------------------------------------------------------------------------------------------

    @property
    def _main_bytes(self) -> int:
        return self._probation.bytes + self._protected.bytes

    def _beats(self, count: int, short: int) -> bool:
        """Was it asked for more often than all together that would go for `short` bytes?"""
        for tried, victim in enumerate(self._line()):
            if tried == TRIAL or short <= 0:
                break
            count -= self._count_of(victim)
            if count <= 0:
                return False
            short -= victim.size
        return True

    def _line(self) -> Iterator[Any]:
        return chain(self._probation, self._protected)

    def _spill(self) -> None:
        """What is too much for the window goes on probation while there is room for it."""
        window = self._window
        for _ in range(MOVES):
            oldest = window.oldest
            if oldest is None or window.bytes <= self._window_max:
                return
            if self._main_bytes + oldest.size > self._main_max:
                return
            self._move(oldest, window, self._probation, _PROBATION)

    def _demote(self) -> None:
        protected = self._protected
        for _ in range(MOVES):
            if protected.bytes <= self._protected_max:
                return
            self._move(protected.oldest, protected, self._probation, _PROBATION)

    def _move(self, entry: Any, source: Chain, target: Chain, number: int) -> None:
        source.unlink(entry)
        target.push(entry)
        entry.rank = entry.rank & ~_LIST | number

    def _enter(self, entry: Entry, count: int, number: int) -> None:
        self._rank(entry, count, number)
        self._of(entry).push(entry)

    def _leave(self, entry: Any) -> Any:
        if entry is not None:
            self._of(entry).unlink(entry)
            self._held -= 1
            self._sketch.raise_to(identity(entry), self._count_of(entry))
            entry.rank = self.colour
        return entry

    def _of(self, entry: Entry) -> Chain:
        number = entry.rank & _LIST
        if number == _WINDOW:
            return self._window
        return self._probation if number == _PROBATION else self._protected

    def _rank(self, entry: Entry, count: int, number: int) -> None:
        entry.rank = self._epoch << _EPOCH | count * _ONE | number | self.colour

    def _count_of(self, entry: Entry) -> int:
        """Its requests, halved as often as the sketch was since it was last asked for."""
        rank = entry.rank
        count: int = (rank & _COUNT) // _ONE
        return count >> (self._epoch - (rank >> _EPOCH))

    def _halve(self) -> None:
        self._seen = 0
        self._epoch += 1
        self._sketch.halve()
