"""Upgrade: after a 101 bytes go both ways, unread, with flow control, half-closes and an end."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.balancers import balancer
from tests.support.peers import OK, Origin, Wire, answer_ok, saying, until

UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, X-Hop\r\nUpgrade: websocket\r\nX-Hop: 1\r\n"
    b"Sec-WebSocket-Key: abc\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: xyz\r\n\r\n"
)


async def echo(wire: Wire) -> None:
    """Switches, then sends back what comes, and ends when the other side has ended."""
    await wire.request()
    await wire.send(SWITCH)
    while data := await wire.some():
        await wire.send(data)


async def open_tunnel(client: Wire) -> None:
    await client.send(UPGRADE)
    response = await client.interim()
    assert response.status == 101
    assert response.one(b"upgrade") == b"websocket"
    assert (response.one(b"connection") or b"").lower() == b"upgrade"
    assert response.one(b"sec-websocket-accept") == b"xyz"


async def test_bytes_go_both_ways() -> None:
    async with Origin(echo) as origin, balancer(origin) as lb, await lb.client() as client:
        await open_tunnel(client)
        request = origin.requests[0]
        assert request.one(b"upgrade") == b"websocket"
        assert request.one(b"connection") == b"Upgrade"
        assert request.one(b"sec-websocket-key") == b"abc"
        assert request.one(b"x-hop") is None
        for number in range(3):
            await client.send(b"GET /not/a/request HTTP/1.1\r\n\r\n%d" % number)
            assert await client.until(b"\r\n\r\n%d" % number)
        client.half_close()
        assert await client.ended() == "closed"
        await until(lambda: lb.results() == ["tunnel"], "the tunnel is in the log")
        assert lb.backend().live == 0
        assert lb.idle() == 0


async def test_what_came_with_the_heads_is_not_lost() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(SWITCH + b"first")
        assert await wire.exactly(5) == b"early"
        await wire.rest()

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(UPGRADE + b"early")
        await client.until(b"\r\n\r\n")
        assert await client.exactly(5) == b"first"
        client.half_close()
        assert await client.ended() == "closed"


async def test_the_client_ends_first() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(SWITCH)
        assert await wire.rest() == b"question"
        await asyncio.sleep(0.05)
        await wire.send(b"answer")

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await open_tunnel(client)
        await client.send(b"question")
        client.half_close()
        assert await client.rest() == b"answer"
        await until(lambda: not lb.listener.connections, "both connections are gone")


async def test_the_upstream_ends_first() -> None:
    ended = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(SWITCH + b"greeting")
        wire.half_close()
        assert await wire.rest() == b"late answer"
        ended.set()
        await asyncio.sleep(10)  # does not close: both directions have ended, so we do

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(UPGRADE)
        await client.until(b"\r\n\r\n")
        assert await client.rest() == b"greeting"
        await client.send(b"late answer")
        client.half_close()
        await asyncio.wait_for(ended.wait(), 5)
        await until(lambda: not lb.listener.connections, "the tunnel ends though neither side closes")
        assert lb.backend().live == 0


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_a_reset_of_one_side_ends_the_other(who: str) -> None:
    ended = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(SWITCH)
        if who == "upstream":
            await wire.exactly(1)
            wire.reset()
        else:
            try:
                await wire.rest()
            except ConnectionError:
                pass
            ended.set()

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await open_tunnel(client)
        if who == "client":
            client.reset()
            await asyncio.wait_for(ended.wait(), 5)
        else:
            await client.send(b"x")
            assert await client.ended() in ("closed", "reset")
        await until(lambda: lb.results() == ["tunnel"], "the tunnel is in the log")
        assert lb.backend().live == 0


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_the_side_that_does_not_read_stops_the_other(who: str) -> None:
    size = 30_000_000
    read = asyncio.Event()
    sent = 0

    async def flood(wire: Wire) -> None:
        nonlocal sent
        for _ in range(size // 100_000):
            await wire.send(b"x" * 100_000)
            sent += 100_000

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(SWITCH)
        if who == "client":
            await flood(wire)
            wire.half_close()
            await wire.rest()
        else:
            await read.wait()
            got.append(len(await wire.rest()))

    got: list[int] = []
    async with Origin(script) as origin, balancer(origin) as lb, await lb.client(receive=65536) as client:
        await open_tunnel(client)
        flooding = asyncio.ensure_future(flood(client)) if who == "upstream" else None
        await asyncio.sleep(0.3)
        assert 0 < sent < size - 5_000_000, "the flood stands still while nobody reads"
        held = sent
        await asyncio.sleep(0.1)
        assert sent == held
        (connection,) = lb.listener.connections
        assert connection.transport.get_write_buffer_size() < 500_000
        read.set()
        if flooding is not None:
            await flooding
            client.half_close()
        got.append(len(await client.rest()) if who == "client" else 0)
        if who == "client":
            client.half_close()
        await until(lambda: lb.results() == ["tunnel"], "the tunnel ends")
        assert size in got


async def test_an_answer_other_than_101_is_an_answer() -> None:
    answer = b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno"
    async with Origin(saying(answer, OK)) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(UPGRADE)
        assert (await client.response()).body == b"no"
        assert (await client.get()).status == 200
        assert origin.connections == 1


@pytest.mark.parametrize("head", [
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi",
])  # fmt: skip
async def test_upgrades_that_are_not_passed_on(head: bytes) -> None:
    async with Origin(answer_ok) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(head)
        assert (await client.response()).status == 200
        request = origin.requests[0]
        for name in (b"upgrade", b"connection", b"http2-settings"):
            assert request.one(name) is None


async def test_an_idle_tunnel_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lb.proxied.TUNNEL_IDLE", 0.1)
    async with Origin(echo) as origin, balancer(origin) as lb, await lb.client() as client:
        await open_tunnel(client)
        assert await client.ended() == "closed"
        await until(lambda: not lb.listener.connections, "both connections are gone")
