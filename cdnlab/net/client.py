"""An HTTP/1.1 connection to an upstream: one request at a time, kept for the next where that is safe.

Decides which bytes belong to which response (RFC 9112 §6.3, by the request that it answers) and whether the
connection may be used again. It must not know which backend to choose, nor what to do when one fails.

Reuse is refused whenever the two sides could disagree about where a message ends: a response that came early or
before any request, bytes after its end, framing by close, an unfinished request body, an interim 101.
"""

from __future__ import annotations

import asyncio
import math
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, cast

from cdnlab.net.clock import now
from cdnlab.net.idle import IDLE
from cdnlab.wire.chunked import LAST_CHUNK, ChunkedDecoder, encode_chunk, last_chunk
from cdnlab.wire.errors import Malformed
from cdnlab.wire.fields import hop_by_hop
from cdnlab.wire.response import ResponseMemo

if TYPE_CHECKING:
    from cdnlab.net.idle import IdleList
    from cdnlab.net.timers import Sweep
    from cdnlab.wire.fields import Field
    from cdnlab.wire.response import ResponseBlock


WAITING, BODY, TUNNEL, CLOSED = range(IDLE + 1, IDLE + 5)

#: A response head larger than this is refused (HAProxy's default buffer is 16 KiB, nginx allows 4 to 32).
HEAD_BYTES = 65536
#: More 1xx than this before a final response are not waited out: nobody has a use for so many, and each costs the
#: client's connection, too (Go's client takes 5, curl any number).
INTERIMS = 10_000
#: Seconds in which the loop has surely polled once; uvloop's shortest timer.
LOOK = 0.001

GONE = cast(asyncio.Transport, None)


class Broken(StrEnum):
    """How an exchange with an upstream failed."""

    CLOSED = "closed"
    RESET = "reset"
    TIMEOUT = "timeout"
    MALFORMED = "malformed"
    CANCELLED = "cancelled"

    @property
    def sentence(self) -> str:
        """What a person is told."""
        return _SENTENCES[self]


_SENTENCES = {
    Broken.CLOSED: "the connection was closed before the response was complete",
    Broken.RESET: "the connection was reset before the response was complete",
    Broken.TIMEOUT: "the response did not come in time",
    Broken.MALFORMED: "the response is malformed",
    Broken.CANCELLED: "the request was given up",
}


class ResponseSink(Protocol):
    """Takes what an upstream answers."""

    def response_interim(self, raw: bytes, status: int) -> None:
        """A whole 1xx head, blank line included; never 101."""

    def response_head(
        self, block: ResponseBlock, volatile: tuple[Field, ...], length: int, whole: bytes | None
    ) -> None:
        """The final head. `length`: n bytes, -1 chunked, -2 until close. If `whole` is not None it is the complete
        body, and no further call follows: the upstream has been given back already."""

    def response_data(self, data: bytes) -> None:
        """Bytes of the body, framing removed."""

    def response_end(self, trailers: tuple[Field, ...]) -> None:
        """The response is complete; the upstream has been given back."""

    def response_failed(self, why: Broken, detail: str) -> None:
        """The response will not be completed."""

    def response_upgraded(self, block: ResponseBlock, volatile: tuple[Field, ...]) -> None:
        """101: from here on bytes arrive through `tunnel_data`."""

    def tunnel_data(self, data: bytes) -> None:
        """Bytes of a tunnel."""

    def tunnel_end(self) -> None:
        """The upstream will send no more through the tunnel."""

    def upstream_full(self) -> None:
        """The upstream reads slower than we write."""

    def upstream_ready(self) -> None:
        """There is room again."""


