"""Which fields travel, which are ours, and whose word about a client is believed."""

from __future__ import annotations

from typing import Any

import pytest

from cdnlab.forward.explain import mark, parse_hops
from cdnlab.net.clock import wall
from lb.trace import good_request_id, good_traceparent
from tests.support.balancers import NAME, balancer, topology
from tests.support.peers import Message, Origin, saying

STRANGER, PROXY = "127.9.9.9", "127.9.9.1"

SPOOFED = (
    b"X-Forwarded-For: 6.6.6.6",
    b"x-forwarded-for: 7.7.7.7",
    b"X-Forwarded-Host: evil",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Port: 1",
    b"Forwarded: for=6.6.6.6",
    b"X-Real-IP: 6.6.6.6",
    b"X-Original-URL: /admin",
    b"X-Rewrite-URL: /admin",
    b"X-HTTP-Method-Override: DELETE",
    b"Cdnlab-Place: gru",
    b"CDNLAB-PLACE: fra",
    b"Cdnlab-From: gru",
    b"Cdnlab-Explain: 1.abc",
    b"Cdnlab-Hop: x",
    b"CDN-Loop: other; a=b",
)


async def asked(*lines: bytes, source: str = STRANGER, target: bytes = b"/", **sections: Any) -> Message:
    """What an origin hears of a request with these lines from this client."""
    async with Origin() as origin, balancer(origin, **sections) as lb, await lb.client(source) as client:
        response = await client.get(target, *lines)
        assert response.status == 200
        return origin.requests[0]


async def test_what_a_stranger_claims_is_replaced() -> None:
    request = await asked(*SPOOFED)
    assert request.all(b"x-forwarded-for") == [STRANGER.encode()]
    assert request.all(b"x-forwarded-proto") == [b"http"]
    for name in (b"x-forwarded-host", b"x-forwarded-port", b"forwarded", b"x-real-ip", b"x-original-url"):
        assert request.all(name) == [], name
    for name in (
        b"x-rewrite-url",
        b"x-http-method-override",
        b"cdnlab-from",
        b"cdnlab-explain",
        b"cdnlab-hop",
    ):
        assert request.all(name) == [], name
    assert request.all(b"cdnlab-place") != [b"gru"]
    assert b"gru" not in request.head
    assert b"fra" not in request.head
    assert request.one(b"via") == b"1.1 lb"
    assert (request.one(b"cdn-loop") or b"").startswith(b'other; a=b, cdnlab;node="lb";id=')


async def test_a_trusted_peers_chain_is_continued() -> None:
    clients = {"trusted": [PROXY]}
    lines = (b"X-Forwarded-For: 6.6.6.6, 127.82.1.100", b"Cdnlab-Place: gru")
    request = await asked(*lines, source=PROXY, clients=clients)
    assert request.one(b"x-forwarded-for") == b"6.6.6.6, 127.82.1.100, " + PROXY.encode()
    request = await asked(*lines, source=STRANGER, clients=clients)
    assert request.one(b"x-forwarded-for") == STRANGER.encode()


async def test_the_log_names_the_rightmost_address_that_is_not_trusted() -> None:
    async with Origin() as origin, balancer(origin, clients={"trusted": [PROXY]}) as lb:
        for source, value, peer in (
            (PROXY, b"6.6.6.6, 127.82.1.100, %b" % PROXY.encode(), "127.82.1.100"),
            (PROXY, b"<script>", PROXY),
            (STRANGER, b"127.82.1.100", STRANGER),
        ):
            async with await lb.client(source) as client:
                await client.get(b"/", b"X-Forwarded-For: " + value)
            assert lb.rows()[-1]["peer"] == peer


@pytest.mark.parametrize("may_choose", [True, False])
async def test_clients_move_only_where_they_may(may_choose: bool) -> None:
    async with (
        Origin() as origin,
        balancer(origin, clients={"may_choose_place": may_choose}) as lb,
        await lb.client() as client,
    ):
        await client.get(b"/", b"Cdnlab-From: gru")
        await client.send(b"GET / HTTP/1.1\r\nHost: fra.localhost:8080\r\n\r\n")
        await client.response()
        places = [row["client_place"] for row in lb.rows()]
        assert places == (["gru", "fra"] if may_choose else ["icn", "icn"])
        hosts = [request.one(b"host") for request in origin.requests]
        assert hosts == [b"example.test", b"localhost:8080" if may_choose else b"fra.localhost:8080"]


