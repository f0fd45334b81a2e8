"""What `cdnlab status` says of limits, splits and mirrors."""

from __future__ import annotations

from cdnlab.lab import traffic_view
from cdnlab.plan.routes import MirrorSpec, RateLimitSpec
from cdnlab.plan.topology import RouteSpec
from lb import traffic
from lb.mirror import Copied
from lb.routes import Routes
from tests.lab.test_status import drawn

ROUTES = Routes(
    [
        RouteSpec(path="/plain", pool="a"),
        RouteSpec(
            host="shop.example",
            path="/api",
            pool="a",
            rate_limit=RateLimitSpec(requests=0.5, burst=2, shared=True),
            split={"b": 0.25},
            mirror=MirrorSpec(pool="c", share=0.1),
        ),
    ]
)


def test_a_line_for_each_thing_that_a_route_does() -> None:
    row = ROUTES.rows[1]
    assert row.limit
    assert row.split
    assert row.mirror
    for _ in range(3):
        row.limit.wait(b"client", 1.0)
    for _ in range(4):
        row.split.take()
    row.mirror.skip(Copied.ANSWERED)
    node = {"name": "lb-a", "traffic": traffic.rows(ROUTES)}
    shown = drawn({"nodes": [node, {**node, "name": "lb-b", "running": False}]}, 160).partition("Routes")[2]
    assert "at most 0.5/s for a client, 2 at once, counted by all balancers together" in shown
    assert "2 passed, 1 refused, clients known: 1" in shown
    assert "split: 0.75 to a (3 requests), 0.25 to b (1 requests)" in shown
    assert "copies 0.1 to c: 1 answered, 0 under way" in shown
    assert shown.count("lb-a") == 3
    assert "lb-b" not in shown
    assert "/plain" not in shown


def test_nothing_where_no_route_does_anything() -> None:
    assert traffic_view.traffic([{"name": "lb-a", "traffic": []}, {"name": "edge-icn"}]) == []
