"""What a balancer says of its routes' limits, splits and mirrors: rows of its status, and their metrics. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cdnlab.node.metrics import Family, MetricSpec, family

if TYPE_CHECKING:
    from lb.routes import Route, Routes

LIMITED = MetricSpec(
    "cdnlab_lb_rate_limit_requests_total",
    "counter",
    ("route", "verdict"),
    "Requests of a route with a rate limit: passed, refused (429), or untold to the other balancers.",
)
CLIENTS = MetricSpec(
    "cdnlab_lb_rate_limit_clients",
    "gauge",
    ("route",),
    "Clients that a rate limit remembers.",
)
FORGOTTEN = MetricSpec(
    "cdnlab_lb_rate_limit_forgotten_total",
    "counter",
    ("route",),
    "Clients that a rate limit forgot too early, because there were too many.",
)
SPLIT = MetricSpec(
    "cdnlab_lb_split_requests_total",
    "counter",
    ("route", "pool"),
    "Requests of a split route, by the pool whose turn it was.",
)
MIRRORED = MetricSpec(
    "cdnlab_lb_mirror_requests_total",
    "counter",
    ("route", "result"),
    "Requests of a mirrored route whose turn it was, by what became of the copy.",
)
FLYING = MetricSpec(
    "cdnlab_lb_mirror_in_flight", "gauge", ("route",), "Copies for a second pool that are under way."
)
TABLE = (LIMITED, CLIENTS, FORGOTTEN, SPLIT, MIRRORED, FLYING)


def families(routes: Routes) -> Iterator[Family]:
    """The table, filled; nothing where no route has any of it."""
    limits = [(row.name, row.limit) for row in routes.rows if row.limit is not None]
    splits = [(row.name, row.split) for row in routes.rows if row.split is not None]
    mirrors = [(row.name, row.mirror) for row in routes.rows if row.mirror is not None]
    yield family(
        LIMITED,
        [
            ((name, verdict), count)
            for name, limit in limits
            for verdict, count in (
                ("passed", limit.passed),
                ("refused", limit.refused),
                ("untold", limit.untold),
            )
        ],
    )
    yield family(CLIENTS, [((name,), len(limit.gcra)) for name, limit in limits])
    yield family(FORGOTTEN, [((name,), limit.gcra.forgotten) for name, limit in limits])
    yield family(
        SPLIT,
        [
            ((name, pool), count)
            for name, split in splits
            for pool, count in zip(split.pools, split.counts, strict=True)
        ],
    )
    yield family(
        MIRRORED,
        [((name, str(how)), count) for name, mirror in mirrors for how, count in mirror.counts.items()],
    )
    yield family(FLYING, [((name,), len(mirror.flying)) for name, mirror in mirrors])


def rows(routes: Routes) -> list[dict[str, Any]]:
    """The "traffic" of /status: one row for each route that has a limit, a split or a mirror."""
    return [_row(each) for each in routes.rows if each.special]


def _row(route: Route) -> dict[str, Any]:
    limit, split, mirror = route.limit, route.split, route.mirror
    row: dict[str, Any] = {"route": route.name, "pool": route.pool}
    if limit is not None:
        row["rate_limit"] = {
            "requests": limit.spec.requests,
            "burst": limit.spec.burst,
            "shared": limit.spec.shared,
            "passed": limit.passed,
            "refused": limit.refused,
            "clients": len(limit.gcra),
        }
    if split is not None:
        row["split"] = [
            {"pool": pool, "share": split.shares[pool], "requests": count}
            for pool, count in zip(split.pools, split.counts, strict=True)
        ]
    if mirror is not None:
        row["mirror"] = {
            "pool": mirror.pool,
            "share": mirror.share,
            "in_flight": len(mirror.flying),
            "copies": {str(how): count for how, count in mirror.counts.items() if count},
        }
    return row
