"""Bytes between a client and a backend that is at a distance: through transports, since a link delays those.

The same promises as l4_relay.py: half-close, back-pressure, a reset stays a reset. It costs more, as distance does, and
is also what carries where there is no epoll. It must not know pools, PROXY headers, nor the flow table.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from cdnlab.net import link
from cdnlab.net.clock import now
from cdnlab.net.listener import Holder
from lb.flow_entry import Ended
from lb.l4_half import Carried, abort

HIGH = 65536
"""Bytes that may wait for the client before the backend is not read (toward the backend the link's window decides)."""


class Linked:
    """Both directions of one flow."""

    __slots__ = ("closed", "far", "flow", "holder", "lost", "near")

    def __init__(self, flow: Carried, holder: Holder, lost: Callable[[], None]) -> None:
        """`lost` is called, before a byte is relayed, when the holder's time was over."""
        self.flow = flow
        self.holder = holder
        self.lost = lost
        self.near = End(self, Ended.CLIENT)
        self.far = End(self, Ended.BACKEND)
        self.near.other, self.far.other = self.far, self.near
        self.closed = False

    async def join(
        self, near: socket.socket, far: socket.socket, ahead: bytes, *, rtt: float, window: int
    ) -> None:
        """Carry between two connected sockets, both ours from now on; the backend is `rtt` seconds away. OSError."""
        loop = asyncio.get_running_loop()
        try:
            for sock in (near, far):
                if sock.family != socket.AF_UNIX:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)  # an urgent byte is one, too
            await link.attach(loop, self.far, far, rtt=rtt, window=window)
            if ahead:
                self.far.write(ahead)
            if self.closed:  # meanwhile
                abort(near)
                return
            await link.attach(loop, self.near, near)
        except BaseException:
            self.close(reset=True)
            abort(near)
            raise

    @property
    def up(self) -> int:
        """Bytes from the client."""
        return self.near.moved

    @property
    def down(self) -> int:
        """Bytes from the backend."""
        return self.far.moved

    def close(self, *, reset: bool) -> None:
        """Close both, in order or with a reset."""
        self.closed = True
        self.near.close(reset=reset)
        self.far.close(reset=reset)


class End(asyncio.Protocol):
    """One of the two connections."""

    __slots__ = ("_early", "_pair", "_paused", "_transport", "done", "moved", "other", "side")

    other: End

    def __init__(self, pair: Linked, side: Ended) -> None:
        self._pair = pair
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        """What came for it before it had a transport."""
        self._paused = False
        self.side = side
        self.moved = 0
        """Bytes that came from it."""
        self.done = False
        """It sends no more."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, on one side of the link or the other."""
        self._transport = cast(asyncio.Transport, transport)
        if self._pair.closed:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=HIGH)
        early, self._early = self._early, []
        if early:
            self.other.resume()  # before writing: that may pause it again
        for data in early:
            self._transport.write(data)
        if self.other.done:
            self._transport.write_eof()
        if self._paused:
            self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Bytes for the other side."""
        pair = self._pair
        instant = now()
        if instant > pair.holder.deadline:
            pair.lost()
            return
        self.moved += len(data)
        pair.flow.seen = instant
        self.other.write(data)

    def write(self, data: bytes) -> None:
        """Bytes from the other side."""
        if self._transport is not None:
            self._transport.write(data)
        elif not self._pair.closed:
            self._early.append(data)
            self.other.pause()  # until there is one to write to

    def eof_received(self) -> bool:
        """It sends no more; the other side may."""
        self.done = True
        pair = self._pair
        if self.other.done:
            pair.flow.over(Ended.DONE)
        elif self.other._transport is not None:
            self.other._transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        if not self._pair.closed:
            self._pair.flow.over(Ended.DONE if self.done and self.other.done else self.side)

    def pause_writing(self) -> None:
        """It reads slower than the other side writes."""
        self.other.pause()

    def resume_writing(self) -> None:
        """There is room again."""
        self._pair.flow.seen = now()
        self.other.resume()

    def pause(self) -> None:
        """Read no more for now."""
        if not self._paused:
            self._paused = True
            if self._transport is not None and not self._transport.is_closing():
                self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def close(self, *, reset: bool) -> None:
        """Close, in order or with a reset."""
        if self._transport is None:
            return
        if not reset:
            self._transport.close()
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            except OSError:
                pass  # gone already
        self._transport.abort()
