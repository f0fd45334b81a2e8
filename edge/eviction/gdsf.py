"""GDSF: small objects that are asked for often stay longest. An object's priority is L + hits / size, where L, the
clock, is the priority of the last one that went; the lowest goes.

Cherkasova: Improving WWW proxies performance with greedy-dual-size-frequency caching policy, HP Labs HPL-98-69R1, 1998,
with all fetches costing the same, which favours the hit ratio by request.

A heap of a million objects costs a logarithm per hit and an index in each of them. Here sizes are rounded to an eighth
of an octave, as CAMP does with its ratios (Ghandeharizadeh, Irani, Lam, Yap: CAMP, Middleware 2014). Then all objects
of one size class with as many hits stand in one queue, in which priorities only rise, since the clock does. So a hit is
O(1), from one queue to the next, and the lowest is at the head of one of a few hundred queues: a heap holds those. A
queue's entry there may be too low, never too high, and is put right when it comes up. Hits count up to 63. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush, heapreplace
from typing import Any

from edge.eviction.chain import Chain
from edge.eviction.policy import Entry, Policy, register

HITS_MAX = 63
_HIT_BITS, _CLASS_BITS = 6, 9
_QUEUE_BITS = _HIT_BITS + _CLASS_BITS
_QUEUE = (1 << _QUEUE_BITS) - 1
_ONE = 1 << 37  # a hit on an eighth of a byte


class _Queue(Chain):
    """The objects of one size class with as many hits, lowest priority first."""

    __slots__ = ("clock", "heaped", "number", "rank", "weight")

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.weight = (number & HITS_MAX) * _ONE // class_size(number >> _HIT_BITS)
        self.clock = -1
        self.rank = 0  # of whoever comes now; one integer for all who come under the same clock
        self.heaped = False


def size_class(size: int) -> int:
    """The number of a size's class: eight to an octave, so each size up to fifteen bytes has one of its own."""
    eighths = max(size, 1) * 8
    bits = eighths.bit_length()
    return bits * 8 + (eighths >> bits - 4 & 7)


def class_size(number: int) -> int:
    """The least size of a class, times eight."""
    return 8 + (number & 7) << (number >> 3) - 4


@register
class Gdsf(Policy):
    """Queues by size class and hits. rank: colour, the queue, the priority."""

    __slots__ = ("_clock", "_heap", "_queues")

    name = "gdsf"

    def __init__(self, capacity: int = 0) -> None:
        super().__init__(capacity)
        self._clock = 0
        self._queues: dict[int, _Queue] = {}
        self._heap: list[tuple[int, int]] = []

    def added(self, entry: Entry) -> None:
        """The request that brought it counts as a hit."""
        self._push(entry, size_class(entry.size) << _HIT_BITS | 1)

    def touched(self, entries: Sequence[Entry]) -> None:
        """On to the queue of those with a hit more."""
        queues = self._queues
        for entry in entries:
            number = entry.rank >> 1 & _QUEUE
            if number:
                queues[number].unlink(entry)
                self._push(entry, number if number & HITS_MAX == HITS_MAX else number + 1)

    def removed(self, entry: Entry) -> None:
        """Unlink it."""
        self._queues[entry.rank >> 1 & _QUEUE].unlink(entry)
        entry.rank = self.colour

    def replaced(self, old: Entry, new: Entry) -> None:
        """It keeps its hits, with one more, and has a size of its own."""
        hits = (old.rank >> 1 & HITS_MAX) + 1
        self.removed(old)
        self._push(new, size_class(new.size) << _HIT_BITS | min(hits, HITS_MAX))

    def resized(self, entry: Entry, by: int) -> None:
        """It has grown already: the queue it stands in counts its old size."""
        number = entry.rank >> 1 & _QUEUE
        self._queues[number].bytes += by
        self._queues[number].unlink(entry)
        self._push(entry, size_class(entry.size) << _HIT_BITS | number & HITS_MAX)

    def victim(self) -> Any:
        """The lowest priority, which is the clock from now on."""
        heap, queues = self._heap, self._queues
        while heap:
            priority, number = heap[0]
            queue = queues[number]
            entry = queue.oldest
            if entry is None:
                heappop(heap)
                queue.heaped = False
                continue
            real = entry.rank >> _QUEUE_BITS + 1
            if real > priority:
                heapreplace(heap, (real, number))
                continue
            queue.unlink(entry)
            entry.rank = self.colour
            self._clock = real
            return entry
        return None

    @property
    def memory(self) -> int:
        """Its queues."""
        return 300 * len(self._queues)

    def _push(self, entry: Entry, number: int) -> None:
        queue = self._queues.get(number)
        if queue is None:
            queue = self._queues[number] = _Queue(number)
        if queue.clock != self._clock:
            queue.clock = self._clock
            queue.rank = self._clock + queue.weight << _QUEUE_BITS + 1 | number << 1 | self.colour
        entry.rank = queue.rank
        queue.push(entry)
        if not queue.heaped:
            queue.heaped = True
            heappush(self._heap, (self._clock + queue.weight, number))
