"""What faults do to requests at an origin, whose server is aiohttp's and no listener of ours.

The meaning is `cdnlab.net.faults`'; the same faults at balancers and edges are `cdnlab.net.fault_gate`'s.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct

from aiohttp import web

from cdnlab.net.faults import Fault, Faults
from cdnlab.net.slow_transport import SlowTransport
from cdnlab.node.node import Node
from origin import reply

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: on, 0 seconds: whoever closes then sends a reset, socket(7)."""


class FaultDoor:
    """One origin's: each request goes through meets() while there are faults."""

    def __init__(self, node: Node, alive: str) -> None:
        """`alive`: the path of the health answer, which errors pass over."""
        self._node = node
        self._alive = alive
        self._over = asyncio.Event()
        self._slowed: list[SlowTransport] = []
        node.fault_desk.changed.append(self._changed)

    async def meets(self, request: web.Request) -> web.StreamResponse | None:
        """The answer that a fault gives, or None: the request goes on."""
        faults = self._node.faults
        if faults is None:
            return None
        done, over = self._node.fault_desk.done, self._over
        if faults.slow_body:
            done[Fault.SLOW_BODY] += 1
            self._slow(request, faults.slow_body)
        if faults.delay:
            done[Fault.DELAY] += 1
            await _within(over, faults.delay)
        if self._node.faults is not faults:
            return None
        if faults.hang:
            done[Fault.HANG] += 1
            await over.wait()
            return None
        if faults.reset:
            done[Fault.RESET] += 1
            await _reset(request)
        if faults.errors and request.path != self._alive and random.random() < faults.errors:
            done[Fault.ERRORS] += 1
            return reply.problem(503, "A fault was set at this origin: cdnlab fault --clear ends it.")
        return None

    def _slow(self, request: web.Request, rate: int) -> None:
        protocol = request.protocol
        transport: asyncio.Transport | SlowTransport | None = protocol.transport
        if transport is None:
            return
        if not isinstance(transport, SlowTransport):
            transport = SlowTransport(transport, protocol, rate)
            protocol.transport = transport  # type: ignore[assignment]
        transport.rate = rate
        transport.expect_head()
        self._slowed = [one for one in self._slowed if one is not transport and not one.is_closing()]
        self._slowed.append(transport)

    def _changed(self, faults: Faults | None) -> None:
        """What was held goes on; what waits to be sent is sent, and new rates begin with new connections."""
        self._over.set()
        self._over = asyncio.Event()
        for slowed in self._slowed:
            slowed.set_free()
        self._slowed.clear()


async def _within(over: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await over.wait()
    except TimeoutError:
        pass


async def _reset(request: web.Request) -> None:
    """Break the request's connection, and wait for the server to notice: it cancels whoever waits here."""
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        transport.abort()
    await asyncio.Event().wait()
