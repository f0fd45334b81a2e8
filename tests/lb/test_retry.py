"""When a request is sent a second time, and when it must not be; what a client is told when there is no way."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cdnlab.forward.explain import mark, parse_hops
from cdnlab.net.clock import wall
from cdnlab.net.tasks import running
from cdnlab.pool.retry import NotAgain
from tests.support.balancers import Running, balancer, topology
from tests.support.peers import OK, Message, Origin, Script, Wire, answer_ok, free_port, until


async def close_at_once(wire: Wire) -> None:
    """Reads a request and closes."""
    await wire.request()


async def reset_at_once(wire: Wire) -> None:
    await wire.request()
    wire.reset()


async def never(wire: Wire) -> None:
    """Reads, and says nothing."""
    await wire.rest()


def no_addresses(response: Message, *ports: int) -> None:
    text = response.head + response.body
    assert b"127.0.0.1" not in text
    for port in ports:
        assert b"%d" % port not in text


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_backend_that_refuses_is_passed_over(method: bytes) -> None:
    """Nothing was sent, so any method may go on."""
    async with Origin() as origin, balancer(free_port(), origin) as lb, await lb.client() as client:
        response = await client.get(b"/", b"Content-Length: 0", method=method)
        assert response.status == 200
        assert (lb.backend(0).failures, lb.backend(1).failures) == (1, 0)
        assert lb.rows()[0]["reason"] == "attempt 2"


@pytest.mark.parametrize("script", [close_at_once, reset_at_once])
async def test_no_answer_is_asked_elsewhere_if_the_method_allows(script: Script) -> None:
    async with (
        Origin(script) as broken,
        Origin() as origin,
        balancer(broken, origin) as lb,
        await lb.client() as client,
    ):
        assert (await client.get()).status == 200
        assert (broken.connections, origin.connections) == (1, 1)


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"PROPFIND"])
async def test_no_answer_to_an_unsafe_method_is_a_bad_gateway(method: bytes) -> None:
    async with (
        Origin(close_at_once) as broken,
        Origin() as origin,
        balancer(broken, origin) as lb,
        await lb.client() as client,
    ):
        response = await client.get(b"/", b"Content-Length: 0", method=method)
        assert response.status == 502
        no_addresses(response, broken.port, origin.port)
        assert origin.connections == 0
        assert lb.results() == ["unreachable"]
        assert (await client.get()).status == 200, "the client's connection is kept"


async def second_breaks(wire: Wire) -> None:
    """The first connection breaks at its second request; later ones do not."""
    if wire.number == 0:
        await wire.request()
        await wire.send(OK)
        await reset_at_once(wire)
    else:
        await answer_ok(wire)


async def test_a_reset_on_a_used_connection_is_tried_afresh_and_no_failure() -> None:
    async with Origin(second_breaks) as origin, balancer(origin) as lb, await lb.client() as client:
        assert (await client.get(b"/1")).status == 200
        assert (await client.get(b"/2")).status == 200
        assert [(message.line[:6]) for message in origin.requests] == [b"GET /1", b"GET /2", b"GET /2"]
        assert origin.connections == 2
        assert lb.backend().failures == 0


async def test_a_reset_on_a_used_connection_is_not_tried_afresh_for_post() -> None:
    async with Origin(second_breaks) as origin, balancer(origin) as lb, await lb.client() as client:
        assert (await client.get(b"/1")).status == 200
        response = await client.get(b"/2", b"Content-Length: 0", method=b"POST")
        assert response.status == 502
        assert origin.connections == 1


async def test_a_post_does_not_use_a_connection_that_was_idle_for_long() -> None:
    upstream = {"reuse_unsafe_max": 0.05}
    async with Origin() as origin, balancer(origin, upstream=upstream) as lb, await lb.client() as client:
        await client.get()
        await asyncio.sleep(0.1)
        await client.get(b"/", b"Content-Length: 0", method=b"POST")
        assert origin.connections == 2
        await client.get(b"/", b"Content-Length: 0", method=b"POST")
        assert origin.connections == 2


async def test_a_connection_closed_while_idle_is_not_used() -> None:
    async def once(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)

    async with Origin(once) as origin, balancer(origin) as lb, await lb.client() as client:
        for number in range(3):
            assert (await client.get(b"/", b"Content-Length: 0", method=b"POST")).status == 200
            await until(lambda: lb.idle() == 0, "the close is noticed")
            assert origin.connections == number + 1


async def put(client: Wire, body: bytes, *, chunked: bool = False) -> Message:
    if chunked:
        framed = (
            b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:7], body[7:])) + b"0\r\nX-Sum: 1\r\n\r\n"
        )
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + framed)
    else:
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return await client.response()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_fits_the_replay_buffer_is_sent_again(chunked: bool) -> None:
    body = bytes(range(200)) * 5
    upstream = {"replay_bytes": 1000}
    async with (
        Origin(close_at_once) as broken,
        Origin() as origin,
        balancer(broken, origin, upstream=upstream) as lb,
        await lb.client() as client,
    ):
        assert (await put(client, body, chunked=chunked)).status == 200
        assert origin.requests[0].body == body
        assert origin.requests[0].trailers == ([(b"x-sum", b"1")] if chunked else [])


async def test_a_body_that_does_not_fit_is_not_sent_again() -> None:
    upstream = {"replay_bytes": 1000}
    async with (
        Origin(close_at_once) as broken,
        Origin() as origin,
        balancer(broken, origin, upstream=upstream) as lb,
        await lb.client() as client,
    ):
        assert (await put(client, b"x" * 1001)).status == 502
        assert origin.connections == 0


async def test_a_body_of_which_half_had_been_sent_is_sent_again_whole() -> None:
    half = asyncio.Event()

    async def after_half(wire: Wire) -> None:
        await wire.request_head()
        await wire.exactly(5)
        half.set()

    async with (
        Origin(after_half) as broken,
        Origin() as origin,
        balancer(broken, origin) as lb,
        await lb.client() as client,
    ):
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
        await asyncio.wait_for(half.wait(), 5)
        await until(lambda: origin.connections, "the second candidate is asked")
        await client.send(b"56789")
        assert (await client.response()).status == 200
        assert origin.requests[0].body == b"0123456789"


async def test_a_body_is_sent_on_although_a_retry_is_still_connecting() -> None:
    """Bytes that come while nobody is connected are kept, and arrive once and in order."""
    body = b"0123456789" * 3000

    async with (
        Origin(close_at_once) as broken,
        Origin() as origin,
        balancer(broken, origin) as lb,
        await lb.client() as client,
    ):
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), 1000):
            await client.send(body[at : at + 1000])
        assert (await client.response()).status == 200
        assert origin.requests[0].body == body


async def test_retries_are_bounded_by_their_number() -> None:
    ports = [free_port() for _ in range(5)]
    async with balancer(*ports, upstream={"retries": 2}) as lb, await lb.client() as client:
        response = await client.get()
        assert response.status == 502
        no_addresses(response, *ports)
        assert sum(lb.backend(number).failures for number in range(5)) == 3


async def test_retries_are_bounded_by_their_budget() -> None:
    async with Origin() as origin, balancer(free_port(), origin, upstream={"retry_budget": 0.0}) as lb:
        budget = lb.app.forwarders["servers"].budget
        budget.minimum = 0.1  # one in ten seconds
        async with await lb.client() as client:
            statuses = [(await client.get()).status for _ in range(6)]
            forwarder = lb.app.forwarders["servers"]
            assert sum(forwarder.retries.values()) == 1
            assert forwarder.not_again[NotAgain.BUDGET] == statuses.count(502) > 0


async def test_a_backend_that_does_not_answer_is_a_gateway_timeout() -> None:
    upstream = {"response_timeout": 0.2, "retries": 0}
    async with (
        Origin(never) as origin,
        balancer(origin, upstream=upstream) as lb,
        await lb.client() as client,
    ):
        response = await client.get()
        assert response.status == 504
        no_addresses(response, origin.port)
        assert lb.results() == ["timeout"]
        assert lb.backend().live == 0


async def test_a_backend_that_stops_within_its_answer_is_cut() -> None:
    async def stalls(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await wire.rest()

    async with (
        Origin(stalls) as origin,
        balancer(origin, upstream={"response_timeout": 0.2}) as lb,
        await lb.client() as client,
    ):
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.until(b"half")
        assert await client.ended() in ("closed", "reset")
        assert lb.results() == ["cut"]


async def test_the_time_between_bytes_counts_from_the_head() -> None:
    """The head after 0.3 s and the body after 0.3 s more are both within 0.45 s."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await asyncio.sleep(0.3)
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await asyncio.sleep(0.3)
        await wire.send(b"ok")

    async with (
        Origin(script) as origin,
        balancer(origin, upstream={"response_timeout": 0.45}) as lb,
        await lb.client() as client,
    ):
        assert (await client.get()).body == b"ok"


