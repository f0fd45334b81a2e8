"""What is asked of other edges, in metrics: declared in one table, and filled when somebody scrapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdnlab.node.metrics import Family, MetricSpec, family

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.parents import Parents

FETCHES = MetricSpec(
    "cdnlab_edge_parent_fetches_total",
    "counter",
    ("parent", "answer"),
    "Requests to another edge, the key's owner or the shield, by its answer: 2xx, 3xx, 304, 4xx, 5xx, or none.",
)
BYTES = MetricSpec(
    "cdnlab_edge_parent_bytes_total", "counter", ("parent",), "Body bytes that came from another edge."
)
BYPASSED = MetricSpec(
    "cdnlab_edge_shield_bypassed_total",
    "counter",
    (),
    "Requests that went past the shield because it was known to be down.",
)
TABLE = (FETCHES, BYTES, BYPASSED)

_ANSWERS = {100: "1xx", 200: "2xx", 300: "3xx", 304: "304", 400: "4xx", 500: "5xx", 0: "none"}


def families(parents: Parents | None) -> Iterator[Family]:
    """The table, filled; nothing for a cache that knows the origin only."""
    if parents is None:
        return
    rows = [
        ((str(parent), _ANSWERS[kind]), count)
        for parent, answers in parents.fetches.items()
        for kind, count in answers.items()
    ]
    yield family(FETCHES, rows)
    yield family(BYTES, [((str(parent),), size) for parent, size in parents.bytes.items()])
    yield family(BYPASSED, [((), parents.skipped)])