async def test_connection_cannot_take_protected_fields_away() -> None:
    named = (
        b"Connection: host, content-length, authorization, cookie, x-forwarded-for, cdnlab-place, via, x-mine, close, "
        b"traceparent, x-request-id, cdn-loop, accept, if-none-match, x-forwarded-proto"
    )
    lines = (
        b"X-Mine: 1",
        b"X-Other: 2",
        b"Cookie: a=b",
        b"Authorization: Basic x",
        b"If-None-Match: 1",
        b"Accept: a",
    )
    request = await asked(named, *lines, b"Content-Length: 0", b"Via: 1.0 client", b"X-Request-Id: mine")
    assert request.one(b"x-mine") is None
    assert request.one(b"connection") is None
    for name, value in (
        (b"host", b"example.test"),
        (b"content-length", b"0"),
        (b"authorization", b"Basic x"),
        (b"cookie", b"a=b"),
        (b"x-forwarded-for", STRANGER.encode()),
        (b"via", b"1.0 client, 1.1 lb"),
        (b"x-request-id", b"mine"),
        (b"accept", b"a"),
        (b"if-none-match", b"1"),
        (b"x-other", b"2"),
        (b"x-forwarded-proto", b"http"),
    ):
        assert request.one(name) == value, name
    assert request.one(b"traceparent")


async def test_hop_by_hop_fields_end_here_both_ways() -> None:
    lines = (
        b"Keep-Alive: 5",
        b"TE: trailers",
        b"Proxy-Connection: x",
        b"Proxy-Authorization: Basic x",
        b"Upgrade: x",
    )
    request = await asked(b"Connection: keep-alive", *lines)
    for name in (
        b"keep-alive",
        b"te",
        b"proxy-connection",
        b"proxy-authorization",
        b"upgrade",
        b"connection",
    ):
        assert request.one(name) is None, name
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: 5\r\nProxy-Authenticate: x\r\n"
        b"Connection: x-a, set-cookie\r\n"
        b"X-A: 1\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nCdnlab-Hop: spoofed\r\nCdnlab-Place: gru\r\nDate: d\r\n\r\n"
    )
    async with Origin(saying(answer)) as origin, balancer(origin) as lb, await lb.client() as client:
        response = await client.get()
        for name in (
            b"keep-alive",
            b"proxy-authenticate",
            b"x-a",
            b"cdnlab-hop",
            b"cdnlab-place",
            b"connection",
        ):
            assert response.one(name) is None, name
        assert response.all(b"set-cookie") == [b"a=b", b"c=d"]
        assert response.one(b"date") == b"d"


async def test_several_cookies_become_one_and_each_client_has_its_own() -> None:
    async with Origin() as origin, balancer(origin) as lb:
        for number in range(3):
            async with await lb.client() as client:
                await client.get(b"/", b"Cookie: a=%d" % number, b"Accept: x", b"cookie: b=%d" % number)
                await client.get(b"/", b"COOKIE: c=%d" % number, b"Accept: x")
        cookies = [request.one(b"cookie") for request in origin.requests]
        assert cookies == [cookie % n for n in range(3) for cookie in (b"a=%d; b=%%d" % n, b"c=%d")]


async def test_ids_are_kept_where_they_are_good_and_made_where_not() -> None:
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    request = await asked(b"X-Request-Id: abc-1", b"traceparent: " + parent, b"tracestate: a=b")
    assert request.one(b"x-request-id") == b"abc-1"
    assert request.one(b"traceparent") == parent
    assert request.one(b"tracestate") == b"a=b"
    request = await asked(b"X-Request-Id: a b<c>", b"traceparent: 00-0-0-0")
    made, begun = request.one(b"x-request-id") or b"", request.one(b"traceparent") or b""
    assert good_request_id(made)
    assert b"<" not in made
    assert good_traceparent(begun)
    assert begun.endswith(b"-00"), "nobody here decided to record it"


