"""How many retries are too many: a share of the requests seen lately, and a small allowance for quiet times.

Theory (Finagle's RetryBudget; Linkerd ships the same numbers). When a backend falters, retries multiply the
load on those that are left. So over the last `window` seconds retries may not exceed `share` of the
requests plus `minimum` a second. Time is counted in whole seconds in a ring of slots: O(1), and no timer.

Hedged attempts are retries made early, and count as such.

A request costs its budget one addition: it is counted in `begun`, which whoever keeps the budget has put into its
second a few times a second (`roll`). To look at the time once a request would cost four times that.
"""

from __future__ import annotations


class RetryBudget:
    """Retries allowed: share x requests + minimum x window, over the last `window` seconds."""

    __slots__ = (
        "begun",
        "minimum",
        "refused",
        "requests",
        "retries",
        "second",
        "share",
        "sum_requests",
        "sum_retries",
    )

    def __init__(self, share: float = 0.2, minimum: float = 10.0, window: int = 10) -> None:
        """`share` of requests (0 to 1), `minimum` a second, `window` in whole seconds, at least 1."""
        if share < 0 or minimum < 0 or window < 1:
            raise ValueError("share and minimum must not be negative, and the window at least 1 s")
        self.share = share
        self.minimum = minimum
        self.requests = [0] * window
        self.retries = [0] * window
        self.sum_requests = 0
        self.sum_retries = 0
        self.second = -1
        self.begun = 0
        """Requests since the last `roll`; whoever sends one adds it."""
        self.refused = 0

    def request(self, now: float) -> None:
        """Count one request (not its retries)."""
        self.roll(now)
        self.begun += 1

    def roll(self, now: float) -> None:
        """Put what was begun since the last call into its second, and forget the seconds that went by."""
        second = int(now)
        if self.second < 0:
            self.second = second
        begun, self.begun = self.begun, 0
        self.requests[self.second % len(self.requests)] += begun
        self.sum_requests += begun
        if second != self.second:
            self._advance(second)

    def allow(self, now: float) -> bool:
        """Say whether one more retry is allowed now, and count it if so."""
        self.roll(now)
        if self.sum_retries + 1 > self.share * self.sum_requests + self.minimum * len(self.retries):
            self.refused += 1
            return False
        self.retries[self.second % len(self.retries)] += 1
        self.sum_retries += 1
        return True

    def refund(self) -> None:
        """What was allowed last was not done after all."""
        slot = self.second % len(self.retries)
        taken = min(1, self.retries[slot])
        self.retries[slot] -= taken
        self.sum_retries -= taken

    def _advance(self, second: int) -> None:
        """Empty the slots of the seconds that went by."""
        window = len(self.requests)
        for passed in range(max(self.second + 1, second - window + 1), second + 1):
            slot = passed % window
            self.sum_requests -= self.requests[slot]
            self.sum_retries -= self.retries[slot]
            self.requests[slot] = self.retries[slot] = 0
        self.second = second
