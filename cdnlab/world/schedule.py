"""One direction of a link: what was sent, when it arrives, and how much may be on its way.

Decides when each piece is due and whether more may be sent. Must not know sockets, loops or clocks: `now` (in
seconds) is a parameter, and whoever owns the timer sets it to `next_due`.

Theory of operation, after TCP. A piece sent at t with one-way delay d arrives at t + d. Its sender hears of
that at t + 2d; until then its bytes count as in flight. The sender stops once the bytes in flight fill the
window and goes on when half of it is free. What it had sent beyond the window by then (a socket is read up to
256 KiB at a time) sets out only when enough has been heard of. So throughput is at most window over round trip, and
memory is bounded by the window and the piece that filled it. Bytes arrive in the order in which they were sent: a piece
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

PARTS = 4
"""A piece is cut so that this many fill the window: what doesn't fit whole would leave room in it unused."""

END: None = None
"""The piece that ends the stream."""


class Schedule:
    """The queue of one direction of one connection."""

    __slots__ = ("_acks", "_free", "_last", "_pieces", "_room", "in_flight", "queued", "window")

    def __init__(self, window: int = WINDOW) -> None:
        self.window = window
        self.queued = 0
        """Bytes that have not arrived."""
        self.in_flight = 0
        """Bytes whose arrival the sender has not heard of, as of the last push() or due()."""
        self._pieces: deque[tuple[float, bytes | None]] = deque()
        self._acks: deque[tuple[float, int]] = deque()
        self._last = float("-inf")
        self._free = window
        self._room: deque[tuple[float, int]] = deque()
        """When how much of the window becomes free, beyond `_free`; each entry is used once."""

    def push(self, now: float, piece: bytes | None, delay: float) -> None:
        """Send `piece`, END for the end of the stream; it arrives `delay` seconds from `now`, or later."""
        if not piece:
            self._last = max(now + delay, self._last)
            self._pieces.append((self._last, piece))
            return
        step = max(1, self.window // PARTS)
        for start in range(0, len(piece), step):
            part = piece[start : start + step]
            size = len(part)
            arrives = self._last = max(self._sets_out(now, size) + delay, self._last)
            self._pieces.append((arrives, part))
            self.queued += size
            self.in_flight += size
            self._acks.append((arrives + delay, size))
            self._room.append((arrives + delay, size))

    def _sets_out(self, now: float, size: int) -> float:
        """When the window has room for `size` bytes, which it then loses."""
        room, instant = self._room, now
        while room and (room[0][0] <= now or self._free < size):
            heard, freed = room.popleft()
            self._free += freed
            instant = max(instant, heard)
        self._free -= size
        return instant

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
