"""One direction of a link: what was sent, when it arrives, and how much may be on its way.

Decides when each piece is due and whether more may be sent. Must not know sockets, loops or clocks: `now` (in
seconds) is a parameter, and whoever owns the timer sets it to `next_due`.

Theory of operation, after TCP. A piece sent at t with one-way delay d arrives at t + d. Its sender hears of
that at t + 2d; until then its bytes count as in flight. The sender stops once the bytes in flight fill the
window and goes on when half of it is free, so throughput is at most window over round trip, and memory is
bounded by the window and the piece that filled it. Bytes arrive in the order in which they were sent: a piece
whose delay is shorter than its predecessor's (jitter, a link that was changed) waits for it. The end of the
stream is a piece like any other, without bytes.

    sent             arrives          acknowledged
     |------ d ------>|------ d ------>|
     |<------- counts as in flight --->|
     |<--- queued --->|
"""

from __future__ import annotations

from collections import deque

WINDOW = 262_144
"""Bytes in flight unless the topology says otherwise (its distance.window)."""

END: None = None
"""The piece that ends the stream."""


class Schedule:
    """The queue of one direction of one connection."""

    __slots__ = ("_acks", "_last", "_pieces", "in_flight", "queued", "window")

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window
        self.queued = 0
        """Bytes that have not arrived."""
        self.in_flight = 0
        """Bytes whose arrival the sender has not heard of, as of the last push() or due()."""
        self._pieces: deque[tuple[float, bytes | None]] = deque()
        self._acks: deque[tuple[float, int]] = deque()
        self._last = float("-inf")

    def push(self, now: float, piece: bytes | None, delay: float) -> None:
        """Send `piece`, END for the end of the stream; it arrives `delay` seconds from `now`, or later."""
        arrives = self._last = max(now + delay, self._last)
        self._pieces.append((arrives, piece))
        if piece:
            size = len(piece)
            self.queued += size
            self.in_flight += size
            self._acks.append((arrives + delay, size))

    def due(self, now: float) -> list[bytes | None]:
        """The pieces that have arrived by `now`, in the order they were sent; each is handed out once."""
        arrived: list[bytes | None] = []
        pieces = self._pieces
        while pieces and pieces[0][0] <= now:
            piece = pieces.popleft()[1]
            arrived.append(piece)
            if piece:
                self.queued -= len(piece)
        self._acknowledge(now)
        return arrived

    def _acknowledge(self, now: float) -> None:
        acks = self._acks
        while acks and acks[0][0] <= now:
            self.in_flight -= acks.popleft()[1]

    @property
    def next_due(self) -> float | None:
        """When to call due() again, None if never: the next arrival or, if a sender may wait, free space."""
        arrival = self._pieces[0][0] if self._pieces else None
        if self.below or not self._acks:
            return arrival
        heard = self._acks[0][0]
        return heard if arrival is None or heard < arrival else arrival

    @property
    def above(self) -> bool:
        """Whether the window is full: the sender stops."""
        return self.in_flight >= self.window

    @property
    def below(self) -> bool:
        """Whether at least half of the window is free: a sender that stopped goes on."""
        return self.in_flight * 2 <= self.window
