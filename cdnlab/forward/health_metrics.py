"""What is counted of the health of pools: checks, ejections, slow starts, panic. The numbers lie in plain slots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from cdnlab.node.metrics import Family, MetricSpec, family
from cdnlab.pool.ejection import CAUSES

if TYPE_CHECKING:
    from cdnlab.forward.forwarder import Forwarder

CHECKS = MetricSpec(
    "cdnlab_pool_checks_total",
    "counter",
    ("pool", "backend", "result"),
    "Active checks by what came of them: `ok` or `failed`.",
)
EJECTED = MetricSpec(
    "cdnlab_pool_backend_ejected",
    "gauge",
    ("pool", "backend"),
    "1 while the backend is left out because requests to it failed.",
)
DRAINING = MetricSpec(
    "cdnlab_pool_backend_draining",
    "gauge",
    ("pool", "backend"),
    "1 while the operator wants nothing new sent to the backend: it is drained, or its weight is 0.",
)
EJECTIONS = MetricSpec(
    "cdnlab_pool_ejections_total",
    "counter",
    ("pool", "backend", "cause"),
    "Ejections: after so many failures in a row (`consecutive`), for a `success_rate` far below the others', or "
    "because it was `silent` even when asked whether it is there.",
)
REFUSED = MetricSpec(
    "cdnlab_pool_ejections_refused_total",
    "counter",
    ("pool",),
    "Ejections that were due, but too many backends were out already.",
)
SHARE = MetricSpec(
    "cdnlab_pool_backend_share",
    "gauge",
    ("pool", "backend"),
    "The weight that counts now: less than the backend's weight while it starts slowly.",
)
PANIC = MetricSpec(
    "cdnlab_pool_panic", "gauge", ("pool",), "1 while so few backends are usable that all are used."
)
TABLE = (CHECKS, EJECTED, EJECTIONS, REFUSED, DRAINING, SHARE, PANIC)


def health_families(forwarders: Iterable[Forwarder]) -> Iterator[Family]:
    """The families of these forwarders' pools."""
    forwarders = list(forwarders)
    rows = [
        ((each.pool.name, backend.name), backend) for each in forwarders for backend in each.pool.backends
    ]
    yield family(
        CHECKS,
        [
            ((*labels, result), count)
            for labels, backend in rows
            for result, count in (
                ("ok", backend.health.checks - backend.health.failed),
                ("failed", backend.health.failed),
            )
        ],
    )
    yield family(EJECTED, [(labels, int(backend.ejected_until > 0)) for labels, backend in rows])
    ejectors = [(each.pool, each.ejector) for each in forwarders if each.ejector is not None]
    yield family(
        EJECTIONS,
        [
            ((pool.name, backend.name, cause), ejector.causes.get((backend.name, cause), 0))
            for pool, ejector in ejectors
            for backend in pool.backends
            for cause in CAUSES
        ],
    )
    yield family(REFUSED, [((pool.name,), ejector.refused) for pool, ejector in ejectors])
    yield family(DRAINING, [(labels, int(not backend.wanted)) for labels, backend in rows])
    yield family(SHARE, [(labels, backend.share) for labels, backend in rows])
    yield family(PANIC, [((each.pool.name,), int(each.pool.panic)) for each in forwarders])
