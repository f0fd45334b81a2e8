"""Every limit of a listener, with the status that whoever exceeds it is told."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from cdnlab.net.listener import Refusal
from cdnlab.net.timers import PERIOD
from tests.support.balancers import Running, balancer
from tests.support.peers import OK, Origin, Wire, answer_ok, until

LATE = 2 * PERIOD + 0.3
"""Timeouts come late by up to one sweep; the rest is for a busy machine."""


async def refused(lb: Running, client: Wire, status: int, why: Refusal) -> bytes:
    """The next answer is `status`, and the end of the connection; returns its body."""
    response = await client.response()
    assert response.status == status, response.head
    assert response.one(b"connection") == b"close"
    assert response.one(b"cache-control") == b"no-store"
    assert b"lb: %d" % status in response.body
    assert await client.ended() in ("closed", "reset")
    assert lb.listener.refusals[why] == 1
    return response.body


GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
HEADS: dict[str, tuple[dict[str, Any], bytes, int]] = {
    "header_bytes at once": ({"header_bytes": 1024}, GET + b"X: %b\r\n\r\n" % (b"x" * 1100), 431),
    "header_bytes in cookies": ({"header_bytes": 1024}, GET + b"Cookie: %b\r\n\r\n" % (b"x" * 1100), 431),
    "header_bytes without end": ({"header_bytes": 1024}, GET + b"X: %b" % (b"x" * 20_000), 431),
    "header_count": ({"header_count": 8}, GET + b"X: y\r\n" * 8 + b"\r\n", 431),
    "header_count in cookies": ({"header_count": 8}, GET + b"Cookie: y\r\n" * 8 + b"\r\n", 431),
    "target_bytes at once": ({"target_bytes": 256}, b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 300), 414),
    "target_bytes without end": ({"target_bytes": 256}, b"GET /%b" % (b"x" * 400), 414),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
async def test_large_heads(name: str) -> None:
    limits, request, status = HEADS[name]
    async with Origin() as origin, balancer(origin, limits=limits) as lb, await lb.client() as client:
        await client.send(request)
        await refused(lb, client, status, Refusal.MALFORMED)
        assert origin.connections == 0


async def test_heads_just_within_the_limits() -> None:
    limits = {"header_bytes": 1024, "header_count": 8, "target_bytes": 256}
    async with Origin() as origin, balancer(origin, limits=limits) as lb, await lb.client() as client:
        assert (await client.get(b"/" + b"x" * 255, b"X: " + b"x" * 900, *[b"A: b"] * 6)).status == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_body_bytes(chunked: bool) -> None:
    async with (
        Origin() as origin,
        balancer(origin, limits={"body_bytes": 100}) as lb,
        await lb.client() as client,
    ):
        within = b"64\r\n%b\r\n0\r\n\r\n" if chunked else b"%b"
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 100"
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % framing + within % (b"x" * 100))
        assert (await client.response()).status == 200
        beyond = b"64\r\n%b\r\n1\r\nx\r\n0\r\n\r\n" % (b"x" * 100) if chunked else b"x" * 101
        framing = framing.replace(b"100", b"101")
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % framing + beyond)
        await refused(lb, client, 413, Refusal.BODY_TOO_LARGE)
        assert [len(request.body) for request in origin.requests if request.body][:1] == [100]


async def test_body_bytes_count_also_across_a_pause() -> None:
    """The rate is reckoned anew when a full backend reads again; what it may receive in all is not."""
    piece = b"%x\r\n%b\r\n" % (65536, b"x" * 65536)

    async def script(wire: Wire) -> None:
        await wire.request_head()
        until_full = asyncio.Event()
        sending.append(until_full)
        await until_full.wait()
        try:
            await wire.rest()
        except ConnectionError:
            pass

    sending: list[asyncio.Event] = []
    limit = 200 * 65536
    async with (
        Origin(script) as origin,
        balancer(origin, limits={"body_bytes": limit}) as lb,
        await lb.client() as client,
    ):
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        rest = asyncio.ensure_future(client.send(piece * 201))
        await until(lambda: sending, "the backend has the head")
        connection = next(iter(lb.listener.connections))
        await until(lambda: not connection._reading, "the client is paused")
        sending[0].set()
        await refused(lb, client, 413, Refusal.BODY_TOO_LARGE)
        rest.cancel()
        await asyncio.gather(rest, return_exceptions=True)


async def test_header_timeout() -> None:
    async with (
        Origin() as origin,
        balancer(origin, limits={"header_timeout": 0.2}) as lb,
        await lb.client() as client,
    ):
        assert (await client.get()).status == 200
        before = time.monotonic()
        await client.send(b"GET / HTTP/1.1\r\nHost")
        await refused(lb, client, 408, Refusal.HEADER_TIMEOUT)
        assert 0.2 <= time.monotonic() - before < 0.2 + LATE


async def test_header_timeout_is_not_put_off_by_a_trickle() -> None:
    async with (
        Origin() as origin,
        balancer(origin, limits={"header_timeout": 0.2}) as lb,
        await lb.client() as client,
    ):
        before = time.monotonic()
        while await client.silent(0.05):
            await client.send(b"x")
        assert (await client.response()).status == 408
        assert time.monotonic() - before < 0.2 + LATE + 0.1


async def test_idle_timeout() -> None:
    async with Origin() as origin, balancer(origin, limits={"idle_timeout": 0.2}) as lb:
        async with await lb.client() as fresh, await lb.client() as used:
            assert (await used.get()).status == 200
            before = time.monotonic()
            assert await fresh.ended() == "closed"
            assert await used.ended() == "closed"
            assert time.monotonic() - before < 0.2 + LATE
        await until(lambda: not lb.listener.connections, "no connection is left")


async def test_an_idle_timeout_is_not_for_requests() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await asyncio.sleep(0.7)
        await wire.send(OK)

    async with (
        Origin(script) as origin,
        balancer(origin, limits={"idle_timeout": 0.1}) as lb,
        await lb.client() as client,
    ):
        assert (await client.get()).status == 200


async def test_body_rate() -> None:
    limits = {"body_rate": 1000, "body_grace": 0.1}

    async def script(wire: Wire) -> None:
        await wire.request_head()
        try:
            await wire.rest()
        except ConnectionError:
            pass

    async with Origin(script) as origin, balancer(origin, limits=limits) as lb, await lb.client() as client:
        before = time.monotonic()
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\nslow")
        await refused(lb, client, 408, Refusal.BODY_TIMEOUT)
        assert time.monotonic() - before < 0.1 + LATE
        assert lb.backend().live == 0


async def test_a_body_that_is_fast_enough() -> None:
    limits = {"body_rate": 100, "body_grace": 0.0}
    async with Origin() as origin, balancer(origin, limits=limits) as lb, await lb.client() as client:
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500)
        for _ in range(5):
            await asyncio.sleep(0.2)
            await client.send(b"x" * 100)
        assert (await client.response()).status == 200


async def test_a_body_that_nobody_wants_must_still_come() -> None:
    """The backend has answered already: what is left is dropped, but not waited for for ever."""

    async def script(wire: Wire) -> None:
        await wire.request_head()
        await wire.send(OK)
        await wire.rest()

    limits = {"body_rate": 1000, "body_grace": 0.1}
    async with Origin(script) as origin, balancer(origin, limits=limits) as lb, await lb.client() as client:
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\nslow")
        assert (await client.response()).status == 200
        assert await client.ended() in ("closed", "reset")


async def megabytes(wire: Wire) -> None:
    while True:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n")
        for _ in range(20):
            await wire.send(b"x" * 1_000_000)


async def test_write_timeout() -> None:
    async with (
        Origin(megabytes) as origin,
        balancer(origin, limits={"write_timeout": 0.3}) as lb,
        await lb.client(receive=65536) as client,
    ):
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: lb.listener.refusals[Refusal.WRITE_TIMEOUT], "the client is given up")
        await until(lambda: not lb.listener.connections, "its connection is gone")
        assert lb.results() == ["client_gone"]
        assert lb.backend().live == 0


async def test_a_slow_reader_is_no_reader_that_stopped() -> None:
    async with (
        Origin(megabytes) as origin,
        balancer(origin, limits={"write_timeout": 0.4}) as lb,
        await lb.client(receive=65536) as client,
    ):
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        size = 0
        for _ in range(15):
            size += len(await client.exactly(500_000))
            await asyncio.sleep(0.1)
        size += len(await client.rest())
        assert size > 20_000_000
        assert lb.listener.refusals[Refusal.WRITE_TIMEOUT] == 0


@pytest.mark.parametrize("end", [b"Connection: close\r\n", b""])
async def test_what_is_written_is_sent_before_the_connection_ends(
    end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response lies in our buffer and the client reads it late: neither lingering nor idling cuts it."""
    monkeypatch.setattr("cdnlab.net.server.LINGER_SECONDS", 0.1)
    size = 8_000_000

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        await wire.rest()

    async with (
        Origin(script) as origin,
        balancer(origin, limits={"idle_timeout": 0.1}) as lb,
        await lb.client(receive=65536) as client,
    ):
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n" % end)
        got = 0
        while got < size:
            data = await client.some(65536)
            assert data, f"cut after {got} bytes"
            got += len(data)
            if size - got < 3_000_000 and size - got > 2_800_000:  # all of it has left the backend by now
                await asyncio.sleep(0.2)
        assert await client.ended() == "closed"


