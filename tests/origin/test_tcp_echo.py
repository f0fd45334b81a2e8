"""The origin's TCP echo: whom it sees, what it gives back, and whose word it takes for who a client is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cdnlab.wire import proxy_protocol
from origin.tcp_echo import TcpEcho
from tests.support.peers import Wire, dial, until

HEADER = proxy_protocol.build_v2(("203.0.113.7", 4711), ("198.51.100.1", 8081))
TRUSTED = "127.0.0.5"


@asynccontextmanager
async def echo(source: str | None = None) -> AsyncIterator[tuple[TcpEcho, Wire]]:
    server = TcpEcho("origin-1", frozenset({TRUSTED}))
    _, port = await server.open("127.0.0.1", 0)
    try:
        async with await dial(port, source=source) as wire:
            yield server, wire
    finally:
        server.close()
        await until(lambda: not server.connections, "its connections are gone")


async def test_it_says_whom_it_sees_and_gives_back_what_comes() -> None:
    big = os.urandom(1 << 21)
    async with echo() as (_, wire):
        mine, its = (f"127.0.0.1:{name[1]}" for name in (wire.sock.getsockname(), wire.sock.getpeername()))
        assert (await wire.until(b"\n")).decode() == f"from {mine} to {its} node origin-1\n"
        sending = asyncio.ensure_future(wire.send(big))
        assert await wire.exactly(len(big)) == big
        await sending
        wire.half_close()
        assert await wire.rest() == b""


async def test_a_balancers_header_says_who_the_client_is() -> None:
    async with echo(TRUSTED) as (_, wire):
        await wire.send(HEADER[:9])
        assert await wire.silent()
        await wire.send(HEADER[9:] + b"hello")
        assert await wire.until(b"\n") == b"from 203.0.113.7:4711 to 198.51.100.1:8081 node origin-1\n"
        assert await wire.exactly(5) == b"hello"


async def test_from_anybody_else_it_is_bytes_like_any_other() -> None:
    async with echo() as (_, wire):
        assert (await wire.until(b"\n")).startswith(b"from 127.0.0.1:")
        await wire.send(HEADER)
        assert await wire.exactly(len(HEADER)) == HEADER


async def test_a_balancer_that_says_nothing_of_the_kind_is_not_served() -> None:
    async with echo(TRUSTED) as (server, wire):
        await wire.send(b"hello")
        await wire.ended()  # and nothing came before
        await until(lambda: not server.connections, "it is gone")
