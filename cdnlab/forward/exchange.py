"""One exchange with an upstream: candidates in order, connect, send, retry where that is safe, relay.

Used by the balancer and by the edge. Decides when a request may be sent a second time; it must not know what a
response means to a cache, nor routes.

When may a request be sent again (RFC 9110 §9.2.2, RFC 9112 §9.3.1)?

    the response's head has been forwarded       never
    nothing of it was handed to the kernel       always
    the method is not idempotent                 no: the backend may have acted
    its body lies whole in the replay buffer     yes, if the retry budget allows
    otherwise                                    no: the body cannot be had again

A connection that was idle and is found closed before a byte of the response came is no verdict on its backend: it is
tried once more on a fresh connection to the same one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from cdnlab.forward.connect import ConnectFailed, Connector
from cdnlab.forward.upload import Upload
from cdnlab.net.client import Broken, Upstream
from cdnlab.net.clock import now
from cdnlab.net.tasks import spawn
from cdnlab.pool.backend import Backend
from cdnlab.pool.budget import RetryBudget
from cdnlab.pool.pool import Pool
from cdnlab.pool.reasons import Reason

if TYPE_CHECKING:
    from cdnlab.net.exchange import Exchange
    from cdnlab.wire.fields import Field
    from cdnlab.wire.response import ResponseBlock

#: The line by which a request asks for an upgrade. We write it ourselves, so its spelling is known.
UPGRADE = b"\r\nConnection: Upgrade\r\n"
#: Why a backend that was asked is passed over.
ASKED = frozenset((Reason.CONNECT_FAILED, Reason.RESPONSE_FAILED, Reason.TIMED_OUT))


class OutRequest:
    """What is sent to a backend. `head` is complete: request line, fields, framing, blank line."""

    __slots__ = ("body", "expect", "head", "idempotent", "method", "place")

    def __init__(
        self, method: bytes, head: bytes, place: str, idempotent: bool, body: int = 0, expect: bool = False
    ) -> None:
        self.method = method
        self.head = head
        self.place = place
        self.idempotent = idempotent
        self.body = body
        """0 none, n bytes, -1 chunked."""
        self.expect = expect
        """The client waits for 100 (Continue), and the head says so."""


class Failure:
    """Why there is no (whole) response. `status` is what a gateway answers (RFC 9110 §15.6.3 to §15.6.5)."""

    __slots__ = ("again", "backend", "detail", "reason", "status", "upload")

    def __init__(
        self,
        status: int,
        reason: Reason,
        backend: str,
        detail: str,
        again: bool = False,
        upload: Upload | None = None,
    ) -> None:
        self.status = status
        self.reason = reason
        self.backend = backend
        """The last backend tried, "" if none was."""
        self.detail = detail
        """For the operator's log; may name addresses, so it is never sent to a client."""
        self.again = again
        """The request may be sent to another pool: nothing of it can have had an effect that a second one would
        repeat, and its body can be had again."""
        self.upload = upload
        """That body. Whoever sends it on takes it out of here, while the sink is told of the failure."""


class ForwardSink(Protocol):
    """Takes the response."""

    def forward_interim(self, raw: bytes) -> None:
        """A whole 1xx head, to be passed on."""

    def forward_head(
        self, block: ResponseBlock, volatile: tuple[Field, ...], length: int, whole: bytes | None
    ) -> None:
        """The head. `length`: n, -1 chunked, -2 until close. `whole`: the complete body if it came with the head;
        then nothing more is called."""

    def forward_data(self, data: bytes) -> None:
        """Bytes of the body."""

    def forward_end(self, trailers: tuple[Field, ...]) -> None:
        """The response is complete."""

    def forward_failed(self, failure: Failure) -> None:
        """No response, or, after `forward_head`, a response cut short."""

    def forward_upgraded(self, block: ResponseBlock, volatile: tuple[Field, ...], forward: Forward) -> None:
        """101: hand the connections to `tunnel.join`."""


class Forwarder:
    """What all exchanges of one pool on one node share."""

    __slots__ = (
        "budget",
        "connector",
        "max_retries",
        "pool",
        "released",
        "replay_bytes",
        "retries",
        "retry_refused",
    )

    def __init__(self, pool: Pool, connector: Connector) -> None:
        spec = connector.spec
        self.pool = pool
        self.released = pool.algorithm.released
        self.connector = connector
        self.budget = RetryBudget(share=spec.retry_budget)
        self.max_retries = spec.retries
        self.replay_bytes = spec.replay_bytes
        self.retries: dict[Reason, int] = dict.fromkeys(Reason, 0)
        self.retry_refused = 0

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
    ) -> Forward:
        """Begin. `exchange` is where the request's body comes from; `upload` what another pool's failure left of it.
        `key`: what is asked for, where the pool is keyed. `only`: the one backend that may be asked. With an idle
        connection at hand the head has been written when this returns; otherwise a task connects."""
        source = exchange if request.body and upload is None else None
        forward = Forward(self, request, sink, source, explain, now())
        if upload is not None:
            forward.adopt(upload)
        if only is not None:
            forward.aim_at(only, key)
        elif key and self.pool.keyed:
            forward.aim(key)
        forward.begin()
        return forward


