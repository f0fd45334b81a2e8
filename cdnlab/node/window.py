"""The figures of the last ten seconds: requests per second, hit ratio, median and 99th percentile.  Pure.

The tallies only ever grow; a sample of their sums each second, and the difference of two samples, is all that
is needed. It costs nothing per request.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from cdnlab.node.metrics import BOUNDS, Tallies, quantile

SPAN = 10
"""Seconds of the window, and samples in it: one each second."""


class Totals(NamedTuple):
    """The sums of all tallies at `now`."""

    now: float
    requests: int
    errors: int
    hits: int
    buckets: tuple[int, ...]


def totals(tallies: Tallies, now: float) -> Totals:
    """Add the tallies up."""
    lists = list(tallies.by_place.values())
    return Totals(
        now,
        sum(tally.count for tallied in lists for tally in tallied),
        tallies.failed + sum(tallied[index].count for tallied in lists for index in tallies.errors),
        sum(tallied[index].count for tallied in lists for index in tallies.hits),
        tuple(map(sum, zip(*(tally.buckets for tallied in lists for tally in tallied), strict=True))),
    )


class Window:
    """Samples of one node's tallies."""

    def __init__(self, now: float) -> None:
        self._samples = deque([Totals(now, 0, 0, 0, (0,) * (len(BOUNDS) + 1))], maxlen=SPAN + 1)

    def sample(self, tallies: Tallies, now: float) -> None:
        """To be called each second."""
        self._samples.append(totals(tallies, now))

    def figures(self, tallies: Tallies, now: float) -> dict[str, Any]:
        """The "requests" and "latency" of /status; ratios and latencies are None without requests."""
        first, last = self._samples[0], totals(tallies, now)
        requests = last.requests - first.requests
        span = max(last.now - first.now, 1.0)
        buckets = [late - early for early, late in zip(first.buckets, last.buckets, strict=True)]
        hits = last.hits - first.hits
        return {
            "requests": {
                "total": last.requests,
                "per_second": round(requests / span, 3),
                "errors": last.errors,
                "errors_per_second": round((last.errors - first.errors) / span, 3),
                "hit_ratio": round(hits / requests, 4) if tallies.hits and requests else None,
            },
            "latency": {"p50": quantile(buckets, 0.5), "p99": quantile(buckets, 0.99)},
        }
