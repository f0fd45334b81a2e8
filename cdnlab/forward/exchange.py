"""One exchange with an upstream: what the upstream says of the attempt under way, and what the client does meanwhile.

Used by the balancer and by the edge. Decides what ends an attempt early and what may follow it; the attempts themselves
are attempts.py's. It must not know what a response means to a cache, nor routes.

A connection that was idle and is found closed before a byte of the response came is no verdict on its backend: it is
tried once more on a fresh connection to the same one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdnlab.forward.attempts import Attempts
from cdnlab.forward.beside import Beside
from cdnlab.forward.messages import UPGRADE, Failure
from cdnlab.net.client import Broken, Upstream
from cdnlab.net.clock import now
from cdnlab.pool.backend import Backend
from cdnlab.pool.reasons import Reason
from cdnlab.pool.sticky import dead

if TYPE_CHECKING:
    from cdnlab.pool.pool import Passed
    from cdnlab.wire.fields import Field
    from cdnlab.wire.response import ResponseBlock


class Forward(Attempts):
    """One exchange under way: the upstream's sink, and the source of the response's body."""

    __slots__ = ()

    # -- for people -------------------------------------------------------------------------------------------------

    @property
    def seconds_upstream(self) -> float:
        """From the beginning to the response's head; so far, if it has not come."""
        return (self.head_at or now()) - self.started

    def others(self) -> Passed:
        """Why each backend but the one that answers was not chosen; slow, for people."""
        backend, pool = self.backend, self.owner.pool
        if backend is None:
            return []
        explained = pool.explain(self.request.place, backend, self.key)
        if backend is not self._pinned:
            return explained
        out = {other.name for other in pool.unusable}
        return [(name, reason if name in out else Reason.NOT_KEPT) for name, reason in explained]

    # -- attempts that are given up ---------------------------------------------------------------------------------

    def give_up(self, reason: Reason, detail: str) -> None:
        """Take the attempt for failed, if no head has come: its backend is known to be down, and would be waited for
        until the response's time is over."""
        if self._over or self.headed or (self._task is None and self.upstream is None):
            return
        sent = self._stop_attempt(reason)
        self._retry_or_fail(reason, detail, sent=sent)

    def abandoned(self, backend: Backend, detail: str) -> bool:
        """The backend is out of use: go to the next candidate, if there is one and the request may be sent again."""
        return self._leave(Reason.TIMED_OUT, detail, None)

    def attempt_late(self, seconds: float) -> None:
        """The attempt has no head after `seconds`: the next candidate, if there is one and the budget allows."""
        backend, instant = self.backend, now()
        if self._over or self.headed or backend is None or (self._task is None and self.upstream is None):
            return
        if not self._leave(Reason.TIMED_OUT, f"no response within {seconds:g} s", instant):
            self.owner.failed(backend, Reason.TIMED_OUT, instant)

    def _leave(self, reason: Reason, detail: str, charged: float | None) -> bool:
        """Give the attempt up for another one; False, and it goes on, if there can be none. `charged`: now, if it
        counts against the budget."""
        if self._over or self.headed or (self._task is None and self.upstream is None):
            return False
        owner, backend = self.owner, self.backend
        accompanied = self._beside is not None and self._beside.hedge is not None
        if self._never_again(self._task is None) is not None:
            return False
        if not accompanied and not self._another_allowed(charged):
            return False
        self._stop_attempt(reason)
        self.note(backend.name if backend is not None else "", reason, detail)
        if accompanied:
            return True  # the second attempt goes on in its place
        owner.retries[reason] += 1
        self._next(now())
        return True

    def _another_allowed(self, charged: float | None) -> bool:
        """Whether a further candidate can be asked in the place of one that may yet do. It is looked for last, since to
        look takes another request's turn."""
        owner = self.owner
        if not self.others_left():
            return False
        why_not = self._not_here(charged) if charged is not None else None
        if why_not is not None:
            owner.not_again[why_not] += 1
            return False
        following = self.another()
        if following is None:
            if charged is not None:
                owner.budget.refund()
            return False
        self.put_back(following)
        return True

    def out_of_time(self, seconds: float) -> None:
        """There is no head after `seconds`, however many attempts were made."""
        if self._over or self.headed:
            return
        backend = self.backend
        self._stop_attempt(Reason.TIMED_OUT)
        name = backend.name if backend is not None else ""
        self._fail(Reason.TIMED_OUT, name, f"no response within {seconds:g} s in all", again=False)

    # -- a second attempt -------------------------------------------------------------------------------------------

    def hedge_failed(self, name: str, reason: Reason, detail: str) -> None:
        """The second attempt has failed: the first goes on, or, if that has failed before, whoever is next."""
        self.note(name, reason, detail)
        if self._beside is not None:
            self._beside.hedge = None
        if self._task is None and self.upstream is None and not self._over:
            self._go_on(reason, name, detail, sent=True)

    def overtaken(self, backend: Backend, upstream: Upstream) -> None:
        """The second attempt has a head first: it is ours from here on."""
        if self._beside is not None:
            self._beside.hedge = None
        self._stop_attempt(None)
        self.backend, self.upstream = backend, upstream

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
        owner, backend = self.owner, self.backend
        if block.status >= owner.wary:
            if self._asked_elsewhere(block, volatile, length, whole):
                return
        elif backend.streak:  # type: ignore[union-attr]
            backend.streak = 0  # type: ignore[union-attr]
        self.headed = True
        self.head_at = heard = self.upstream.heard  # type: ignore[union-attr]
        algorithm = owner.pool.algorithm
        if algorithm.timed:
            began = self._beside.tried_at if self._beside is not None else self.started
            algorithm.observed(backend, heard - began, heard)  # type: ignore[arg-type]
        if self._beside is not None:
            self._forget_beside()
        if whole is None:
            if self.upload is not None:
                self.upload.settle()
        else:
            # `_end` and `_drop_backend` in place: this is how nearly every exchange ends
            self._over = True
            self.upstream = None
            backend.live -= 1  # type: ignore[union-attr]
            backend.served += 1  # type: ignore[union-attr]
            algorithm.released(backend)  # type: ignore[arg-type]
            if owner.pending.line.count:
                owner.pending.freed(backend)  # type: ignore[arg-type]
            if self.upload is not None:
                self.upload.end()
                self.upload = None
        self.sink.forward_head(block, volatile, length, whole)

    def _asked_elsewhere(
        self, block: ResponseBlock, volatile: tuple[Field, ...], length: int, whole: bytes | None
    ) -> bool:
        """A status that may be a failure: tell the ejector, and ask the next candidate if the pool retries it."""
        owner, backend, status = self.owner, self.backend, block.status
        assert backend is not None
        owner.answered(backend, status, self.upstream.heard)  # type: ignore[union-attr]
        if not any(low <= status <= high for low, high in owner.retry.statuses):
            return False
        if self._beside is not None and self._beside.hedge is not None:
            return False
        if self._never_again(sent=True) is not None:
            return False
        instant = now()
        if not self._another_allowed(instant):
            return False
        if self._beside is None:
            self._beside = Beside(self)
        if whole is None:
            self.upstream.abort()  # type: ignore[union-attr]
        else:
            self._beside.spare = (backend, block, volatile, length, whole)
        self._drop_backend()
        self.note(backend.name, Reason.BAD_STATUS, f"it answered {status}")
        owner.retries[Reason.BAD_STATUS] += 1
        self._next(instant)
        return True

    def response_data(self, data: bytes) -> None:
        """Bytes of the response's body."""
        self.sink.forward_data(data)

    def response_end(self, trailers: tuple[Field, ...]) -> None:
        """The response is complete."""
        self._end()
        self._drop_backend()
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
        if stale and backend is not None and self._once_more(backend):
            return
        self._drop_backend(None if stale else reason)
        if self._over:
            return
        if self.headed:
            self.owner.cut[why] += 1
            self._end()
            self.sink.forward_failed(Failure(502, reason, backend.name if backend else "", text))
            return
        self._retry_or_fail(reason, text, sent=True)

    def _once_more(self, backend: Backend) -> bool:
        """After an idle connection that was closed: send the request to the same backend on a fresh one, if it may be
        repeated. The backend's place is kept meanwhile, whoever waits for one."""
        if self._over or self.headed or self._again:
            return False
        if not backend.usable and (backend is not self._pinned or dead(backend) is not None):
            return False  # who is pinned to it stays, also while it drains
        if self._never_again(sent=True) is not None:
            return False
        self._again = True
        self.upstream = None
        if self.upload is not None:
            self.upload.upstream = None
        self._dial(backend)
        return True

    def response_upgraded(self, block: ResponseBlock, volatile: tuple[Field, ...]) -> None:
        """101: a tunnel, if the request asked for one. If not, whatever follows would reach the client as if it were
        the answer to its next request."""
        if UPGRADE not in self.request.head:
            self._stop_attempt(Reason.RESPONSE_FAILED)
            self._retry_or_fail(
                Reason.RESPONSE_FAILED, "101 to a request that asked for no upgrade", sent=True
            )
            return
        self.headed = True
        self.head_at = now()
        if self._beside is not None:
            self._forget_beside()
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
            self._drop_backend()

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
