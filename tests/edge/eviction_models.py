"""Traces, a cache of nothing but keys, and the policies' papers written down as plainly as can be.

The models use ordered dicts and walk them; they share no code with what they are held against.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Protocol

from edge.eviction.policy import Policy

Trace = list[int]


class Thing:
    """An entry of a policy."""

    __slots__ = ("key", "newer", "older", "rank", "size")

    variant: bytes | None = None

    def __init__(self, key: Any, size: int = 1) -> None:
        self.key = key
        self.size = size
        self.newer: Any = None
        self.older: Any = None
        self.rank = 0


class Cache(Protocol):
    """What a trace is played to."""

    def get(self, key: int, size: int) -> bool:
        """Was it there? It is now, if the policy wants it."""


class Simulation:
    """A cache of keys under one of our policies."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.used = self.evictions = 0
        self.things: dict[int, Thing] = {}

    def get(self, key: int, size: int) -> bool:
        thing = self.things.get(key)
        if thing is not None:
            self.policy.touched((thing,))
            return True
        thing, capacity = Thing(key, size), self.policy.capacity
        if size > capacity or not self.policy.admits(thing, self.used + size - capacity):
            return False
        while self.used + size > capacity:
            victim = self.policy.victim()
            del self.things[victim.key]
            self.used -= victim.size
            self.evictions += 1
        self.policy.added(thing)
        self.things[key] = thing
        self.used += size
        return False


def play(cache: Cache, trace: Trace, sizes: dict[int, int]) -> list[bool]:
    """Hit or miss, request by request."""
    return [cache.get(key, sizes[key]) for key in trace]


def zipf(rng: random.Random, keys: int, requests: int, alpha: float) -> Trace:
    """Requests whose popularity falls with the power alpha of the rank."""
    return rng.choices(range(1, keys + 1), [rank**-alpha for rank in range(1, keys + 1)], k=requests)


