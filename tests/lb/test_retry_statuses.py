"""Statuses that are asked for elsewhere, and the times after which an attempt or the whole is given up."""

from __future__ import annotations

import asyncio

import pytest

from cdnlab.pool.reasons import Reason
from cdnlab.pool.retry import NotAgain
from tests.support.balancers import Running, balancer
from tests.support.peers import OK, Origin, Script, Wire, answer_ok, free_port, until

BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
LONG = b"HTTP/1.1 503 Busy\r\nContent-Length: 100000\r\n\r\nbusy"
RETRY = {"retry": {"statuses": ["503", "429"]}}


async def busy(wire: Wire) -> None:
    while True:
        await wire.request()
        await wire.send(BUSY)


async def busy_at_length(wire: Wire) -> None:
    await wire.request()
    await wire.send(LONG)
    await wire.rest()


async def never(wire: Wire) -> None:
    await wire.request()
    await wire.rest()


def retries(lb: Running, reason: Reason) -> int:
    return lb.app.forwarders["servers"].retries[reason]


@pytest.mark.parametrize("script", [busy, busy_at_length])
async def test_a_status_is_asked_for_elsewhere(script: Script) -> None:
    async with (
        Origin(script) as full,
        Origin() as origin,
        balancer(full, origin, pool=RETRY) as lb,
        await lb.client() as client,
    ):
        for _ in range(4):
            assert (await client.get()).body == b"ok"
        assert retries(lb, Reason.BAD_STATUS) == len(full.requests) >= 2
        assert len(origin.requests) == 4
        assert [lb.backend(number).live for number in (0, 1)] == [0, 0]


@pytest.mark.parametrize(
    "pool,method",
    [({}, b"GET"), ({"retry": {"statuses": ["502"]}}, b"GET"), (RETRY, b"POST")],
    ids=["off", "another status", "not idempotent"],
)
async def test_it_is_the_answer_where_it_may_not_be_asked_for_again(
    pool: dict[str, object], method: bytes
) -> None:
    async with (
        Origin(busy) as full,
        Origin() as origin,
        balancer(full, origin, pool=pool) as lb,
        await lb.client() as client,
    ):
        response = await client.get(b"/", b"Content-Length: 0", method=method)
        assert (response.status, response.body) == (503, b"busy")
        assert origin.connections == 0


async def test_the_last_answer_is_passed_on_when_nobody_does_better() -> None:
    async with (
        Origin(busy) as one,
        Origin(busy) as two,
        balancer(one, two, pool=RETRY) as lb,
        await lb.client() as client,
    ):
        response = await client.get()
        assert (response.status, response.body) == (503, b"busy")
        assert (len(one.requests), len(two.requests)) == (1, 1)
        assert lb.results() == ["server_error"]


async def test_an_answer_is_better_than_an_error_of_our_own() -> None:
    """The one that was to be replaced is sent after all, where the one after it does not answer."""
    async with (
        Origin(busy) as full,
        balancer(full, free_port(), pool=RETRY) as lb,
        await lb.client() as client,
    ):
        response = await client.get()
        assert (response.status, response.body) == (503, b"busy")
        assert lb.rows()[0]["backend"] == "server-1"


async def test_statuses_are_retried_within_the_budget() -> None:
    async with (
        Origin(busy) as full,
        Origin() as origin,
        balancer(full, origin, pool=RETRY, upstream={"retry_budget": 0.0}) as lb,
    ):
        forwarder = lb.app.forwarders["servers"]
        forwarder.budget.minimum = 0.0
        async with await lb.client() as client:
            assert sorted([(await client.get()).status for _ in range(2)]) == [200, 503]
        assert forwarder.not_again[NotAgain.BUDGET] == 1


async def test_an_attempt_that_is_late_gives_way_to_the_next() -> None:
    pool = {"retry": {"try_timeout": 0.1}}
    async with (
        Origin(never) as slow,
        Origin() as origin,
        balancer(slow, origin, pool=pool) as lb,
        await lb.client() as client,
    ):
        assert (await client.get()).status == 200
        assert retries(lb, Reason.TIMED_OUT) == 1
        assert lb.backend(0).failures == 1
        assert lb.rows()[0]["reason"] == "attempt 2"
        assert lb.idle(0) == 0, "its connection is closed, since the answer may still come"


async def test_a_body_goes_along_with_the_next_attempt() -> None:
    pool = {"retry": {"try_timeout": 0.1}}
    async with (
        Origin(never) as slow,
        Origin() as origin,
        balancer(slow, origin, pool=pool) as lb,
        await lb.client() as client,
    ):
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
        assert (await client.response()).status == 200
        assert origin.requests[0].body == b"body"


async def test_a_late_attempt_goes_on_where_another_would_not_help() -> None:
    """A method that may not be repeated, and a last candidate: both are waited for."""
    go = asyncio.Event()

    async def slow(wire: Wire) -> None:
        while True:
            await wire.request()
            await go.wait()
            await wire.send(OK)

    pool = {"retry": {"try_timeout": 0.05}}
    async with (
        Origin(slow) as one,
        balancer(one, pool=pool) as lb,
        await lb.client() as getting,
        await lb.client() as posting,
    ):
        await getting.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await posting.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        await until(lambda: lb.backend().failures == 2, "both attempts were late")
        go.set()
        assert (await getting.response()).status == 200
        assert (await posting.response()).status == 200


async def test_all_attempts_together_have_a_time() -> None:
    pool = {"retry": {"timeout": 0.15, "try_timeout": 0.1}}
    async with (
        Origin(never) as one,
        Origin(never) as two,
        Origin(never) as three,
        balancer(one, two, three, pool=pool) as lb,
        await lb.client() as client,
    ):
        assert (await client.get()).status == 504
        assert three.connections == 0
        assert lb.results() == ["timeout"]
        assert [lb.backend(number).live for number in range(3)] == [0, 0, 0]
        assert lb.idle(0) == lb.idle(1) == 0


async def test_times_end_with_the_head() -> None:
    """A body may take longer than either."""
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await go.wait()
        await wire.send(b"ok")

    pool = {"retry": {"timeout": 0.1, "try_timeout": 0.1, "hedge_after": 0.1}}
    async with (
        Origin(script) as origin,
        Origin(answer_ok) as other,
        balancer(origin, other, pool=pool) as lb,
        await lb.client() as client,
    ):
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.until(b"\r\n\r\n")
        assert await client.silent(0.3)
        go.set()
        assert await client.exactly(2) == b"ok"
        assert other.connections == 0
