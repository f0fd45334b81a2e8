"""Power of two choices over latency: of two backends drawn at random, the one that costs less.

Theory. Mitzenmacher (The Power of Two Choices in Randomized Load Balancing, 2001): the better of two random ones is
nearly as good as the best of all, since two are enough to avoid the worst; and unlike the best of all it does not send
everybody to the same one at once. Finagle and Linkerd compare costs, not counts:

    cost = latency x (exchanges in flight + 1) / weight

Latency is a peak-sensitive exponentially weighted mean of the time to the response's head ("peak EWMA"). A response
that took longer than the mean sets it, at once: a backend that has just become slow is avoided now. Shorter ones bring
it down over about ten seconds. While a backend is not asked its mean decays just so, and after a while it is tried
again. A new one costs nothing while idle, and more than any other while its first answer is awaited, so it gets one
request and not a flood.

A choice must not read the clock. So the time is that of the newest observation in the pool, and a mean decays as others
are observed. Failures that come fast look like speed: to notice those is the ejector's task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp
from random import Random

from cdnlab.pool.algorithms.registry import Plain, Settings, register
from cdnlab.pool.backend import Backend
from cdnlab.pool.reasons import Reason

DECAY = 10.0
"""Seconds after which an old mean counts for 1/e (Finagle and Linkerd: 10 s)."""

PENALTY = 1e9
"""Seconds: the latency of whom nobody has heard of while it has something to answer."""


@register("power_of_two")
class PowerOfTwo(Plain):
    """The cheaper of two that are drawn; O(1)."""

    __slots__ = ("backends", "now", "rng")
    timed = True

    def __init__(self, settings: Settings) -> None:
        """Begin without backends; the settings hold nothing that matters here."""
        self.backends: tuple[Backend, ...] = ()
        self.now = 0.0
        self.rng = Random()

    def rebuild(self, backends: Sequence[Backend], members: Sequence[Backend] | None = None) -> None:
        """Take those that are usable. One that comes back is as good as new: what it last took is no measure."""
        for backend in set(backends).difference(self.backends):
            backend.ewma = 0.0
        self.backends = tuple(backends)

    def order(self, place: str, key: bytes = b"") -> Iterator[Backend]:
        """Yield the cheaper of two; then, if asked, the others by cost."""
        backends = self.backends
        count = len(backends)
        if count < 2:
            return iter(backends)
        draw = self.rng.random
        one, other = int(draw() * count), int(draw() * (count - 1))
        if other >= one:
            other += 1
        first, second = backends[one], backends[other]
        return self._from(second if self.cost(second) < self.cost(first) else first)

    def cost(self, backend: Backend) -> float:
        """What one more exchange there would cost: seconds, for a weight of 1."""
        latency = backend.ewma
        if not latency:
            return backend.live * PENALTY / backend.share
        return latency * exp((backend.ewma_at - self.now) / DECAY) * (backend.live + 1) / backend.share

    def observed(self, backend: Backend, seconds: float, now: float) -> None:
        """Take a response's time into the mean: at once if it is a peak."""
        if now > self.now:
            self.now = now
        kept = exp((backend.ewma_at - now) / DECAY) if now > backend.ewma_at else 1.0
        decayed = backend.ewma * kept
        if seconds >= decayed or not backend.ewma:
            backend.ewma = seconds
        else:
            backend.ewma = decayed + seconds * (1.0 - kept)
        backend.ewma_at = max(backend.ewma_at, now)

    def why_not(self, other: Backend, chosen: Backend, key: bytes) -> Reason:
        """Chance or cost; which of them is known only when it happens."""
        return Reason.COSTLIER

    def _from(self, first: Backend) -> Iterator[Backend]:
        yield first
        # a share may have become 0 meanwhile, if another algorithm has taken this one's place
        yield from sorted((each for each in self.backends if each is not first and each.share), key=self.cost)
