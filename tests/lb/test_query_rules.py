"""What a route's query rule leaves is what servers get, on every way that a request line can take."""

from __future__ import annotations

from typing import Any

from cdnlab.forward.explain import mark, parse_hops
from cdnlab.net.clock import wall
from tests.support.balancers import balancer, topology
from tests.support.peers import Origin


def targets(origin: Origin) -> list[bytes]:
    return [request.head.split(b" ")[1] for request in origin.requests]


async def test_servers_get_what_the_rule_leaves() -> None:
    """Also on a connection whose blocks repeat, for any method, and for an absolute target by its own host."""
    async with Origin() as origin:
        routes: list[dict[str, Any]] = [
            {"pool": "servers", "query": {"sort": True, "drop": ["utm_*"]}},
            {"pool": "servers", "path": "/raw"},
            {"pool": "servers", "host": "none.test", "query": {"keep": "none"}},
        ]
        async with balancer(plan=topology(origin, routes=routes)) as lb, await lb.client() as client:
            for target in (
                b"/?b=2&a=1&utm_id=3",
                b"/?b=2&a=1",
                b"/?a=1&b=2",
                b"/?utm_id",
                b"/raw?b&a",
                b"/?c&b",
            ):
                assert (await client.get(target)).status == 200
            assert (await client.get(b"http://none.test/x?y")).status == 200
            assert (await client.get(b"/x?y")).status == 200
            assert targets(origin) == [
                b"/?a=1&b=2", b"/?a=1&b=2", b"/?a=1&b=2", b"/", b"/raw?b&a", b"/?b&c", b"/x", b"/x?y"
            ]  # fmt: skip
            assert [row["target"] for row in lb.rows()][:2] == [b"/?b=2&a=1&utm_id=3", b"/?b=2&a=1"]


async def test_the_only_route_has_a_rule() -> None:
    """Where one route takes all, what is remembered of a connection is not the target."""
    async with Origin() as origin:
        routes = [{"pool": "servers", "query": {"drop": ["b"]}}]
        async with balancer(plan=topology(origin, routes=routes)) as lb, await lb.client() as client:
            for target in (b"/?a&b", b"/?b", b"/?c&b&a", b"/", b"/?"):
                assert (await client.get(target)).status == 200
            assert targets(origin) == [b"/?a", b"/", b"/?c&a", b"/", b"/"]


async def test_an_explanation_is_asked_for_what_is_sent_on() -> None:
    """The mark is for one target; a node of ours behind gets it for the one that it receives."""
    async with Origin() as origin:
        routes = [{"pool": "servers", "query": {"keep": "none"}}]
        plan = topology(origin, routes=routes)
        data = plan.model_dump(exclude_unset=True)
        data["nodes"]["edge"] = {
            "tier": "edge",
            "address": "127.0.0.1",
            "data_port": origin.port,
            "place": "icn",
        }
        data["nodes"]["edge"]["admin_address"] = "off"
        data["edge"] = {"pool": "servers"}
        async with balancer(plan=type(plan).build(data)) as lb, await lb.client() as client:
            key, expiry = lb.node.secrets.explain_key, int(wall()) + 60
            value = mark(key, b"GET", b"/x?y", expiry)
            answer = await client.get(b"/x?y", b"Cdnlab-Explain: " + value)
            assert [hop.node for hop in parse_hops(answer.one(b"cdnlab-hop"))] == ["lb"]
            (request,) = origin.requests
            assert request.head.startswith(b"GET /x HTTP/1.1\r\n")
            assert request.one(b"cdnlab-explain") == mark(key, b"GET", b"/x", expiry)
