"""Limits per backend, and the queue before them: who waits, for how long, and what is answered when it is full."""

from __future__ import annotations

import asyncio

import pytest

from cdnlab.pool.backend import Backend
from cdnlab.pool.health import State
from tests.support.balancers import Running, balancer
from tests.support.peers import OK, Origin, Wire, until

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Gate:
    """An origin's script: each request is answered when it is let go, and not before."""

    def __init__(self) -> None:
        self.go = asyncio.Semaphore(0)
        self.under_way = self.highest = 0
        self.targets: list[bytes] = []

    async def __call__(self, wire: Wire) -> None:
        while True:
            request = await wire.request()
            self.targets.append(request.line.split()[1])
            self.under_way += 1
            self.highest = max(self.highest, self.under_way)
            await self.go.acquire()
            self.under_way -= 1
            await wire.send(OK)


def breaker(**limits: float) -> dict[str, object]:
    return {"breaker": limits}


def waiting(lb: Running) -> int:
    return len(lb.app.forwarders["servers"].pending)


async def ask(lb: Running, number: int) -> list[Wire]:
    """So many clients, each with a request under way: /0, /1, …; one after the other."""
    clients = []
    for each in range(number):
        client = await lb.client()
        clients.append(client)
        seen = lb.listener.accepted, waiting(lb) + lb.backend().live
        await client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % each)
        await until(lambda seen=seen: waiting(lb) + lb.backend().live > seen[1], "it is under way")  # type: ignore[misc]
    return clients


def close(*clients: Wire) -> None:
    for client in clients:
        client.close()


@pytest.mark.parametrize("limit", ["requests", "connections"])
async def test_no_more_than_the_limit_are_under_way_and_the_rest_come_in_order(limit: str) -> None:
    gate = Gate()
    async with Origin(gate) as origin, balancer(origin, pool=breaker(**{limit: 2}, wait=10.0)) as lb:
        clients = await ask(lb, 6)
        await until(lambda: gate.under_way == 2, "two are under way")
        assert waiting(lb) == 4
        for _ in range(6):
            gate.go.release()
        for client in clients:
            assert (await client.response()).status == 200
        assert gate.highest == 2
        assert gate.targets[2:] == [b"/2", b"/3", b"/4", b"/5"]
        assert origin.connections == 2
        assert (waiting(lb), lb.backend().live) == (0, 0)
        line = lb.app.forwarders["servers"].pending.line
        assert (line.served, line.full, line.late) == (4, 0, 0)
        close(*clients)


async def test_another_backend_with_room_is_taken_first() -> None:
    gate = Gate()
    async with (
        Origin(gate) as one,
        Origin(gate) as two,
        balancer(one, two, pool=breaker(requests=1, wait=10.0)) as lb,
    ):
        clients = [await lb.client() for _ in range(3)]
        for client in clients:
            await client.send(GET)
        await until(lambda: gate.under_way == 2 and waiting(lb) == 1, "one each, and one waits")
        assert (one.connections, two.connections) == (1, 1)
        for _ in range(3):
            gate.go.release()
        for client in clients:
            assert (await client.response()).status == 200
        close(*clients)


async def test_a_full_queue_is_said_at_once() -> None:
    gate = Gate()
    async with Origin(gate) as origin, balancer(origin, pool=breaker(requests=1, pending=1, wait=60.0)) as lb:
        clients = await ask(lb, 2)
        async with await lb.client() as third:
            response = await third.get()
            assert response.status == 503
            assert response.one(b"retry-after") == b"1"
            assert lb.rows()[0]["reason"] == "queue_full"
            assert b"wait" in response.body
            gate.go.release()
            gate.go.release()
            for client in clients:
                assert (await client.response()).status == 200
            assert lb.backend().failures == 0
        close(*clients)


async def test_no_queue_means_an_answer_at_once() -> None:
    gate = Gate()
    async with Origin(gate) as origin, balancer(origin, pool=breaker(requests=1, pending=0)) as lb:
        clients = await ask(lb, 1)
        async with await lb.client() as second:
            assert (await second.get()).status == 503
        gate.go.release()
        assert (await clients[0].response()).status == 200
        close(*clients)


async def test_the_wait_is_bounded() -> None:
    gate = Gate()
    async with Origin(gate) as origin, balancer(origin, pool=breaker(requests=1, wait=0.1)) as lb:
        clients = await ask(lb, 3)
        for client in clients[1:]:
            response = await client.response()
            assert (response.status, response.one(b"retry-after")) == (503, b"1")
        assert lb.rows()[0]["reason"] == "queue_timeout"
        gate.go.release()
        assert (await clients[0].response()).status == 200
        assert gate.targets == [b"/0"]
        close(*clients)


