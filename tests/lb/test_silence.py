"""A backend that has fallen silent is asked whether it is there; one that is out of use is left by who waits."""

from __future__ import annotations

import asyncio

import pytest

from cdnlab.forward import silence
from cdnlab.pool.reasons import Reason
from tests.support.balancers import balancer
from tests.support.peers import OK, Origin, Wire, until

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#: Checked so rarely that the checks play no part.
CHECKED = {"health": {"kind": "tcp", "interval": 3600}}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "PATIENCE", 0.1)
    monkeypatch.setattr(silence, "ANSWER", 0.3)


class Frozen:
    """Accepts and says nothing, until it thaws; `knows_options`: it is slow with requests only."""

    def __init__(self, *, knows_options: bool = False) -> None:
        self.thaw = asyncio.Event()
        self.knows_options = knows_options
        self.asked = 0

    async def __call__(self, wire: Wire) -> None:
        while True:
            request = await wire.request()
            if request.line.startswith(b"OPTIONS * "):
                self.asked += 1
                if not self.knows_options:
                    await self.thaw.wait()
                await wire.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                continue
            await self.thaw.wait()
            await wire.send(OK)


async def test_a_frozen_backend_is_found_out_and_left_but_by_who_may_not_leave() -> None:
    frozen = Frozen()
    async with Origin(frozen) as one, Origin() as two, balancer(one, two, pool=CHECKED) as lb:
        mine = lb.app.forwarders["servers"]
        mine.budget.share = mine.budget.minimum = 0.0  # moving is not retrying
        async with await lb.client() as posting:
            await posting.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            await until(lambda: one.requests, "the frozen one has the POST")
            clients = [await lb.client() for _ in range(12)]
            for client in clients:
                await client.send(GET)
            for client in clients:
                assert (await client.response()).status == 200
            assert mine.asked_in_vain == 1
            assert mine.abandoned == mine.retries[Reason.TIMED_OUT] > 0
            assert lb.backend(0).ejected_until > 0
            frozen.thaw.set()
            assert (await posting.response()).status == 200, "it was waited for, since it may have acted"
            assert not any(each.line.startswith(b"POST") for each in two.requests)
        for client in clients:
            client.close()


async def test_a_slow_backend_that_says_that_it_is_there_is_waited_for() -> None:
    slow = Frozen(knows_options=True)
    async with (
        Origin(slow) as one,
        Origin() as two,
        balancer(one, two, pool=CHECKED) as lb,
        await lb.client() as client,
        await lb.client() as other,
    ):
        await client.send(GET)
        await other.send(GET)
        await until(lambda: slow.asked >= 2, "it is asked again and again")
        assert lb.app.forwarders["servers"].asked_in_vain == 0
        slow.thaw.set()
        assert (await client.response()).status == (await other.response()).status == 200
        assert lb.backend(0).failures == lb.backend(0).ejected_until == 0


async def test_who_answers_late_twice_is_waited_for_longer() -> None:
    """Once it may have been frozen, and the next freeze must be found as soon."""
    frozen = Frozen()
    async with Origin(frozen) as one, Origin() as two, balancer(one, two, pool=CHECKED) as lb:
        watch = lb.app.forwarders["servers"].silence
        assert watch is not None
        backend = lb.backend(0)
        learned = []
        for times in (1, 2):
            frozen.thaw.clear()
            lb.app.forwarders["servers"].pool.enable("server-1")
            async with await lb.client() as client, await lb.client() as other:
                await client.send(GET)
                await other.send(GET)
                assert (await client.response()).status == (await other.response()).status == 200
            assert lb.app.forwarders["servers"].asked_in_vain == times
            heard = watch._late.get(backend)
            frozen.thaw.set()
            await until(lambda heard=heard: watch._late.get(backend) != heard, "its late answer is heard")  # type: ignore[misc]
            learned.append(watch._learned.get(backend))
        assert learned[0] is None
        assert learned[1] is not None
        patience, at = learned[1]
        assert patience >= 2 * silence.ANSWER
        assert watch.patience(backend, at) == patience
        assert watch.patience(backend, at + 3600.0) == silence.PATIENCE


async def test_nobody_is_asked_where_nobody_else_is_there() -> None:
    frozen = Frozen()
    async with Origin(frozen) as one, balancer(one, pool=CHECKED) as lb, await lb.client() as client:
        await client.send(GET)
        await asyncio.sleep(0.6)  # two looks
        assert frozen.asked == 0
        frozen.thaw.set()
        assert (await client.response()).status == 200


async def test_a_backend_without_checks_is_not_asked() -> None:
    frozen = Frozen()
    async with Origin(frozen) as one, Origin() as two, balancer(one, two) as lb:
        assert lb.app.forwarders["servers"].silence is None


async def test_who_waits_for_a_connection_is_moved_too() -> None:
    """As if the queue of a frozen listener were full: the handshake does not end."""
    from tests.lb.test_retry import deaf

    with deaf() as port:
        async with Origin() as origin, balancer(port, origin) as lb, await lb.client() as client:
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            mine = lb.app.forwarders["servers"]
            await until(lambda: mine.connecting, "it is being connected to")
            lb.backend(0).draining = True
            mine.pool.usable_changed()
            mine.abandon(lb.backend(0))
            assert (await client.response()).status == 200, "nothing had been sent"
            assert mine.abandoned == 1
            assert [lb.backend(number).live for number in (0, 1)] == [0, 0]


async def test_who_reads_an_answer_stays() -> None:
    go = asyncio.Event()

    async def halves(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
        await go.wait()
        await wire.send(b"half")

    async with Origin(halves) as one, Origin() as two, balancer(one, two) as lb, await lb.client() as client:
        await client.send(GET)
        await client.until(b"half")
        mine = lb.app.forwarders["servers"]
        mine.abandon(lb.backend(0))
        go.set()
        assert await client.exactly(4) == b"half"
        assert (mine.abandoned, two.connections) == (0, 0)
