"""A former holder of a VIP is thawed: whatever it was in the middle of, it answers nothing."""

from __future__ import annotations

import asyncio
import math

import pytest

from cdnlab.net.clock import now
from tests.lb.test_tunnel import SWITCH, UPGRADE
from tests.support.balancers import Running, balancer
from tests.support.peers import OK, Origin, Wire, until

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"


def frozen(lb: Running) -> None:
    """As after SIGCONT: the deadline has passed, and nobody in this process has looked yet."""
    assert lb.app.vips[0].deadline == math.inf
    lb.app.vips[0].deadline = now() - 0.1


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nfirst",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        b"no HTTP\r\n\r\n",
    ],
    ids=["whole", "long", "chunked", "interim", "malformed"],
)
async def test_the_answer_came_while_it_was_frozen(answer: bytes) -> None:
    asked, thawed = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        asked.set()
        await thawed.wait()
        await wire.send(answer)
        await wire.rest()

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(GET)
        await asked.wait()
        frozen(lb)
        thawed.set()
        assert await client.rest() == b""
        await until(lambda: lb.results() == ["client_gone"], "the request is in the log")
        assert lb.backend().live == 0


@pytest.mark.parametrize("rest", [b"later", b""], ids=["more", "end"])
async def test_the_rest_of_an_answer_came_while_it_was_frozen(rest: bytes) -> None:
    thawed = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await thawed.wait()
        await wire.send(b"%x\r\n%b\r\n" % (len(rest), rest) if rest else b"0\r\n\r\n")
        await wire.rest()

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(GET)
        await client.until(b"first\r\n")
        frozen(lb)
        thawed.set()
        assert await client.rest() == b""


async def test_a_tunnel_was_frozen() -> None:
    thawed = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(SWITCH)
        await thawed.wait()
        await wire.send(b"later")
        await wire.rest()

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(UPGRADE)
        assert (await client.interim()).status == 101
        frozen(lb)
        thawed.set()
        assert await client.rest() == b""


async def test_the_upstream_died_while_it_was_frozen() -> None:
    asked, thawed = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        asked.set()
        await thawed.wait()

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(b"POST" + GET[3:-2] + b"Content-Length: 0\r\n\r\n")
        await asked.wait()
        frozen(lb)
        thawed.set()
        assert await client.rest() == b""
