"""A second attempt beside a slow first one: when it sets out, who is heard, and what becomes of the other."""

from __future__ import annotations

import asyncio

import pytest

from cdnlab.forward import forwarder
from cdnlab.net.tasks import running
from cdnlab.pool.retry import NotAgain
from tests.support.balancers import Running, balancer
from tests.support.peers import OK, Origin, Wire, answer_ok, free_port, until

HEDGE = {"retry": {"hedge_after": 0.05}}
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Slow:
    """Answers when it is let go, and knows how its connection ended."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked = asyncio.Event()
        self.given_up = asyncio.Event()

    async def __call__(self, wire: Wire) -> None:
        await wire.request()
        self.asked.set()
        going = asyncio.ensure_future(self.go.wait())
        leaving = asyncio.ensure_future(wire.some())
        await asyncio.wait({going, leaving}, return_when=asyncio.FIRST_COMPLETED)
        going.cancel()
        if leaving.done():
            leaving.exception()
            self.given_up.set()
            return
        leaving.cancel()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")


def counts(lb: Running) -> tuple[int, int]:
    forwarder = lb.app.forwarders["servers"]
    return forwarder.hedges, forwarder.hedges_won


def quiet(lb: Running, backends: int = 2) -> bool:
    return all(lb.backend(number).live == 0 for number in range(backends))


async def test_the_second_is_heard_if_it_is_first_and_the_other_is_cancelled() -> None:
    slow = Slow()
    async with (
        Origin(slow) as one,
        Origin() as two,
        balancer(one, two, pool=HEDGE) as lb,
        await lb.client() as client,
    ):
        assert (await client.get()).body == b"ok"
        await asyncio.wait_for(slow.given_up.wait(), 5)
        assert counts(lb) == (1, 1)
        assert quiet(lb)
        assert lb.rows()[0]["backend"] == "server-2"
        assert (await client.get()).body == b"ok"
        assert two.connections == 1, "the winner's connection is kept"


async def test_the_first_is_heard_if_it_is_first() -> None:
    slow, slower = Slow(), Slow()
    async with (
        Origin(slow) as one,
        Origin(slower) as two,
        balancer(one, two, pool=HEDGE) as lb,
        await lb.client() as client,
    ):
        await client.send(GET)
        await asyncio.wait_for(slower.asked.wait(), 5)
        slow.go.set()
        assert (await client.response()).body == b"first"
        await asyncio.wait_for(slower.given_up.wait(), 5)
        assert counts(lb) == (1, 0)
        assert quiet(lb)


async def test_a_streamed_body_comes_from_whoever_was_heard() -> None:
    async def streams(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await wire.send(b"4\r\nmore\r\n")
        await wire.send(b"0\r\n\r\n")
        await wire.rest()

    async with (
        Origin(Slow()) as one,
        Origin(streams) as two,
        balancer(one, two, pool=HEDGE) as lb,
        await lb.client() as client,
    ):
        assert (await client.get()).body == b"more"
        assert quiet(lb)


async def test_a_quick_answer_needs_no_second_attempt() -> None:
    async with (
        Origin() as one,
        Origin() as two,
        balancer(one, two, pool={"retry": {"hedge_after": 5.0}}) as lb,
        await lb.client() as client,
    ):
        for _ in range(4):
            await client.get()
        assert counts(lb) == (0, 0)
        assert len(one.requests) + len(two.requests) == 4


@pytest.mark.parametrize("failing", ["refuses", "closes"])
async def test_a_second_attempt_that_fails_changes_nothing(failing: str) -> None:
    async def closes(wire: Wire) -> None:
        await wire.request()

    slow = Slow()
    async with Origin(slow) as one, Origin(closes) as two:
        other = two.port if failing == "closes" else free_port()
        async with balancer(one, other, pool=HEDGE) as lb, await lb.client() as client:
            await client.send(GET)
            await until(lambda: lb.backend(1).failures, "the second attempt fails")
            slow.go.set()
            assert (await client.response()).body == b"first"
            assert quiet(lb)


async def test_the_second_goes_on_when_the_first_fails() -> None:
    both = asyncio.Event()
    go = asyncio.Event()

    async def breaks(wire: Wire) -> None:
        await wire.request()
        await both.wait()

    async def answers(wire: Wire) -> None:
        await wire.request()
        both.set()
        await go.wait()
        await wire.send(OK)
        await wire.rest()

    async with (
        Origin(breaks) as one,
        Origin(answers) as two,
        Origin() as three,
        balancer(one, two, three, pool=HEDGE) as lb,
        await lb.client() as client,
    ):
        await client.send(GET)
        await until(lambda: lb.backend(0).failures, "the first attempt fails")
        go.set()
        assert (await client.response()).body == b"ok"
        assert (counts(lb), three.connections) == ((1, 1), 0)
        assert quiet(lb, 3)


async def test_when_both_fail_the_next_is_asked() -> None:
    both = asyncio.Event()

    async def first(wire: Wire) -> None:
        await wire.request()
        await both.wait()

    async def second(wire: Wire) -> None:
        await wire.request()
        both.set()

    async with (
        Origin(first) as one,
        Origin(second) as two,
        Origin() as three,
        balancer(one, two, three, pool=HEDGE) as lb,
        await lb.client() as client,
    ):
        assert (await client.get()).body == b"ok"
        assert quiet(lb, 3)


async def test_a_whole_body_goes_along() -> None:
    async with (
        Origin(Slow()) as one,
        Origin() as two,
        balancer(one, two, pool=HEDGE) as lb,
        await lb.client() as client,
    ):
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
        assert (await client.response()).status == 200
        assert two.requests[0].body == b"body"


@pytest.mark.parametrize(
    "request_",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000,
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\nhalf",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    ],
    ids=["not idempotent", "too large to be sent again", "still arriving", "an upgrade"],
)
async def test_what_may_not_be_sent_twice_is_not(request_: bytes) -> None:
    slow = Slow()
    async with (
        Origin(slow) as one,
        Origin() as two,
        balancer(one, two, pool=HEDGE, upstream={"replay_bytes": 1000}) as lb,
        await lb.client() as client,
    ):
        await client.send(request_)
        await until(lambda: lb.backend(0).live, "the first attempt is under way")
        await asyncio.sleep(0.15)  # three times what a second one would wait
        assert two.connections == 0
        assert counts(lb) == (0, 0)


async def test_hedges_are_paid_from_the_budget() -> None:
    slow = Slow()
    async with (
        Origin(slow) as one,
        Origin() as two,
        balancer(one, two, pool=HEDGE, upstream={"retry_budget": 0.0}) as lb,
    ):
        forwarder = lb.app.forwarders["servers"]
        forwarder.budget.minimum = 0.0
        async with await lb.client() as client:
            await client.send(GET)
            await until(lambda: forwarder.not_again[NotAgain.BUDGET], "the second attempt is refused")
            slow.go.set()
            assert (await client.response()).body == b"first"
            assert two.connections == 0


async def test_a_client_that_leaves_ends_both() -> None:
    slow, slower = Slow(), Slow()
    async with Origin(slow) as one, Origin(slower) as two, balancer(one, two, pool=HEDGE) as lb:
        client = await lb.client()
        await client.send(GET)
        await asyncio.wait_for(slower.asked.wait(), 5)
        client.reset()
        await asyncio.wait_for(slow.given_up.wait(), 5)
        await asyncio.wait_for(slower.given_up.wait(), 5)
        assert quiet(lb)
        assert "forward.hedge" not in running()


async def test_who_has_left_when_its_turn_to_be_moved_comes_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those who wait for a backend that has gone are moved in slices, and much happens between two of them."""
    monkeypatch.setattr(forwarder, "SLICE", 1)
    monkeypatch.setattr(forwarder, "PAUSE", 0.05)
    slow, slower = Slow(), Slow()
    async with (
        Origin(slow) as one,
        Origin(slower) as two,
        balancer(one, two, pool={**HEDGE, "algorithm": "first"}) as lb,
        await lb.client() as client,
        await lb.client() as other,
    ):
        for each in (client, other):
            await each.send(GET)
        await until(lambda: lb.backend(1).live == 2, "both are asked a second time")
        lb.app.forwarders["servers"].abandon(lb.backend(1))
        slow.go.set()
        for each in (client, other):
            assert (await each.response()).body == b"first"
        await asyncio.sleep(0.1)
        assert quiet(lb)
        assert lb.backend(1).failures == 1


