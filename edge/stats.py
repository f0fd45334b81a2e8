"""The edge's metrics, declared in one table, and how they are filled when somebody scrapes.

The counting is done where things happen, in plain integers.
"""

from __future__ import annotations

from collections.abc import Iterator

from cdnlab.node.metrics import Family, MetricSpec, family
from edge import parent_stats, upkeep
from edge.cache import Cache
from edge.coding import stats as coding
from edge.disk import stats as disk
from edge.purge import stats as purges

DURATION = MetricSpec(
    "cdnlab_edge_request_duration_seconds",
    "histogram",
    ("result", "client_place"),
    "From the end of a request's head to the end of its response.",
)
REQUESTS = MetricSpec(
    "cdnlab_edge_requests_total", "counter", ("result", "client_place"), "Requests answered, by how."
)
BYTES = MetricSpec(
    "cdnlab_edge_response_bytes_total", "counter", ("result", "client_place"), "Body bytes sent to clients."
)
FETCHES = MetricSpec(
    "cdnlab_edge_origin_fetches_total",
    "counter",
    ("answer",),
    "Requests to the origin, by its answer: 2xx, 3xx, 304, 4xx, 5xx or none.",
)
FETCHED = MetricSpec(
    "cdnlab_edge_fetched_bytes_total", "counter", (), "Body bytes that came from the origin."
)
NOT_STORED = MetricSpec(
    "cdnlab_edge_not_stored_total",
    "counter",
    ("reason",),
    "Answers of the origin that were not stored, by why.",
)
NOT_REUSED = MetricSpec(
    "cdnlab_edge_not_reused_total",
    "counter",
    ("reason",),
    "Requests for which the origin was asked, by why what is stored did not do.",
)
STALE = MetricSpec(
    "cdnlab_edge_stale_total", "counter", ("reason",), "Stale responses that were sent all the same, by why."
)
BACKGROUND = MetricSpec(
    "cdnlab_edge_background_fetches", "gauge", (), "Fetches under way that renew what is stored, for nobody."
)
WARNINGS = MetricSpec(
    "cdnlab_edge_warnings_total",
    "counter",
    ("reason",),
    "Responses that were stored although a cookie suggests that it was an accident, by how.",
)
OBJECTS = MetricSpec("cdnlab_edge_stored_objects", "gauge", (), "Objects stored; each variant is one.")
STORED = MetricSpec(
    "cdnlab_edge_stored_bytes", "gauge", (), "Bytes that stored objects take, heads and keys included."
)
ARRIVING = MetricSpec(
    "cdnlab_edge_arriving_bytes", "gauge", (), "Bytes kept free for bodies that are arriving."
)
CAPACITY = MetricSpec("cdnlab_edge_capacity_bytes", "gauge", (), "Bytes that may be stored.")
EVICTIONS = MetricSpec(
    "cdnlab_edge_evictions_total", "counter", (), "Objects that had to go so that others had room."
)
FLIGHTS = MetricSpec("cdnlab_edge_fetches", "gauge", (), "Requests to the origin under way.")

TABLE = (
    DURATION, REQUESTS, BYTES, FETCHES, FETCHED, NOT_STORED, NOT_REUSED, STALE, BACKGROUND, OBJECTS, STORED,
    ARRIVING, CAPACITY, EVICTIONS, FLIGHTS, WARNINGS, *coding.TABLE, *disk.TABLE, *parent_stats.TABLE,
    *purges.TABLE, *upkeep.TABLE,
)  # fmt: skip

_ANSWERS = {100: "1xx", 200: "2xx", 300: "3xx", 304: "304", 400: "4xx", 500: "5xx", 0: "none"}


def families(cache: Cache) -> Iterator[Family]:
    """The table, filled."""
    storage = cache.storage
    yield from cache.tallies.families(DURATION, REQUESTS, BYTES)
    yield family(FETCHES, [((_ANSWERS[kind],), count) for kind, count in cache.fetches.items()])
    yield family(FETCHED, [((), cache.fetched_bytes)])
    yield family(NOT_STORED, [((str(reason),), count) for reason, count in cache.not_stored.items()])
    yield family(NOT_REUSED, [((str(reason),), count) for reason, count in cache.not_reused.items()])
    yield family(STALE, [((str(reason),), count) for reason, count in cache.replies.stale_sent.items()])
    yield family(BACKGROUND, [((), cache.in_background)])
    yield family(WARNINGS, [((str(warning),), count) for warning, count in cache.warnings.items()])
    yield family(OBJECTS, [((), storage.objects)])
    yield family(STORED, [((), storage.used)])
    yield family(ARRIVING, [((), storage.reserved)])
    yield family(CAPACITY, [((), storage.capacity)])
    yield family(EVICTIONS, [((), storage.evictions)])
    yield family(FLIGHTS, [((), len(cache.flights))])
    yield from coding.families(cache.coder)
    yield from disk.families(cache.shelf)
    yield from parent_stats.families(cache.parents)
