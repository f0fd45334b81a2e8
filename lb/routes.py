"""Which pool a request goes to, and what its route says of it beside: limit, split, mirror. Pure.

Decides by host and path, as cdnlab/forward/routing.py reads routes; it must not know backends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cdnlab.forward.routing import RouteTable
from cdnlab.plan.routes import RouteSpec
from lb.mirror import Mirror
from lb.rate_limit import RateLimit
from lb.split import Split


class Route:
    """One row, with what it has counted."""

    __slots__ = ("limit", "mirror", "name", "pool", "spec", "special", "split")

    def __init__(self, spec: RouteSpec, before: Route | None = None) -> None:
        """`before`: the same route under the settings until now; what has not changed goes on counting."""
        self.spec: RouteSpec = spec
        self.name = f"{spec.host or ''}{spec.path}"
        self.pool = spec.pool
        self.limit: RateLimit | None = None
        self.split: Split | None = None
        self.mirror: Mirror | None = None
        had = before or self
        if spec.rate_limit is not None:
            same = had.spec.rate_limit == spec.rate_limit
            self.limit = (had.limit if same else None) or RateLimit(self.name, spec.rate_limit)
        if spec.split:
            same = (had.pool, had.spec.split) == (spec.pool, spec.split)
            self.split = (had.split if same else None) or Split(spec.pool, spec.split)
        if spec.mirror is not None:
            same = had.spec.mirror == spec.mirror
            self.mirror = (had.mirror if same else None) or Mirror(spec.mirror.pool, spec.mirror.share)
        self.special = bool(self.limit or self.split or self.mirror)
        """Whether each of its requests has to be looked at, and not only the first of a connection."""


class Routes:
    """Routes, ready to be looked up."""

    __slots__ = ("_table", "only", "rows")

    def __init__(self, specs: Sequence[RouteSpec], before: Routes | None = None) -> None:
        """`before`: those that held until now."""
        known: dict[tuple[str | None, str], Route] = {
            (row.spec.host, row.spec.path): row for row in (before.rows if before else ())
        }
        self.rows: list[Route] = [Route(spec, known.get((spec.host, spec.path))) for spec in specs]
        self._table = RouteTable((row.spec.host, row.spec.path, row) for row in self.rows)
        only = self._table.only
        self.only = only.pool if only is not None and not only.special else None
        """The pool of every request, where one route takes all and asks nothing more."""

    def route(self, host: bytes, path: bytes) -> Route | None:
        """The route for a lower-case `host` (a port is ignored) and a canonical `path`; None if there is none."""
        return self._table.find(host, path)

    def pool(self, host: bytes, path: bytes) -> str | None:
        """The pool of that route; where it is split, the one that has the rest."""
        route = self._table.find(host, path)
        return route.pool if route is not None else None

    def limits(self) -> Iterator[RateLimit]:
        """The limits that there are."""
        return (row.limit for row in self.rows if row.limit is not None)

    def mirrors(self) -> Iterator[Mirror]:
        """The mirrors that there are."""
        return (row.mirror for row in self.rows if row.mirror is not None)


def route_pools(specs: Iterable[RouteSpec]) -> set[str]:
    """Every pool that some request can be sent to."""
    found: set[str] = set()
    for spec in specs:
        found |= {spec.pool, *spec.split}
        if spec.mirror is not None:
            found.add(spec.mirror.pool)
    return found
