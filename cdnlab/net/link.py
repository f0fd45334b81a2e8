"""The emulated path between two places, between a transport and its protocol.

The side that opens a connection applies it: `attach` completes after one round trip (two with TLS), and each
direction is a `Schedule` of pieces that arrive half a round trip after they were sent, the end of the stream
included. Where the round trip is zero the protocol gets the bare transport: off costs nothing.

Two designs were weighed: a relay process with kernel queueing (needs root, and this kernel may have no netem), and
delays around each `send` in the protocol itself (every protocol would have to know). A Link is a protocol to the real
transport and a transport to the real protocol, so neither end knows.

It must not know places; it is given seconds.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

from cdnlab.net.clock import now
from cdnlab.net.dial import Resolver, dial
from cdnlab.net.tasks import spawn
from cdnlab.world.schedule import END, WINDOW, Schedule

if TYPE_CHECKING:
    from cdnlab.net.listener import Listener

P = TypeVar("P", bound=asyncio.Protocol)

#: uvloop fires a shorter timer at once, which would spin until the piece is due.
SHORTEST_TIMER = 0.001

GONE = cast(asyncio.Transport, None)


async def attach(
    loop: asyncio.AbstractEventLoop,
    protocol: asyncio.Protocol,
    sock: socket.socket,
    *,
    rtt: float = 0.0,
    window: int = WINDOW,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
) -> None:
    """Give a connected socket to `protocol`, `rtt` seconds away; whatever fails closes it. OSError and ssl.SSLError."""
    outer = protocol
    try:
        if rtt > 0:
            # SYN and its answer; TLS 1.3 takes one more round trip (RFC 8446 §2), which the loop's own handshake over
            # loopback does not: it runs below the link
            due = now() + rtt * (2 if tls else 1)
            # uvloop counts whole milliseconds and may be one early
            while (left := due - now()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(max(left, SHORTEST_TIMER))
            outer = Link(loop, protocol, rtt / 2, window)
    except BaseException:
        sock.close()
        raise
    name = server_name if tls else None
    making = spawn(
        _make(loop.create_connection(lambda: outer, sock=sock, ssl=tls, server_hostname=name), sock, loop),
        "attach",
    )
    try:
        made = await asyncio.shield(making)
    except asyncio.CancelledError:
        # the loop may have promised the protocol its transport already; a call that is cancelled would not take it back
        making.add_done_callback(_unmake)
        if tls is not None:
            making.cancel()
        raise
    if isinstance(made, OSError):
        sock.close()
        raise made


async def _make(
    creating: Coroutine[Any, Any, tuple[asyncio.BaseTransport, Any]],
    sock: socket.socket,
    loop: asyncio.AbstractEventLoop,
) -> asyncio.BaseTransport | OSError:
    """The transport, or the error as a value: if nobody waits any more, nobody need hear of it.

    A protocol may close its transport in connection_made. uvloop then closes the descriptor and leaves its number in
    `sock`, which would close it once more when it goes: by then it is another connection's, and libuv aborts the
    process when it finds one gone that it watches.
    """
    try:
        transport = (await creating)[0]
    except OSError as error:
        return error
    if transport.is_closing() and not isinstance(loop, asyncio.BaseEventLoop):
        sock.detach()
    return transport


def _unmake(making: asyncio.Task[asyncio.BaseTransport | OSError]) -> None:
    made = None if making.cancelled() or making.exception() else making.result()
    if made is not None and not isinstance(made, OSError):
        cast(asyncio.Transport, made).abort()


async def connect(
    loop: asyncio.AbstractEventLoop,
    factory: Callable[[], P],
    host: str,
    port: int,
    *,
    rtt: float = 0.0,
    window: int = WINDOW,
    local_addr: str | None = None,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
) -> P:
    """Connect to `host:port`, from `local_addr` if given, over a link of `rtt` seconds. Raises OSError."""
    sock = await dial(await Resolver().addresses(host, port), local_addr)
    protocol = factory()
    await attach(loop, protocol, sock, rtt=rtt, window=window, tls=tls, server_name=server_name)
    return protocol


class Link(asyncio.Protocol):
    """Both ends of a delayed connection: the real transport's protocol, and `inner`'s transport."""

    __slots__ = (
        "_closing",
        "_eof_sent",
        "_held",
        "_in",
        "_inner_full",
        "_inner_reading",
        "_loop",
        "_lost",
        "_not_before",
        "_out",
        "_real_full",
        "_real_reading",
        "_timer",
        "delay",
        "inner",
        "real",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        inner: asyncio.Protocol,
        delay: float,
        window: int,
        not_before: float = 0.0,
    ) -> None:
        """`delay`: seconds each way. `not_before`: BOOTTIME before which nothing arrives (a handshake's end)."""
        self._loop = loop
        self.inner = inner
        self.delay = delay
        self.real: asyncio.Transport = GONE
        self._in = Schedule(window)
        self._out = Schedule(window)
        self._held: deque[bytes | None] = deque()
        """Pieces that have arrived while `inner` did not read."""
        self._inner_reading = True
        self._inner_full = False
        self._real_reading = True
        self._real_full = False
        self._eof_sent = False
        self._closing = False
        self._lost: tuple[float, Exception | None] | None = None
        self._not_before = not_before
        self._timer: asyncio.TimerHandle | None = None

    # -- protocol of the real transport -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The real connection stands; the time its handshake takes has been waited for."""
        self.real = cast(asyncio.Transport, transport)
        self.inner.connection_made(cast(asyncio.Transport, self))

    def data_received(self, data: bytes) -> None:
        """Bytes from the other side set out."""
        self._push_in(data)
        if self._in.above and self._real_reading:
            self._real_reading = False
            self.real.pause_reading()

    def eof_received(self) -> bool:
        """The end of the stream sets out, too."""
        self._push_in(END)
        return True

    def _push_in(self, piece: bytes | None) -> None:
        instant = now()
        self._in.push(instant, piece, max(self.delay, self._not_before + self.delay - instant))
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """The real connection is gone; `inner` hears of it when what was sent before has arrived."""
        self.real = GONE
        self._lost = (0.0 if self._closing else now() + self.delay, exc)
        self._run()

    def pause_writing(self) -> None:
        """The kernel's buffer is full: what is due waits here."""
        self._real_full = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._real_full = False
        self._run()

    # -- the schedule -------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        due = self._out.next_due if not self._real_full and self.real is not GONE else None
        if self._inner_reading:
            arrival = self._in.next_due
            if arrival is not None and (due is None or arrival < due):
                due = arrival
        if self._lost is not None and self._all_arrived and (due is None or self._lost[0] < due):
            due = self._lost[0]
        if due is None:
            return
        when = max(due - now(), SHORTEST_TIMER)
        if self._timer is not None:
            if self._timer.when() <= self._loop.time() + when + SHORTEST_TIMER:
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(when, self._tick)

    @property
    def _all_arrived(self) -> bool:
        """Whether nothing is on its way to `inner` any more, or it does not want it."""
        return self._closing or not (self._in.queued or self._held)

    def _tick(self) -> None:
        self._timer = None
        self._run()

    def _run(self) -> None:
        instant = now()
        if self.real is not GONE:
            self._send_due(instant)
        self._deliver_due(instant)
        lost = self._lost
        if lost is not None and lost[0] <= instant and self._all_arrived:
            self._finish(lost[1])
            return
        self._arm()

    def _send_due(self, instant: float) -> None:
        if not self._real_full:
            for piece in self._out.due(instant):
                if piece is not None:
                    self.real.write(piece)
                elif self.real.can_write_eof():
                    self.real.write_eof()
        if self._closing and not self._out.queued and self._out.next_due is None:
            self.real.close()
        if self._inner_full and self._out.below:
            self._inner_full = False
            self.inner.resume_writing()

    def _deliver_due(self, instant: float) -> None:
        if not self._inner_reading:
            return
        self._held.extend(self._in.due(instant))
        while self._held and self._inner_reading and not self._closing:
            piece = self._held.popleft()
            if piece is not None:
                self.inner.data_received(piece)
            elif not self.inner.eof_received():
                self.close()
        if not self._real_reading and self._in.below and self.real is not GONE:
            self._real_reading = True
            self.real.resume_reading()

    def _finish(self, exc: Exception | None) -> None:
        self._lost = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._held.clear()
        self.inner.connection_lost(exc)

    # -- transport of the inner protocol ------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Bytes set out toward the other side."""
        if self._closing or self.real is GONE or not data:
            return
        self._out.push(now(), bytes(data), self.delay)
        self._arm()
        if self._out.above and not self._inner_full:
            self._inner_full = True
            self.inner.pause_writing()

    def writelines(self, pieces: list[bytes]) -> None:
        """As write, of all of them."""
        self.write(b"".join(pieces))

    def write_eof(self) -> None:
        """The end of our stream sets out."""
        if not self._eof_sent and not self._closing and self.real is not GONE:
            self._eof_sent = True
            self._out.push(now(), END, self.delay)
            self._arm()

    def can_write_eof(self) -> bool:
        """As the real transport."""
        return self.real is not GONE and self.real.can_write_eof()

    def pause_reading(self) -> None:
        """What arrives waits; the window fills."""
        self._inner_reading = False

    def resume_reading(self) -> None:
        """Deliver again, not from within this call."""
        self._inner_reading = True
        if self._held:
            self._loop.call_soon(self._run)
        else:
            self._arm()

    def is_reading(self) -> bool:
        """Whether what arrives is delivered."""
        return self._inner_reading

    def is_closing(self) -> bool:
        """Whether the connection is on its way to be closed."""
        return self._closing or self.real is GONE

    def close(self) -> None:
        """Close once what was written has been sent."""
        if self._closing:
            return
        self._closing = True
        if self.real is GONE or self._out.queued or self._out.next_due is not None:
            self._arm()
        else:
            self.real.close()

    def abort(self) -> None:
        """Break the connection now."""
        self._closing = True
        if self.real is not GONE:
            self.real.abort()
        else:
            self._arm()

    def get_write_buffer_size(self) -> int:
        """Bytes on their way that have not arrived."""
        return self._out.queued + (self.real.get_write_buffer_size() if self.real is not GONE else 0)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The window decides; nothing to set."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the real transport."""
        return default if self.real is GONE else self.real.get_extra_info(name, default)


class AcceptedLink(asyncio.Protocol):
    """Chooses, when a client has connected, whether it is at a distance: only one that asks us directly is."""

    __slots__ = ("inner", "listener")

    def __init__(self, inner: asyncio.Protocol, listener: Listener) -> None:
        self.inner = inner
        self.listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Put a link, or nothing, between the transport and the connection."""
        real = cast(asyncio.Transport, transport)
        peername = transport.get_extra_info("peername")
        accept_rtt = self.listener.accept_rtt
        rtt = accept_rtt(peername[0]) if accept_rtt is not None and peername else 0.0
        protocol: asyncio.Protocol = self.inner
        if rtt > 0:
            # the kernel has shaken hands at once; the first bytes come a round trip later than they would
            loop = asyncio.get_running_loop()
            protocol = Link(loop, self.inner, rtt / 2, self.listener.window, now() + rtt)
        real.set_protocol(protocol)
        protocol.connection_made(real)
