"""Requests leave no reference cycles: a node runs without automatic full collections."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.balancers import Running, balancer
from tests.support.peers import OK, Origin, Wire, answer_ok, free_port, until

OURS = ("cdnlab.", "lb.")


@pytest.fixture
def _off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.set_debug(0)
    gc.garbage.clear()


def found() -> Counter[str]:
    """What only the collector can free, of our own kinds: name -> how many."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    kinds = Counter(
        f"{type(thing).__module__}.{type(thing).__qualname__}"
        for thing in gc.garbage
        if type(thing).__module__.startswith(OURS)
    )
    gc.garbage.clear()
    return kinds


async def plain(lb: Running, client: Wire) -> None:
    await client.get()


async def with_body(lb: Running, client: Wire) -> None:
    await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
    await client.response()


async def streamed(lb: Running, client: Wire) -> None:
    await client.get(b"/streamed")


async def refused(lb: Running, client: Wire) -> None:
    await client.get(method=b"TRACE")


async def fresh(lb: Running, client: Wire) -> None:
    async with await lb.client() as another:
        await another.get(b"/", b"Connection: close")


async def malformed(lb: Running, client: Wire) -> None:
    async with await lb.client() as another:
        await another.send(b"GET / HTTP/1.1\r\n\r\n")
        await another.response()


async def given_up(lb: Running, client: Wire) -> None:
    another = await lb.client()
    await another.send(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: lb.backend(0).live, "the request is under way")
    another.reset()
    await until(lambda: not lb.backend(0).live, "the request is given up")


async def cut(lb: Running, client: Wire) -> None:
    async with await lb.client() as another:
        await another.send(b"GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
        await another.until(b"half")
        try:
            await another.rest()
        except ConnectionError:
            pass


async def upgraded(lb: Running, client: Wire) -> None:
    async with await lb.client() as another:
        await another.send(b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        await another.interim()
        await another.send(b"x")
        assert await another.exactly(1) == b"x"
        another.half_close()
        await another.rest()


async def script(wire: Wire) -> None:
    while True:
        request = await wire.request()
        if b"/streamed" in request.line:
            await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
            await wire.send(b"0\r\nX: y\r\n\r\n")
        elif b"/never" in request.line:
            await wire.rest()
            return
        elif b"/cut" in request.line:
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
            return
        elif b"/up" in request.line:
            await wire.send(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            while data := await wire.some():
                await wire.send(data)
            return
        else:
            await wire.send(OK)


WAYS = (plain, with_body, streamed, refused, fresh, malformed, given_up, cut, upgraded)


@pytest.mark.usefixtures("_off")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_no_cycles(way: object) -> None:
    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.get()
        gc.collect()
        for _ in range(200 if way is plain else 20):
            await way(lb, client)  # type: ignore[operator]
        await asyncio.sleep(0.02)
        assert found() == Counter()


@pytest.mark.usefixtures("_off")
async def test_no_cycles_where_backends_fail() -> None:
    async def breaks(wire: Wire) -> None:
        await wire.request()

    async with (
        Origin(breaks) as broken,
        Origin(answer_ok) as origin,
        balancer(free_port(), broken, origin) as lb,
        await lb.client() as client,
    ):
        for _ in range(30):
            assert (await client.get()).status == 200
        for _ in range(10):
            await client.get(b"/", b"Content-Length: 0", method=b"POST")
        await asyncio.sleep(0.02)
        assert found() == Counter()


@pytest.mark.usefixtures("_off")
async def test_no_cycles_where_requests_have_timers_second_attempts_and_a_queue() -> None:
    async def slow(wire: Wire) -> None:
        """Every other request is never answered; some are, with a status that is asked for elsewhere."""
        while True:
            request = await wire.request()
            if b"/busy" in request.line:
                await wire.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
            elif b"/hangs" in request.line:
                await wire.rest()
                return
            else:
                await wire.send(OK)

    pool = {
        "retry": {"statuses": ["503"], "try_timeout": 0.05, "timeout": 0.5, "hedge_after": 0.02},
        "breaker": {"requests": 1, "connections": 1, "wait": 0.02},
    }
    async with (
        Origin(slow) as one,
        Origin(slow) as two,
        balancer(one, two, pool=pool, upstream={"retries": 1}) as lb,
        await lb.client() as client,
    ):
        for target in (b"/", b"/busy", b"/hangs", b"/busy", b"/", b"/hangs"):
            assert (await client.get(target)).status in (200, 502, 503, 504)
        crowd = [await lb.client() for _ in range(6)]
        for number, each in enumerate(crowd):
            await each.send(b"GET /hangs HTTP/1.1\r\nHost: a\r\n\r\n")
            if number % 2:
                each.reset()
        for each in crowd[::2]:
            assert (await each.response()).status >= 502
            each.close()
        del crowd
        await until(lambda: not any(lb.backend(number).live for number in (0, 1)), "nothing is under way")
        await asyncio.sleep(0.02)
        assert found() == Counter()
