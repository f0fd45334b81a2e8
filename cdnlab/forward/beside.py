"""What only some requests need beside an attempt: timers, a second attempt, a place in the queue, a spare answer.

Acts on a pool's `retry` settings: when an attempt has had its time, when all have, when a second one sets out. It must
not know connections. Most requests have none of it, and pay one test of an attribute each time they might.

    try_timeout   one attempt has no head: the next candidate is asked, if the request may be sent again. If it may not,
                  or nobody is left, the attempt goes on: to end it would help nobody
    timeout       there is no head after this, however many attempts: 504
    hedge_after   see hedge.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdnlab.forward.hedge import Hedge
from cdnlab.net.clock import now

if TYPE_CHECKING:
    import asyncio

    from cdnlab.forward.exchange import Forward
    from cdnlab.pool.backend import Backend
    from cdnlab.pool.breaker import Ticket
    from cdnlab.wire.fields import Field
    from cdnlab.wire.response import ResponseBlock

    Answer = tuple[Backend, ResponseBlock, tuple[Field, ...], int, bytes]


class Beside:
    """One request's."""

    __slots__ = ("_attempt", "_hedging", "_total", "forward", "hedge", "spare", "ticket", "tried_at")

    def __init__(self, forward: Forward) -> None:
        self.forward = forward
        self.hedge: Hedge | None = None
        """The second attempt, while it is under way."""
        self.spare: Answer | None = None
        """A whole response whose status is asked for elsewhere; what the client gets if nobody does better."""
        self.ticket: Ticket[Forward] | None = None
        """A place in the queue."""
        self.tried_at = forward.started
        """When the newest attempt began."""
        self._attempt: asyncio.TimerHandle | None = None
        self._hedging: asyncio.TimerHandle | None = None
        self._total: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """The clock of the whole runs from here; that of the second attempt, too."""
        forward = self.forward
        retry, later = forward.owner.retry, forward.owner.connector.loop.call_later
        if retry.timeout is not None:
            self._total = later(retry.timeout, self._all_late)
        if retry.hedge_after is not None and forward.request.idempotent:
            self._hedging = later(retry.hedge_after, self._hedge)

    def attempt(self, instant: float) -> None:
        """An attempt begins."""
        self.tried_at = instant
        owner = self.forward.owner
        limit = owner.retry.try_timeout
        if limit is not None:
            if self._attempt is not None:
                self._attempt.cancel()
            self._attempt = owner.connector.loop.call_later(limit, self._late)

    def _late(self) -> None:
        self._attempt = None
        self.forward.attempt_late(self.forward.owner.retry.try_timeout or 0.0)

    def _all_late(self) -> None:
        self._total = None
        self.forward.out_of_time(self.forward.owner.retry.timeout or 0.0)

    def _hedge(self) -> None:
        self._hedging = None
        forward = self.forward
        if self.hedge is None and self.ticket is None:
            self.hedge = Hedge.begin(forward, now())

    def out_of_queue(self) -> None:
        """Whoever waited waits no more."""
        ticket, self.ticket = self.ticket, None
        if ticket is not None:
            self.forward.owner.pending.leave(ticket)

    def end(self) -> None:
        """The head has come, or nobody waits for it: drop everything but the spare answer."""
        for timer in (self._attempt, self._hedging, self._total):
            if timer is not None:
                timer.cancel()
        self._attempt = self._hedging = self._total = None
        hedge, self.hedge = self.hedge, None
        if hedge is not None:
            hedge.cancel()
        self.out_of_queue()
