"""Which pool one request of a route goes to, where the route is split between several (canaries). Pure.

Decides by turns: shares of requests, spread as evenly as they can be (cdnlab/pool/turns.py). With 5 % every twentieth
request goes to the canary, not five in a row and then none. It must not know clients, pools or backends.

What was weighed: to hash the client, so that each one always sees the same version (nginx's split_clients). But then a
share of the clients is not a share of the requests, one large client is all or nothing, and whoever is in the canary
has every request there. A split by request tries the canary with everybody a little; who must not change version within
a visit is pinned by stickiness, which is per pool and stronger than the split.
"""

from __future__ import annotations

from collections.abc import Mapping

from cdnlab.pool.turns import Turns

FINE = 1_000_000
"""Parts of the whole: a share is exact to one in a million."""


class Split:
    """The pools of one route, by turns."""

    __slots__ = ("_turns", "counts", "pools", "shares")

    def __init__(self, pool: str, shares: Mapping[str, float]) -> None:
        """`shares` of other pools, above 0 and together at most 1; `pool` has the rest."""
        whole = {name: round(share * FINE) for name, share in shares.items() if name != pool}
        rest = FINE - sum(whole.values())
        weights = {
            **({pool: rest} if rest > 0 else {}),
            **{name: part for name, part in whole.items() if part},
        }
        self.shares = {name: part / FINE for name, part in weights.items()}
        self.pools = tuple(weights)
        self.counts = [0] * len(weights)
        """Requests sent to each of `pools`."""
        self._turns = Turns(tuple(weights.values()))

    def take(self) -> str:
        """The pool whose turn it is."""
        index = self._turns.take()
        self.counts[index] += 1
        return self.pools[index]
