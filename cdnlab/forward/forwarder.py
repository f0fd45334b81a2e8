"""What all exchanges of one pool on one node share: budget, limits, the queue, the counts; and who is given up.

Decides nothing about a single request (exchange.py) and nothing about a backend's health (cdnlab/pool): it is where
both look. Whatever changes here takes effect with the next request.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cdnlab.forward.connect import Attempt, Connector
from cdnlab.forward.exchange import Forward
from cdnlab.forward.messages import ForwardSink, OutRequest
from cdnlab.forward.pending import Queue
from cdnlab.forward.silence import Silence
from cdnlab.net.client import Broken
from cdnlab.net.clock import now
from cdnlab.plan.pools import BreakerSpec, RetrySpec
from cdnlab.pool.backend import UNBOUNDED, Backend
from cdnlab.pool.budget import RetryBudget
from cdnlab.pool.pool import Pool
from cdnlab.pool.reasons import Reason
from cdnlab.pool.retry import NotAgain

if TYPE_CHECKING:
    from cdnlab.forward.sticky import Stickiness
    from cdnlab.forward.upload import Upload
    from cdnlab.net.exchange import Exchange
    from cdnlab.pool.ejection import Ejector

log = logging.getLogger("cdnlab.forward")

#: Statuses from which on a response is looked at: they may be a backend's failure.
SERVER_ERRORS = 500
#: How many requests are moved off a backend in one go, and the pause in seconds before the next.
SLICE = 16
PAUSE = 0.002


class Forwarder:
    """One pool's way out of this node."""

    __slots__ = (
        "abandoned",
        "asked_in_vain",
        "budget",
        "connecting",
        "connections",
        "connector",
        "cut",
        "ejector",
        "hedges",
        "hedges_won",
        "limit",
        "max_retries",
        "not_again",
        "pending",
        "pool",
        "replay_bytes",
        "retries",
        "retry",
        "silence",
        "sticky",
        "timed",
        "wary",
    )

    def __init__(
        self,
        pool: Pool,
        connector: Connector,
        retry: RetrySpec | None = None,
        breaker: BreakerSpec | None = None,
        *,
        ask: bool = True,
    ) -> None:
        """`ask`: whether a backend that has fallen silent may be asked whether it is there (silence.py)."""
        spec = connector.spec
        self.pool = pool
        self.connector = connector
        self.budget = RetryBudget(share=spec.retry_budget)
        self.max_retries = spec.retries
        self.replay_bytes = spec.replay_bytes
        self.connecting: set[Attempt] = set()
        """Those that wait for a connection."""
        self.ejector: Ejector | None = None
        """Who is told of failures, where failures may eject."""
        self.sticky: Stickiness | None = None
        """Who keeps the pool's clients with their backends, where that is wanted."""
        self.retries: dict[Reason, int] = dict.fromkeys(Reason, 0)
        """Attempts after the first, by why the one before had failed."""
        self.not_again: dict[NotAgain, int] = dict.fromkeys(NotAgain, 0)
        """Failed requests that were not sent again, by why."""
        self.cut: dict[Broken, int] = dict.fromkeys(Broken, 0)
        """Responses that broke off after their head had been forwarded, by how."""
        self.hedges: int = 0
        self.hedges_won: int = 0
        self.abandoned: int = 0
        """Attempts that were given up because their backend had gone."""
        self.asked_in_vain: int = 0
        """How often a silent backend did not answer when it was asked whether it is there."""
        self.silence: Silence | None = None
        breaker = breaker or BreakerSpec()
        self.pending = Queue(self, breaker.pending, breaker.wait)
        self.configure(retry or RetrySpec(), breaker, ask=ask)
        pool.watch(self._bound)
        connector.sweep.ticks.append(self.tick)

    def configure(self, retry: RetrySpec, breaker: BreakerSpec, *, ask: bool | None = None) -> None:
        """Go by these settings from the next request on; those that wait stay. `ask`: as at the beginning."""
        if ask is not None and ask is not (self.silence is not None):
            self.silence = Silence(self) if ask else None
        self.retry = retry
        self.timed = any(each is not None for each in (retry.try_timeout, retry.timeout, retry.hedge_after))
        """Whether a request needs timers of its own."""
        self.look()
        self.connections = breaker.connections
        self.limit = breaker.requests or UNBOUNDED
        self.pending.most, self.pending.wait = breaker.pending, breaker.wait
        self._bound()

    def look(self) -> None:
        """Look at the statuses that the retries and the ejector want to know of."""
        judged = self.ejector.statuses if self.ejector is not None else ()
        self.wary = min((SERVER_ERRORS, *(low for low, _ in (*self.retry.statuses, *judged))))
        """The lowest status that is looked at."""

    def start(
        self,
        request: OutRequest,
        sink: ForwardSink,
        exchange: Exchange | None = None,
        explain: bool = False,
        *,
        key: bytes = b"",
        only: Backend | None = None,
        upload: Upload | None = None,
        pin: Backend | None = None,
    ) -> Forward:
        """Begin. `exchange` is where the request's body comes from; `upload` what another pool's failure left of it.
        `key`: what is asked for, where the pool is keyed. `only`: the one backend that may be asked; `pin`: the one
        that is asked first. With an idle connection at hand the head has been written when this returns; otherwise a
        task connects."""
        source = exchange if request.body and upload is None else None
        forward = Forward(self, request, sink, source, explain, now())
        if upload is not None:
            forward.adopt(upload)
        if only is not None:
            forward.aim_at(only, key)
        elif key and self.pool.keyed:
            forward.aim(key)
        if pin is not None:
            forward.pin(pin)
        forward.begin()
        return forward

    # -- failures -------------------------------------------------------------------------------------------------

    def failed(self, backend: Backend, reason: Reason, instant: float) -> None:
        """An attempt on `backend` has failed."""
        backend.failures += 1
        if self.ejector is not None and self.ejector.failed(backend, reason, instant) is not None:
            # not from within this call: the attempt that failed last is still being put away
            self.connector.loop.call_soon(self.abandon, backend)

    def answered(self, backend: Backend, status: int, instant: float) -> None:
        """`backend` answered with a status that is looked at; some are failures of the backend, though not ours."""
        if self.ejector is not None and self.ejector.counts(status):
            self.ejector.failed(backend, Reason.BAD_STATUS, instant)
        elif backend.streak:
            backend.streak = 0

    def frozen(self, backend: Backend, seconds: float) -> None:
        """`backend` has said nothing, not even when asked whether it is there: that weighs as much as any number of
        requests that failed, for they all wait for the same."""
        self.asked_in_vain += 1
        detail = f"nothing has come from it for {seconds:g} s, not even when it was asked whether it is there"
        if self.ejector is not None:
            self.ejector.silent(backend, now(), detail)
        self.abandon(backend, detail)

    def abandon(self, backend: Backend, detail: str = "it was taken out of use") -> None:
        """Whoever waits for `backend` and has no head yet goes to the next candidate, if it may.

        A killed backend says so by itself: its kernel resets what is open. A frozen one says nothing at all, and its
        kernel even goes on taking connections. Whoever may not be sent again, or has nowhere to go, stays: a backend
        that thaws will still answer.

        Nobody keeps a set of attempts per backend, which every request would pay for: the connections know.
        """
        waiting = [*self.connector.waiting_for(backend), *self.connecting]
        waiting = [each for each in waiting if each.backend is backend]
        if waiting:
            log.warning(
                "pool %s: %d requests wait for %s: %s", self.pool.name, len(waiting), backend.name, detail
            )
            self._move(waiting, backend, detail)

    def _move(self, waiting: list[Attempt], backend: Backend, detail: str) -> None:
        """A few at a time: each mostly needs a new connection, and two thousand of those in one go stop the loop for
        longer than a VIP's lease (seen)."""
        for each in waiting[-SLICE:]:
            self.abandoned += each.backend is backend and each.abandoned(backend, detail)
        del waiting[-SLICE:]
        if waiting:
            self.connector.loop.call_later(PAUSE, self._move, waiting, backend, detail)

    # -- room -----------------------------------------------------------------------------------------------------

    def room(self, backend: Backend) -> bool:
        """Whether one more request may go to `backend` now: it is below both limits."""
        if backend.live >= backend.limit:
            return False
        if not self.connections:
            return True
        coming = sum(each.backend is backend for each in self.connecting)
        return self.connector.room(backend, self.connections - coming)

    def _bound(self) -> None:
        for backend in self.pool.backends:
            backend.limit = self.limit

    # -- upkeep ---------------------------------------------------------------------------------------------------

    def tick(self, instant: float) -> None:
        """A few times a second."""
        self.budget.roll(instant)
        if len(self.pending):
            self.pending.look(instant)
        if self.silence is not None:
            self.silence.look(instant)

    def status(self) -> dict[str, object]:
        """For /status."""
        return {
            "pool": self.pool.name,
            "retries": sum(self.retries.values()),
            "refused": {str(why): count for why, count in self.not_again.items() if count},
            "moved": self.abandoned,
            "hedges": self.hedges,
            "hedges_won": self.hedges_won,
            "cut": {str(how): count for how, count in self.cut.items() if count},
            "pending": len(self.pending),
            "turned_away": self.pending.turned_away,
        }
