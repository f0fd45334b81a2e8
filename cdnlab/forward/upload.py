"""A request's body on its way to a backend: received once, kept for another attempt while it fits, sent.

Decides when the body starts (RFC 9110 §10.1.1) and whether it can be had again. It must not know why an attempt failed
or which backend comes next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdnlab.net.client import Upstream
    from cdnlab.net.exchange import BodySink, Exchange
    from cdnlab.wire.fields import Field

#: Seconds to wait for a backend's 100 (Continue) before the body is sent anyway (curl waits 1 s).
EXPECT_TIMEOUT = 1.0


class Upload:
    """The body of one request; the exchange's sink."""

    __slots__ = (
        "_expect",
        "_interim",
        "_kept",
        "_limit",
        "_size",
        "_timer",
        "_when_failed",
        "done",
        "exchange",
        "started",
        "tee",
        "trailers",
        "upstream",
    )

    def __init__(
        self,
        exchange: Exchange,
        *,
        limit: int,
        expect: bool,
        interim: Callable[[bytes], None],
        when_failed: Callable[[str], None],
    ) -> None:
        """`limit`: bytes of the replay buffer. `expect`: the client waits for 100. `interim(raw)` passes a 1xx head on;
        `when_failed(reason)` hears that the client will not send the rest."""
        self.exchange = exchange
        self.upstream: Upstream | None = None
        self.started = False
        self.done = False
        self.trailers: tuple[Field, ...] = ()
        self.tee: BodySink | None = None
        """Who gets the body, too, as it comes."""
        self._limit = limit
        self._expect = expect
        self._interim = interim
        self._when_failed = when_failed
        self._kept: list[bytes] | None = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def repeatable(self) -> bool:
        """Whether another attempt could have the whole body."""
        return not self.started or self._kept is not None

    def begin(self, upstream: Upstream, loop: asyncio.AbstractEventLoop) -> None:
        """An attempt's head has been sent on `upstream`: send what there is, and start or go on with the rest."""
        self.upstream = upstream
        if self.started:
            if not self.done:
                self.exchange.resume_body()  # first, since what is written now may pause it
            for piece in self._kept or ():
                upstream.write(piece)
            if self.done:
                upstream.end(self.trailers)
        elif self._expect:
            self._cancel_timer()
            self._timer = loop.call_later(EXPECT_TIMEOUT, self._stop_waiting)
        else:
            self._start()

    def between(self) -> None:
        """There is no upstream just now, so nobody who could be waited for, and nowhere to send a body to."""
        self.upstream = None
        self._cancel_timer()
        if self.started and not self.done:
            self.exchange.pause_body()

    def replay(self, upstream: Upstream) -> None:
        """Send the whole body, which has been kept, on one more connection; the first keeps its own."""
        for piece in self._kept or ():
            upstream.write(piece)
        upstream.end(self.trailers)

    def hand_over(self, interim: Callable[[bytes], None], when_failed: Callable[[str], None]) -> None:
        """Another exchange with an upstream has the body from here on: another pool is asked."""
        self._interim = interim
        self._when_failed = when_failed

    def told_to_continue(self, raw: bytes) -> None:
        """The backend sent 100: pass it on and start, if the client waits for it."""
        if self._expect and not self.started:
            self._cancel_timer()
            self._interim(raw)
            self._start()

    def settle(self) -> None:
        """The response's head has come, or nobody waits for it: there will be no other attempt."""
        self._kept = None
        self._cancel_timer()

    def end(self) -> None:
        """The exchange is over; what still comes goes nowhere."""
        self.settle()
        self.upstream = None

    def _start(self) -> None:
        self.started = True
        self.exchange.receive(self)

    def _stop_waiting(self) -> None:
        self._timer = None
        if not self.started:
            self._interim(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._start()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- the exchange's calls ---------------------------------------------------------------------------------------

    def body_data(self, data: bytes) -> None:
        """Bytes of the body: kept while they fit, and sent."""
        kept = self._kept
        if kept is not None:
            self._size += len(data)
            if self._size > self._limit:
                self._kept = None
            else:
                kept.append(data)
        if self.upstream is not None:
            self.upstream.write(data)
        if self.tee is not None:
            self.tee.body_data(data)

    def body_end(self, trailers: tuple[Field, ...]) -> None:
        """The body is complete."""
        self.done = True
        self.trailers = trailers
        if self.upstream is not None:
            self.upstream.end(trailers)
        if self.tee is not None:
            self.tee.body_end(trailers)

    def body_failed(self, reason: str) -> None:
        """The client will not send the rest."""
        if self.tee is not None:
            self.tee.body_failed(reason)
        if not self.done:
            self._when_failed(reason)