async def test_two_requests_have_two_ids() -> None:
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        for _ in range(50):
            await client.get()
        for name in (b"x-request-id", b"traceparent"):
            assert len({request.one(name) for request in origin.requests}) == 50


async def test_the_origins_host_and_scheme_of_a_pool() -> None:
    pool = {"origin_host": "www.example.org", "forwarded_proto": "https"}
    request = await asked(b"X-Forwarded-Host: evil", pool=pool)
    assert request.one(b"host") == b"www.example.org"
    assert request.one(b"x-forwarded-host") == b"example.test"
    assert request.one(b"x-forwarded-proto") == b"https"


async def test_an_absolute_target_replaces_host_for_this_request_only() -> None:
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        await client.get(b"http://Other.test:81/x")
        await client.get(b"/y")
        await client.get(b"http://third.test/z")
        hosts = [request.all(b"host") for request in origin.requests]
        assert hosts == [[b"other.test:81"], [b"example.test"], [b"third.test"]]
        assert [request.line.split()[1] for request in origin.requests] == [b"/x", b"/y", b"/z"]


async def test_explained_only_with_a_valid_mark() -> None:
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        key = lb.node.secrets.explain_key
        soon = int(wall()) + 60
        good = b"Cdnlab-Explain: " + mark(key, b"GET", b"/a", soon)
        response = await client.get(b"/a", good)
        (hop,) = parse_hops(response.one(b"cdnlab-hop") or b"")
        assert (hop.node, hop.tier, hop.choice) == (NAME, "lb", "server-1")
        for target, line in (
            (b"/b", good),
            (b"/a", b"Cdnlab-Explain: " + mark(b"other key", b"GET", b"/a", soon)),
            (b"/a", b"Cdnlab-Explain: " + mark(key, b"GET", b"/a", int(wall()) - 1)),
            (b"/a", b"X: y"),
        ):
            assert (await client.get(target, line)).one(b"cdnlab-hop") is None
        assert all(b"cdnlab-explain" not in request.head.lower() for request in origin.requests), (
            "a mark is nothing for servers that are not ours"
        )


async def test_our_fields_do_not_reach_servers_that_are_not_ours() -> None:
    assert b"cdnlab-" not in (await asked()).head.lower().replace(b"cdn-loop: cdnlab;", b"")


async def test_our_own_nodes_are_told_the_place_and_the_mark() -> None:
    async with Origin(address="127.9.8.7") as origin:
        base = topology(origin)
        nodes = {**base.model_dump(exclude_unset=True)["nodes"]}
        nodes["edge-x"] = {"tier": "edge", "address": "127.9.8.7", "data_port": origin.port, "place": "icn"}
        pool = {"backends": [], "tier": "edge"}
        plan = topology(origin, pool=pool, nodes=nodes, edge={"pool": "servers"})
        async with balancer(plan=plan) as lb, await lb.client("127.49.1.100") as client:
            value = mark(lb.node.secrets.explain_key, b"GET", b"/", int(wall()) + 60)
            await client.get(b"/", b"Cdnlab-Explain: " + value)
            request = origin.requests[0]
            assert request.one(b"cdnlab-place") == b"fra"
            assert request.one(b"cdnlab-explain") == value


async def test_a_request_that_comes_back_is_a_loop() -> None:
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        await client.get()
        loop = origin.requests[0].one(b"cdn-loop") or b""
        assert (await client.get(b"/", b"CDN-Loop: " + loop)).status == 508
        assert (await client.get(b"/", b"CDN-Loop: other, " + loop + b", another")).status == 508
        assert (await client.get(b"/", b'CDN-Loop: cdnlab;node="lb";id=000000000000')).status == 200
        others = b", ".join(b'cdnlab;node="n%d";id=%012d' % (number, number) for number in range(8))
        assert (await client.get(b"/", b"CDN-Loop: " + others)).status == 508
        assert (await client.get(b"/", b"CDN-Loop: " + others[: others.rfind(b",")])).status == 200
        assert lb.results().count("refused") == 3


async def test_a_balancer_that_is_its_own_backend_ends_in_508() -> None:
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        backend = lb.backend()
        backend.port = lb.port
        assert (await client.get()).status == 508
        assert origin.connections == 0
