"""The attempts of one request: candidates in order, connect, send, the queue, and what follows a failure.

Decides whom to ask next, and when to give up; when a request may be sent a second time at all, cdnlab/pool/retry.py
says. It must not know what a response means. exchange.py is the rest of the same object: the upstream's sink and the
client's source.

    candidate with room --idle connection--> sent --head--> relayed to its end
                |                 `--none--> connecting --> sent
                |                                  any failure before the head --> next candidate, if it may be
                no room anywhere --> queue (pending.py) --> sent to whoever has room first

What leaves a backend that is not in use any more (down, ejected, drained) is not charged to the retry budget. The
budget is there because retries multiply load: a pool that is slow as a whole is asked everything twice. A backend that
is out of use does nothing with what it was sent, and each of its requests leaves it once, so the others get the share
that the pool's algorithm would have given them had it looked a moment later, and not more. Charged, a frozen backend
with more requests waiting than the budget holds would fail the rest for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from cdnlab.forward.beside import Beside
from cdnlab.forward.connect import CLOSED_AT_ONCE, ConnectFailed
from cdnlab.forward.messages import Failure, ForwardSink, OutRequest
from cdnlab.forward.upload import Upload
from cdnlab.net.client import Upstream
from cdnlab.net.clock import now
from cdnlab.net.idle import IDLE
from cdnlab.net.tasks import spawn
from cdnlab.pool.backend import Backend
from cdnlab.pool.reasons import Reason
from cdnlab.pool.retry import NotAgain, may_repeat

if TYPE_CHECKING:
    from cdnlab.forward.forwarder import Forwarder
    from cdnlab.net.exchange import Exchange

#: Why a backend that was asked is passed over.
ASKED = frozenset((Reason.CONNECT_FAILED, Reason.RESPONSE_FAILED, Reason.TIMED_OUT, Reason.BAD_STATUS))
_503 = frozenset((Reason.NO_BACKEND, Reason.QUEUE_FULL, Reason.QUEUE_TIMEOUT))


class Attempts:
    """One request's way to a backend that answers."""

    __slots__ = (
        "_again",
        "_beside",
        "_candidates",
        "_detail",
        "_over",
        "_pinned",
        "_task",
        "attempts",
        "backend",
        "head_at",
        "headed",
        "key",
        "owner",
        "passed",
        "request",
        "sink",
        "started",
        "upload",
        "upstream",
    )

    def __init__(
        self,
        owner: Forwarder,
        request: OutRequest,
        sink: ForwardSink,
        exchange: Exchange | None,
        explain: bool,
        started: float,
    ) -> None:
        self.owner = owner
        self.request = request
        self.sink = sink
        self.started = started
        self.head_at = 0.0
        self.attempts = 0
        self.headed = False
        self.key = b""
        self.backend: Backend | None = None
        self.upstream: Upstream | None = None
        self.passed: list[tuple[str, Reason]] | None = [] if explain else None
        """Candidates passed over, and why; recorded on demand, and always once something failed."""
        self._candidates: Iterator[Backend] | None = None
        self._task: asyncio.Task[None] | None = None
        self._over = False
        self._again = False
        self._pinned: Backend | None = None
        self._beside: Beside | None = None
        self.upload: Upload | None = None
        if request.body and exchange is not None:
            self.upload = Upload(
                exchange,
                limit=owner.replay_bytes,
                expect=request.expect,
                interim=sink.forward_interim,
                when_failed=self.cancel,
            )

    # -- before `begin` -------------------------------------------------------------------------------------------

    def aim(self, key: bytes) -> None:
        """Choose by `key`: only where the pool is keyed."""
        self.key = key

    def aim_at(self, backend: Backend, key: bytes) -> None:
        """Ask this backend and no other, since `key` is its own."""
        self.key = key
        self._candidates = iter((backend,))

    def pin(self, backend: Backend) -> None:
        """Ask this backend first, whether or not new clients are sent there; then the others in the pool's order. If it
        has no room the request waits for it, since another one does not know its client."""
        self._pinned = backend

    def adopt(self, upload: Upload) -> None:
        """Send the body that another pool was to have."""
        self.upload = upload
        upload.hand_over(self.sink.forward_interim, self.cancel)

    # -- attempts -------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Send to the first candidate."""
        owner = self.owner
        owner.budget.begun += 1
        if owner.timed:
            self._beside = Beside(self)  # type: ignore[arg-type]
            self._beside.begin()
        self._next(self.started)

    def _line_up(self) -> Iterator[Backend]:
        """The candidates. A pinned one comes first, and the pool is not asked to choose until that has failed."""
        pool, request, pinned = self.owner.pool, self.request, self._pinned
        if pinned is not None:
            found: Iterator[Backend] = chain((pinned,), self._others(pinned))
        else:
            found = pool.candidates(request.place, self.passed, self.key)
        self._candidates = found
        return found

    def _others(self, pinned: Backend) -> Iterator[Backend]:
        for backend in self.owner.pool.candidates(self.request.place, self.passed, self.key):
            if backend is not pinned:
                yield backend

    def _next(self, instant: float) -> None:
        owner = self.owner
        candidates = self._candidates
        if candidates is None:
            if self._pinned is None and self.passed is None:  # `_line_up` in place, for nearly all
                candidates = owner.pool.algorithm.order(self.request.place, self.key)
                self._candidates = candidates
            else:
                candidates = self._line_up()
        for backend in candidates:
            if self.attempts and backend not in owner.pool.on_offer:
                continue  # it was there when the candidates were lined up
            if backend.live < backend.limit and (not owner.connections or owner.room(backend)):
                break
            if backend is self._pinned:
                self._wait(instant, backend)
                return
            if self.passed is None:
                self.passed = []
            self.passed.append((backend.name, Reason.NO_ROOM))
        else:
            self._exhausted(instant)
            return
        self._try(backend, instant)

    def _try(self, backend: Backend, instant: float) -> None:
        self.attempts += 1
        self.backend = backend
        backend.live += 1
        request, connector = self.request, self.owner.connector
        if self._beside is not None:
            self._beside.attempt(instant)
        upstream = connector.idle(backend, request.place).take(instant, request.idempotent)
        if upstream is None:
            self._dial(backend)
            return
        self.upstream = upstream
        upstream.send(request.head, request.method, self, request.body, instant)  # type: ignore[arg-type]
        if self.upload is not None:
            self.upload.begin(upstream, connector.loop)

    def _dial(self, backend: Backend) -> None:
        if self.upload is not None:
            self.upload.between()
        self.owner.connecting.add(self)  # type: ignore[arg-type]
        self._task = spawn(self._connect(backend), "forward.connect")

    async def _connect(self, backend: Backend) -> None:
        connector, request = self.owner.connector, self.request
        try:
            upstream = await connector.connect(backend, request.place, self.owner.connections)
            if upstream.state != IDLE:
                raise ConnectFailed(Reason.CONNECT_FAILED, CLOSED_AT_ONCE)
        except ConnectFailed as error:
            self._dialled()
            self._drop_backend(error.reason)
            self._retry_or_fail(error.reason, error.detail, sent=False)
            return
        self._dialled()
        if self._over:
            upstream.abort()
            return
        self.upstream = upstream
        upstream.send(request.head, request.method, self, request.body, now())  # type: ignore[arg-type]
        if self.upload is not None:
            self.upload.begin(upstream, connector.loop)

    def _dialled(self) -> asyncio.Task[None] | None:
        """No connection is waited for any more; the task that did."""
        task, self._task = self._task, None
        self.owner.connecting.discard(self)
        return task

    def _wait(self, instant: float, only: Backend | None) -> None:
        """No candidate has room: take a place in the queue."""
        never = frozenset(name for name, why in self.passed or () if why in ASKED)
        beside = self._beside
        if beside is None:
            beside = self._beside = Beside(self)  # type: ignore[arg-type]
        pending = self.owner.pending
        beside.ticket = pending.join(self, instant, only.name if only is not None else None, never)  # type: ignore[arg-type]
        if beside.ticket is None:
            detail = f"no backend has room, and {pending.most} requests wait already"
            self._fail(Reason.QUEUE_FULL, only.name if only is not None else "", detail, again=True)
            return
        if self.upload is not None:
            self.upload.between()

    def turn(self, backend: Backend, instant: float) -> None:
        """The queue's call: there is room at `backend`."""
        if self._beside is not None:
            self._beside.ticket = None
        self._try(backend, instant)

    def elsewhere(self, instant: float) -> None:
        """The queue's call: the one backend that it has waited for is gone."""
        if self._beside is not None:
            self._beside.ticket = None
        if self._pinned is not None:
            if self.passed is None:
                self.passed = []
            self.passed.append((self._pinned.name, self._pinned.reason()))
        self._next(instant)

    def waited_in_vain(self, seconds: float) -> None:
        """The queue's call: it has waited for as long as it may."""
        if self._beside is not None:
            self._beside.ticket = None
        self._fail(Reason.QUEUE_TIMEOUT, "", f"no backend had room within {seconds:g} s", again=True)

    def another(self) -> Backend | None:
        """The next candidate with room, taken from the list."""
        room, on_offer = self.owner.room, self.owner.pool.on_offer
        candidates = self._candidates or self._line_up()
        return next((each for each in candidates if each in on_offer and room(each)), None)

    def others_left(self) -> bool:
        """Whether the pool offers anybody who was not asked; it costs nobody's turn."""
        asked = {name for name, why in self.passed or () if why in ASKED}
        return any(each is not self.backend and each.name not in asked for each in self.owner.pool.on_offer)

    def put_back(self, backend: Backend) -> None:
        """It was not asked after all."""
        self._candidates = chain((backend,), self._candidates or ())

    # -- the end of an attempt ------------------------------------------------------------------------------------

    def _drop_backend(self, failed: Reason | None = None) -> None:
        backend = self.backend
        if backend is not None:
            backend.live -= 1
            backend.served += 1
            owner = self.owner
            owner.pool.algorithm.released(backend)
            if failed is not None:
                owner.failed(backend, failed, now())
            if owner.pending.line.count:
                owner.pending.freed(backend)
        self.upstream = None
        if self.upload is not None:
            self.upload.upstream = None

    def _stop_attempt(self, failed: Reason | None) -> bool:
        """End the attempt under way; whether anything had been sent. Nothing if there is none."""
        task = self._dialled() if self._task is not None else None
        if task is not None:
            task.cancel()
        elif self.upstream is not None:
            self.upstream.abort()
        else:
            return True
        self._drop_backend(failed)
        return task is None

    def note(self, name: str, reason: Reason, detail: str) -> None:
        """An attempt at the backend `name` has failed."""
        if self.passed is None:
            self.passed = []
        self.passed.append((name, reason))
        self._detail = detail
        """What the operator should know of the newest failure; unset until there is one."""

    def _retry_or_fail(self, reason: Reason, detail: str, *, sent: bool) -> None:
        """The attempt failed before a head came. `sent`: something of the request was handed to the kernel."""
        backend = self.backend
        name = backend.name if backend else ""
        self.note(name, reason, detail)
        if self._beside is not None and self._beside.hedge is not None:
            return  # which goes on in its place
        self._go_on(reason, name, detail, sent)

    def _go_on(self, reason: Reason, name: str, detail: str, sent: bool) -> None:
        owner, instant = self.owner, now()
        why_not = self._never_again(sent) or self._not_here(instant)
        if why_not is None:
            owner.retries[reason] += 1
            self._next(instant)
            return
        owner.not_again[why_not] += 1
        self._fail(reason, name, f"{detail}; {why_not.sentence}", again=not why_not.for_good)

    def _never_again(self, sent: bool) -> NotAgain | None:
        """Why the request may not be sent a second time, to whomever."""
        if self._over:
            return NotAgain.NOBODY
        repeatable = self.upload is None or self.upload.repeatable
        return may_repeat(sent=sent, idempotent=self.request.idempotent, repeatable=repeatable)

    def _not_here(self, instant: float) -> NotAgain | None:
        """Why this pool gets no further attempt."""
        owner, backend = self.owner, self.backend
        if self.attempts > owner.max_retries:
            return NotAgain.ATTEMPTS
        if backend is not None and not backend.usable and not owner.pool.panic:
            return None  # see the theory above
        return None if owner.budget.allow(instant) else NotAgain.BUDGET

    def _exhausted(self, instant: float) -> None:
        """No candidate is left."""
        passed = self.passed or ()
        if any(why is Reason.NO_ROOM for _, why in passed):
            self._wait(instant, None)
        elif self.attempts and passed:
            # of those that were asked: an explained request has the others in the list, too
            name, reason = next(each for each in reversed(passed) if each[1] in ASKED)
            self._fail(reason, name, f"{self._detail}; no other backend is left", again=True)
        else:
            self._fail(Reason.NO_BACKEND, "", "no backend of the pool is usable", again=True)

    def _fail(self, reason: Reason, name: str, detail: str, *, again: bool) -> None:
        if self._over:
            return
        beside = self._beside
        if beside is not None and beside.spare is not None:
            self._send_spare(beside)
            return
        upload, self.upload = self.upload, None
        self._over = True
        self._forget_beside()
        status = 503 if reason in _503 else 504 if reason is Reason.TIMED_OUT else 502
        failure = Failure(status, reason, name, detail, again, upload)
        self.sink.forward_failed(failure)
        if failure.upload is not None:
            failure.upload.end()

    def _forget_beside(self) -> None:
        beside, self._beside = self._beside, None
        if beside is not None:
            beside.end()

    def _end(self) -> None:
        self._over = True
        if self._beside is not None:
            self._forget_beside()
        upload, self.upload = self.upload, None
        if upload is not None:
            upload.end()

    def _send_spare(self, beside: Beside) -> None:
        """Nobody did better than the answer that was to be asked for elsewhere."""
        assert beside.spare is not None
        self.backend, block, volatile, length, whole = beside.spare
        beside.spare = None
        self.headed = True
        self.head_at = now()
        self._end()
        self.sink.forward_head(block, volatile, length, whole)

    def cancel(self, reason: str) -> None:
        """Give the exchange up; the sink is not called again."""
        if self._over:
            return
        self._end()
        self._stop_attempt(None)
