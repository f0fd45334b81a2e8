"""Frozen backends: who has fallen silent is asked whether it is there, and is left if it does not say so.

Decides when a backend is silent and what its silence means. It must not know a single request.

Theory. A frozen process (SIGSTOP, a dead lock, a page of memory that never comes) is the worst of failures: its kernel
goes on taking connections and acknowledging bytes, so nothing breaks, and a check that only connects says *up* for
ever. What is left is time, and time alone lies: a backend that answers a report in 40 s is not frozen. So three designs
were weighed:

    a timeout per attempt     knows one request only; short, it doubles every slow one, long, it sees nothing. It is
                              there for who knows its application (`retry.try_timeout`), and off by default
    the active checks         see it where they ask over HTTP, after interval x fall and a timeout: some 7 s by default
    silence, then a question  nothing at all has come from a backend for PATIENCE while requests wait for it: it is
                              asked, on a connection of its own, for something that any server answers at once. Only
                              if that stays without an answer for ANSWER is it taken for frozen

The third is built here: a backend that works says anything at all within milliseconds, however slow single requests
are, so the question can be asked early. Then its requests go elsewhere, and the ejector is told as often as it takes.
At the latest PATIENCE + ANSWER + 0.5 s after the freeze (looked at four times a second) nobody waits any more.

Who can only do one thing at a time (one worker without threads) may be silent and alive. It is found out by its late
answers: from the second within a minute on it is waited for twice as long as that took, and this is forgotten by half
each minute. One late answer alone teaches nothing: a backend that was frozen and thaws gives one, too, and the next
freeze must not be found later for it.

Nothing is kept per request: a look is a comparison of two counters per backend, and only where they stand still are the
connections looked at. Where there is nobody else to ask, nothing is asked.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from cdnlab.forward.connect import ConnectFailed
from cdnlab.net.client import Broken
from cdnlab.net.clock import now
from cdnlab.net.idle import IDLE
from cdnlab.net.tasks import spawn
from cdnlab.node.health_answer import ALIVE_PATH
from cdnlab.pool.reasons import Reason

if TYPE_CHECKING:
    from cdnlab.forward.forwarder import Forwarder
    from cdnlab.pool.backend import Backend
    from cdnlab.wire.fields import Field
    from cdnlab.wire.response import ResponseBlock

log = logging.getLogger("cdnlab.forward")

#: Seconds without a sign of life after which a backend is asked.
PATIENCE = 0.5
#: Seconds that it has to answer; a TLS handshake around the world takes most of one.
ANSWER = 1.0
#: Seconds for which a late answer is still waited for, to learn from.
LATE = 10.0
#: Seconds in which half of what was learned is forgotten.
FORGET = 60.0


class Silence:
    """The watch over one pool's backends."""

    __slots__ = ("_asking", "_late", "_learned", "_seen", "owner")

    def __init__(self, owner: Forwarder) -> None:
        self.owner = owner
        self._seen: dict[Backend, tuple[int, float]] = {}
        """How many exchanges had ended, and since when it is as many."""
        self._asking: set[Backend] = set()
        self._late: dict[Backend, float] = {}
        """When one last answered too late."""
        self._learned: dict[Backend, tuple[float, float]] = {}
        """How long to wait, and when that was learned."""

    def look(self, instant: float) -> None:
        """Ask those who have been silent for too long. A few times a second."""
        on_offer = self.owner.pool.on_offer
        before, self._seen = self._seen, {}
        if len(on_offer) < 2:
            return
        for backend in on_offer:
            if not backend.live:
                continue
            seen = before.get(backend)
            if seen is None or seen[0] != backend.served:
                seen = (backend.served, instant)
            self._seen[backend] = seen
            limit = instant - self.patience(backend, instant)
            if seen[1] <= limit and backend not in self._asking and self._waited_for(backend, limit):
                self._asking.add(backend)
                spawn(self._ask(backend, seen[0]), f"ask {backend.name} whether it is there")

    def patience(self, backend: Backend, instant: float) -> float:
        """Seconds of silence that this backend is granted."""
        learned = self._learned.get(backend)
        if learned is None:
            return PATIENCE
        half_lives = (instant - learned[1]) / FORGET
        return max(PATIENCE, learned[0] * float(0.5**half_lives))

    def _waited_for(self, backend: Backend, limit: float) -> bool:
        """Whether a request has waited since before `limit`, and nothing has come since then."""
        waiting = any(each.backend is backend and each.started <= limit for each in self.owner.connecting)
        for each in self.owner.connector.connections_to(backend):
            if each.heard > limit or (each.asker is None and each.last_sign > limit):
                return False
            waiting = waiting or (each.asker is not None and each.last_sign <= limit)
        return waiting

    async def _ask(self, backend: Backend, served: int) -> None:
        began = now()
        answer = spawn(self._knock(backend), "forward.silence")
        try:
            await asyncio.wait({answer}, timeout=ANSWER)
            if answer.done():
                self._seen[backend] = (served, now())  # a sign of life as good as any
                return
            if backend.served == served and backend in self.owner.pool.on_offer:
                self.owner.frozen(backend, PATIENCE + ANSWER)
            await asyncio.wait({answer}, timeout=LATE)
            if answer.done() and answer.result():
                self._answered_late(backend, began, now())
        finally:
            answer.cancel()
            self._asking.discard(backend)

    def _answered_late(self, backend: Backend, began: float, instant: float) -> None:
        """Once, and it may have been frozen and thawed; twice within a while, and it works like that."""
        before, self._late[backend] = self._late.get(backend), instant
        if before is not None and instant - before < FORGET:
            self._learned[backend] = (2 * (instant - began), instant)

    async def _knock(self, backend: Backend) -> bool:
        """Whether it says anything; False if it refuses the connection or closes it, for which others are."""
        try:
            upstream = await self.owner.connector.connect(backend, "")
        except ConnectFailed as error:
            if error.reason is Reason.TIMED_OUT:
                await asyncio.sleep(LATE)  # as silent as one that takes the connection and says nothing
            return False
        if upstream.state != IDLE:
            return False
        sign = Sign()
        try:
            method, target = (b"GET", ALIVE_PATH) if backend.ours else (b"OPTIONS", b"*")
            head = b"%b %b HTTP/1.1\r\nHost: %b\r\nUser-Agent: cdnlab-check\r\nConnection: close\r\n\r\n"
            host = "localhost" if backend.unix else backend.key
            upstream.send(head % (method, target, host.encode()), method, sign, 0, now())
            return await sign.life
        finally:
            if (
                not sign.over
            ):  # else the connection is idle, or somebody's whose request has been sent on it already
                upstream.abort()


