"""Smooth weighted round robin.

The sequence is nginx's (`cdnlab/pool/turns.py`): weights 5, 1, 1 give a a b a c a a. With equal weights it is the list
itself, and a turn is one list index; else a turn costs O(log n).

Weights are those that count now (`Backend.share`), which grow in steps while a backend starts slowly. At each step
everybody keeps the credit it had: beginning anew each time would favour whoever stands first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cdnlab.pool.algorithms.registry import Plain, Settings, register
from cdnlab.pool.backend import Backend
from cdnlab.pool.reasons import Reason
from cdnlab.pool.turns import Turns

FINE = 1000
"""Whole numbers that make a weight of 1, so that a tenth of one is a number, too."""


@register("round_robin")
class RoundRobin(Plain):
    """Turns in proportion to weight, spread as evenly as they can be."""

    __slots__ = ("backends", "turn", "turns")

    def __init__(self, settings: Settings) -> None:
        """Begin without backends; the settings hold nothing that matters here."""
        self.backends: list[Backend] = []
        self.turns: Turns | None = None
        """None where all weigh the same."""
        self.turn = 0

    def rebuild(self, backends: Sequence[Backend], members: Sequence[Backend] | None = None) -> None:
        """Go on with those that are usable: with equal weights at the same place of the list, else with the credits
        of those that stay."""
        weights = [max(1, round(backend.share * FINE)) for backend in backends]
        if len(set(weights)) < 2:
            self.turns = None
            self.turn %= len(backends) or 1
        else:
            self.turns = Turns(weights, self._credits(backends))
        self.backends = list(backends)

    def order(self, place: str, key: bytes = b"") -> Iterator[Backend]:
        """Yield whose turn it is; if asked, the following turns too; last those whose turn is far off."""
        if not self.backends:
            return
        first = self._take()
        yield first
        seen = {first}
        for _ in range(len(self.backends)):
            if not self.backends:  # the pool changed since the last candidate
                return
            backend = self._take()
            if backend not in seen:
                seen.add(backend)
                yield backend
        for backend in self.backends:
            if backend not in seen:
                yield backend

    def why_not(self, other: Backend, chosen: Backend, key: bytes) -> Reason:
        """It was another one's turn."""
        return Reason.TURN

    def _credits(self, backends: Sequence[Backend]) -> list[int]:
        turns = self.turns
        if turns is None:
            return [0] * len(backends)
        had = dict(zip(self.backends, turns.credits(), strict=True))
        return [had.get(backend, 0) for backend in backends]

    def _take(self) -> Backend:
        turns, backends = self.turns, self.backends
        if turns is not None:
            return backends[turns.take()]
        turn = self.turn
        self.turn = turn + 1 if turn + 1 < len(backends) else 0
        return backends[turn]
