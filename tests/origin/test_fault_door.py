"""What clients meet at an origin with faults."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from cdnlab.net.clock import now
from cdnlab.net.faults import Fault
from origin.app import ALIVE, OriginApp
from tests.support.peers import dial, until

GET = b"GET /behave?size=%d HTTP/1.1\r\nHost: a\r\n\r\n"


def order(origin: OriginApp, **faults: object) -> None:
    origin.node.fault_desk.order(faults or {"clear": True})


async def test_errors_are_503_and_pass_over_the_health_answer(
    origin: OriginApp, client: aiohttp.ClientSession
) -> None:
    order(origin, errors=1)
    async with client.get("/") as answer:
        assert answer.status == 503
        assert answer.headers["Cache-Control"] == "no-store"
        assert "cdnlab fault --clear" in await answer.text()
    async with client.get(ALIVE) as answer:
        assert answer.status == 200
    async with client.get("/healthz") as answer:
        assert answer.status == 503, "a check of a path of its own is a request"
    order(origin)
    async with client.get("/") as answer:
        assert answer.status == 200
    assert origin.node.fault_desk.done[Fault.ERRORS] == 2


async def test_a_request_that_hangs_goes_on_afterwards_and_one_that_was_given_up_does_not_stay(
    origin: OriginApp, client: aiohttp.ClientSession
) -> None:
    order(origin, hang=True)
    waiting = asyncio.ensure_future(client.get("/healthz"))
    with pytest.raises(TimeoutError):
        await client.get(ALIVE, timeout=aiohttp.ClientTimeout(total=0.05))
    await until(lambda: origin.status()["running"] == 1, "the one that was given up has gone")
    order(origin, hang=True)
    assert (await waiting).status == 200, "a new set lets go of what the old one held"
    order(origin)
    async with client.get("/healthz") as answer:
        assert answer.status == 200


async def test_a_delay_ends_with_its_fault(origin: OriginApp, client: aiohttp.ClientSession) -> None:
    order(origin, delay=0.05)
    begun = now()
    async with client.get("/healthz") as answer:
        assert answer.status == 200
    assert now() - begun >= 0.05
    order(origin, delay=600)
    waiting = asyncio.ensure_future(client.get("/healthz"))
    await until(lambda: origin.node.fault_desk.done[Fault.DELAY] == 2, "it waits")
    order(origin)
    assert (await waiting).status == 200


async def test_a_reset_is_a_reset(origin: OriginApp) -> None:
    assert origin.address is not None
    order(origin, reset=True)
    for _ in range(2):
        async with await dial(origin.address[1]) as wire:
            await wire.send(GET % 10)
            assert await wire.ended() == "reset"
    await until(lambda: origin.status()["running"] == 0, "nothing is left")
    assert origin.node.fault_desk.done[Fault.RESET] == 2


async def test_a_slow_body_comes_whole_after_its_head(origin: OriginApp) -> None:
    assert origin.address is not None
    order(origin, slow_body=65536)
    async with await dial(origin.address[1]) as wire:
        begun = now()
        await wire.send(GET % 16384)
        head = await wire.until(b"\r\n\r\n")
        slow = await wire.exactly(16384)
        assert now() - begun >= 0.2
        assert b"Content-Length: 16384" in head
        order(origin, slow_body=10)
        begun = now()
        await wire.send(GET % 16384)
        assert len(await wire.until(b"\r\n\r\n")) > 100
        assert now() - begun < 5, "the head does not wait, which would take ten seconds"
        first = await wire.exactly(1)
        order(origin)
        assert first + await wire.exactly(16383) == slow
        await wire.send(GET % 16384)
        await wire.until(b"\r\n\r\n")
        assert await wire.exactly(16384) == slow


async def test_who_connects_is_refused_and_then_not_any_more(origin: OriginApp) -> None:
    assert origin.address is not None
    port = origin.address[1]
    async with await dial(port) as idle:
        assert (await idle.get(b"/healthz")).status == 200
        order(origin, refuse=True)
        assert await idle.ended() == "closed"

    async def refused() -> bool:
        try:
            (await dial(port)).close()
        except ConnectionRefusedError:
            return True
        return False

    async with asyncio.timeout(10):
        while not await refused():  # noqa: ASYNC110 - asked from outside
            await asyncio.sleep(0.005)
        order(origin)
        while await refused():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    async with await dial(port) as wire:
        assert (await wire.get(b"/healthz")).status == 200


async def test_a_drain_leaves_no_idle_connection_open_that_nobody_listens_to(origin: OriginApp) -> None:
    assert origin.address is not None
    async with await dial(origin.address[1]) as busy, await dial(origin.address[1]) as idle:
        assert (await idle.get(b"/healthz")).status == 200
        await busy.send(b"GET /behave?delay=0.2 HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: origin.status()["running"] == 1, "one is busy")
        draining = asyncio.ensure_future(origin.drain(now() + 10))
        assert await idle.ended() == "closed"
        assert not draining.done()
        assert (await busy.response()).status == 200
        await draining