async def test_one_backend_alone_is_not_asked_twice() -> None:
    slow = Slow()
    async with Origin(slow) as one, balancer(one, pool=HEDGE) as lb, await lb.client() as client:
        await client.send(GET)
        await asyncio.wait_for(slow.asked.wait(), 5)
        await asyncio.sleep(0.1)
        slow.go.set()
        assert (await client.response()).body == b"first"
        assert one.connections == 1


async def test_answer_ok_is_untouched() -> None:
    """Hedging on, nothing slow: a connection is used again and again."""
    async with (
        Origin(answer_ok) as one,
        Origin(answer_ok) as two,
        balancer(one, two, pool={"retry": {"hedge_after": 2.0}}) as lb,
        await lb.client() as client,
    ):
        for _ in range(20):
            assert (await client.get()).status == 200
        assert (one.connections, two.connections) == (1, 1)


async def test_the_second_goes_on_alone_when_the_backend_of_the_first_is_taken_out_of_use() -> None:
    slow, slower = Slow(), Slow()
    async with (
        Origin(slow) as one,
        Origin(slower) as two,
        Origin() as three,
        balancer(one, two, three, pool=HEDGE) as lb,
        await lb.client() as client,
    ):
        await client.send(GET)
        await asyncio.wait_for(slower.asked.wait(), 5)
        lb.app.forwarders["servers"].abandon(lb.backend(0))
        await asyncio.wait_for(slow.given_up.wait(), 5)
        slower.go.set()
        assert (await client.response()).body == b"first"
        assert (counts(lb), three.connections) == ((1, 1), 0)
        assert quiet(lb, 3)
