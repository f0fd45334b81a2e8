"""Whose a request is: one answer at the balancer and at every edge, by the function and by real requests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cdnlab.forward.key import key_prefix, key_rules
from cdnlab.forward.owner import edge_key, owner, sharing
from cdnlab.node.node import Node
from cdnlab.plan.routes import RouteSpec
from cdnlab.pool.backend import Backend
from lb.app import Balancer
from tests.edge.origin import Talk
from tests.support.edges import Network, network

PREFIX = key_prefix(b"http", b"shop.example:8080")
SECRET = bytes(range(32))


def rules(**query: Any) -> Any:
    made = key_rules([RouteSpec.model_validate({"pool": "edges", "query": query})])
    assert made is not None
    return made.host(b"shop.example:8080")


@pytest.mark.parametrize(
    "target,rule,key",
    [
        (b"/", None, b"http://shop.example:8080/"),
        (b"/a?b=1&a=2", None, b"http://shop.example:8080/a?b=1&a=2"),
        (b"/a?b=1&a=2", rules(sort=True), b"http://shop.example:8080/a?a=2&b=1"),
        (b"/a?b=1&utm_x=2", rules(drop=["utm_*"]), b"http://shop.example:8080/a?b=1"),
        (b"/a?utm_x=2", rules(drop=["utm_*"]), b"http://shop.example:8080/a"),
    ],
)
def test_the_key(target: bytes, rule: Any, key: bytes) -> None:
    assert edge_key(PREFIX, target, rule) == key


def test_the_owner_is_the_first_usable_one_on_the_ring() -> None:
    backends = [Backend(f"edge-icn-{number}", "h", 80) for number in (1, 2, 3)]
    pool = sharing("edge.share", backends, SECRET)
    key = b"http://shop.example/"
    found = []
    while (first := owner(pool, key)) is not None:
        found.append(first.name)
        first.draining = True
        pool.usable_changed()
    assert found == [
        "edge-icn-2",
        "edge-icn-3",
        "edge-icn-1",
    ]  # a golden value: nodes of all versions must agree


# -- a real balancer before real edges -----------------------------------------------------------------------------


async def page(talk: Talk) -> None:
    await talk.answer(200, "Cache-Control: max-age=60", body=talk.target.encode())


@asynccontextmanager
async def balanced(places: dict[str, str], **sections: Any) -> AsyncIterator[tuple[Network, Balancer, int]]:
    health = {"kind": "alive", "interval": 0.05, "timeout": 10, "rise": 1, "fall": 2}
    edges = {"tier": "edge", "algorithm": "nearest", "health": health}
    async with network(places, page, pools={"edges": edges}, **sections) as net:
        app = Balancer(Node(net.topology, "lb", secrets=net.secrets))
        await app.start()
        try:
            yield net, app, app.vips[0]._doors[0][0].getsockname()[1]
        finally:
            await app.stop()


async def ask(net: Network, port: int, target: str, host: str) -> bytes:
    reader, writer = await asyncio.open_connection(f"{net.base}.9", port, local_addr=("127.0.0.1", 0))
    writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 15)
    writer.close()
    return answer


REQUESTS = [
    (f"{target}{number}", host)
    for number in range(8)
    for host in ("shop.example", "SHOP.example:81", "icn.localhost", "127.0.0.1")
    for target in ("/a", "/%61", "/./b/../a?z=1&utm_s=2&y=", "http://absolute.example/x?b=1&a=")
]


@pytest.mark.parametrize("query", [{}, {"sort": True, "drop": ["utm_*"]}])
async def test_a_balancer_sends_each_request_to_the_edge_that_takes_it_for_its_own(query: Any) -> None:
    places = {f"icn-{number}": "icn" for number in range(1, 5)}
    sections = {
        "routes": [{"pool": "edges", "query": query}],
        "clients": {"may_choose_place": True},
    }
    async with balanced(places, **sections) as (net, app, port):
        for target, host in REQUESTS:
            assert b" 200 " in (await ask(net, port, target, host))[:20], (target, host)
        for name in places:
            passed_on = net.metric(name, 'cdnlab_edge_parent_fetches_total{parent="owner",answer="2xx"}')
            assert passed_on == 0, f"{name} was given what is another's"
        chosen = Counter(row[8] for row in app.node.ring.entries)
        assert set(chosen) == set(places)
        assert sum(net.stored(name) for name in places) == len(
            {talk.target + talk.fields["host"] for talk in net.origin.talks}
        )


async def test_the_keys_of_an_edge_that_goes_are_found_at_the_others_and_come_back() -> None:
    places = {"icn-1": "icn", "icn-2": "icn", "icn-3": "icn"}
    async with balanced(places) as (net, app, port):
        targets = [f"/{number}" for number in range(30)]

        async def who() -> dict[str, str]:
            found = {}
            for target in targets:
                await ask(net, port, target, "shop.example")
                found[target] = app.node.ring.entries[-1][8]
            return found

        before = await who()
        await net.stop("icn-2")
        without = await who()
        assert all(without[t] == name for t, name in before.items() if name != "icn-2")
        assert "icn-2" not in without.values()
