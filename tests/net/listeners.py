"""A listener in the test's own loop, with the smallest possible tier behind it: one that says hello."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from cdnlab.net.exchange import Exchange
from cdnlab.net.listener import Listener
from cdnlab.net.timers import Sweep
from cdnlab.plan.topology import Limits
from tests.support.peers import Wire, dial, until

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", b"hello"


class Hello:
    """The handler: remembers what it was asked, and answers at once."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bool, bytes]] = []
        """(peer, place, trusted, canonical target)"""

    def handle(self, exchange: Exchange) -> None:
        """Answer."""
        target = exchange.line.target.canonical
        self.asked.append((exchange.peer, exchange.place, exchange.trusted, target))
        exchange.answer(200, *HELLO)


class Listening:
    """A listener that runs."""

    def __init__(self, listener: Listener, handler: Any, port: int) -> None:
        self.listener = listener
        self.handler = handler
        self.port = port

    async def client(self, source: str | None = None) -> Wire:
        """A connection to it."""
        return await dial(self.port, source=source)


@asynccontextmanager
async def listening(
    handler: Any = None,
    *,
    limits: dict[str, Any] | None = None,
    prepare: Callable[[Listener], None] = lambda listener: None,
    **options: Any,
) -> AsyncIterator[Listening]:
    """Run a listener; `options` are Listener's own, `prepare` may change it before it accepts."""
    loop = asyncio.get_running_loop()
    sweep = Sweep(loop)
    handler = handler or Hello()
    listener = Listener(
        handler,
        name="node",
        limits=Limits(**(limits or {})),
        sweep=sweep,
        place_of=lambda address: "fra" if address.startswith("127.49.") else "icn",
        **options,
    )
    prepare(listener)
    server = await loop.create_server(listener, "127.0.0.1", 0)
    try:
        yield Listening(listener, handler, server.sockets[0].getsockname()[1])
    finally:
        server.close()
        listener.abort_all("the test ends")
        await until(lambda: not sweep.members, "the connections are gone")
        sweep.stop()
        await server.wait_closed()
