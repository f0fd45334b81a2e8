"""How popular the things of a site are: the first most, each further one less, after Zipf's law.

Decides which of `count` things is wanted next. Must not know what they are. Pure: chance is a parameter.

Breslau et al., Web Caching and Zipf-like Distributions (INFOCOM 1999): the requests for the i-th most popular of many
pages go as 1/i^a, with a between 0.64 and 0.83 at proxies; busy sites' front caches are nearer to 1.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from random import Random


class Zipf:
    """Ranks from 0, each with the share 1/(rank + 1)^exponent of the whole."""

    def __init__(self, count: int, exponent: float) -> None:
        """`count` from 1; `exponent` from 0 (all alike)."""
        self._upto = list(accumulate(float((rank + 1) ** -exponent) for rank in range(count)))

    def pick(self, chance: Random) -> int:
        """The next rank."""
        return min(bisect_right(self._upto, chance.random() * self._upto[-1]), len(self._upto) - 1)

    def share(self, rank: int) -> float:
        """The part of all picks that `rank` gets."""
        below = self._upto[rank - 1] if rank else 0.0
        return (self._upto[rank] - below) / self._upto[-1]
