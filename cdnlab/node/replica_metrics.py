"""What is counted of replicas; one label, the topic, since a node may follow several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from cdnlab.node.metrics import Family, MetricSpec, family, histogram

if TYPE_CHECKING:
    from cdnlab.node.replica import Replica

AGE = MetricSpec(
    "cdnlab_replica_age_seconds",
    "gauge",
    ("topic",),
    "Time since the store last confirmed what this node has read.",
)
UNSENT = MetricSpec(
    "cdnlab_replica_unsent", "gauge", ("topic",), "Changes that wait to be written to the store."
)
DROPPED = MetricSpec(
    "cdnlab_replica_dropped_total",
    "counter",
    ("topic", "reason"),
    "Changes not shared: too many waited for the store, its table was full, or another's could not be read.",
)
LOADS = MetricSpec(
    "cdnlab_replica_loads_total",
    "counter",
    ("topic",),
    "Times everything was loaded from the store: at the start, after missed news, and when it had lost its memory.",
)
SPREAD = MetricSpec(
    "cdnlab_replica_spread_seconds",
    "histogram",
    ("topic",),
    "Time from a change on another node until it is known here, one observation per batch.",
)
REPLICA_METRICS = (AGE, UNSENT, DROPPED, LOADS, SPREAD)


def families(replicas: Iterable[Replica]) -> Iterator[Family]:
    """The rows of REPLICA_METRICS for all topics of a node: a family may be told only once."""
    each = tuple(replicas)
    if not each:
        return
    yield family(AGE, [((one.topic,), one.age) for one in each if one.age != float("inf")])
    yield family(UNSENT, [((one.topic,), one.unsent) for one in each])
    yield family(
        DROPPED,
        [
            ((one.topic, reason), count)
            for one in each
            for reason, count in (
                ("outbox", one.overflowed),
                ("full", one.full),
                ("unreadable", one.unreadable),
            )
        ],
    )
    yield family(LOADS, [((one.topic,), one.loads) for one in each])
    yield histogram(SPREAD, [((one.topic,), one.spread) for one in each])
