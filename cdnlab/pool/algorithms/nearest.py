"""Nearest place first: a client is served where it is, and from the next nearest place when that fails.

Distances are given as a table when the algorithm is made: for each place, all places nearest first. Inside
one place an inner algorithm chooses. Backends that stand nowhere, or at a place the table lacks, come last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from cdnlab.pool.algorithms.registry import Algorithm, Settings, make, register
from cdnlab.pool.backend import Backend
from cdnlab.pool.reasons import Reason


@register("nearest")
class Nearest:
    """Places in order of distance; the inner algorithm inside each."""

    __slots__ = ("chains", "elsewhere", "ranks", "settings", "sites")
    otherwise: ClassVar[Reason] = Reason.TURN

    def __init__(self, settings: Settings) -> None:
        """Take the table of distances and the inner algorithm's name from the settings."""
        if settings.inner == "nearest":
            raise ValueError(
                "nearest can't be its own inner algorithm; take round_robin or least_connections"
            )
        self.settings = settings
        self.sites: dict[str, Algorithm] = {}
        self.chains: dict[str, tuple[Algorithm, ...]] = {}
        self.elsewhere: tuple[Algorithm, ...] = ()
        self.ranks = {
            place: {other: rank for rank, other in enumerate(others)}
            for place, others in settings.nearest.items()
        }

    def rebuild(self, backends: Sequence[Backend]) -> None:
        """Group the usable backends by place, and note for every place which groups come in which order."""
        groups: dict[str, list[Backend]] = {}
        for backend in backends:
            groups.setdefault(backend.place, []).append(backend)
        self.sites = {
            place: self.sites.get(place) or make(self.settings.inner, self.settings) for place in groups
        }
        for place, group in groups.items():
            self.sites[place].rebuild(group)
        self.chains = {place: self._chain(place) for place in self.ranks}
        self.elsewhere = tuple(self.sites.values())

    def order(self, place: str) -> Iterator[Backend]:
        """Yield the backends of the nearest place, then of the next; declared order for an unknown place."""
        for site in self.chains.get(place, self.elsewhere):
            yield from site.order(place)

    def nearness(self, place: str, backend: Backend) -> int:
        """Rank of the backend's place as seen from `place`; unknown ones rank after all known."""
        ranks = self.ranks.get(place)
        return 0 if ranks is None else ranks.get(backend.place, len(ranks))

    def released(self, backend: Backend) -> None:
        """Tell the inner algorithm of that place."""
        site = self.sites.get(backend.place)
        if site is not None:
            site.released(backend)

    def _chain(self, place: str) -> tuple[Algorithm, ...]:
        ranks = self.ranks[place]
        places = sorted(self.sites, key=lambda other: ranks.get(other, len(ranks)))
        return tuple(self.sites[other] for other in places)
