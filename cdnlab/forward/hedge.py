"""Hedging: a second attempt beside a slow first one; whoever has a head first is heard (Dean and Barroso, The Tail at
Scale, CACM 56(2), 2013).

Decides whether a second attempt sets out, and hands over to the request's own exchange (exchange.py) once it has a
head. It costs its pool's retry budget one retry, so that a pool that is slow as a whole is not asked everything twice.
Never for a method that may not be repeated, nor for a body that is still arriving or does not lie whole in the replay
buffer. The one that loses is cancelled: its connection is closed, since HTTP/1.1 has no other word for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdnlab.forward.connect import CLOSED_AT_ONCE, ConnectFailed
from cdnlab.forward.messages import UPGRADE
from cdnlab.net.client import Broken, Upstream
from cdnlab.net.clock import now
from cdnlab.net.idle import IDLE
from cdnlab.net.tasks import spawn
from cdnlab.pool.reasons import Reason
from cdnlab.pool.retry import NotAgain

if TYPE_CHECKING:
    import asyncio

    from cdnlab.forward.exchange import Forward
    from cdnlab.pool.backend import Backend
    from cdnlab.wire.fields import Field
    from cdnlab.wire.response import ResponseBlock


class Hedge:
    """The second attempt of one request, until it has a head or has failed."""

    __slots__ = ("_task", "backend", "forward", "upstream")

    def __init__(self, forward: Forward, backend: Backend) -> None:
        self.forward = forward
        self.backend = backend
        self.upstream: Upstream | None = None
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def begin(cls, forward: Forward, instant: float) -> Hedge | None:
        """Send the request a second time, if that may be; the first attempt goes on."""
        owner, upload = forward.owner, forward.upload
        if UPGRADE in forward.request.head:
            return None
        if upload is not None and not (upload.done and upload.repeatable):
            owner.not_again[NotAgain.BODY] += 1
            return None
        if not forward.others_left():
            return None
        if not owner.budget.allow(instant):
            owner.not_again[NotAgain.BUDGET] += 1
            return None
        backend = forward.another()
        if backend is None:
            owner.budget.refund()
            return None
        owner.hedges += 1
        hedge = cls(forward, backend)
        backend.live += 1
        upstream = owner.connector.idle(backend, forward.request.place).take(instant, True)
        if upstream is not None:
            hedge._send(upstream, instant)
        else:
            owner.connecting.add(hedge)
            hedge._task = spawn(hedge._connect(), "forward.hedge")
        return hedge

    async def _connect(self) -> None:
        forward = self.forward
        try:
            upstream = await forward.owner.connector.connect(
                self.backend, forward.request.place, forward.owner.connections
            )
        except ConnectFailed as error:
            self._dialled()
            self._failed(error.reason, error.detail)
            return
        self._dialled()
        if upstream.state != IDLE:
            self._failed(Reason.CONNECT_FAILED, CLOSED_AT_ONCE)
            return
        self._send(upstream, now())

    def _dialled(self) -> asyncio.Task[None] | None:
        task, self._task = self._task, None
        self.forward.owner.connecting.discard(self)
        return task

    @property
    def started(self) -> float:
        """When its request began."""
        return self.forward.started

    def _send(self, upstream: Upstream, instant: float) -> None:
        forward = self.forward
        request, upload = forward.request, forward.upload
        self.upstream = upstream
        upstream.send(request.head, request.method, self, request.body, instant)
        if upload is not None:
            upload.replay(upstream)

    def _failed(self, reason: Reason, detail: str) -> None:
        """It is as if it had not been, if the first attempt goes on."""
        forward, backend = self.forward, self._leave()
        forward.owner.failed(backend, reason, now())
        forward.owner.pending.freed(backend)
        forward.hedge_failed(backend.name, reason, detail)

    def _leave(self) -> Backend:
        backend = self.backend
        backend.live -= 1
        backend.served += 1
        self.forward.owner.pool.algorithm.released(backend)
        self.upstream = None
        return backend

    def cancel(self) -> None:
        """It has lost, or nobody waits any more."""
        task = self._dialled()
        if task is not None:
            task.cancel()
        elif self.upstream is not None:
            self.upstream.abort()
        else:
            return
        self.forward.owner.pending.freed(self._leave())

    def abandoned(self, backend: Backend, detail: str) -> bool:
        """Its backend has gone. Not ours to end if it has ended by then: its connection may be another request's."""
        beside = self.forward._beside
        if beside is None or beside.hedge is not self:
            return False
        task = self._dialled()
        if task is not None:
            task.cancel()
        elif self.upstream is not None:
            self.upstream.abort()
        self._failed(Reason.TIMED_OUT, detail)
        return True

    # -- the upstream's calls -------------------------------------------------------------------------------------

    def response_interim(self, raw: bytes, status: int) -> None:
        """Not passed on: the first attempt may have said the same, or may still win."""

    def response_head(
        self, block: ResponseBlock, volatile: tuple[Field, ...], length: int, whole: bytes | None
    ) -> None:
        """It has a head first."""
        forward, upstream = self.forward, self.upstream
        assert upstream is not None
        forward.owner.hedges_won += 1
        forward.overtaken(self.backend, upstream)
        if whole is None:
            upstream.hand_to(forward)
        forward.response_head(block, volatile, length, whole)

    def response_failed(self, why: Broken, detail: str) -> None:
        """It has failed; a connection that had gone idle, too, is not tried afresh for a second attempt."""
        reason = Reason.TIMED_OUT if why is Broken.TIMEOUT else Reason.RESPONSE_FAILED
        self._failed(reason, f"{why.sentence} {detail}".strip())

    def response_data(self, data: bytes) -> None:
        """Not before the head, after which the exchange is the sink."""

    def response_end(self, trailers: tuple[Field, ...]) -> None:
        """As `response_data`."""

    def response_upgraded(self, block: ResponseBlock, volatile: tuple[Field, ...]) -> None:
        """101 to a request that was sent twice: a tunnel is never hedged."""
        if self.upstream is not None:
            self.upstream.abort()
        self._failed(Reason.RESPONSE_FAILED, "101 to a request that was sent twice")

    def tunnel_data(self, data: bytes) -> None:
        """Never."""

    def tunnel_end(self) -> None:
        """Never."""

    def upstream_full(self) -> None:
        """Its body lies in the replay buffer: nobody has to be paused."""

    def upstream_ready(self) -> None:
        """As `upstream_full`."""
