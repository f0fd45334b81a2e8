"""The metrics of purges: one table, and how it is filled. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from cdnlab.node.metrics import Family, Histogram, MetricSpec, family
from edge.purge.position import State
from edge.purge.purges import Purges

PURGES = MetricSpec(
    "cdnlab_edge_purges_total",
    "counter",
    ("kind", "mode"),
    "Purges applied here by what they name (url, tag, prefix, group, all) and mode (hard, soft).",
)
LAG = MetricSpec(
    "cdnlab_edge_purge_lag_seconds",
    "histogram",
    (),
    "From the acceptance of a purge, at whichever edge, to its application here.",
)
STATE = MetricSpec(
    "cdnlab_edge_purge_state",
    "gauge",
    ("state",),
    "1 for what this edge's word about purges is worth: alone, confirmed, behind or blind.",
)
RULES = MetricSpec("cdnlab_edge_purge_rules", "gauge", (), "Purges that stored objects are compared with.")
PURGED = MetricSpec(
    "cdnlab_edge_purged_objects_total",
    "counter",
    ("verdict",),
    "Stored objects that a purge was found to concern: gone, or soft (to be revalidated).",
)
LOST = MetricSpec(
    "cdnlab_edge_purge_losses_total",
    "counter",
    ("reason",),
    "Times at which purges were, or may have been, missed, so that everything stored was to be revalidated.",
)

TABLE = (PURGES, LAG, STATE, RULES, PURGED, LOST)


def families(purges: Purges, now: float, lags: Histogram) -> Iterator[Family]:
    """The table, filled."""
    state = purges.state(now)
    yield family(PURGES, [(labels, count) for labels, count in purges.by_kind.items()])
    yield lags.family()
    yield family(STATE, [((each.value,), int(each is state)) for each in State])
    yield family(RULES, [((), purges.rules.count)])
    yield family(PURGED, [((verdict.name.lower(),), count) for verdict, count in purges.verdicts.items()])
    yield family(LOST, [((lost.value,), count) for lost, count in purges.lost.items()])