class Sign:
    """Takes the answer to the question, whatever it is."""

    __slots__ = ("life", "over")

    def __init__(self) -> None:
        self.over = False
        """Whether the connection is not ours any more."""
        self.life: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def _heard(self, alive: bool) -> None:
        if not self.life.done():
            self.life.set_result(alive)

    def response_interim(self, raw: bytes, status: int) -> None:
        """A sign."""
        self._heard(True)

    def response_head(
        self, block: ResponseBlock, volatile: tuple[Field, ...], length: int, whole: bytes | None
    ) -> None:
        """A sign, whatever the status."""
        self.over = whole is not None
        self._heard(True)

    def response_data(self, data: bytes) -> None:
        """Nobody reads it."""

    def response_end(self, trailers: tuple[Field, ...]) -> None:
        """Nobody reads it."""
        self.over = True

    def response_failed(self, why: Broken, detail: str) -> None:
        """Bytes that are not HTTP are a sign, too; the end of the connection is not."""
        self.over = True
        self._heard(why is Broken.MALFORMED)

    def response_upgraded(self, block: ResponseBlock, volatile: tuple[Field, ...]) -> None:
        """A sign."""
        self._heard(True)

    def tunnel_data(self, data: bytes) -> None:
        """Never."""

    def tunnel_end(self) -> None:
        """Never."""

    def upstream_full(self) -> None:
        """Never: the question is small."""

    def upstream_ready(self) -> None:
        """Never."""
