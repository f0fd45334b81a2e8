"""Rate limits on real sockets: who is refused, what it is told, who counts as one client, and new connections."""

from __future__ import annotations

from typing import Any

import pytest

from cdnlab.plan.routes import RateLimitSpec
from cdnlab.plan.topology import RouteSpec
from lb.rate_limit import MOST_SPENT, RateLimit
from lb.routes import Routes
from tests.support.balancers import balancer
from tests.support.peers import Message, Origin


def route(requests: float, burst: int, **more: Any) -> list[dict[str, Any]]:
    return [{"pool": "servers", "rate_limit": {"requests": requests, "burst": burst}, **more}]


def fields(message: Message) -> dict[bytes, bytes]:
    return dict(message.fields)


async def test_the_burst_passes_and_the_rest_is_told_when_to_come_again() -> None:
    async with Origin() as origin, balancer(origin, routes=route(0.01, 3)) as lb, await lb.client() as client:
        answers = [await client.get() for _ in range(5)]
        assert [each.status for each in answers] == [200, 200, 200, 429, 429]
        told = fields(answers[3])
        assert 95 <= int(told[b"retry-after"]) <= 100
        assert told[b"ratelimit-policy"] == b'"client";q=3;w=300'
        assert told[b"ratelimit"] == b'"client";r=0;t=' + told[b"retry-after"]
        assert told[b"cache-control"] == b"no-store"
        assert b"0.01 requests a second here, 3 at once" in answers[3].body
        assert len(origin.requests) == 3
        assert lb.results() == ["ok"] * 3 + ["refused"] * 2
        (row,) = lb.app.status()["traffic"]
        assert (row["rate_limit"]["passed"], row["rate_limit"]["refused"], row["rate_limit"]["clients"]) == (
            3,
            2,
            1,
        )


async def test_a_refusal_costs_nothing_but_the_answer() -> None:
    """The connection stays, a body is read past, and other routes go on."""
    routes = [*route(0.01, 1, path="/api"), {"pool": "servers"}]
    async with Origin() as origin, balancer(origin, routes=routes) as lb, await lb.client() as client:
        assert (await client.get(b"/api/a")).status == 200
        post = b"POST /api/b HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
        await client.send(post)
        assert (await client.response()).status == 429
        assert (await client.get(b"/other")).status == 200
        assert (await client.get(b"/api/a")).status == 429
        assert len(origin.requests) == 2


async def test_each_address_is_a_client_and_a_trusted_peer_speaks_for_its_own() -> None:
    async with (
        Origin() as origin,
        balancer(origin, routes=route(0.01, 1), clients={"trusted": ["127.0.0.77"]}) as lb,
    ):
        for address, chain, status in (
            ("127.0.0.5", b"", 200),
            ("127.0.0.5", b"X-Forwarded-For: 203.0.113.9", 429),  # a stranger's word
            ("127.0.0.6", b"", 200),
            ("127.0.0.77", b"X-Forwarded-For: 127.0.0.5", 429),
            ("127.0.0.77", b"X-Forwarded-For: 203.0.113.1", 200),
            ("127.0.0.77", b"X-Forwarded-For: 127.0.0.6, 203.0.113.1", 429),
            ("127.0.0.77", b"X-Forwarded-For: 2001:db8:1:2::1", 200),
            ("127.0.0.77", b"X-Forwarded-For: 2001:db8:1:2:ffff::7", 429),  # the same /64
            ("127.0.0.77", b"X-Forwarded-For: 2001:db8:1:3::1", 200),
        ):
            async with await lb.client(source=address) as client:
                assert (await client.get(b"/", *([chain] if chain else []))).status == status, (
                    address,
                    chain,
                )


async def test_new_connections_have_a_rate_of_their_own() -> None:
    limits = {"connection_rate": 0.01, "connection_burst": 2}
    async with (
        Origin() as origin,
        balancer(origin, limits=limits, clients={"trusted": ["127.0.0.77"]}) as lb,
    ):
        for status in (200, 200, 429):
            async with await lb.client(source="127.0.0.5") as client:
                if status == 200:
                    assert [(await client.get()).status for _ in range(3)] == [200] * 3
                    continue
                answer = await client.response()
                assert answer.status == 429
                assert 90 <= int(fields(answer)[b"retry-after"]) <= 100
                assert b"faster than it may" in answer.body
        for source in ("127.0.0.6", *["127.0.0.77"] * 4):
            async with await lb.client(source=source) as client:
                assert (await client.get()).status == 200
        assert {str(why): count for why, count in lb.listener.refusals.items() if count} == {
            "connection_rate": 1
        }


async def test_another_rate_of_connections_holds_at_once_and_the_same_one_keeps_its_counts() -> None:
    limits = {"connection_rate": 0.01, "connection_burst": 1}
    async with Origin() as origin, balancer(origin, limits=limits) as lb:
        async with await lb.client() as client:
            assert (await client.get()).status == 200
        lb.listener.take_up(lb.listener.limits.model_copy(update={"idle_timeout": 9.0}))
        async with await lb.client() as client:
            assert (await client.response()).status == 429
        lb.listener.take_up(lb.listener.limits.model_copy(update={"connection_rate": None}))
        async with await lb.client() as client:
            assert (await client.get()).status == 200


def test_what_has_not_changed_goes_on_counting_over_another_version_of_the_routes() -> None:
    def specs(burst: int) -> list[RouteSpec]:
        return [
            RouteSpec(pool="a", path="/a", rate_limit=RateLimitSpec(requests=0.01, burst=1)),
            RouteSpec(
                pool="a", path="/b", rate_limit=RateLimitSpec(requests=0.01, burst=burst), split={"c": 0.5}
            ),
        ]

    before = Routes(specs(1))
    for row in before.rows:
        assert row.limit is not None
        row.limit.wait(b"client", 1.0)
    after = Routes(specs(2), before)
    assert [row.limit.wait(b"client", 1.0) > 0 for row in after.rows if row.limit] == [True, False]
    assert after.rows[1].split is before.rows[1].split
    assert Routes(specs(2)[:1], after).rows[0].limit is before.rows[0].limit


@pytest.mark.parametrize(
    "requests,burst,policy", [(10, 20, b"q=20;w=2"), (0.5, 1, b"q=1;w=2"), (1000, 10, b"q=10;w=1")]
)
def test_the_policy_in_the_terms_of_the_draft(requests: float, burst: int, policy: bytes) -> None:
    limit = RateLimit("/", RateLimitSpec(requests=requests, burst=burst))
    assert b'RateLimit-Policy: "client";' + policy in limit.fields(0.2)
    assert b"Retry-After: 1\r\n" in limit.fields(0.2)
    assert b"Retry-After: 3\r\n" in limit.fields(2.1)


def test_what_waits_to_be_told_is_bounded() -> None:
    limit = RateLimit("/", RateLimitSpec(requests=1, burst=5, shared=True))
    woken = []
    limit.wake = lambda: woken.append(1)
    for number in range(MOST_SPENT + 7):
        limit.wait(b"%d" % number, 1.0)
    limit.wait(b"0", 1.0)
    assert limit.spent is not None
    assert len(limit.spent) == MOST_SPENT
    assert limit.spent[b"0"] == 2
    assert limit.untold == 7
    assert woken == [1]
