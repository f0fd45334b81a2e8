"""Who is admitted, and who must not be answered: PROXY headers, the holder's deadline, health, drain."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from cdnlab.net.clock import now
from cdnlab.net.exchange import Exchange
from cdnlab.net.listener import Refusal, quiet
from cdnlab.wire import proxy_protocol
from tests.net.listeners import HELLO, listening
from tests.support.peers import until

TRUSTED = "127.9.9.1"
GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
SOURCE, DESTINATION = ("127.49.1.100", 1234), ("127.0.0.1", 80)
V1 = proxy_protocol.build_v1(SOURCE, DESTINATION)
V2 = proxy_protocol.build_v2(SOURCE, DESTINATION)
PROXIED: dict[str, Any] = {"proxy_protocol": True, "trusted": frozenset((TRUSTED,))}
LOCAL = b"\r\n\r\n\0\r\nQUIT\n" + b"\x20\x00\x00\x00"


class Holder:
    """Who may answer, and until when."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline


@pytest.mark.parametrize("header", [V1, V2])
async def test_a_proxy_header_says_who_the_client_is(header: bytes) -> None:
    async with listening(**PROXIED) as server:
        async with await server.client(TRUSTED) as client:
            for byte in header[:-1]:
                await client.send(bytes((byte,)))
                await asyncio.sleep(0)
            await client.send(header[-1:] + GET)
            assert (await client.response()).status == 200
            assert (await client.get(b"/b")).status == 200
            assert server.handler.asked == [
                ("127.49.1.100", "fra", False, b"/a"),
                ("127.49.1.100", "fra", False, b"/b"),
            ]
            assert server.listener.per_client == {"127.49.1.100": 1}
        await until(lambda: not server.listener.per_client, "nobody is counted any more")


async def test_a_local_proxy_header_leaves_the_peer() -> None:
    async with (
        listening(**PROXIED) as server,
        await server.client(TRUSTED) as client,
    ):
        await client.send(LOCAL + GET)
        assert (await client.response()).status == 200
        assert server.handler.asked == [(TRUSTED, "icn", True, b"/a")]


@pytest.mark.parametrize(
    "first", [GET, b"PROXY TCP4 x y 1 2\r\n" + GET, b"\r\n\r\n\0\r\nQUIT\n\x31" + b"\0" * 20, b"P" * 200]
)
async def test_a_missing_or_malformed_proxy_header_is_not_answered(first: bytes) -> None:
    async with (
        listening(**PROXIED) as server,
        await server.client(TRUSTED) as client,
    ):
        await client.send(first)
        assert await client.ended() in ("closed", "reset")
        assert server.handler.asked == []
        assert server.listener.refusals[Refusal.PROXY_HEADER] == 1


async def test_strangers_may_not_send_a_proxy_header() -> None:
    async with (
        listening(**PROXIED) as server,
        await server.client("127.9.9.2") as client,
    ):
        try:
            await client.send(V1 + GET)
        except ConnectionError:
            return
        assert await client.ended() in ("closed", "reset")
        assert server.handler.asked == []


async def test_where_none_is_required_a_proxy_header_is_malformed() -> None:
    async with listening(trusted=frozenset((TRUSTED,))) as server, await server.client(TRUSTED) as client:
        await client.send(V1 + GET)
        assert (await client.response()).status == 400
        assert server.handler.asked == []


async def test_a_proxy_header_that_does_not_come_is_not_waited_for() -> None:
    limits = {"header_timeout": 0.1}
    async with (
        listening(**PROXIED, limits=limits) as server,
        await server.client(TRUSTED) as client,
    ):
        assert await client.ended() in ("closed", "reset")


async def test_the_limit_of_clients_holds_behind_a_proxy_header() -> None:
    limits = {"connections_per_client": 1, "connections": 2}
    async with listening(**PROXIED, limits=limits) as server:
        async with await server.client(TRUSTED) as one, await server.client(TRUSTED) as two:
            await one.send(V1 + GET)
            assert (await one.response()).status == 200, "it does not count against itself"
            await two.send(V1 + GET)
            assert (await two.response()).status == 429
        await until(lambda: not server.listener.per_client, "nobody is counted any more")


async def test_past_the_deadline_nobody_is_accepted() -> None:
    async with listening(holder=Holder(now() - 1)) as server, await server.client() as client:
        try:
            await client.send(GET)
        except ConnectionError:
            pass
        assert await client.ended() in ("closed", "reset")
        assert server.handler.asked == []
        assert server.listener.refusals[Refusal.NOT_HOLDER] >= 1
        assert not server.listener.connections


