"""First: active and standby backends, by priority.

The usable backends with the lowest priority number share the requests, by turns in proportion to weight; those of the
next number get some only when there is none of the lower one (or none that has room, where a circuit breaker bounds
them). HAProxy calls such servers `backup`. Where all backends bear the same number it says nothing, and the order in
which they are declared is the order in which they are used, as with HAProxy's `balance first`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cdnlab.pool.algorithms.registry import Plain, Settings, register
from cdnlab.pool.algorithms.round_robin import RoundRobin
from cdnlab.pool.backend import Backend
from cdnlab.pool.reasons import Reason


@register("first")
class First(Plain):
    """The lowest priority number that has a usable backend; O(1), and O(log n) where weights differ."""

    __slots__ = ("groups", "known", "lone", "ranks", "settings")

    def __init__(self, settings: Settings) -> None:
        """Begin without backends; the settings hold nothing that matters here."""
        self.settings = settings
        self.ranks: dict[Backend, int] = {}
        self.known: dict[int, RoundRobin] = {}
        self.groups: tuple[RoundRobin, ...] = ()
        self.lone: tuple[Backend, ...] | None = ()
        """The whole order, where no number has more than one usable backend."""

    def rebuild(self, backends: Sequence[Backend], members: Sequence[Backend] | None = None) -> None:
        """Group those that are usable; whether numbers differ is a matter of all members."""
        everybody = backends if members is None else members
        numbered = len({backend.priority for backend in everybody}) > 1
        self.ranks = {each: each.priority if numbered else index for index, each in enumerate(everybody)}
        groups: dict[int, list[Backend]] = {}
        for backend in sorted(backends, key=self.ranks.__getitem__):
            groups.setdefault(self.ranks[backend], []).append(backend)
        if all(len(group) == 1 for group in groups.values()):
            self.lone = tuple(group[0] for group in groups.values())
            return
        self.lone = None
        self.known = {rank: self.known.get(rank) or RoundRobin(self.settings) for rank in groups}
        for rank, group in groups.items():
            self.known[rank].rebuild(group)
        self.groups = tuple(self.known.values())

    def order(self, place: str, key: bytes = b"") -> Iterator[Backend]:
        """Yield those of the lowest number, then the standbys in their order."""
        if self.lone is not None:
            return iter(self.lone)
        return self._by_group(place)

    def why_not(self, other: Backend, chosen: Backend, key: bytes) -> Reason:
        """It stands by, or it was another one's turn."""
        return Reason.STANDBY if self.ranks[other] > self.ranks[chosen] else Reason.TURN

    def _by_group(self, place: str) -> Iterator[Backend]:
        for group in self.groups:
            yield from group.order(place)