@pytest.mark.parametrize("end", [b"Connection: close\r\n", b""])
async def test_a_client_that_never_reads_the_end_is_given_up(
    end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdnlab.net.server.LINGER_SECONDS", 0.1)
    limits = {"idle_timeout": 0.1, "write_timeout": 0.3}

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6000000\r\n\r\n" + b"x" * 6_000_000)
        await wire.rest()

    async with (
        Origin(script) as origin,
        balancer(origin, limits=limits) as lb,
        await lb.client(receive=65536) as client,
    ):
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n" % end)
        got = 0
        while got < 2_000_000:
            got += len(await client.some(65536))
        await until(lambda: not lb.listener.connections, "the connection is given up")


async def test_pipelined_requests_wait_for_a_client_that_does_not_read() -> None:
    """Ten thousand answers of 60 kB must not pile up in memory."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.send(answer)

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3_000)
        (connection,) = lb.listener.connections
        await until(lambda: not connection.writable, "the client's connection is full")
        await asyncio.sleep(0.2)
        assert connection.transport.get_write_buffer_size() < 300_000
        asked = len(origin.requests)
        assert asked < 1_000
        for _ in range(500):
            assert len((await client.response()).body) == 60_000
        await until(lambda: len(origin.requests) > asked, "it goes on when the client reads")


async def test_connections() -> None:
    async with Origin() as origin, balancer(origin, limits={"connections": 2}) as lb:
        first, second, third = [await lb.client() for _ in range(3)]
        assert (await first.get()).status == 200
        await third.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await refused(lb, third, 503, Refusal.TOO_MANY)
        first.close()
        await until(lambda: len(lb.listener.connections) == 1, "the first has gone")
        async with await lb.client() as fourth:
            assert (await fourth.get()).status == 200
        second.close()
        third.close()


async def test_connections_over_the_limit_do_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdnlab.net.server.LINGER_SECONDS", 0.1)
    async with (
        Origin() as origin,
        balancer(origin, limits={"connections": 1}) as lb,
        await lb.client(),
        await lb.client() as refused_one,
    ):
        assert (await refused_one.response()).status == 503
        sweep = lb.listener.sweep
        await until(lambda: len(sweep.members) == 1, "the refused one is swept away though it does not close")


async def test_connections_per_client() -> None:
    async with Origin() as origin, balancer(origin, limits={"connections_per_client": 1}) as lb:
        async with await lb.client("127.9.9.1") as one, await lb.client("127.9.9.2") as other:
            assert (await one.get()).status == 200
            assert (await other.get()).status == 200
            second = await lb.client("127.9.9.1")
            await refused(lb, second, 429, Refusal.TOO_MANY_FROM_CLIENT)
            second.close()
        await until(lambda: not lb.listener.per_client, "nobody is counted any more")


async def test_requests_per_connection() -> None:
    async with (
        Origin() as origin,
        balancer(origin, limits={"requests_per_connection": 2}) as lb,
        await lb.client() as client,
    ):
        assert (await client.get()).one(b"connection") is None
        assert (await client.get()).one(b"connection") == b"close"
        assert await client.ended() == "closed"


async def test_upstream_idle_timeout() -> None:
    async with (
        Origin() as origin,
        balancer(origin, upstream={"idle_timeout": 0.1}) as lb,
        await lb.client() as client,
    ):
        await client.get()
        assert lb.idle() == 1
        await until(lambda: lb.idle() == 0, "the idle connection is closed")


async def test_idle_per_backend() -> None:
    gate = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await gate.wait()
        await wire.send(OK)
        await answer_ok(wire)

    async with Origin(script) as origin, balancer(origin, upstream={"idle_per_backend": 2}) as lb:
        clients = [await lb.client() for _ in range(4)]
        for client in clients:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: len(origin.requests) == 4, "four requests at once")
        gate.set()
        for client in clients:
            assert (await client.response()).status == 200
            client.close()
        assert lb.idle() == 2
