"""A transport that lets what follows a response's head pass at a limited rate.

It stands between a connection and its real transport, so that whoever writes need not know (as `link.py` does for
distance). It must not know who asked for it. Heads pass at once: a slow body is another fault than a slow answer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from cdnlab.net.clock import now

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cdnlab.net.listener import Holder

TICK = 0.05
"""Seconds between two portions, unless the rate is below a byte in this time."""
FULL, ROOM = 65536, 16384
"""Bytes waiting here at which the writer is told to stop, and to go on; the transport's own marks."""
HEAD_END = b"\r\n\r\n"


class Writer(Protocol):
    """Who writes, as far as it is told when to stop."""

    def pause_writing(self) -> None:
        """What waits is enough."""

    def resume_writing(self) -> None:
        """There is room again."""


class SlowTransport:
    """Wraps `real`; to be told of each request (`expect_head`), since its response begins with a head."""

    def __init__(
        self, real: asyncio.Transport, writer: Writer, rate: float, holder: Holder | None = None
    ) -> None:
        """`rate` in bytes a second. `holder`: of the address on which this is an answer; what waits is dropped once
        it is past."""
        self.real = real
        self.rate = rate
        self._writer = writer
        self._holder = holder
        self._queue: deque[memoryview] = deque()
        self._waiting = 0
        self._credit = 0.0
        self._last = 0.0
        self._head = True
        self._full = False
        self._eof = self._closing = False
        self._timer: asyncio.TimerHandle | None = None

    def expect_head(self) -> None:
        """What is written next begins with a head."""
        self._head = True

    def set_free(self) -> None:
        """No limit any more: what waits goes out now."""
        self.rate = float("inf")
        self._release()

    # -- what a transport's user calls ---------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Heads at once, the rest when its turn has come."""
        if self._closing or not data:
            return
        piece = memoryview(bytes(data))
        if not self._queue:
            if self._head:
                piece = self._pass_heads(piece)
            self._last = now()
            self._credit = min(self._credit, 0.0)
        if not piece:
            return
        self._queue.append(piece)
        self._waiting += len(piece)
        if self.rate == float("inf"):
            self._release()
            return
        self._arm()
        if self._waiting > FULL:
            self._full = True
            self._writer.pause_writing()  # again, if need be: the real transport may have told it to go on meanwhile

    def writelines(self, pieces: Iterable[bytes]) -> None:
        """As write, of all of them."""
        self.write(b"".join(pieces))

    def _pass_heads(self, piece: memoryview) -> memoryview:
        """Send the heads that `piece` begins with (interim ones come before the last); what is left of it."""
        while self._head and piece:
            raw = piece.tobytes()
            end = raw.find(HEAD_END)
            cut = len(raw) if end < 0 else end + len(HEAD_END)
            self._head = end >= 0 and raw[9:10] == b"1" and raw[9:12] != b"101"
            self.real.write(raw[:cut])
            piece = piece[cut:]
        return piece

    def _arm(self) -> None:
        if self._timer is None:
            pause = max(TICK, 1 / self.rate)
            self._timer = asyncio.get_running_loop().call_later(pause, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._release()

    def _release(self) -> None:
        instant = now()
        if self.real.is_closing():
            self._forget()
            return
        if self._holder is not None and instant > self._holder.deadline:
            self.abort()
            return
        if self.rate == float("inf"):
            portion = self._waiting
        else:
            self._credit += (instant - self._last) * self.rate
            portion = min(int(self._credit), self._waiting)
            self._credit -= portion
        self._last = instant
        self._send(portion)
        if self._queue:
            self._arm()
            return
        if self._eof:
            self._eof = False
            self.real.write_eof()
        if self._closing:
            self.real.close()

    def _send(self, portion: int) -> None:
        while portion > 0:
            piece = self._queue.popleft()
            if len(piece) > portion:
                self._queue.appendleft(piece[portion:])
                piece = piece[:portion]
            portion -= len(piece)
            self._waiting -= len(piece)
            self.real.write(piece.tobytes())
        if self._full and self._waiting <= ROOM:
            self._full = False
            self._writer.resume_writing()

    def _forget(self) -> None:
        self._queue.clear()
        self._waiting = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Close once what was written has been sent."""
        self._closing = True
        if not self._queue:
            self.real.close()

    def write_eof(self) -> None:
        """The end of our stream comes after what waits."""
        if self._queue:
            self._eof = True
        else:
            self.real.write_eof()

    def can_write_eof(self) -> bool:
        """As the real transport."""
        return self.real.can_write_eof()

    def abort(self) -> None:
        """Break the connection now."""
        self._closing = True
        self._forget()
        self.real.abort()

    def is_closing(self) -> bool:
        """Whether the connection is on its way to be closed."""
        return self._closing or self.real.is_closing()

    def get_write_buffer_size(self) -> int:
        """Bytes that have not been sent."""
        return self._waiting + self.real.get_write_buffer_size()

    def __getattr__(self, name: str) -> Any:
        """All else is the real transport's: reading, extra information, limits."""
        return getattr(self.real, name)