async def test_a_slow_upload_is_not_a_slow_answer() -> None:
    async with (
        Origin() as origin,
        balancer(origin, upstream={"response_timeout": 0.3}) as lb,
        await lb.client() as client,
    ):
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        for byte in (b"b", b"o", b"d", b"y"):
            await asyncio.sleep(0.2)
            await client.send(byte)
        assert (await client.response()).status == 200


def down(lb: Running, *numbers: int) -> None:
    for number in numbers:
        backend = lb.backend(number)
        for _ in range(backend.health.fall):
            backend.health.result(0.0, False, "scripted")
    lb.app.forwarders["servers"].pool.usable_changed()


async def test_no_usable_backend_is_service_unavailable() -> None:
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        down(lb, 0)
        response = await client.get()
        assert response.status == 503
        assert response.one(b"retry-after") == b"1"
        no_addresses(response, origin.port)
        assert origin.connections == 0
        assert lb.results() == ["no_backend"]


@contextmanager
def deaf() -> Iterator[int]:
    """The port of a listener whose queue is full: it answers no SYN."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield full.getsockname()[1]
        for filler in fillers:
            filler.close()


async def test_an_explained_request_fails_as_any_other() -> None:
    """The backends that were not asked are in the explanation, but not what the answer is about."""
    async with Origin(never) as origin:
        near = {"name": "near", "address": "127.0.0.1", "port": origin.port, "place": "icn"}
        far = {"name": "far", "address": "127.0.0.1", "port": free_port(), "place": "fra"}
        pool = {"algorithm": "nearest", "backends": [near, far]}
        plan = topology(origin, pool=pool, upstream={"response_timeout": 0.2})
        async with balancer(plan=plan) as lb, await lb.client() as client:
            down(lb, 1)
            value = mark(lb.node.secrets.explain_key, b"GET", b"/", int(wall()) + 60)
            response = await client.get(b"/", b"Cdnlab-Explain: " + value)
            assert response.status == 504
            (hop,) = parse_hops(response.one(b"cdnlab-hop") or b"")
            assert sorted(hop.passed) == [("far", "down"), ("near", "timed_out")]


async def test_a_request_waiting_for_a_connection_can_be_given_up() -> None:
    """The client leaves while the connect hangs: no task, no connection, no count is left."""
    with deaf() as port:
        async with balancer(port) as lb:
            client = await lb.client()
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: "forward.connect" in running(), "the connect is under way")
            client.reset()
            await until(lambda: "forward.connect" not in running(), "the connect is given up")
            assert lb.backend().live == 0
            assert lb.results() == ["client_gone"]


async def test_a_connect_that_hangs_is_a_gateway_timeout() -> None:
    with deaf() as port:
        async with balancer(port, upstream={"connect_timeout": 0.2}) as lb, await lb.client() as client:
            assert (await client.get()).status == 504
