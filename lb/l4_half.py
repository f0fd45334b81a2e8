"""One direction of a flow between two sockets: copied or spliced, held up where the receiver is slow, ended in order.

Decides when bytes are copied and when they are spliced (l4_relay.py says why), and what a full sink, an end and a reset
mean for the other side. It must not know which flows there are, nor who holds the VIP.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Protocol

from lb.flow_entry import Ended

if TYPE_CHECKING:
    from lb.l4_pipes import Pipe
    from lb.l4_relay import Relay

SMALL = 16384
"""Bytes that are read and copied; a read that gets them all leaves more behind, and what follows is large."""
LARGE = 65536
"""Bytes of a read while what comes is large and no pipe is left; a burst of as many is worth one."""
TURNS = 4
"""Reads of one direction in a row, so 1 MiB through a pipe and a quarter of a millisecond; then the others' turn."""

IN, PRI, OUT, ERR = 1, 2, 4, 8
_RDHUP = 0x2000
_ET = 1 << 31
READING = IN | PRI | _RDHUP

_FLAGS = 3  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK
_RESET = struct.pack("ii", 1, 0)


class Carried(Protocol):
    """Whose bytes these are."""

    seen: float
    """When bytes last went by."""

    def over(self, why: Ended) -> None:
        """Nothing more will go by: both sides have ended, or one has broken off."""


