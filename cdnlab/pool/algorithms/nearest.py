"""Nearest place first: a client is served where it is, and from the next nearest place when that fails.

Distances are given as a table when the algorithm is made: for each place, all places nearest first. Inside
one place an inner algorithm chooses. Backends that stand nowhere, or at a place the table lacks, come last.

Most networks have one backend per place. Then there is nothing to choose inside one, and the order from each place is a
tuple that is made once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cdnlab.pool.algorithms.registry import Algorithm, Settings, make, register
from cdnlab.pool.backend import Backend
from cdnlab.pool.reasons import Reason


@register("nearest")
class Nearest:
    """Places in order of distance; the inner algorithm inside each."""

    __slots__ = (
        "by_source", "chains", "elsewhere", "keyed", "known", "lone", "ranks", "settings", "sites", "timed",
    )  # fmt: skip

    def __init__(self, settings: Settings) -> None:
        """Take the table of distances and the inner algorithm's name from the settings."""
        if settings.inner == "nearest":
            raise ValueError(
                "nearest can't be its own inner algorithm; take any of the others, such as bounded_load"
            )
        self.settings = settings
        inner = make(settings.inner, settings)
        self.by_source, self.timed = inner.by_source, inner.timed
        self.keyed = False
        self.known: dict[str, Algorithm] = {}
        """The inner algorithm of each place that ever had a backend: one that comes back knows what it knew."""
        self.sites: dict[str, Algorithm] = {}
        self.chains: dict[str, tuple[Algorithm, ...]] = {}
        self.elsewhere: tuple[Algorithm, ...] = ()
        self.lone: dict[str, tuple[Backend, ...]] = {}
        """The whole order from each place, where no place has more than one usable backend."""
        self.ranks = {
            place: {other: rank for rank, other in enumerate(others)}
            for place, others in settings.nearest.items()
        }

    def rebuild(self, backends: Sequence[Backend], members: Sequence[Backend] | None = None) -> None:
        """Group the usable backends by place, and note for every place which groups come in which order."""
        groups = _by_place(backends)
        everybody = groups if members is None else _by_place(members)
        self.sites = {place: self._site(place) for place in groups}
        for place, group in groups.items():
            self.sites[place].rebuild(group, everybody[place])
        self.known = {place: site for place, site in self.known.items() if place in everybody}
        self.keyed = any(self._site(place).keyed for place in groups)
        chains = {place: self._chain(place) for place in self.ranks}
        self.chains = {place: tuple(self.sites[other] for other in chain) for place, chain in chains.items()}
        self.elsewhere = tuple(self.sites.values())
        alone = all(len(group) == 1 for group in groups.values())
        self.lone = (
            {place: tuple(groups[other][0] for other in chain) for place, chain in chains.items()}
            if alone
            else {}
        )

    def order(self, place: str, key: bytes = b"") -> Iterator[Backend]:
        """Yield the backends of the nearest place, then of the next; declared order for an unknown place."""
        lone = self.lone.get(place)
        if lone is not None:
            return iter(lone)
        return self._by_site(place, key)

    def nearness(self, place: str, backend: Backend) -> int:
        """Rank of the backend's place as seen from `place`; unknown ones rank after all known."""
        ranks = self.ranks.get(place)
        return 0 if ranks is None else ranks.get(backend.place, len(ranks))

    def released(self, backend: Backend) -> None:
        """Tell the inner algorithm of that place."""
        site = self.sites.get(backend.place)
        if site is not None:
            site.released(backend)

    def observed(self, backend: Backend, seconds: float, now: float) -> None:
        """Tell the inner algorithm of that place."""
        site = self.sites.get(backend.place)
        if site is not None:
            site.observed(backend, seconds, now)

    def why_not(self, other: Backend, chosen: Backend, key: bytes) -> Reason:
        """Inside one place the inner algorithm says it; between two that are equally far it was the order's turn."""
        site = self.sites.get(other.place)
        return site.why_not(other, chosen, key) if site and other.place == chosen.place else Reason.TURN

    def _by_site(self, place: str, key: bytes) -> Iterator[Backend]:
        for site in self.chains.get(place, self.elsewhere):
            yield from site.order(place, key)

    def _site(self, place: str) -> Algorithm:
        site = self.known.get(place)
        if site is None:
            site = self.known[place] = make(self.settings.inner, self.settings)
        return site

    def _chain(self, place: str) -> list[str]:
        ranks = self.ranks[place]
        return sorted(self.sites, key=lambda other: ranks.get(other, len(ranks)))


def _by_place(backends: Sequence[Backend]) -> dict[str, list[Backend]]:
    groups: dict[str, list[Backend]] = {}
    for backend in backends:
        groups.setdefault(backend.place, []).append(backend)
    return groups
