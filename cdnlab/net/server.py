"""An HTTP/1.1 connection from a client: the object is the transport's protocol and its own only exchange.

Decides where one request ends and the next begins, what the limits say, and when the connection may be used again.
It must not know what a cache or a balancer is.

Theory. A connection is in one of these states:

    PROXY   a PROXY header is awaited          BUSY    a request is at the tier; its body may be arriving
    IDLE    a request head is awaited          TUNNEL  bytes go both ways, unread by us
    LINGER  our last response is written, input is discarded until the client closes (RFC 9112 §9.6)
    CLOSED  nothing more happens

A request is over when its response is complete *and* its body has been read; only then is the next head parsed, so
pipelined requests are answered in order and an unread body can never be taken for a request. What arrives early
lies in `_buf`, and reading pauses when that holds READ_AHEAD bytes.

Two shapes were weighed for the head: feeding a parser per connection, or finding the end of the head and asking
the memo for the block. The memo wins by far where clients repeat themselves (they do), and a connection that repeats
its own last block byte for byte (cookie included) does not even scan it: `data_received` begins with that case.
This file is longer than our habit because everything in it shares the state of one connection.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import struct
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from cdnlab.net.clock import now
from cdnlab.net.exchange import UNCOPIED, BodySink, Source, TunnelSink
from cdnlab.net.listener import Refusal
from cdnlab.net.request_body import DISCARD, Discard, RequestBody
from cdnlab.wire import proxy_protocol
from cdnlab.wire.chunked import LAST_CHUNK, encode_chunk, last_chunk
from cdnlab.wire.errors import Malformed, Why

if TYPE_CHECKING:
    from cdnlab.net.listener import Listener
    from cdnlab.wire.fields import Field
    from cdnlab.wire.request import RequestBlock, RequestLine

log = logging.getLogger("cdnlab.net")

IDLE, BUSY, TUNNEL, LINGER, CLOSED, PROXY = range(6)

#: Bytes read ahead of what the tier has asked for; the precedent is the socket buffer of a 64 KiB window.
READ_AHEAD = 65536
#: A block longer than this is not remembered by its connection: an idle connection should stay small.
REMEMBERED = 2048
#: How long input is discarded after the last response (nginx: lingering_timeout 5 s).
LINGER_SECONDS = 5.0
HEALTH_TARGET = b"/.well-known/cdnlab/alive"
MARK = b"cdnlab-explain"

_ERROR_HEAD = (
    b"HTTP/1.1 %d %b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Cache-Control: no-store\r\n"
)

NO_BLOCK = cast("RequestBlock", None)
NO_LINE = cast("RequestLine", None)
GONE = cast(asyncio.Transport, None)


class Connection(asyncio.Protocol):
    """One client connection, and the exchange of the request it is at. See `cdnlab.net.exchange.Exchange`."""

    __slots__ = (
        "_arriving",
        "_body_done",
        "_buf",
        "_chunked_out",
        "_close",
        "_discarded",
        "_ending",
        "_half_closed",
        "_last_block",
        "_last_raw",
        "_last_volatile",
        "_left_out",
        "_marked",
        "_pumping",
        "_reading",
        "_responded",
        "_sink",
        "_state",
        "_stuck_at",
        "_suppressed",
        "admitted",
        "block",
        "body",
        "due",
        "explain",
        "home",
        "host",
        "line",
        "listener",
        "peer",
        "place",
        "sent",
        "served",
        "source",
        "started",
        "status",
        "tag",
        "transport",
        "trusted",
        "volatile",
        "writable",
    )

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.transport: asyncio.Transport = GONE
        self.peer = ""
        self.trusted = False
        self.admitted = False
        self.home = self.place = ""
        self.tag: Any = None
        self.due = math.inf
        self.served = 0
        self.writable = True
        self._state = IDLE
        self._buf = bytearray()
        self._last_raw = b""
        self._last_block: RequestBlock = NO_BLOCK
        self._last_volatile: tuple[Field, ...] = ()
        self._marked = False
        self._pumping = False
        self._reading = True
        self._half_closed = False
        self._ending = False
        self._stuck_at = -1
        self._discarded = 0
        # the request at hand
        self.line: RequestLine = NO_LINE
        self.block: RequestBlock = NO_BLOCK
        self.volatile: tuple[Field, ...] = ()
        self.host = b""
        self.started = 0.0
        self.body = 0
        self.status = 0
        self.sent = 0
        self.explain = False
        self.source: Source | None = None
        self._sink: BodySink | TunnelSink | None = None
        self._arriving: RequestBody | None = None
        self._left_out: int | None = 0
        self._body_done = True
        self._chunked_out = False
        self._suppressed = False
        self._close = False
        self._responded = False

    # -- the transport's calls ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self.transport = cast(asyncio.Transport, transport)
        listener = self.listener
        instant = now()
        peername = transport.get_extra_info("peername")
        self.peer = peername[0] if peername else ""
        if instant > listener.holder.deadline:
            listener.refused(Refusal.NOT_HOLDER, self.peer, 0)
            self._state = CLOSED
            self.transport.abort()
            return
        if listener.gate is not None and listener.gate.refuses:
            listener.gate.refuse()
            self._state = CLOSED
            self._reset_on_close()
            self.transport.abort()
            return
        self.trusted = self.peer in listener.trusted
        listener.sweep.members.add(self)
        why = listener.admit(self.peer)
        if why is not None:
            self._refuse(why, 503 if why is Refusal.TOO_MANY else 429)
            return
        self.admitted = True
        listener.connections.add(self)
        if listener.proxy_protocol:
            if not self.trusted:
                listener.refused(Refusal.PROXY_HEADER, self.peer, 0)
                self.abort("PROXY header from a stranger")
                return
            self._state = PROXY
            self.due = instant + listener.limits.header_timeout
        else:
            self.home = self.place = listener.place_of(self.peer)
            self.due = instant + listener.limits.idle_timeout

    def data_received(self, data: bytes) -> None:
        """Bytes from the client. The first branch is the repeat of this connection's own last header block."""
        instant = now()
        if instant > self.listener.holder.deadline:
            self.listener.refused(Refusal.NOT_HOLDER, self.peer, 0)
            self.abort("not the holder")
            return
        last = self._last_raw
        if self._state == IDLE and not self._buf:
            at = data.find(b"\r\n")
            if at > 0 and len(data) - at + 1 == len(last) and data.endswith(last):
                raw = data[:at]
                line = self.listener.lines.young.get(raw)
                if line is None:
                    try:
                        line = self.listener.memo.line_missed(raw)
                    except Malformed as error:
                        self._malformed(error)
                        return
                self.line = line
                self.block = self._last_block
                self.volatile = self._last_volatile
                self._begin(instant)
                return
            if at > 0 and data.find(b"\r\n\r\n", at) == len(data) - 4:
                # exactly one head, as nearly always: it need not go through the buffer
                try:
                    self._take_head(data, at)
                except Malformed as error:
                    self._malformed(error)
                    return
                self._begin(instant)
                return
        self._feed(data, instant)

    def forget(self) -> None:
        """What this connection's last head meant, and what the tier made of it, holds no longer."""
        self._last_raw = b""
        self.tag = None

    def eof_received(self) -> bool:
        """The client will send no more; it may still read."""
        state = self._state
        if state == TUNNEL:
            self._half_closed = True
            cast(TunnelSink, self._sink).tunnel_end()
            return True
        if state == BUSY:
            self._half_closed = True
            if self.listener.gate is not None and self.listener.gate.let_go(self):
                # else each client that gave up would keep its connection here until the fault ends
                self.abort("the client has gone")
                return False
            if not self._buf:
                self._close = True
            if not self._body_done and not self._buf:
                self._cut_short()
                return False
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever closed it."""
        state, self._state = self._state, CLOSED
        listener = self.listener
        listener.connections.discard(self)
        listener.sweep.members.discard(self)
        if listener.gate is not None:
            listener.gate.gone(self)
        if self.admitted:
            self.admitted = False
            listener.leave(self.peer)
        if state in (BUSY, TUNNEL):
            if not self._body_done:
                self._fail_body("the client has gone")
            source, self.source = self.source, None
            if source is not None:
                source.client_gone("the client has gone")
        self._sink = None
        self._buf.clear()
        self.transport = GONE
        self.tag = None

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        self.writable = False
        self._stuck_at = self.transport.get_write_buffer_size()
        self.due = now() + self.listener.limits.write_timeout
        if self._body_done and self._state == BUSY:
            # what would be answered waits, too: responses must not pile up for a client that only asks
            self._pause_reading()
        if self.source is not None:
            self.source.pause()

    def resume_writing(self) -> None:
        """There is room again."""
        self.writable = True
        self._stuck_at = -1
        if self.source is not None:
            self.source.resume()
        if self._state == IDLE and not self._ending:
            self._turn()
        elif self._state == BUSY and self._body_done and len(self._buf) < READ_AHEAD:
            self._resume_reading()

    def expire(self, now: float) -> None:
        """The sweep's call: `due` has passed."""
        state, limits = self._state, self.listener.limits
        waiting = self.transport.get_write_buffer_size() if self.transport is not GONE else 0
        if self._stuck_at >= 0 or (waiting and (self._ending or state in (LINGER, IDLE))):
            # first what was written: neither an end nor the next request may cut it short while the client reads
            if self._stuck_at < 0 or waiting < self._stuck_at:
                self._stuck_at = waiting
                self.due = now + limits.write_timeout
            else:
                self.listener.refused(Refusal.WRITE_TIMEOUT, self.peer, 0)
                self.abort("the client does not read")
        elif state in (LINGER, CLOSED) or self._ending:
            self.abort("lingered long enough")
        elif state == IDLE:
            if self._buf:
                self._refuse(Refusal.HEADER_TIMEOUT, 408)
            else:
                self._end(now)
        elif state == PROXY:
            self.listener.refused(Refusal.PROXY_HEADER, self.peer, 0)
            self.abort("no PROXY header")
        elif state == BUSY and not self._body_done and self._reading and self._sink is not None:
            self._check_rate(now)
        else:
            self.due = math.inf

    # -- input ----------------------------------------------------------------------------------------------------

    def _feed(self, data: bytes, instant: float) -> None:
        state = self._state
        if state == BUSY:
            if self._body_done or self._sink is None or self._buf:
                self._store(data)
            else:
                self._take_body(data)
        elif state == TUNNEL:
            cast(TunnelSink, self._sink).tunnel_data(data)
        elif state == IDLE:
            if not self._buf:
                self.due = instant + self.listener.limits.header_timeout
            self._buf += data
            self._pump(instant)
        elif state == PROXY:
            self._buf += data
            self._take_proxy_header(instant)
        elif state == LINGER:
            self._discarded += len(data)
            if self._discarded > DISCARD:
                self.abort("unread input after the last response")

    def _store(self, data: bytes) -> None:
        self._buf += data
        if len(self._buf) >= READ_AHEAD:
            self._pause_reading()

    def _pause_reading(self) -> None:
        if self._reading and self._state != CLOSED:
            self._reading = False
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._reading and self._state != CLOSED:
            self._reading = True
            self.transport.resume_reading()

    def _take_proxy_header(self, instant: float) -> None:
        try:
            parsed = proxy_protocol.parse(bytes(self._buf))
        except Malformed as error:
            self.listener.refused(Refusal.PROXY_HEADER, self.peer, 0, error.code)
            self.abort("malformed PROXY header")
            return
        if parsed is None:
            return
        del self._buf[: parsed.size]
        if parsed.source is not None:
            self.listener.leave(self.peer)
            self.peer = parsed.source[0]
            self.trusted = False
            why = self.listener.admit_client(self.peer)
            if why is not None:
                self.admitted = False
                self._refuse(why, 429)
                return
        self.home = self.place = self.listener.place_of(self.peer)
        self._state = IDLE
        self.due = instant + self.listener.limits.idle_timeout
        if self._buf:
            self._pump(instant)

    def _pump(self, instant: float) -> None:
        """Parse and hand over the requests that lie in the buffer, for as long as each is answered at once."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._state == IDLE and self._buf and self.writable and self._parse():
                self._begin(instant)
        except Malformed as error:
            self._malformed(error)
        finally:
            self._pumping = False

    def _parse(self) -> bool:
        """Whether a whole head was there; it is then the request at hand, and its bytes have left the buffer."""
        buf = self._buf
        if buf[0] in (13, 10):
            # RFC 9112 §2.2: an empty line before the request line is ignored
            while buf.startswith(b"\r\n"):
                del buf[:2]
            if buf[:1] == b"\n" or (buf[:1] == b"\r" and len(buf) > 1):
                raise Malformed(Why.FIELD_BYTES)
            if len(buf) < 2:
                return False
        limits = self.listener.limits
        end = buf.find(b"\r\n\r\n")
        if end < 0:
            self._check_growing(buf, limits.header_bytes, limits.target_bytes)
            return False
        head = bytes(buf[: end + 4])
        self._take_head(head, head.find(b"\r\n"))
        del buf[: end + 4]
        return True

    def _take_head(self, head: bytes, at: int) -> None:
        """Make `head`, whole and with its empty line, the request at hand; its request line ends at `at`."""
        memo = self.listener.memo
        line = memo.line(head[:at])
        block, volatile = memo.block(head[at:-4], line.version)
        if len(head) - at <= REMEMBERED:
            # with the last digit of the version: the same lines mean something else in HTTP/1.0
            self._last_raw = head[at - 1 :]
            self._last_block = block
            self._last_volatile = volatile
        else:
            self._last_raw = b""
        self.line = line
        self.block = block
        self.volatile = volatile
        self._marked = bool(volatile) and any(name == MARK for name, _ in volatile)

    @staticmethod
    def _check_growing(buf: bytearray, header_bytes: int, target_bytes: int) -> None:
        """An unfinished head: refuse what can no longer become valid."""
        if buf.count(b"\n") != buf.count(b"\r\n"):
            raise Malformed(Why.FIELD_BYTES)
        first = buf.find(b"\r\n")
        if first < 0 and len(buf) > target_bytes + 64:
            raise Malformed(Why.TARGET_LONG)
        if len(buf) > header_bytes + target_bytes + 64:
            raise Malformed(Why.HEAD_LARGE)

    def _begin(self, instant: float) -> None:
        """The head is complete: set the exchange up and hand it to the tier."""
        line, block, listener = self.line, self.block, self.listener
        self._state = BUSY
        self.started = instant
        self.status = self.sent = 0
        self.served += 1
        self.place = self.home
        self.host = line.target.authority or block.host
        self.body = length = block.length
        self._responded = False
        self.explain = False
        self._close = (
            block.close
            or self.served >= listener.most_requests
            or listener.draining
            or (self._half_closed and not self._buf)
        )
        if length:
            self._begin_body(length, instant)
            if self._state != BUSY:
                return
        if self._marked and listener.explain is not None:
            self.explain = listener.explain(self)
        if listener.gate is not None and listener.gate.meets(self):
            return
        if self.trusted and line.target.canonical == HEALTH_TARGET and listener.alive is not None:
            self.answer(*listener.alive())
            return
        try:
            listener.handle(self)
        except Exception:
            self._went_wrong()

    def _went_wrong(self) -> None:
        log.exception("%s: unexpected error while handling %s", self.listener.name, self.line.raw[:200])
        self._fail_body("internal error")
        self.abort("internal error")

    # -- what faults do (fault_gate.py) ----------------------------------------------------------------------------

    @property
    def asks_alive(self) -> bool:
        """Whether the request is one that this listener answers itself: a peer's health check."""
        listener = self.listener
        return self.trusted and self.line.target.canonical == HEALTH_TARGET and listener.alive is not None

    def go_on(self) -> None:
        """A request that was held back is handed over now."""
        listener = self.listener
        if self._state != BUSY or self.status:
            return
        if self.asks_alive and listener.alive is not None:
            self.answer(*listener.alive())
            return
        try:
            listener.handle(self)
        except Exception:
            self._went_wrong()

    def fail(self, why: Refusal, status: int) -> None:
        """Answer the request with an error; the connection may be used again."""
        self.listener.refused(why, self.peer, status)
        body = self._error_body(status, why.sentence)
        self.answer(status, _ERROR_HEAD % (status, reason_phrase(status).encode(), len(body)), body)

    def reset(self, reason: str) -> None:
        """Break the connection by a reset, whatever was sent."""
        if self._state != CLOSED and self.transport is not GONE:
            self._reset_on_close()
            self.abort(reason)

    def _error_body(self, status: int, text: str) -> bytes:
        return f"{self.listener.name}: {status} {reason_phrase(status)}: {text}\n".encode()

    def _begin_body(self, length: int, instant: float) -> None:
        limit = self.listener.limits.body_bytes
        if limit and length > limit:
            self._body_done = True
            self._refuse(Refusal.BODY_TOO_LARGE, 413)
            return
        self._body_done = False
        self._sink = None
        self._arriving = RequestBody(length, instant)
        self.due = instant + self.listener.limits.body_grace

    def _take_body(self, data: bytes) -> None:
        sink, arriving = cast(BodySink, self._sink), cast(RequestBody, self._arriving)
        limit = self.listener.limits.body_bytes
        try:
            pieces = arriving.feed(data)
        except Malformed as error:
            self._fail_body("malformed chunked coding")
            self._malformed(error)
            return
        for piece in pieces:
            arriving.count(len(piece))
            if limit and arriving.total > limit:
                self._fail_body("the body is larger than allowed")
                self._refuse(Refusal.BODY_TOO_LARGE, 413)
                return
            if self._state == BUSY:
                sink.body_data(piece)
        if arriving.done and self._state == BUSY:
            self._end_body(arriving.trailers, arriving.rest)

    def _end_body(self, trailers: tuple[Field, ...], rest: bytes) -> None:
        self._body_done = True
        self._arriving = None
        if rest:
            self._buf[:0] = rest
        if self._half_closed and not self._buf:
            self._close = True
        sink, self._sink = self._sink, None
        if sink is not None and self._state == BUSY:
            cast(BodySink, sink).body_end(trailers)
        if self._responded and self._state == BUSY:
            self._turn()

    def _fail_body(self, reason: str) -> None:
        if self._body_done:
            return
        self._body_done = True
        self._arriving = None
        sink, self._sink = self._sink, None
        if sink is not None:
            cast(BodySink, sink).body_failed(reason)

    def _check_rate(self, now: float) -> None:
        if self._arriving is not None and self._arriving.too_slow(now, self.listener.limits.body_rate):
            self._fail_body("the body arrives too slowly")
            self._refuse(Refusal.BODY_TIMEOUT, 408)
        else:
            self.due = now + 1.0

    # -- the exchange's surface -----------------------------------------------------------------------------------

    @property
    def scheme(self) -> bytes:
        """`http` or `https`, as the client asked."""
        return self.listener.scheme

    def field(self, name: bytes) -> bytes | None:
        """The combined value of a field by its lower-case name; None if absent."""
        value = self.block.index.get(name)
        if value is None and self.volatile:
            found = [v for n, v in self.volatile if n == name]
            if found:
                return (b"; " if name == b"cookie" else b", ").join(found)
        return value

    def answer(self, status: int, head: bytes, body: bytes | memoryview = b"") -> None:
        """The whole response at once; see `Exchange.answer`."""
        if self._state != BUSY or self.status >= 200 or (self.listener.leased and self._lapsed()):
            return
        self.status = status
        if self.line.method == b"HEAD" or status == 204 or status == 304:
            body = b""
        if not self._body_done and self._not_worth_reading():
            self._close = True
        self.sent = len(body)
        large: bytes | memoryview = b""
        if self.sent >= UNCOPIED:
            large, body = body, b""
        if self._close:
            self.transport.write(b"".join((head, b"Connection: close\r\n\r\n", body)))
        elif self.line.version == 10:
            self.transport.write(b"".join((head, b"Connection: keep-alive\r\n\r\n", body)))
        else:
            self.transport.write(b"".join((head, b"\r\n", body)))
        if large:
            self.transport.write(large)
        if self._body_done and not self._close:
            self.source = None
            self._state = IDLE
            self.due = self.started + self.listener.idle_timeout
            if self._buf or not self._reading:
                self._turn()
        else:
            self._complete()

    def respond(self, status: int, head: bytes, length: int | None) -> None:
        """Begin a response; see `Exchange.respond`."""
        if self._state != BUSY or self.status >= 200 or (self.listener.leased and self._lapsed()):
            return
        self.status = status
        self._left_out = length
        self._chunked_out = False
        self._suppressed = self.line.method == b"HEAD" or status == 204 or status == 304
        if not self._body_done and self._sink is None and self._not_worth_reading():
            self._close = True
        extra = b""
        if length is None and not self._suppressed:
            if self.line.version == 11:
                self._chunked_out = True
                extra = b"Transfer-Encoding: chunked\r\n"
            else:
                self._close = True
        if self._close:
            extra += b"Connection: close\r\n"
        elif self.line.version == 10:
            extra += b"Connection: keep-alive\r\n"
        self.transport.write(b"".join((head, extra, b"\r\n")))

    def write(self, data: bytes) -> None:
        """Body bytes of the response begun, or the tunnel's bytes."""
        state = self._state
        if not data or (state != BUSY and state != TUNNEL) or (self.listener.leased and self._lapsed()):
            return
        self.sent += len(data)
        if state == TUNNEL:
            self.transport.write(data)
        elif self._suppressed:
            self.sent -= len(data)
        elif self._chunked_out:
            self.transport.write(encode_chunk(data))
        else:
            left = self._left_out
            if left is not None:
                if len(data) > left:
                    self.abort("more body than Content-Length said")
                    return
                self._left_out = left - len(data)
            self.transport.write(data)

    def finish(self, trailers: tuple[Field, ...] = ()) -> None:
        """The response is complete."""
        if self._state != BUSY or (self.listener.leased and self._lapsed()):
            return
        if self._chunked_out:
            self.transport.write(last_chunk(trailers) if trailers else LAST_CHUNK)
        elif self._left_out and not self._suppressed:
            self.abort("less body than Content-Length said")
            return
        self._complete()

    def interim(self, raw: bytes) -> None:
        """Pass on a whole 1xx head; HTTP/1.0 clients do not know them (RFC 9110 §15.2)."""
        if self._state != BUSY or self.status or (self.listener.leased and self._lapsed()):
            return
        if self.line.version == 11:
            self.transport.write(raw)

    def receive(self, sink: BodySink) -> None:
        """Start the delivery of the request's body."""
        if self._body_done:
            sink.body_end(())
            return
        self._sink = sink
        self._pace_body()
        self._resume_reading()  # before the sink gets anything: it may pause us, and must be heard
        if self._buf:
            data = bytes(self._buf)
            self._buf.clear()
            self._take_body(data)
        if not self._body_done and self._half_closed:
            self._cut_short()

    def _cut_short(self) -> None:
        self._fail_body("the client closed before the end of the body")
        self.abort("request body cut short")

    def pause_body(self) -> None:
        """Stop delivering the body."""
        if not self._body_done:
            self._pause_reading()

    def resume_body(self) -> None:
        """Deliver again; the time we paused does not count against the client's rate."""
        if not self._body_done and not self._reading:
            self._pace_body()
            self._resume_reading()

    def _pace_body(self) -> None:
        """From now on the client has to send at the least rate, after a while of grace."""
        instant = now()
        cast(RequestBody, self._arriving).pace_from(instant)
        self.due = instant + self.listener.limits.body_grace

    def _not_worth_reading(self) -> bool:
        """Whether a body that nobody has read costs more than a new connection."""
        return self.block.expect or cast(RequestBody, self._arriving).too_large_to_drop

    def tunnel(self, head: bytes, sink: TunnelSink) -> None:
        """Pass a 101 on, and hand the connection over."""
        if self._state != BUSY or (self.listener.leased and self._lapsed()):
            return
        self.status = 101
        self._state = TUNNEL
        self._sink = sink
        self.due = math.inf
        self.transport.write(head + b"\r\n")
        self._resume_reading()
        if self._buf:
            data = bytes(self._buf)
            self._buf.clear()
            sink.tunnel_data(data)

    def tunnel_end(self) -> None:
        """Half-close toward the client."""
        if self._state == TUNNEL and self.transport.can_write_eof():
            self.transport.write_eof()

    def close_tunnel(self) -> None:
        """The other side is gone: close once what was written has been sent."""
        if self._state == TUNNEL:
            self.source = None
            self._end(now())

    def pause_tunnel(self) -> None:
        """The other side of the tunnel is full."""
        self._pause_reading()

    def resume_tunnel(self) -> None:
        """The other side of the tunnel has room."""
        self._resume_reading()

    def abort(self, reason: str) -> None:
        """Break the connection so that the client sees the response was cut short."""
        if self._state != CLOSED:
            self._fail_body(reason)
            if self.transport is not GONE:
                if self.status and self._left_out is None and not self._chunked_out:
                    # the end of the connection would be the end of the body: only a reset says that it was cut
                    self._reset_on_close()
                self.transport.abort()

    def _lapsed(self) -> bool:
        """Whether the address is no longer ours to answer on; then this connection ends without another byte.

        Input was checked when it came, but a freeze may lie between a request and its response, or in a body.
        """
        if now() <= self.listener.holder.deadline:
            return False
        reason = Refusal.NOT_HOLDER.sentence
        self.listener.refused(Refusal.NOT_HOLDER, self.peer, 0)
        source, self.source = self.source, None
        self.abort(reason)
        self._state = CLOSED
        if source is not None:
            source.client_gone(reason)
        return True

    def _reset_on_close(self) -> None:
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _end(self, instant: float) -> None:
        """Close once what was written has been sent, which may not take for ever."""
        self._ending = True
        self.due = instant + self.listener.limits.write_timeout
        self.transport.close()

    def close_when_idle(self) -> None:
        """Drain: close now if nothing is under way, else after the response at hand."""
        if self._state == IDLE and not self._buf:
            self.transport.close()
        self._close = True

    # -- the end of a request -------------------------------------------------------------------------------------

    def _complete(self) -> None:
        """The response is written. The request is over once its body is read, too."""
        self.source = None
        self._responded = True
        if self._body_done:
            self._turn()
            return
        if self._close or cast(RequestBody, self._arriving).too_large_to_drop:
            self._fail_body("answered before the body was read")
            self._linger()
            return
        # RFC 9112 §9.3: what is left of the body is read and dropped before the connection is used again
        discard = Discard(self)
        previous, self._sink = self._sink, discard
        if previous is None:
            self.receive(discard)
        else:
            cast(BodySink, previous).body_failed("answered before the body was read")
            self._pace_body()
            self._resume_reading()

    def _turn(self) -> None:
        """The request is over: close, or be ready for the next."""
        self.source = None
        if self._close:
            self._linger()
            return
        instant = now()
        self._state = IDLE
        self._body_done = True
        if not self.writable:
            # what would be answered waits, too: responses must not pile up for a client that asks and never reads
            self.due = instant + self.listener.limits.write_timeout
            self._pause_reading()
            return
        self.due = instant + self.listener.limits.idle_timeout
        if self._buf:
            # not from within this call: whoever ended the response may still read what the exchange says of it
            self.due = instant + self.listener.limits.header_timeout
            if not self._pumping:
                asyncio.get_running_loop().call_soon(self._pump_again)
                return
        self._read_on(instant)

    def _pump_again(self) -> None:
        if self._state == IDLE and self.writable:
            instant = now()
            self._pump(instant)
            self._read_on(instant)

    def _read_on(self, instant: float) -> None:
        if self._state == IDLE and self._half_closed and not self._pumping and self.writable:
            self._end(instant)
        elif self.writable and len(self._buf) < READ_AHEAD and (self._body_done or self._sink is None):
            self._resume_reading()

    def _linger(self) -> None:
        """Send FIN, then read and drop until the client closes, so that no reset overtakes the response."""
        if self._state == CLOSED:
            return
        self._state = LINGER
        self._buf.clear()
        if self._half_closed or not self.transport.can_write_eof():
            self._end(now())
            return
        self.due = now() + LINGER_SECONDS
        self._resume_reading()
        self.transport.write_eof()

    def _malformed(self, error: Malformed) -> None:
        self._refuse(Refusal.MALFORMED, error.status, error.code, error.text)

    def _refuse(self, why: Refusal, status: int, code: str = "", text: str = "") -> None:
        """Answer with an error of our own and close; nothing that follows on this connection is read as a request."""
        listener = self.listener
        if listener.leased and self._lapsed():
            return
        listener.refused(why, self.peer, status, code, text)
        if self._state == BUSY and self.status:
            self.abort(why.sentence)
            return
        body = self._error_body(status, text or why.sentence)
        head = _ERROR_HEAD % (status, reason_phrase(status).encode(), len(body))
        after = b"Retry-After: %d\r\n" % listener.retry_after if why is Refusal.TOO_FAST else b""
        self.transport.write(b"".join((head, after, b"Connection: close\r\n\r\n", body)))
        self.status = status
        source, self.source = self.source, None
        if source is not None:
            source.client_gone(why.sentence)
        self._body_done = True
        self._linger()


def reason_phrase(status: int) -> str:
    """The registered reason phrase of a status, or its class's name."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ("Unknown", "Informational", "Success", "Redirection", "Client Error", "Server Error")[
            status // 100 % 6
        ]
