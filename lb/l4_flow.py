"""One TCP flow at layer 4, from the client's first packet to the end of both directions.

    accepted ─▶ PROXY header ─▶ ClientHello ─▶ chosen ─▶ connected ─▶ relayed ─▶ over
               (where required)  (where routed by it)  └── the next candidate, until one connects

Decides nothing about who may have a flow and where it leads: it asks its proxy, in this order. It must not know the
VIP, nor how bytes are carried.

What a client sends before there is a backend is kept as it came and goes to the backend first. Only what has to be
known is waited for, and only for so long: a listener that needs neither header nor name connects at once, since in
some protocols the server speaks first. Until a connection to a backend stands nothing of the client's has been sent to
anybody, so every candidate may be tried.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from cdnlab.wire import proxy_protocol
from cdnlab.wire.client_hello import ClientHello
from cdnlab.wire.errors import Malformed
from lb.flow_entry import Ended
from lb.l4_half import abort
from lb.l4_stats import Refused

if TYPE_CHECKING:
    from cdnlab.forward.forwarder import Forwarder
    from cdnlab.pool.backend import Backend
    from lb.tcp_proxy import TcpProxy

Address = tuple[str, int]

TELL = 1.0
"""Seconds from one look at a flow to the next, at most: what it moved is entered then, and an idle one ended."""
READ = 16384


class Refusal(Exception):
    """The flow will not come to be."""

    def __init__(self, why: Refused) -> None:
        super().__init__(why.sentence)
        self.why = why


class Carrier(Protocol):
    """What relays its bytes."""

    @property
    def up(self) -> int:
        """Bytes from the client."""

    @property
    def down(self) -> int:
        """Bytes from the backend."""

    def close(self, *, reset: bool) -> None:
        """Close both connections, in order or with a reset."""


class Flow:
    """One flow. `over` ends it, whoever finds that it has."""

    __slots__ = (
        "ahead", "backend", "carrier", "client", "due", "forwarder", "handle", "hello", "peer", "proxy", "seen", "sock",
        "task", "told_down", "told_up", "vip",
    )  # fmt: skip

    def __init__(self, proxy: TcpProxy, sock: socket.socket, peer: Address, instant: float) -> None:
        """`peer` has connected; who the client is, a PROXY header may say."""
        self.proxy = proxy
        self.sock: socket.socket | None = sock
        """The client's, until it is relayed."""
        self.peer = self.client = peer
        self.vip: Address = proxy.address
        """What the client connected to."""
        self.ahead = b""
        """What the client has sent so far."""
        self.hello: ClientHello | None = None
        self.forwarder: Forwarder | None = None
        self.backend: Backend | None = None
        self.carrier: Carrier | None = None
        self.handle: int | None = None
        self.told_up = self.told_down = 0
        self.seen = instant
        self.due = instant + proxy.look
        self.task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Find out what has to be known, choose, connect, and have it relayed."""
        proxy = self.proxy
        try:
            if proxy.accept_proxy:
                await self._within(self._take_proxy_header, Refused.PROXY_LATE)
            if proxy.names is not None:
                self.hello = ClientHello()
                await self._within(self._take_hello, Refused.HELLO_LATE)
            await proxy.connect(self)
        except Refusal as refusal:
            self.refuse(refusal.why)
        except BaseException:
            self.refuse(Refused.SYSTEM)
            raise

    async def _within(self, taken: Callable[[], bool], late: Refused) -> None:
        """Read until `taken` is content with what is there; not for ever."""
        assert self.sock is not None
        loop = asyncio.get_running_loop()
        try:
            if self.ahead and taken():
                return
            async with asyncio.timeout(self.proxy.around.opening_timeout):
                while True:
                    data = await loop.sock_recv(self.sock, READ)
                    if not data:
                        raise Refusal(Refused.CLIENT_LEFT)
                    self.ahead += data
                    if self.hello is not None and self.hello.feed(data):
                        return
                    if self.hello is None and taken():
                        return
        except TimeoutError:
            raise Refusal(late) from None
        except Malformed:
            raise Refusal(Refused.CLIENT_HELLO if self.hello is not None else Refused.PROXY_HEADER) from None
        except OSError:
            raise Refusal(Refused.CLIENT_LEFT) from None

    def _take_proxy_header(self) -> bool:
        parsed = proxy_protocol.parse(self.ahead)
        if parsed is None:
            return False
        if parsed.datagram:
            raise Refusal(Refused.PROXY_HEADER)
        self.ahead = self.ahead[parsed.size :]
        if parsed.source is not None and parsed.destination is not None:
            self.vip = parsed.destination
            why = self.proxy.becomes(self, parsed.source)
            if why is not None:
                raise Refusal(why)
        return True

    def _take_hello(self) -> bool:
        """What came with the PROXY header."""
        assert self.hello is not None
        return self.hello.feed(self.ahead)

    # -- while it is relayed --------------------------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """The sweep's call, each second: enter what was moved, end what is idle."""
        self.due = now + self.proxy.look
        if self.carrier is None:
            return
        self.tell()
        if now - self.seen >= self.proxy.idle_timeout:
            self.over(Ended.IDLE)

    def tell(self) -> None:
        """Enter what was moved since the last time."""
        carrier = self.carrier
        assert carrier is not None
        up, down = carrier.up - self.told_up, carrier.down - self.told_down
        if up or down:
            self.told_up += up
            self.told_down += down
            self.proxy.told(self, up, down)

    def over(self, why: Ended) -> None:
        """It has ended; nothing happens the second time."""
        carrier = self.carrier
        if carrier is None:
            return
        self.tell()
        self.proxy.ended(self, why)
        self.carrier = None
        carrier.close(reset=why is not Ended.DONE and why is not Ended.IDLE)

    def refuse(self, why: Refused) -> None:
        """It never came to be; nothing happens the second time."""
        sock, self.sock = self.sock, None
        if sock is None:
            return
        self.proxy.refused(self, why)
        abort(sock)

    def end(self, why: Ended, refused: Refused) -> None:
        """End it from outside, wherever it is."""
        if self.carrier is not None:
            self.over(why)
        elif self.sock is not None:
            self.refuse(refused)
            if self.task is not None:
                self.task.cancel()

    def sent_before(self, version: str) -> bytes:
        """The PROXY header for the backend: of the client, and of what it connected to. Where the two are not of one
        family no header can hold both, and it says that it does not know."""
        names = self.hello.server_name if self.hello is not None else None
        if version == "v1":
            try:
                return proxy_protocol.build_v1(self.client, self.vip)
            except ValueError:
                return b"PROXY UNKNOWN\r\n"
        tlvs = ((proxy_protocol.TLV_AUTHORITY, names.encode()),) if names else ()
        try:
            return proxy_protocol.build_v2(self.client, self.vip, tlvs=tlvs)
        except ValueError:
            return proxy_protocol.build_v2(None, None, tlvs=tlvs)