class Forward:
    """One exchange under way. It is the source of its response's body: pause, resume, client_gone."""

    __slots__ = (
        "_again",
        "_candidates",
        "_detail",
        "_over",
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
        self._candidates: Iterator[Backend] = owner.pool.candidates(request.place, self.passed)
        self._task: asyncio.Task[None] | None = None
        self._over = False
        self._again = False
        self.upload: Upload | None = None
        if request.body and exchange is not None:
            self.upload = Upload(
                exchange,
                limit=owner.replay_bytes,
                expect=request.expect,
                interim=sink.forward_interim,
                when_failed=self.cancel,
            )

    # -- attempts -------------------------------------------------------------------------------------------------

    def aim(self, key: bytes) -> None:
        """Choose by `key`: before `begin`, and only where the pool is keyed."""
        self.key = key
        self._candidates = self.owner.pool.candidates(self.request.place, self.passed, key)

    def aim_at(self, backend: Backend, key: bytes) -> None:
        """Ask this backend and no other, since `key` is its own: before `begin`."""
        self.key = key
        self._candidates = iter((backend,))

    def adopt(self, upload: Upload) -> None:
        """Send the body that another pool was to have: before `begin`."""
        self.upload = upload
        upload.hand_over(self.sink.forward_interim, self.cancel)

    def begin(self) -> None:
        """Send to the first candidate."""
        self.owner.budget.request(self.started)
        self._next(self.started)

    @property
    def seconds_upstream(self) -> float:
        """From the beginning to the response's head; so far, if it has not come."""
        return (self.head_at or now()) - self.started

    def _next(self, instant: float) -> None:
        backend = next(self._candidates, None)
        if backend is None:
            self._exhausted()
            return
        self.attempts += 1
        self.backend = backend
        backend.live += 1
        request = self.request
        upstream = self.owner.connector.idle(backend, request.place).take(instant, request.idempotent)
        if upstream is not None:
            self.upstream = upstream
            upstream.send(request.head, request.method, self, request.body, instant)
            if self.upload is not None:
                self.upload.begin(upstream, self.owner.connector.loop)
        else:
            self._dial(backend)

    def _dial(self, backend: Backend) -> None:
        if self.upload is not None:
            self.upload.between()
        self._task = spawn(self._connect(backend), "forward.connect")

    async def _connect(self, backend: Backend) -> None:
        try:
            upstream = await self.owner.connector.connect(backend, self.request.place)
        except ConnectFailed as error:
            self._task = None
            self._drop_backend(failed=True)
            self._retry_or_fail(error.reason, error.detail, sent=False)
            return
        self._task = None
        if self._over:
            upstream.abort()
            return
        request = self.request
        self.upstream = upstream
        upstream.send(request.head, request.method, self, request.body, now())
        if self.upload is not None:
            self.upload.begin(upstream, self.owner.connector.loop)

    # -- the end of an attempt ------------------------------------------------------------------------------------

    def _drop_backend(self, *, failed: bool) -> None:
        backend = self.backend
        if backend is not None:
            if failed:
                backend.failures += 1
            backend.live -= 1
            backend.served += 1
            self.owner.released(backend)
        self.upstream = None
        if self.upload is not None:
            self.upload.upstream = None

    def _retry_or_fail(self, reason: Reason, detail: str, *, sent: bool) -> None:
        """The attempt failed before a head came. `sent`: something of the request was handed to the kernel."""
        name = self.backend.name if self.backend else ""
        if self.passed is None:
            self.passed = []
        self.passed.append((name, reason))
        self._detail = detail
        """What the operator should know of the newest failure; unset, and so free of cost, until there is one."""
        owner = self.owner
        instant = now()
        never = self._never_again(sent)
        why_not = never or self._not_here(instant)
        if why_not is None:
            owner.retries[reason] += 1
            self._next(instant)
            return
        self._fail(reason, name, f"{detail}; {why_not}", again=never is None)

    def _never_again(self, sent: bool) -> str | None:
        """Why the request may not be sent a second time, to whomever."""
        if self._over:
            return "nobody waits for it any more"
        if sent and not self.request.idempotent:
            return "not sent again: the method is not idempotent and the backend may have acted"
        if self.upload is not None and not self.upload.repeatable:
            return (
                f"not sent again: the body is larger than the replay buffer ({self.owner.replay_bytes} bytes)"
            )
        return None

    def _not_here(self, instant: float) -> str | None:
        """Why this pool gets no further attempt."""
        if self.attempts > self.owner.max_retries:
            return f"given up after {self.attempts} attempts"
        if not self.owner.budget.allow(instant):
            self.owner.retry_refused += 1
            return "not sent again: the retry budget is used up"
        return None

    def _exhausted(self) -> None:
        """No candidate is left."""
        if self.attempts and self.passed:
            # of those that were asked: an explained request has the others in the list, too
            name, reason = next(each for each in reversed(self.passed) if each[1] in ASKED)
            self._fail(reason, name, f"{self._detail}; no other backend is left", again=True)
        else:
            self._fail(Reason.NO_BACKEND, "", "no backend of the pool is usable", again=True)

    def _fail(self, reason: Reason, name: str, detail: str, *, again: bool) -> None:
        if self._over:
            return
        upload, self.upload = self.upload, None
        self._over = True
        status = 503 if reason is Reason.NO_BACKEND else 504 if reason is Reason.TIMED_OUT else 502
        failure = Failure(status, reason, name, detail, again, upload)
        self.sink.forward_failed(failure)
        if failure.upload is not None:
            failure.upload.end()

    def give_up(self, reason: Reason, detail: str) -> None:
        """Take the attempt for failed, if no head has come: its backend is known to be down, and would be waited for
        until the response's time is over."""
        if self._over or self.headed or self.backend is None:
            return
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        elif self.upstream is not None:
            self.upstream.abort()
        self._drop_backend(failed=True)
        self._retry_or_fail(reason, detail, sent=task is None)

    def _end(self) -> None:
        self._over = True
        upload, self.upload = self.upload, None
        if upload is not None:
            upload.end()

    # -- the upstream's calls -------------------------------------------------------------------------------------

    def response_interim(self, raw: bytes, status: int) -> None:
        """A 1xx: 100 starts the body, the others are passed on as they are."""
        if status != 100:
            self.sink.forward_interim(raw)
        elif self.upload is not None:
            self.upload.told_to_continue(raw)

    def response_head(
        self, block: ResponseBlock, volatile: tuple[Field, ...], length: int, whole: bytes | None
    ) -> None:
        """The final head: from here on nothing is retried."""
        self.headed = True
        self.head_at = self.upstream.heard  # type: ignore[union-attr]
        if whole is not None:
            self._end()
            self._drop_backend(failed=False)
        elif self.upload is not None:
            self.upload.settle()
        self.sink.forward_head(block, volatile, length, whole)

    def response_data(self, data: bytes) -> None:
        """Bytes of the response's body."""
        self.sink.forward_data(data)

    def response_end(self, trailers: tuple[Field, ...]) -> None:
        """The response is complete."""
        self._end()
        self._drop_backend(failed=False)
        self.sink.forward_end(trailers)

    def response_failed(self, why: Broken, detail: str) -> None:
        """The response will not come, or not to its end."""
        upstream, backend = self.upstream, self.backend
        reason = Reason.TIMED_OUT if why is Broken.TIMEOUT else Reason.RESPONSE_FAILED
        text = f"{why.sentence} {detail}".strip()
        stale = (
            upstream is not None
            and upstream.requests > 1
            and not upstream.answered
            and why in (Broken.CLOSED, Broken.RESET)
        )
        self._drop_backend(failed=not stale)
        if self._over:
            return
        if self.headed:
            self._end()
            self.sink.forward_failed(Failure(502, reason, backend.name if backend else "", text))
            return
        if stale and not self._again and backend is not None and backend.usable and self._may_repeat():
            self._again = True
            backend.live += 1
            self._dial(backend)
            return
        self._retry_or_fail(reason, text, sent=True)

    def _may_repeat(self) -> bool:
        return self.request.idempotent and (self.upload is None or self.upload.repeatable)

    def response_upgraded(self, block: ResponseBlock, volatile: tuple[Field, ...]) -> None:
        """101: a tunnel, if the request asked for one. If not, whatever follows would reach the client as if it were
        the answer to its next request."""
        if UPGRADE not in self.request.head:
            upstream = self.upstream
            if upstream is not None:
                upstream.abort()
            self._drop_backend(failed=True)
            self._retry_or_fail(
                Reason.RESPONSE_FAILED, "101 to a request that asked for no upgrade", sent=True
            )
            return
        self.headed = True
        self.head_at = now()
        self.sink.forward_upgraded(block, volatile, self)

    def tunnel_data(self, data: bytes) -> None:
        """Only until `tunnel.join` has put itself in our place."""

    def tunnel_end(self) -> None:
        """As `tunnel_data`."""

    def upstream_full(self) -> None:
        """The backend reads slower than the client sends."""
        if self.upload is not None:
            self.upload.exchange.pause_body()

    def upstream_ready(self) -> None:
        """There is room again."""
        if self.upload is not None:
            self.upload.exchange.resume_body()

    def ended(self) -> None:
        """A tunnel that took this exchange over has ended."""
        if not self._over:
            self._end()
            self._drop_backend(failed=False)

    # -- the client's calls ---------------------------------------------------------------------------------------

    def pause(self) -> None:
        """The client reads slower than the backend sends."""
        if self.upstream is not None:
            self.upstream.pause()

    def resume(self) -> None:
        """There is room again."""
        if self.upstream is not None:
            self.upstream.resume()

    def client_gone(self, reason: str) -> None:
        """Nobody waits for the response."""
        self.cancel(reason)

    def cancel(self, reason: str) -> None:
        """Give the exchange up; the sink is not called again."""
        if self._over:
            return
        self._end()
        if self._task is not None:
            self._task.cancel()
            self._task = None
            self._drop_backend(failed=False)
            return
        upstream = self.upstream
        if upstream is not None:
            upstream.abort()
            self._drop_backend(failed=False)
