"""Maglev's table: consistent hashing by one look (Eisenbud et al.: Maglev, A Fast and Reliable Software Network Load
Balancer, NSDI 2016, section 3.4).

Decides whose a key is. It must not know backends, health or load.

Theory. A table has a prime number of entries, and a key's entry is its hash modulo that number. Every member has a
permutation of all entries, `offset + j x skip`, which its name alone determines. The members take turns, and at each
turn one takes the first entry of its permutation that is still free, until none is. So all have equally many entries
(to within one), and when one member leaves, most entries of the others stay theirs: not all of them, as on a ring, but
lookups cost one step instead of a search, and shares are exact.

With weights, a member takes a turn in as many of the rounds as its weight is of the greatest one (Envoy does so, too).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cdnlab.pool.hashing import Hasher

PRIMES = (251, 509, 1021, 2039, 4093, 8191, 16381)
"""Sizes to choose from: the greatest primes below powers of two. Filling the last one takes about ten milliseconds,
which is how long the loop may stand still."""

SHARE = 100
"""Entries that the lightest member should have at least, so that shares are exact to one percent (the paper: a table a
hundred times as large as there are members)."""


class Maglev:
    """Members by name, found by key in one step."""

    __slots__ = ("_hasher", "_members", "_names", "table")

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher
        self._members: dict[str, int] = {}
        self._names: tuple[str, ...] = ()
        self.table: list[str] = []

    def rebuild(self, members: Mapping[str, int], everybody: Mapping[str, int] | None = None) -> None:
        """Take the members that are there now, with their weights (at least 1), and those that belong to the pool,
        there or not: the table's size goes by these, since with another size nearly every key would move."""
        entries = size({**(everybody or {}), **members}) if members else 0
        if len(self.table) == entries and self._members == members:
            return
        self._members = dict(members)
        self._names = tuple(sorted(members))
        self.table = self._filled(members, entries) if members else []

    def owner(self, key: bytes) -> str | None:
        """Whose `key` is; None without members."""
        table = self.table
        return table[self._hasher.point(key) % len(table)] if table else None

    def order(self, key: bytes) -> Iterator[str]:
        """The owner of `key`, then whoever comes next in the table, and so on: every member once."""
        table, names = self.table, self._names  # as they are now: they may change on the way
        seen: set[str] = set()
        at = self._hasher.point(key) % len(table) if table else 0
        for step in range(len(table)):
            name = table[(at + step) % len(table)]
            if name not in seen:
                yield name
                seen.add(name)
                if len(seen) == len(names):
                    return
        yield from (name for name in names if name not in seen)  # too light for an entry

    def share(self, name: str) -> float:
        """What share of all keys a member owns, 0 to 1."""
        return self.table.count(name) / len(self.table)

    def _filled(self, members: Mapping[str, int], entries: int) -> list[str]:
        table = [""] * entries
        steps = []
        for name in self._names:
            offset, skip = self._hasher.points(name, 2)
            steps.append((offset % entries, skip % (entries - 1) + 1))
        at = [offset for offset, _ in steps]
        top = max(members.values())
        credit = [0] * len(at)
        left = entries
        rows = [(index, name, members[name], steps[index][1]) for index, name in enumerate(self._names)]
        while True:
            for index, name, weight, skip in rows:
                if weight != top:
                    credit[index] += weight
                    if credit[index] < top:
                        continue
                    credit[index] -= top
                entry = at[index]
                while table[entry]:
                    entry += skip
                    if entry >= entries:
                        entry -= entries
                table[entry] = name
                at[index] = entry
                left -= 1
                if not left:
                    return table


def size(members: Mapping[str, int]) -> int:
    """The number of entries for these members."""
    wanted = SHARE * sum(members.values()) / min(members.values())
    return next((prime for prime in PRIMES if prime >= wanted), PRIMES[-1])
