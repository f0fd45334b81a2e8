"""Routes as a table: the most exact host first, then the longest path; and no route is a 404."""

from __future__ import annotations

import pytest

from cdnlab.plan.topology import RouteSpec
from lb.routes import Routes
from tests.support.balancers import balancer, topology
from tests.support.peers import Origin

TABLE = Routes(
    [
        RouteSpec(host="a.test", pool="a"),
        RouteSpec(host="a.test", path="/api", pool="a-api"),
        RouteSpec(host="a.test", path="/api/v2", pool="a-v2"),
        RouteSpec(host="*.test", pool="wild"),
        RouteSpec(host="*.b.test", pool="wild-b"),
        RouteSpec(path="/static/", pool="static"),
        RouteSpec(host="b.test", path="/only", pool="b-only"),
    ]
)


@pytest.mark.parametrize(
    "host, path, pool",
    [
        (b"a.test", b"/", "a"),
        (b"a.test:8080", b"/x", "a"),
        (b"a.test", b"/api", "a-api"),
        (b"a.test", b"/api/", "a-api"),
        (b"a.test", b"/apis", "a"),
        (b"a.test", b"/api/v2/x", "a-v2"),
        (b"a.test", b"/api/v20", "a-api"),
        (b"c.test", b"/", "wild"),
        (b"x.b.test", b"/", "wild-b"),
        (b"x.y.b.test", b"/", "wild-b"),
        (b"b.test", b"/only/x", "b-only"),
        (b"b.test", b"/", "wild"),
        (b".test", b"/", None),
        (b"test", b"/", None),
        (b"other", b"/static/x", "static"),
        (b"other", b"/static", None),
        (b"other", b"/", None),
        (b"", b"/", None),
        (b"[::1]:80", b"/", None),
    ],
)
def test_the_table(host: bytes, path: bytes, pool: str | None) -> None:
    assert TABLE.pool(host, path) == pool


def test_one_route_for_all() -> None:
    assert Routes([RouteSpec(pool="p")]).pool(b"anything", b"*") == "p"
    assert Routes([RouteSpec(path="/x", pool="p")]).pool(b"anything", b"/") is None
    assert Routes([RouteSpec(host="*.a", pool="p")]).pool(b"b", b"/") is None


async def test_requests_follow_the_routes_and_blocks_are_not_mixed_up() -> None:
    """The same header block goes to two pools, which make different heads of it."""
    async with Origin() as one, Origin() as two:
        data = topology(one).model_dump(exclude_unset=True)
        second = topology(two).model_dump(exclude_unset=True)["pools"]["servers"]
        data["pools"]["second"] = {**second, "origin_host": "second.test"}
        routes = [{"path": "/two", "pool": "second"}, {"path": "/one", "pool": "servers"}]
        plan = topology(one, pools=data["pools"], routes=routes)
        async with balancer(plan=plan) as lb, await lb.client() as client:
            for _ in range(2):
                assert (await client.get(b"/one")).status == 200
                assert (await client.get(b"/two")).status == 200
                assert (await client.get(b"/three")).status == 404
            assert [request.one(b"host") for request in one.requests] == [b"example.test"] * 2
            assert [request.one(b"host") for request in two.requests] == [b"second.test"] * 2
            assert lb.results() == ["ok", "ok", "refused"] * 2


async def test_an_absolute_target_is_routed_by_its_authority() -> None:
    async with Origin() as origin:
        plan = topology(origin, routes=[{"host": "a.test", "pool": "servers"}])
        async with balancer(plan=plan) as lb, await lb.client() as client:
            assert (await client.get(b"/")).status == 404
            assert (await client.get(b"http://a.test/")).status == 200
            assert (await client.get(b"http://b.test/", b"X: y")).status == 404
            assert (await client.get(b"/")).status == 404
