"""A ring of points on which each key finds its member: consistent hashing (Karger et al. 1997, STOC).

Decides whose a key is, and who comes next when that one cannot be had. It must not know backends, health or load.

Theory. Every member has many points on a circle of 64 bits, in proportion to its weight; a key belongs to the member
whose point is the next one clockwise. Whoever leaves hands its arcs to their neighbours, and nobody else's keys move;
whoever comes takes its arcs, and keys move only to it. A member with p points has a share that varies by
about 1/sqrt(p), so 160 points (the number that libketama made usual) mean some 8 %.

The number of a member's points must not depend on who else is there just now, or keys would move between those who
stay. So it is reckoned from everybody who belongs to the pool, whether there or away.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import chain

from cdnlab.pool.hashing import SPACE, Hasher

POINTS = 160
"""Points for each unit of weight (libketama: 160 per server)."""

MOST = 16_384
"""Points of a whole ring: beyond it all get fewer, in proportion. Making this many anew takes a few milliseconds, which
is how long the loop may stand still (Envoy's ring has 1,024 at the least)."""


class Ring:
    """Members by name, found by key in O(log points)."""

    __slots__ = ("_hasher", "_known", "_names", "_owners", "_points", "_spots")

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher
        self._known: dict[str, int] = {}
        """Everybody who belongs to the pool, with the weight."""
        self._spots: dict[str, list[int]] = {}
        self._names: tuple[str, ...] = ()
        self._points: list[int] = []
        self._owners: list[str] = []

    def rebuild(self, members: Mapping[str, int], everybody: Mapping[str, int] | None = None) -> None:
        """Take the members that are there now, with their weights (at least 1), and those that belong to the pool,
        there or not; None: they are the same."""
        known = {**(everybody or {}), **members}
        if known != self._known:
            self._known = known
            self._spots = {}
        elif self._names == tuple(members):
            return
        owner: dict[int, str] = {}
        for name in sorted(
            members, reverse=True
        ):  # two at one point, should it ever be: the first name has it
            owner.update(dict.fromkeys(self._spots_of(name), name))
        self._names = tuple(members)
        self._points = sorted(owner)
        self._owners = [owner[point] for point in self._points]

    def owner(self, key: bytes) -> str | None:
        """Whose `key` is; None on an empty ring."""
        owners = self._owners
        if not owners:
            return None
        at = bisect_right(self._points, self._hasher.point(key))
        return owners[at] if at < len(owners) else owners[0]

    def order(self, key: bytes) -> Iterator[str]:
        """The owner of `key`, then whoever would be the owner without it, and so on: every member once."""
        owners, count = self._owners, len(self._names)
        at = bisect_right(self._points, self._hasher.point(key))
        seen: set[str] = set()
        for place in chain(range(at, len(owners)), range(at)):
            name = owners[place]
            if name not in seen:
                yield name
                seen.add(name)
                if len(seen) == count:
                    return

    def share(self, name: str) -> float:
        """What share of all keys a member owns, 0 to 1."""
        points = self._points
        gaps = [point - before for before, point in zip([points[-1] - SPACE, *points], points, strict=False)]
        return sum(gap for gap, owner in zip(gaps, self._owners, strict=True) if owner == name) / SPACE

    def _spots_of(self, name: str) -> list[int]:
        found = self._spots.get(name)
        if found is None:
            wanted = POINTS * sum(self._known.values())
            count = POINTS * self._known[name] * MOST // max(MOST, wanted)
            found = self._spots[name] = self._hasher.points(name, max(1, count))
        return found