async def test_a_client_that_goes_away_leaves_the_queue() -> None:
    gate = Gate()
    async with Origin(gate) as origin, balancer(origin, pool=breaker(requests=1, wait=60.0)) as lb:
        first, second, third = await ask(lb, 3)
        second.reset()
        await until(lambda: waiting(lb) == 1, "it has left")
        gate.go.release()
        gate.go.release()
        assert (await first.response()).status == 200
        assert (await third.response()).status == 200
        assert gate.targets == [b"/0", b"/2"]
        assert lb.app.forwarders["servers"].pending.line.left == 1
        close(first, third)


async def test_a_place_is_free_again_after_a_failure() -> None:
    """Not only a whole answer makes room: a reset, and a client that leaves, too."""

    async def breaks(wire: Wire) -> None:
        message = await wire.request()
        if message.line.startswith(b"POST"):
            wire.reset()
        else:
            await wire.send(OK)

    async with Origin(breaks) as origin, balancer(origin, pool=breaker(requests=1, wait=60.0)) as lb:
        clients = [await lb.client() for _ in range(6)]
        for number, client in enumerate(clients):
            method = b"GET" if number % 2 else b"POST"
            await client.send(b"%b / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % method)
        statuses = [(await client.response()).status for client in clients]
        assert statuses == [502, 200] * 3
        assert (waiting(lb), lb.backend().live) == (0, 0)
        close(*clients)


async def test_a_body_waits_with_its_request() -> None:
    gate = Gate()
    body = bytes(range(256)) * 1000
    async with Origin(gate) as origin, balancer(origin, pool=breaker(requests=1, wait=60.0)) as lb:
        clients = await ask(lb, 1)
        async with await lb.client() as posting:
            await posting.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
            sending = asyncio.ensure_future(posting.send(body))
            await until(lambda: waiting(lb) == 1, "it waits")
            gate.go.release()
            gate.go.release()
            assert (await posting.response()).status == 200
            await sending
            assert origin.requests[1].body == body
        close(*clients)


async def test_a_backend_that_comes_back_is_given_to_who_waits() -> None:
    gate = Gate()
    async with (
        Origin(gate) as one,
        Origin(gate) as two,
        balancer(one, two, pool=breaker(requests=1, wait=60.0)) as lb,
    ):
        pool = lb.app.forwarders["servers"].pool
        pool.drain("server-2")
        clients = await ask(lb, 2)
        assert two.connections == 0
        pool.enable("server-2")
        await until(lambda: two.requests, "the other one is asked")
        gate.go.release()
        gate.go.release()
        for client in clients:
            assert (await client.response()).status == 200
        close(*clients)


async def test_who_is_added_is_bounded_at_once() -> None:
    async with Origin() as one, Origin() as two, balancer(one, pool=breaker(requests=3)) as lb:
        added = Backend("added", "127.0.0.1", two.port)
        lb.app.forwarders["servers"].pool.add(added)
        assert added.limit == 3


async def test_in_a_panic_who_waits_may_have_any_that_is_wanted() -> None:
    gate = Gate()
    async with (
        Origin(gate) as one,
        balancer(one, pool={**breaker(requests=1, wait=60.0), "panic": 1.0}) as lb,
    ):
        clients = await ask(lb, 2)
        lb.backend().health.state = State.DOWN
        lb.app.forwarders["servers"].pool.usable_changed()
        gate.go.release()
        gate.go.release()
        for client in clients:
            assert (await client.response()).status == 200
        close(*clients)


async def test_a_pinned_request_waits_for_its_backend() -> None:
    """Another one with room would not know its client."""
    gate = Gate()
    async with (
        Origin(gate) as one,
        Origin() as two,
        balancer(one, two, pool=breaker(requests=1, wait=60.0)) as lb,
    ):
        forwarder = lb.app.forwarders["servers"]
        clients = await ask(lb, 1)
        from cdnlab.forward.messages import OutRequest

        class Sink:
            def __init__(self) -> None:
                self.done = asyncio.Event()

            def forward_head(self, block: object, volatile: object, length: int, whole: bytes) -> None:
                self.done.set()

        sink = Sink()
        request = OutRequest(b"GET", GET, "icn", True)
        forwarder.start(request, sink, pin=lb.backend(0))  # type: ignore[arg-type]
        assert waiting(lb) == 1
        gate.go.release()
        gate.go.release()
        await asyncio.wait_for(sink.done.wait(), 5)
        assert two.connections == 0
        close(*clients)
