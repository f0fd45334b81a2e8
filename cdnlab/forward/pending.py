"""The queue of requests that wait for a backend with room, and the one timer that it needs.

Acts on what cdnlab/pool/breaker.py decides. It must not know how an attempt is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdnlab.net.clock import now
from cdnlab.pool.breaker import Pending, Ticket
from cdnlab.pool.sticky import dead

if TYPE_CHECKING:
    import asyncio

    from cdnlab.forward.exchange import Forward
    from cdnlab.forward.forwarder import Forwarder
    from cdnlab.pool.backend import Backend


class Queue:
    """One pool's. Everybody waits equally long at most, so the oldest is the next to be late: one timer serves all."""

    __slots__ = ("_timer", "line", "owner")

    def __init__(self, owner: Forwarder, most: int, wait: float) -> None:
        self.owner = owner
        self.line: Pending[Forward] = Pending(most, wait)
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self.line)

    @property
    def most(self) -> int:
        """How many may wait."""
        return self.line.most

    @most.setter
    def most(self, most: int) -> None:
        self.line.most = most

    @property
    def wait(self) -> float:
        """How long each may wait, seconds."""
        return self.line.wait

    @wait.setter
    def wait(self, wait: float) -> None:
        self.line.wait = wait

    @property
    def turned_away(self) -> int:
        """How many got no place, or had waited too long."""
        return self.line.full + self.line.late

    def join(
        self, forward: Forward, instant: float, only: str | None, never: frozenset[str]
    ) -> Ticket[Forward] | None:
        """A place at the end; None if there is none."""
        ticket = self.line.join(forward, instant, only, never)
        if ticket is not None and self._timer is None:
            self._arm(instant)
        return ticket

    def leave(self, ticket: Ticket[Forward]) -> None:
        """Whoever waited has gone, or is not waited for any more."""
        self.line.leave(ticket)

    def freed(self, backend: Backend) -> None:
        """There may be room at `backend`: it goes to the oldest who may have it. One that drains has none for new
        clients, and keeps its own."""
        if len(self.line) and self.owner.room(backend):
            instant, panic = now(), self.owner.pool.panic
            if not panic and dead(backend) is not None:
                return
            forward = self.line.next_for(backend.name, instant, backend.usable or (panic and backend.wanted))
            if forward is not None:
                forward.turn(backend, instant)

    def look(self, instant: float) -> None:
        """Backends may have become usable or have gone, and so may connections: fill what room there is."""
        pool = self.owner.pool
        for name in self.line.awaited():
            found = next((each for each in pool.backends if each.name == name), None)
            if found is None or (dead(found) is not None and not pool.panic):
                for forward in self.line.dismiss(name):
                    forward.elsewhere(instant)
        for backend in pool.backends:
            before = -1
            while before != len(self.line):
                before = len(self.line)
                self.freed(backend)

    def _arm(self, instant: float) -> None:
        oldest = self.line.oldest()
        if oldest is not None:
            delay = max(0.001, oldest + self.line.wait - instant)
            self._timer = self.owner.connector.loop.call_later(delay, self._late)

    def _late(self) -> None:
        self._timer = None
        instant = now()
        for forward in self.line.overdue(instant):
            forward.waited_in_vain(self.line.wait)
        self._arm(instant)
