"""Random: each choice is drawn anew, in proportion to weight.

It needs no memory of what went before, so many balancers that know nothing of each other do not fall into step, as
round robin may. The price is chance: of m choices among n equal backends each gets m/n give or take some
sqrt(m/n) of them. The others follow in an order that is drawn, too (Efraimidis, Spirakis: Weighted random sampling with
a reservoir, IPL 2006), so what one backend cannot take is spread over all.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate
from random import Random

from cdnlab.pool.algorithms.registry import Plain, Settings, register
from cdnlab.pool.backend import Backend
from cdnlab.pool.reasons import Reason


@register("random")
class Draw(Plain):
    """Whoever is drawn; O(log n)."""

    __slots__ = ("backends", "rng", "sums")

    def __init__(self, settings: Settings) -> None:
        """Begin without backends; the settings hold nothing that matters here."""
        self.backends: tuple[Backend, ...] = ()
        self.sums: list[float] = []
        self.rng = Random()

    def rebuild(self, backends: Sequence[Backend], members: Sequence[Backend] | None = None) -> None:
        """Add up the weights."""
        self.backends = tuple(backends)
        self.sums = list(accumulate(backend.share for backend in backends))

    def order(self, place: str, key: bytes = b"") -> Iterator[Backend]:
        """Yield the one that is drawn, then, if asked, the others as they are drawn."""
        backends, sums = self.backends, self.sums
        if len(backends) < 2:
            return iter(backends)
        # the last one needs no test: rounding must not draw beyond it
        return self._from(backends[bisect(sums, self.rng.random() * sums[-1], 0, len(sums) - 1)])

    def why_not(self, other: Backend, chosen: Backend, key: bytes) -> Reason:
        """Chance."""
        return Reason.CHANCE

    def _from(self, first: Backend) -> Iterator[Backend]:
        yield first
        draw = self.rng.random
        others = [
            (draw() ** (1 / max(each.share, 1e-3)), each) for each in self.backends if each is not first
        ]
        for _, backend in sorted(others, key=lambda drawn: -drawn[0]):
            yield backend
