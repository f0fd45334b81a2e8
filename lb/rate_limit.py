"""How many requests of one client a route lets through, and what whoever sends more is told. Pure.

Decides by GCRA (cdnlab/pool/gcra.py) for each route that has a limit and each client: its address, of IPv6 the first
64 bits. It must not know the store; where a limit is shared, `lb/rate_share.py` takes what was let through from `spent`
and brings back what others have.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING

from cdnlab.pool.gcra import Gcra

if TYPE_CHECKING:
    from cdnlab.plan.routes import RateLimitSpec

MOST_SPENT = 10_000
"""Clients that may wait to be told of to the others; one more is counted here alone."""

OTHERS = 4.0
"""How much longer a client is remembered where the limit is shared: what several balancers let through at once makes
its time lie further ahead than one of them would."""


def _nobody() -> None:
    pass


class RateLimit:
    """One route's limit."""

    __slots__ = ("gcra", "name", "passed", "policy", "refused", "spec", "spent", "untold", "wake")

    def __init__(self, name: str, spec: RateLimitSpec) -> None:
        """`name` is the route, as people know it."""
        self.name = name
        self.spec = spec
        self.gcra = Gcra(spec.requests, spec.burst, longer=OTHERS if spec.shared else 1.0)
        self.passed = 0
        self.refused = 0
        self.spent: dict[bytes, int] | None = {} if spec.shared else None
        """Requests let through since the others were last told, by client; None where nobody is."""
        self.wake: Callable[[], None] = _nobody
        """Called when there is something to tell."""
        self.untold = 0
        """Requests that were never told to the others: the store was away, or there were too many clients."""
        window = max(1, ceil(spec.burst / spec.requests))
        self.policy = b'RateLimit-Policy: "client";q=%d;w=%d\r\n' % (spec.burst, window)

    def wait(self, client: bytes, now: float) -> float:
        """0.0 if one more request of `client` may pass, and count it; else the seconds after which it might."""
        seconds = self.gcra.wait(client, now)
        if seconds:
            self.refused += 1
            return seconds
        self.passed += 1
        spent = self.spent
        if spent is not None:
            if not spent:
                self.wake()
            if client in spent or len(spent) < MOST_SPENT:
                spent[client] = spent.get(client, 0) + 1
            else:
                self.untold += 1
        return 0.0

    def fields(self, seconds: float) -> bytes:
        """Field lines for a 429: Retry-After (RFC 9110 §10.2.3) in whole seconds, never too few; and the same in the
        terms of the IETF draft on RateLimit fields. `q` requests in `w` seconds is the burst and the time it takes to
        have all of it again."""
        after = max(1, ceil(seconds))
        return b'Retry-After: %d\r\n%bRateLimit: "client";r=0;t=%d\r\n' % (after, self.policy, after)

    def sentence(self, seconds: float) -> str:
        """What a person is told."""
        spec = self.spec
        return (
            f"this client may send {spec.requests:g} requests a second here, {spec.burst} at once; "
            f"the next in {max(1, ceil(seconds))} s"
        )
