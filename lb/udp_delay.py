"""Datagrams on their way over an emulated distance: each is due half a round trip after it was given in.

Decides when, and that it is not too many: what waits is bounded in bytes, for each flow and in all. It must not know
where datagrams go: it calls back. A heap and one timer, since a timer per datagram costs more than its relay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Protocol

from cdnlab.net.clock import now

FLOW_BYTES = 262_144
"""Bytes of one flow on their way: the window of an emulated link (distance.window)."""
TOTAL_BYTES = 16 << 20
OVERHEAD = 128
"""Bytes a datagram takes beside its payload: a flood of empty ones must fill the queue, too."""


class Travels(Protocol):
    """What a datagram belongs to."""

    queued: int
    """Its bytes on their way."""


class Delay:
    """The datagrams under way of one service."""

    __slots__ = ("_deliver", "_heap", "_loop", "_numbers", "_timer", "bytes")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[Travels, bool, bytes], None],
    ) -> None:
        """`deliver(flow, up, data)` is called when a datagram is due."""
        self._loop = loop
        self._deliver = deliver
        self._heap: list[tuple[float, int, Travels, bool, bytes]] = []
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None
        self.bytes = 0

    def push(self, due: float, flow: Travels, up: bool, data: bytes) -> bool:
        """Have `data` delivered at `due` (boot time); False if there is no room for it."""
        size = len(data) + OVERHEAD
        if flow.queued + size > FLOW_BYTES or self.bytes + size > TOTAL_BYTES:
            return False
        flow.queued += size
        self.bytes += size
        first = not self._heap or due < self._heap[0][0]
        heappush(self._heap, (due, next(self._numbers), flow, up, data))
        if first:
            self._arm(due)
        return True

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(0.0, due - now()), self._ring)

    def _ring(self) -> None:
        self._timer = None
        heap, instant = self._heap, now() + 0.0005  # a loop's timers count milliseconds
        while heap and heap[0][0] <= instant:
            _, _, flow, up, data = heappop(heap)
            size = len(data) + OVERHEAD
            flow.queued -= size
            self.bytes -= size
            self._deliver(flow, up, data)
        if heap and self._timer is None:
            self._arm(heap[0][0])

    def stop(self) -> None:
        """Forget what is under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for _, _, flow, _, _ in self._heap:
            flow.queued = 0
        self._heap.clear()
        self.bytes = 0
