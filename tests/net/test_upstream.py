"""An upstream connection after its response: used again, or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from cdnlab.net import link
from cdnlab.net.client import Upstream
from cdnlab.net.clock import now
from cdnlab.net.idle import IdleList
from cdnlab.net.timers import Sweep
from cdnlab.wire.response import ResponseMemo
from tests.support.peers import Origin, Wire, until

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"


class SlowSink:
    """A client that is full as soon as it gets anything, until `resume`."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.headed = asyncio.Event()
        self.ended = asyncio.Event()

    def response_head(self, block: object, volatile: object, length: int, whole: bytes | None) -> None:
        assert whole is None
        self.headed.set()

    def response_data(self, data: bytes) -> None:
        self.upstream.pause()

    def response_end(self, trailers: object) -> None:
        self.ended.set()


@pytest_asyncio.fixture
async def sweep() -> AsyncIterator[Sweep]:
    made = Sweep(asyncio.get_running_loop())
    yield made
    made.stop()


@asynccontextmanager
async def after(sweep: Sweep, body: bytes, rtt: float = 0.0) -> AsyncIterator[tuple[Upstream, IdleList]]:
    """A connection whose response ended while its client was full; the body comes after the head, in one piece."""
    headed = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(HEAD)
        await headed.wait()
        await wire.send(body)
        await wire.rest()

    home = IdleList(keep=60.0, most=4, reuse_unsafe_max=60.0)
    async with Origin(script) as origin:
        upstream = await link.connect(
            asyncio.get_running_loop(),
            lambda: Upstream(ResponseMemo(), sweep, home, 30.0),
            "127.0.0.1",
            origin.port,
            rtt=rtt,
        )
        sink: Any = SlowSink(upstream)
        upstream.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET", sink, 0, now())
        await sink.headed.wait()
        headed.set()
        await sink.ended.wait()
        assert home.take(now(), True) is None, "not before the loop has looked"
        await until(
            lambda: home.connections or upstream not in sweep.members, "it is known what becomes of it"
        )
        yield upstream, home
        upstream.abort()
    await until(lambda: not sweep.members, "it is gone")


@pytest.mark.parametrize("rtt", [0.0, 0.02])
async def test_it_is_used_again_though_its_client_still_reads(sweep: Sweep, rtt: float) -> None:
    async with after(sweep, b"body", rtt) as (upstream, home):
        assert home.take(now(), True) is upstream
        assert upstream._reading


async def test_what_came_beyond_the_response_is_nobodys_answer(sweep: Sweep) -> None:
    async with after(sweep, b"body" + HEAD + b"evil") as (upstream, home):
        assert home.connections == []
        assert upstream not in sweep.members


async def test_none_is_kept_after_the_end(sweep: Sweep) -> None:
    async with after(sweep, b"body") as (upstream, home):
        assert home.take(now(), True) is upstream
        home.close()
        home.put(upstream, now())
        assert home.connections == []