def abort(sock: socket.socket) -> None:
    """Close with a reset, so that nobody takes it for an end in order."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    except OSError:
        pass  # its other side was quicker
    sock.close()


class Half:
    """One direction: from `source` to `sink`."""

    __slots__ = (
        "bulk", "deaf", "done", "flow", "full", "left", "mask", "moved", "number", "other", "pipe", "piped", "recv",
        "relay", "send", "side", "sink", "source", "urgent",
    )  # fmt: skip

    other: Half

    def __init__(
        self, relay: Relay, flow: Carried, source: socket.socket, sink: socket.socket, side: Ended
    ) -> None:
        self.relay = relay
        self.flow = flow
        self.source = source
        self.sink = sink
        self.side = side
        """Who is at the source."""
        self.number = source.fileno()
        self.recv = source.recv
        self.send = sink.send
        self.mask = READING | _ET
        self.moved = 0
        """Bytes read."""
        self.left = b""
        self.pipe: Pipe | None = None
        self.piped = 0
        """Bytes in the pipe."""
        self.bulk = False
        """The last burst was large: begin the next by splicing."""
        self.full = False
        """The sink takes no more; the source is not read."""
        self.done = False
        """The source has ended, and the sink been told."""
        self.deaf = False
        """The sink has broken off."""
        self.urgent = False
        """The source marks bytes as urgent. A read ends before such a mark though more is there, and a splice never
        passes it (tcp(7)), so all is copied from then on."""

    # -- what the kernel says -------------------------------------------------------------------------------------

    def event(self, events: int, instant: float) -> None:
        """Anything but bytes to copy: the sink of the other direction has room, the source has ended or broken off."""
        if events & OUT and self.other.full:
            self.other.drained(instant)
        if events & PRI:
            self.urgent, self.bulk = True, False
        if not events & ~OUT or self.relay._table.get(self.number) is not self:
            return
        if not self.done and not self.full:
            self.pump(instant)
        elif events & ERR:  # no longer read, and gone
            self.broken()

    def went(self, data: bytes, sent: int, instant: float) -> None:
        """After one copy that was not an ordinary one."""
        if not data:
            self.ended()
        elif sent < len(data):
            self.block(data[sent:])
        else:
            self.bulk = not self.urgent
            self.pump(instant)

    def pump(self, instant: float) -> None:
        """Carry what is there until the source is empty, the sink is full, or it has had its turns."""
        for _ in range(TURNS):
            if self.bulk and self.splice(instant):
                return
            try:
                data = self.recv(LARGE)
            except BlockingIOError:
                return
            except OSError:
                self.broken()
                return
            if not data:
                self.ended()
                return
            size = len(data)
            self.moved += size
            self.flow.seen = instant
            sent = self._send(data)
            if sent < size:
                if sent >= 0:
                    self.block(data[sent:])
                return
            self.bulk = size == LARGE and not self.urgent
        self.relay.again(self)

    def _send(self, data: bytes) -> int:
        """How much the sink takes; -1 if it is gone."""
        try:
            return self.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self.unheard()
            return -1

    # -- splicing -------------------------------------------------------------------------------------------------

    def splice(self, instant: float) -> bool:
        """Carry through a pipe until the source is empty; False if it has to be copied."""
        relay = self.relay
        pipe = self.pipe = relay.pipes.take()
        if pipe is None:
            self.bulk = False
            return False
        total = 0
        for _ in range(TURNS):
            try:
                size = os.splice(self.number, pipe.write, pipe.capacity, flags=_FLAGS)
            except BlockingIOError:
                self.bulk = total >= LARGE
                self._give(pipe)
                return True
            except OSError as error:
                self._give(pipe)
                if error.errno in (errno.EINVAL, errno.ENOSYS):  # not for this kind of socket
                    relay.pipes.most = 0
                    self.bulk = False
                    return False
                self.broken()
                return True
            if not size:
                self._give(pipe)
                self.ended()
                return True
            total += size
            self.moved += size
            relay.spliced += size
            self.piped = size
            self.flow.seen = instant
            if not self._empty_pipe():
                return True
        self._give(pipe)
        relay.again(self)
        return True

    def _empty_pipe(self) -> bool:
        """Whether the sink took all; if not, the source waits, or the flow is over."""
        pipe = self.pipe
        assert pipe is not None
        while self.piped:
            try:
                self.piped -= os.splice(pipe.read, self.sink.fileno(), self.piped, flags=_FLAGS)
            except BlockingIOError:
                self.block()
                return False
            except OSError:
                self.unheard()
                return False
        return True

    def _give(self, pipe: Pipe) -> None:
        self.pipe = None
        self.relay.pipes.give(pipe, empty=not self.piped)
        self.piped = 0

    # -- back-pressure --------------------------------------------------------------------------------------------

    def first(self, ahead: bytes) -> None:
        """Bytes that were read, or made, before there was a sink."""
        sent = self._send(ahead)
        if 0 <= sent < len(ahead):
            self.block(ahead[sent:])

    def block(self, left: bytes = b"") -> None:
        """The sink takes no more: wait for it, and do not read."""
        self.left = left
        if not self.full:
            self.full = True
            self.relay.watch(self, self.mask & ~READING)
            self.relay.watch(self.other, self.other.mask | OUT)

    def drained(self, instant: float) -> None:
        """The sink has room again."""
        if self.left:
            sent = self._send(self.left)
            if sent < 0:
                return
            self.left = self.left[sent:]
            if self.left:
                return
        if self.pipe is not None:
            if not self._empty_pipe():
                return
            self._give(self.pipe)
        self.flow.seen = instant
        self.full = False
        self.relay.watch(self.other, self.other.mask & ~OUT)
        self.relay.watch(self, self.mask | READING)

    # -- the end --------------------------------------------------------------------------------------------------

    def ended(self) -> None:
        """The source sends no more: say so to the sink (half-close), which may go on sending."""
        self.done = True
        self.relay.watch(self, self.mask & ~READING)
        if self.other.done:
            self.flow.over(Ended.DONE)
            return
        try:
            self.sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.other.broken()

    def unheard(self) -> None:
        """The sink has broken off. What it said before that still goes to the source: a server that has answered, and
        closes with bytes unread, resets, and mostly we notice by sending."""
        other = self.other
        if not self.deaf and not other.deaf and not other.full and not other.done:
            self.deaf = True
            other.pump(self.flow.seen)
        other.broken()

    def broken(self) -> None:
        """The source was reset, or can't be written to."""
        self.flow.over(self.side)

    def close(self, *, reset: bool) -> None:
        """Let go of the source and of what was not sent."""
        self.relay.leave(self)
        if self.pipe is not None:
            self._give(self.pipe)
        self.left = b""
        if reset:
            abort(self.source)
        else:
            self.source.close()