async def test_past_the_deadline_no_request_of_an_old_connection_is_answered() -> None:
    holder = Holder(math.inf)
    async with listening(holder=holder) as server, await server.client() as client:
        assert (await client.get()).status == 200
        holder.deadline = now() - 0.001
        await client.send(GET)
        assert await client.ended() in ("closed", "reset")
        assert len(server.handler.asked) == 1


class Late:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    def handle(self, exchange: Exchange) -> None:
        """Keep it."""
        self.exchanges.append(exchange)


async def test_past_the_deadline_no_late_answer_leaves() -> None:
    """What was asked while we held the address, and is ready after a freeze, is another's to answer now."""
    holder = Holder(math.inf)
    late = Late()
    async with (
        listening(late, holder=holder) as server,
        await server.client() as one,
        await server.client() as two,
    ):
        await one.send(GET)
        await two.send(GET)
        await until(lambda: len(late.exchanges) == 2, "both requests")
        holder.deadline = now() - 0.001
        late.exchanges[0].answer(200, *HELLO)
        late.exchanges[1].respond(200, HELLO[0], 5)
        late.exchanges[1].write(HELLO[1])
        assert await one.ended() in ("closed", "reset")
        assert await two.ended() in ("closed", "reset")


async def test_the_health_answer_is_for_trusted_peers() -> None:
    def alive() -> tuple[int, bytes, bytes]:
        return 204, b"HTTP/1.1 204 No Content\r\n", b""

    async with listening(alive=alive, trusted=frozenset((TRUSTED,))) as server:
        path = b"/.well-known/cdnlab/alive"
        async with await server.client(TRUSTED) as ours, await server.client() as stranger:
            assert (await ours.get(path)).status == 204
            assert (await stranger.get(path)).status == 200
            assert [target for *_, target in server.handler.asked] == [path]


async def test_a_handler_that_fails_costs_its_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        def handle(self, exchange: Exchange) -> None:
            if b"bad" in exchange.line.raw:
                raise RuntimeError("scripted")
            exchange.answer(200, *HELLO)

    async with listening(Failing()) as server, await server.client() as one, await server.client() as two:
        await one.send(GET.replace(b"/a", b"/bad"))
        assert await one.ended() in ("closed", "reset")
        assert (await two.get()).status == 200
        assert "scripted" in caplog.text


async def test_drain_closes_the_idle_and_lets_the_busy_finish() -> None:
    late = Late()
    async with listening(late) as server:
        async with await server.client() as idle, await server.client() as busy:
            await busy.send(GET + GET)
            await until(lambda: late.exchanges, "the request")
            await until(lambda: len(server.listener.connections) == 2, "both connections")
            server.listener.drain()
            assert await idle.ended() == "closed"
            late.exchanges[0].answer(200, *HELLO)
            assert (await busy.response()).one(b"connection") == b"close"
            assert await busy.ended() == "closed"
            assert len(late.exchanges) == 1
        await asyncio.wait_for(quiet([server.listener], now() + 5), 5)
        assert not server.listener.connections


async def test_abort_all_breaks_every_connection() -> None:
    async with listening() as server, await server.client() as one, await server.client() as two:
        await one.get()
        await two.get()
        assert server.listener.abort_all("scripted") == 2
        assert await one.ended() in ("closed", "reset")
        assert await two.ended() in ("closed", "reset")


class Wrong:
    """Writes more, or less, than it said."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def handle(self, exchange: Exchange) -> None:
        """Say five bytes."""
        exchange.respond(200, HELLO[0], 5)
        exchange.write(self.body)
        exchange.finish()


@pytest.mark.parametrize("body", [b"four", b"sixsix"])
async def test_a_tier_that_miscounts_breaks_the_connection(body: bytes) -> None:
    async with listening(Wrong(body)) as server, await server.client() as client:
        await client.send(GET + GET)
        await client.until(b"\r\n\r\n")
        try:
            assert len(await client.rest()) < 5
        except ConnectionError:
            pass


async def test_the_memory_of_an_idle_connection_is_small() -> None:
    """No head is kept that is larger than is worth it, and no buffer."""
    async with listening() as server, await server.client() as client:
        await client.get(b"/", b"X: " + b"x" * 20_000)
        (connection,) = server.listener.connections
        assert len(connection._last_raw) < 4096
        assert len(connection._buf) == 0
