"""Smooth weighted round robin.

Theory (nginx, ngx_http_upstream_round_robin.c, 2012). Every backend has a running credit. At each turn
every credit grows by its weight, the largest is chosen and pays the total. Weights 5, 1, 1 give a a b a c a
a instead of five in a row. After total / gcd(weights) turns all credits are zero again, so the order is a
cycle: each turn is computed once (O(n)) and remembered, and from the second round on a turn is one list
index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import gcd
from typing import ClassVar

from cdnlab.pool.algorithms.registry import Settings, register
from cdnlab.pool.backend import Backend
from cdnlab.pool.reasons import Reason


@register("round_robin")
class RoundRobin:
    """Turns in proportion to weight, spread as evenly as they can be."""

    __slots__ = ("backends", "credits", "cycle", "length", "turn")
    keyed: ClassVar[bool] = False

    def __init__(self, settings: Settings) -> None:
        """Begin without backends; the settings hold nothing that matters here."""
        self.backends: list[Backend] = []
        self.cycle: list[Backend] = []
        self.credits: list[int] = []
        self.length = 0
        self.turn = 0

    def rebuild(self, backends: Sequence[Backend]) -> None:
        """Forget the cycle. With equal weights it is the list itself, and the turn goes on where it was."""
        self.backends = list(backends)
        weights = [backend.weight for backend in backends]
        self.length = sum(weights) // (gcd(*weights) or 1)
        self.credits = [0] * len(weights)
        equal = self.length == len(weights)
        self.cycle = list(backends) if equal else []
        self.turn = self.turn % self.length if equal and self.length else 0

    def order(self, place: str, key: bytes = b"") -> Iterator[Backend]:
        """Yield whose turn it is; if asked, the following turns too; last those whose turn is far off."""
        if not self.length:
            return
        first = self._take()
        yield first
        seen = {first}
        for _ in self.backends:
            backend = self._take()
            if backend not in seen:
                seen.add(backend)
                yield backend
        for backend in self.backends:
            if backend not in seen:
                yield backend

    def nearness(self, place: str, backend: Backend) -> int:
        """Distance plays no part."""
        return 0

    def released(self, backend: Backend) -> None:
        """Load plays no part."""

    def why_not(self, other: Backend, chosen: Backend, key: bytes) -> Reason:
        """It was another one's turn."""
        return Reason.TURN

    def _take(self) -> Backend:
        turn = self.turn
        self.turn = turn + 1 if turn + 1 < self.length else 0
        return self.cycle[turn] if turn < len(self.cycle) else self._extend()

    def _extend(self) -> Backend:
        """Compute the next turn of the first round, and remember it."""
        credit = [have + backend.weight for have, backend in zip(self.credits, self.backends, strict=True)]
        best = credit.index(max(credit))
        credit[best] -= sum(backend.weight for backend in self.backends)
        self.credits = credit
        self.cycle.append(self.backends[best])
        return self.backends[best]
