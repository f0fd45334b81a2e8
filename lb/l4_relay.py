"""Bytes between two sockets, both ways, as they are: half-close, back-pressure, and no copy where that pays.

Decides nothing about flows: it is given two connected sockets, says when bytes went by and how it ended. It must not
know pools, PROXY headers, nor the flow table.

Two designs were carried through and measured with HAProxy 2.6 beside them (mode tcp, one thread; 64 connections; CPU of
the process; the lowest third of ten samples of one second for 1 KiB, the median of four for 1 MiB; on two cores that
others used, too):

                                                     1 KiB exchanges        bodies of 1 MiB
    HAProxy, buffers of 64 KiB                            18.6 us               914 us
    HAProxy, splice-auto                                                        959 us
    uvloop's transports, counts and limits on             23.9 us               691 us
    this file, counts and limits on                       22.0 us               308 us

For 1 KiB all need the same four system calls, two of each recv and send: 16 us of it for everybody. The rest is Python,
where HAProxy has 1.5; a reader per socket on uvloop came to as much as this. What is left to choose by is large bodies,
and there splice(2) wins: their bytes stay in the kernel. uvloop's transports would not share their sockets, so both
ends are sockets of our own, watched by an epoll of our own, which the loop sees as one descriptor: one call tells all
that is ready. It is edge-triggered, so that between a request and its answer nothing is registered anew. A read that
got less than it asked for has emptied the socket; the end of the stream is told apart by EPOLLRDHUP (epoll(7)). A
quiet flow has no buffer.

A direction begins by copying. When a read gets all that it asked for there is more to come: what follows is spliced,
until the socket is empty; and while that pays, the next burst begins with splicing. Small messages never see a pipe.

    source ──recv──▶ bytes ──send──▶ sink                   what the sink does not take: `left`, and the source waits
    source ──splice──▶ pipe ──splice──▶ sink                what the sink does not take stays in the pipe, the same
"""

from __future__ import annotations

import asyncio
import math
import os
import select
import socket
from collections.abc import Callable

from cdnlab.net.clock import now
from cdnlab.net.listener import Holder
from lb.flow_entry import Ended
from lb.l4_half import IN, SMALL, Carried, Half
from lb.l4_pipes import Pipes

AVAILABLE = hasattr(select, "epoll") and hasattr(os, "splice")
"""Linux only; elsewhere the transports' relay (l4_linked.py) carries all."""

BATCH = 64
"""Events taken in one go, so that the loop's other work waits some milliseconds at most, were all of them large."""


class Relay:
    """All that is relayed under one address that `holder` may answer on."""

    __slots__ = (
        "_again",
        "_epoll",
        "_loop",
        "_table",
        "holder",
        "lost",
        "pipes",
        "spliced",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, holder: Holder, lost: Callable[[], None]) -> None:
        """`lost` is called, before a byte is relayed, when the holder's time was over."""
        self._loop = loop
        self.holder = holder
        self.lost = lost
        self.pipes = Pipes()
        self.spliced = 0
        """Bytes that went through pipes."""
        self._table: dict[int, Half] = {}
        self._again: list[Half] = []
        self._epoll = select.epoll()
        loop.add_reader(self._epoll.fileno(), self._ready)

    def join(self, flow: Carried, near: socket.socket, far: socket.socket) -> Pair:
        """Carry bytes between the client's and the backend's socket, both non-blocking and ours from now on; none
        before the loop's next round. OSError leaves them as they were."""
        up = Half(self, flow, near, far, Ended.CLIENT)
        down = Half(self, flow, far, near, Ended.BACKEND)
        up.other, down.other = down, up
        try:
            for half in (up, down):
                if half.source.family != socket.AF_UNIX:
                    half.source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    # an urgent byte is one of the stream, too
                    half.source.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
                self._epoll.register(half.number, half.mask)
                self._table[half.number] = half
        except OSError:
            self.leave(up)
            self.leave(down)
            raise
        return Pair(up, down)

    def _ready(self) -> None:
        """Something can be read or written. The first lines are all that an exchange of small messages needs.

        Each line of the loop is paid twice an exchange: bound methods are read first (a call through a slot costs
        0.09 us more), bytes are new ones (0.15 us less than one buffer for all, and slices of it), and the clock is
        read for each event only where the VIP may be lost, since the process may have been frozen after the last one.
        """
        table, deadline = self._table, self.holder.deadline
        leased = deadline != math.inf
        instant = now()
        for number, events in self._epoll.poll(0, BATCH):
            half = table.get(number)
            if half is None:  # closed by an event before this one
                continue
            if leased:
                instant = now()
                if instant > deadline:
                    self.lost()
                    return
            if events != IN or half.bulk:
                half.event(events, instant)
                continue
            recv, send = half.recv, half.send
            try:
                data = recv(SMALL)
            except BlockingIOError:
                continue
            except OSError:
                half.broken()
                continue
            try:
                sent = send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                half.unheard()
                continue
            size = len(data)
            half.moved += size
            half.flow.seen = instant
            if sent != size or size == SMALL or not size:
                half.went(data, sent, instant)

    def again(self, half: Half) -> None:
        """It has had its turns and is not done: go on after the others."""
        if not self._again:
            self._loop.call_soon(self._go_on)
        self._again.append(half)

    def _go_on(self) -> None:
        waiting, self._again = self._again, []
        instant = now()
        if instant > self.holder.deadline:
            self.lost()
            return
        for half in waiting:
            if self._table.get(half.number) is half and not half.full and not half.done:
                half.pump(instant)

    def watch(self, half: Half, mask: int) -> None:
        """Ask for other events of a half's source. What is ready now is told anew."""
        if mask != half.mask:
            half.mask = mask
            self._epoll.modify(half.number, mask)

    def leave(self, half: Half) -> None:
        """Watch it no longer."""
        if self._table.pop(half.number, None) is half:
            self._epoll.unregister(half.number)

    def close(self) -> None:
        """Nothing is relayed any more."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self.pipes.close()


class Pair:
    """Both directions of one flow."""

    __slots__ = ("_down", "_up")

    def __init__(self, up: Half, down: Half) -> None:
        self._up = up
        self._down = down

    def first(self, ahead: bytes) -> None:
        """Bytes for the backend that were read, or made, before there was one."""
        self._up.first(ahead)

    @property
    def up(self) -> int:
        """Bytes from the client."""
        return self._up.moved

    @property
    def down(self) -> int:
        """Bytes from the backend."""
        return self._down.moved

    def close(self, *, reset: bool) -> None:
        """Close both sockets, in order or with a reset."""
        self._up.close(reset=reset)
        self._down.close(reset=reset)
