"""Whose turn it is when turns are spread as evenly as weights allow: nginx's smooth weighted round robin, in O(log n).

Decides a sequence of indexes. It must not know what stands behind them.

Theory (nginx, ngx_http_upstream_round_robin.c, 2012). Everybody has a running credit. At each turn every credit grows
by its weight, the largest is chosen (of equals the first) and pays the sum of all weights. Weights 5, 1, 1 give
a a b a c a a instead of five in a row. After as many turns as that sum all credits are what they were, and each has
had as many turns as it weighs.

nginx looks at everybody at each turn. But a credit is a straight line over time, credit + weight x turn, and only the
one who was chosen leaves its line. So the largest is kept by a kinetic tournament (Basch, Guibas, Hershberger, Data
Structures for Mobile Data, SODA 1997): a tree in which each match knows its winner and the turn at which the loser,
if it weighs more, will have caught up. A turn plays the matches above the one who paid, and those that have run out.
The alternatives were to remember the whole cycle, whose length is the sum of the weights, and a heap per weight, which
is no better where all weights differ. All numbers are whole, so the sequence is nginx's, turn by turn.
"""

from __future__ import annotations

from collections.abc import Sequence

_NOBODY = -1
_NEVER = 1 << 200


class Turns:
    """The sequence for some weights, whole numbers above 0."""

    __slots__ = ("_base", "_leaves", "_now", "_total", "_until", "_weights", "_winner", "matches")

    def __init__(self, weights: Sequence[int], credits: Sequence[int] | None = None) -> None:
        """`credits`: where everybody stands now; all at 0 by default."""
        count = len(weights)
        self._weights = list(weights)
        self._base = list(credits) if credits is not None else [0] * count
        self._total = sum(weights)
        self._now = 1
        """The turn that is taken next, for which every match below holds its winner."""
        leaves: int = 1 << max(0, count - 1).bit_length()
        self._leaves = leaves
        self._winner: list[int] = [_NOBODY] * leaves + [*range(count)] + [_NOBODY] * (leaves - count)
        self._until = [_NEVER] * (2 * leaves)
        """For each match, the turn at which it or one below it has to be played again."""
        self.matches = 0
        """How many were played: what a turn costs."""
        for match in range(leaves - 1, 0, -1):
            self._play(match)

    def take(self) -> int:
        """The index whose turn it is. There must be one."""
        if self._until[1] <= self._now:
            self._replay(1)
        chosen = self._winner[1]
        self._base[chosen] -= self._total
        match = (self._leaves + chosen) >> 1
        while match:
            self._play(match)
            match >>= 1
        self._now += 1
        return chosen

    def credits(self) -> list[int]:
        """Where everybody stands now."""
        now = self._now - 1
        return [base + weight * now for base, weight in zip(self._base, self._weights, strict=True)]

    def _replay(self, match: int) -> None:
        """Play what has run out, from the bottom."""
        if match >= self._leaves:
            return
        for below in (2 * match, 2 * match + 1):
            if self._until[below] <= self._now:
                self._replay(below)
        self._play(match)

    def _play(self, match: int) -> None:
        """Say who leads, and until when nothing can have changed."""
        self.matches += 1
        winner, until = self._winner, self._until
        left, right = 2 * match, 2 * match + 1
        one, other = winner[left], winner[right]
        end = min(until[left], until[right])
        if other == _NOBODY:
            winner[match] = one
        else:
            lead = self._base[one] - self._base[other]
            gain = self._weights[one] - self._weights[other]
            lead += gain * self._now
            if lead >= 0:  # of equals the first
                winner[match] = one
                if gain < 0:
                    end = min(end, self._now + lead // -gain + 1)
            else:
                winner[match] = other
                if gain > 0:
                    end = min(end, self._now - lead // gain)
        until[match] = end
