"""Does to the connections of a node's listeners, and to the requests on them, what a set of faults says.

One gate per set: a new set comes with a new gate, and what the old one held goes on. Two designs were weighed: a
handler around the tier's own, which would see no connection and could neither refuse nor reset one; and this, between
the head and the tier. A listener without faults has no gate, which is one look at an attribute per request.
It must not know who asked for the faults, nor when they end.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING

from cdnlab.net.faults import Fault, Faults
from cdnlab.net.listener import Refusal
from cdnlab.net.slow_transport import SlowTransport

if TYPE_CHECKING:
    from cdnlab.net.server import Connection

AT_ONCE = 20
"""Held requests that go on in one go: some milliseconds of misses."""
WHY = "a fault that was set at this node"


class Gate:
    """One set of faults at one node."""

    def __init__(
        self, faults: Faults, done: dict[Fault, int], chance: Callable[[], float] = random.random
    ) -> None:
        """`done` counts what was done, by kind. `chance` gives numbers from 0 to below 1."""
        self.faults = faults
        self.refuses = faults.refuse
        self._done = done
        self._chance = chance
        self._held: dict[Connection, asyncio.TimerHandle | None] = {}
        self._slowed: dict[Connection, SlowTransport] = {}

    def refuse(self) -> None:
        """A connection was refused where a listener cannot be closed: count it."""
        self._done[Fault.REFUSE] += 1

    def meets(self, connection: Connection) -> bool:
        """A request's head is complete. True if it is held, or has ended; else the tier gets it now."""
        faults = self.faults
        if faults.slow_body:
            self._slow(connection)
        if faults.delay:
            self._done[Fault.DELAY] += 1
            loop = asyncio.get_running_loop()
            self._held[connection] = loop.call_later(faults.delay, self._waited, connection)
            return True
        return self._meets_the_rest(connection)

    def _waited(self, connection: Connection) -> None:
        if self._held.pop(connection, None) is not None and not self._meets_the_rest(connection):
            connection.go_on()

    def _meets_the_rest(self, connection: Connection) -> bool:
        faults = self.faults
        if faults.hang:
            self._done[Fault.HANG] += 1
            self._held[connection] = None
            return True
        if faults.reset:
            self._done[Fault.RESET] += 1
            connection.reset(WHY)
            return True
        if faults.errors and not connection.asks_alive and self._chance() < faults.errors:
            self._done[Fault.ERRORS] += 1
            connection.fail(Refusal.FAULT, 503)
            return True
        return False

    def _slow(self, connection: Connection) -> None:
        self._done[Fault.SLOW_BODY] += 1
        slowed = self._slowed.get(connection)
        if slowed is None:
            listener = connection.listener
            holder = listener.holder if listener.leased else None
            slowed = SlowTransport(connection.transport, connection, self.faults.slow_body, holder)
            self._slowed[connection] = slowed
            connection.transport = slowed  # type: ignore[assignment]
        slowed.expect_head()

    def let_go(self, connection: Connection) -> bool:
        """Its client asks no more; whether a request of it was held."""
        if connection not in self._held:
            return False
        timer = self._held.pop(connection)
        if timer is not None:
            timer.cancel()
        return True

    def gone(self, connection: Connection) -> None:
        """The connection has ended."""
        self.let_go(connection)
        self._slowed.pop(connection, None)

    def end(self) -> None:
        """The faults are over: what was held goes on, and what waits to be sent is sent."""
        for connection, slowed in self._slowed.items():
            slowed.set_free()
            connection.transport = slowed.real
        self._slowed.clear()
        for timer in self._held.values():
            if timer is not None:
                timer.cancel()
        self._release()

    def _release(self) -> None:
        """Let some of the held requests go on, in the order in which they came, and then others run."""
        for connection in list(islice(self._held, AT_ONCE)):
            del self._held[connection]
            connection.go_on()
        if self._held:
            asyncio.get_running_loop().call_soon(self._release)


def shut(connections: Iterable[Connection]) -> None:
    """The connections that are open when new ones begin to be refused: idle ones end, busy ones after their answer."""
    for connection in list(connections):
        connection.close_when_idle()