def interim_head(block: ResponseBlock, volatile: tuple[Field, ...]) -> bytes:
    """A 1xx as it is passed on, blank line included: without framing, which it must not have (RFC 9110 §8.6), and
    without what is for this hop only."""
    dropped = hop_by_hop(block.connection)
    lines = [b"HTTP/1.1 %d %b" % (block.status, block.reason)]
    for line, (name, _) in zip(block.lines, block.fields, strict=True):
        if name not in dropped and name != b"content-length" and not name.startswith(b"cdnlab-"):
            lines.append(line)
    lines += [name + b": " + value for name, value in volatile]
    return b"\r\n".join(lines) + b"\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection to an upstream."""

    __slots__ = (
        "_body_out",
        "_buf",
        "_counted",
        "_decoder",
        "_interims",
        "_interims_of",
        "_left",
        "_memo",
        "_method",
        "_reading",
        "_request_done",
        "_reusable",
        "_sink",
        "_sweep",
        "_timeout",
        "answered",
        "due",
        "heard",
        "home",
        "idle_since",
        "local",
        "requests",
        "state",
        "transport",
    )

    def __init__(self, memo: ResponseMemo, sweep: Sweep, home: IdleList, response_timeout: float) -> None:
        self._memo = memo
        self._sweep = sweep
        self.home = home
        self._timeout = response_timeout
        self.transport: asyncio.Transport = GONE
        self.state = IDLE
        self._sink: ResponseSink | None = None
        self._counted = False
        self._buf = b""
        self._decoder: ChunkedDecoder | None = None
        self._method = b""
        self._left = 0
        self._interims = self._interims_of = 0
        """1xx so far, and of which request: counted so, a request without any pays nothing."""
        self._body_out = 0
        self._request_done = True
        self._reusable = True
        self._reading = True
        self.due = math.inf
        self.idle_since = 0.0
        self.requests = 0
        self.answered = False
        """Whether any byte of the response at hand has arrived."""
        self.heard = 0.0
        """BOOTTIME of the newest bytes of its head: one reading serves all that the head sets off."""
        self.local = ""

    # -- the transport's calls ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport = cast(asyncio.Transport, transport)
        self._sweep.members.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes from the upstream."""
        state = self.state
        if state == WAITING:
            self.answered = True
            self.heard = now()
            if self._buf:
                data = self._buf + data
            self._take_head(data)
        elif state == BODY:
            self._take_body(data)
        elif state == TUNNEL:
            cast("ResponseSink", self._sink).tunnel_data(data)
        elif state == IDLE:
            # a response that nobody asked for: the next request must not receive it
            self._discard()

    def eof_received(self) -> bool:
        """The upstream will send no more."""
        if self.state == TUNNEL:
            cast("ResponseSink", self._sink).tunnel_end()
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        state, self.state = self.state, CLOSED
        self._sweep.members.discard(self)
        if state != CLOSED:
            self._uncount()
            self.home.discard(self)
        sink, self._sink = self._sink, None
        self.transport = GONE
        if sink is None:
            return
        if state == BODY and self._left == -2 and exc is None:
            sink.response_end(())
        elif state == TUNNEL:
            sink.tunnel_end()
            sink.response_failed(Broken.CLOSED, "")
        elif state in (WAITING, BODY):
            sink.response_failed(Broken.RESET if exc else Broken.CLOSED, str(exc or ""))

    def pause_writing(self) -> None:
        """The upstream reads slower than we write; if that lasts, it is late as a silent one is."""
        if self.state == WAITING:
            self.due = now() + self._timeout
        if self._sink is not None:
            self._sink.upstream_full()

    def resume_writing(self) -> None:
        """There is room again."""
        if self.state == WAITING and not self._request_done:
            self.due = math.inf
        if self._sink is not None:
            self._sink.upstream_ready()

    def expire(self, now: float) -> None:
        """The sweep's call: idle for too long, or the response is late."""
        if self.state in (WAITING, BODY) and self._reading:
            self._fail(Broken.TIMEOUT, f"no data for {self._timeout:g} s")
        elif self.state == IDLE:
            self._discard()
        elif self.state == CLOSED:
            self.transport.abort()
        else:
            self.due = now + self._timeout

    # -- requests -------------------------------------------------------------------------------------------------

    def send(self, head: bytes, method: bytes, sink: ResponseSink, body: int, instant: float) -> None:
        """Write a request head (blank line included). `body` says what follows: 0 nothing, n bytes, -1 chunked."""
        self._sink = sink
        self.state = WAITING
        self._method = method
        self._body_out = body
        self._request_done = body == 0
        self.answered = False
        self.requests += 1
        self.due = instant + self._timeout if body == 0 else math.inf
        self.transport.write(head)

    def write(self, data: bytes) -> None:
        """Bytes of the request's body."""
        if self.state in (WAITING, BODY, TUNNEL) and data:
            self.transport.write(encode_chunk(data) if self._body_out < 0 and self.state != TUNNEL else data)

    def end(self, trailers: tuple[Field, ...] = ()) -> None:
        """The request's body is complete."""
        if self.state in (WAITING, BODY) and not self._request_done:
            if self._body_out < 0:
                self.transport.write(last_chunk(trailers) if trailers else LAST_CHUNK)
            self._request_done = True
            self.due = now() + self._timeout

    def hand_to(self, sink: ResponseSink) -> None:
        """What is answered from now on is for `sink`."""
        self._sink = sink

    @property
    def asker(self) -> ResponseSink | None:
        """Who waits for a response's head; None if nobody does."""
        return self._sink if self.state == WAITING else None

    @property
    def last_sign(self) -> float:
        """When something last went one way or the other: the request was complete, or bytes of the response came.
        -inf while a request is still being sent."""
        return self.due - self._timeout

    def attach_tunnel(self, sink: ResponseSink) -> None:
        """From now on a tunnel's bytes go to `sink`."""
        self._sink = sink

    def end_tunnel(self) -> None:
        """Half-close toward the upstream."""
        if self.state == TUNNEL and self.transport.can_write_eof():
            self.transport.write_eof()

    def pause(self) -> None:
        """Stop reading the response."""
        if self._reading and self.state != CLOSED:
            self._reading = False
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if not self._reading and self.state != CLOSED:
            self._reading = True
            self.due = now() + self._timeout
            self.transport.resume_reading()

    def close_tunnel(self) -> None:
        """Close once what was written has been sent, which may not take for ever; the sink is not called again."""
        self._sink = None
        if self.state == TUNNEL:
            self.state = CLOSED
            self._uncount()
            self.due = now() + self._timeout
            self.transport.close()

    def abort(self) -> None:
        """Give the exchange up; the sink is not called again."""
        self._sink = None
        self._discard()

    # -- responses ------------------------------------------------------------------------------------------------

    def _take_head(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._wait_for_head(data)
            return
        self._buf = b""
        sink: ResponseSink = self._sink  # type: ignore[assignment]
        try:
            block, volatile = self._memo.head(data[:end])
        except Malformed as error:
            self._fail(Broken.MALFORMED, error.text)
            return
        if block.bodiless and block.status < 200:
            self._take_interim(block, volatile, data[end + 4 :])
            return
        # RFC 9112 §6.3; wire's body_framing in place
        length = 0 if block.bodiless or self._method == b"HEAD" else block.length
        rest = data[end + 4 :]
        if block.close or length == -2 or not self._request_done:
            self._reusable = False
        if 0 <= length <= len(rest):
            if len(rest) > length:
                self._reusable = False
                rest = rest[:length]
            if self._reusable and self._request_done and self._reading:
                # `_release` in place
                self._sink = None
                self.state = IDLE
                self.home.put(self, self.heard)
            else:
                self._release(self.heard)
            sink.response_head(block, volatile, length, rest)
            return
        self.state = BODY
        self._left = length
        if self._request_done:
            self.due = now() + self._timeout
        self._decoder = ChunkedDecoder(502) if length == -1 else None
        sink.response_head(block, volatile, length, None)
        if rest and self.state == BODY:
            self._take_body(rest)

    def _wait_for_head(self, data: bytes) -> None:
        if len(data) > HEAD_BYTES:
            self._fail(Broken.MALFORMED, f"the response head is larger than {HEAD_BYTES} bytes")
        elif data[:5] != b"HTTP/"[: len(data)]:
            self._fail(Broken.MALFORMED, "the response does not begin with HTTP/")
        else:
            self._buf = data

    def _take_interim(self, block: ResponseBlock, volatile: tuple[Field, ...], rest: bytes) -> None:
        sink = cast("ResponseSink", self._sink)
        if block.status == 101:
            self.state = TUNNEL
            self._reusable = False
            self.due = math.inf
            sink.response_upgraded(block, volatile)
            if rest and self.state == TUNNEL:
                cast("ResponseSink", self._sink).tunnel_data(rest)
            return
        # those that follow at once: in a loop, since thousands of them must not be as many frames
        if self._interims_of != self.requests:
            self._interims_of, self._interims = self.requests, 0
        while self.state == WAITING:
            self._interims += 1
            if self._interims > INTERIMS:
                self._fail(Broken.MALFORMED, f"more than {INTERIMS} interim responses")
                return
            sink.response_interim(interim_head(block, volatile), block.status)
            end = rest.find(b"\r\n\r\n")
            if end < 0 or rest[9:10] != b"1" or rest[9:12] == b"101":
                break
            try:
                block, volatile = self._memo.head(rest[:end])
            except Malformed:
                break
            rest = rest[end + 4 :]
        if rest and self.state == WAITING:
            self._take_head(rest)

    def _take_body(self, data: bytes) -> None:
        sink = cast("ResponseSink", self._sink)
        # the time between bytes is what is limited; one clock reading per 64 KiB-sized read is noise
        self.due = now() + self._timeout
        left = self._left
        if left >= 0:
            if len(data) > left:
                self._reusable = False
                data = data[:left]
            self._left = left - len(data)
            sink.response_data(data)
            if self._left == 0 and self.state == BODY:
                self._release(now())
                sink.response_end(())
        elif left == -2:
            sink.response_data(data)
        else:
            self._take_chunks(data, sink)

    def _take_chunks(self, data: bytes, sink: ResponseSink) -> None:
        decoder = cast(ChunkedDecoder, self._decoder)
        try:
            pieces = decoder.feed(data)
        except Malformed as error:
            self._fail(Broken.MALFORMED, error.text)
            return
        if pieces:
            # in one piece: a body in chunks of two bytes would cost its sink thirty times its size
            sink.response_data(b"".join(pieces))
        if decoder.done and self.state == BODY:
            if decoder.rest:
                self._reusable = False
            self._release(now())
            sink.response_end(decoder.trailers)

    def _release(self, instant: float) -> None:
        """The response is complete: give the connection back, or close it."""
        self._sink = None
        self._decoder = None
        if not (self._reusable and self._request_done):
            self._discard()
        elif self._reading:
            self.state = IDLE
            self.home.put(self, instant)
        else:
            # The client still reads the end of its response. What the upstream may have sent beyond it has not been
            # read, and must not be taken for the next answer: first let the loop look.
            self.resume()
            self.state = IDLE
            asyncio.get_running_loop().call_later(LOOK, self._put)

    def _put(self) -> None:
        if self.state == IDLE and self.transport is not GONE:
            self.home.put(self, now())

    def _fail(self, why: Broken, detail: str) -> None:
        sink, self._sink = self._sink, None
        self._discard()
        if sink is not None:
            sink.response_failed(why, detail)

    def count(self) -> None:
        """It stands, and is one of its backend's connections until it closes."""
        if self.state == IDLE and not self._counted:
            self._counted = True
            self.home.open += 1

    def _uncount(self) -> None:
        if self._counted:
            self._counted = False
            self.home.open -= 1

    def _discard(self) -> None:
        self.state = CLOSED
        self._uncount()
        self.home.discard(self)
        self._sweep.members.discard(self)
        if self.transport is not GONE:
            self.transport.abort()