def traces() -> Iterator[tuple[str, Trace]]:
    """What caches meet: skewed popularity, scans, loops just larger than the cache, and favourites that change."""
    rng = random.Random(1983)
    yield "zipf", zipf(rng, 2000, 12_000, 0.9)
    yield "steep", zipf(rng, 4000, 12_000, 1.2)
    scan: Trace = []
    for turn in range(15):
        scan += zipf(rng, 1000, 600, 0.9)
        scan += range(10_000 + 250 * turn, 10_000 + 250 * (turn + 1))
    yield "scans", scan
    yield "loop", list(range(1, 151)) * 60
    hot = zipf(rng, 500, 6000, 1.0)
    yield "loop among favourites", [key for at, one in enumerate(hot) for key in (one, 1000 + at % 150)]
    yield (
        "favourites that change",
        [key + at // 3000 * 300 for at, key in enumerate(zipf(rng, 900, 12_000, 0.9))],
    )


def sizes_of(trace: Trace, largest: int, seed: int = 5) -> dict[int, int]:
    """A size for each key, from 1 to `largest`, small ones more often."""
    rng = random.Random(seed)
    return {key: 1 if largest == 1 else int(largest ** rng.random()) for key in sorted(set(trace))}


class ArcModel:
    """ARC (FAST 2003, figure 4), with bytes for pages."""

    def __init__(self, capacity: int) -> None:
        self.c = capacity
        self.p = 0.0
        self.t1: OrderedDict[int, int] = OrderedDict()
        self.t2: OrderedDict[int, int] = OrderedDict()
        self.b1: OrderedDict[int, int] = OrderedDict()
        self.b2: OrderedDict[int, int] = OrderedDict()

    def get(self, key: int, size: int) -> bool:
        for known in (self.t1, self.t2):
            if key in known:
                del known[key]
                self.t2[key] = size
                return True
        ones, twos = total(self.b1), total(self.b2)
        again = key in self.b1 or key in self.b2
        from_b2 = key in self.b2
        if key in self.b1:
            self.p = min(self.p + max(twos / ones, 1) * size, self.c)
            del self.b1[key]
        elif from_b2:
            self.p = max(self.p - max(ones / twos, 1) * size, 0)
            del self.b2[key]
        while total(self.t1) + total(self.t2) + size > self.c:
            self._evict(size, again, from_b2)
        (self.t2 if again else self.t1)[key] = size
        return False

    def _evict(self, size: int, again: bool, from_b2: bool) -> None:
        if not again:
            if total(self.t1) + total(self.b1) + size > self.c:
                if not self.b1 and self.t1:
                    self.t1.popitem(last=False)
                    return
                while self.b1 and total(self.t1) + total(self.b1) + size > self.c:
                    self.b1.popitem(last=False)
            else:
                while self.b2 and sum(map(total, (self.t1, self.t2, self.b1, self.b2))) + size > 2 * self.c:
                    self.b2.popitem(last=False)
        have = total(self.t1)
        if self.t1 and (have > self.p or (from_b2 and have == self.p) or not self.t2):
            gone, weight = self.t1.popitem(last=False)
            self.b1[gone] = weight
        else:
            gone, weight = self.t2.popitem(last=False)
            self.b2[gone] = weight


def total(sizes: OrderedDict[int, int]) -> int:
    return sum(sizes.values())


class TinyLfuModel:
    """W-TinyLFU (ToS 2017) with aggregated victims (ToS 2022), and exact tables in place of sketch and Bloom filter.

    What is stored is counted by itself. Of what has left, the first request is in the doorkeeper, which forgets
    everybody at each halving, and the others are in the counters.
    """

    def __init__(self, capacity: int) -> None:
        self.window_max = int(capacity * 0.01)
        self.main_max = capacity - self.window_max
        self.protected_max = int(self.main_max * 0.8)
        self.capacity = capacity
        self.window: OrderedDict[int, int] = OrderedDict()
        self.probation: OrderedDict[int, int] = OrderedDict()
        self.protected: OrderedDict[int, int] = OrderedDict()
        self.counts: dict[int, int] = {}
        self.left: dict[int, int] = {}
        self.door: set[int] = set()
        self.seen = 0

    def get(self, key: int, size: int) -> bool:
        lists = (self.window, self.probation, self.protected)
        held = sum(map(len, lists))
        self.seen += 1
        if self.seen >= 10 * max(held, 1):
            self.seen = 0
            self.counts = {each: count // 2 for each, count in self.counts.items()}
            self.left = {each: count // 2 for each, count in self.left.items()}
            self.door.clear()
        before = self.counts.get(key, self.left.get(key, 0) + (key in self.door))
        self.counts[key] = min(before + 1, 15)
        if self._hit(key):
            return True
        short = sum(map(total, lists)) + size - self.capacity
        direct = size > self.window_max
        if direct and short > 0 and not self._worth(key, short):
            self._leaves(key)
            return False
        while sum(map(total, lists)) + size > self.capacity:
            self._evict()
        (self.probation if direct else self.window)[key] = size
        while total(self.window) > self.window_max:
            oldest, weight = next(iter(self.window.items()))
            if total(self.probation) + total(self.protected) + weight > self.main_max:
                break
            del self.window[oldest]
            self.probation[oldest] = weight
        return False

    def _hit(self, key: int) -> bool:
        if key in self.window:
            self.window.move_to_end(key)
        elif key in self.protected:
            self.protected.move_to_end(key)
        elif key in self.probation:
            self.protected[key] = self.probation.pop(key)
            while total(self.protected) > self.protected_max:
                demoted, weight = self.protected.popitem(last=False)
                self.probation[demoted] = weight
        else:
            return False
        return True

    def _worth(self, key: int, short: int) -> bool:
        against = 0
        for victim, weight in (*self.probation.items(), *self.protected.items()):
            if short <= 0:
                break
            against += self.counts[victim]
            short -= weight
        return self.counts[key] > against

    def _evict(self) -> None:
        while self.window and total(self.window) >= self.window_max:
            candidate, weight = next(iter(self.window.items()))
            short = total(self.probation) + total(self.protected) + weight - self.main_max
            del self.window[candidate]
            if short > 0 and not self._worth(candidate, short):
                self._leaves(candidate)
                return
            self.probation[candidate] = weight
            if short > 0:
                break
        for known in (self.probation, self.protected, self.window):
            if known:
                self._leaves(known.popitem(last=False)[0])
                return

    def _leaves(self, key: int) -> None:
        count = self.counts.pop(key)
        if count:
            self.door.add(key)
            self.left[key] = max(self.left.get(key, 0), count - 1)


class GdsfModel:
    """GDSF (HPL-98-69R1) by looking at every object; sizes are rounded down to an eighth of an octave."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.clock = 0
        self.turn = 0
        self.objects: dict[int, tuple[int, int, int, int]] = {}  # priority, queue, turn, size
        self.hits: dict[int, int] = {}

    def get(self, key: int, size: int) -> bool:
        hit = key in self.objects
        if not hit:
            self.hits[key] = 0
            while sum(each[3] for each in self.objects.values()) + size > self.capacity:
                victim = min(self.objects, key=lambda each: self.objects[each][:3])
                self.clock = self.objects.pop(victim)[0]
        self.hits[key] = hits = min(self.hits[key] + 1, 63)
        self.turn += 1
        rounded, step = self._rounded(size)
        priority = self.clock + hits * 2**37 // rounded
        self.objects[key] = (priority, step * 64 + hits, self.turn, size)
        return hit

    def _rounded(self, size: int) -> tuple[int, int]:
        """In eighths of a byte, and the number of the step."""
        eighths, step = size * 8, 8
        octave = eighths.bit_length() - 1
        width = 2**octave // 8
        within = (eighths - 2**octave) // width
        return 2**octave + within * width, (octave + 1) * step + within
