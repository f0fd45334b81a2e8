"""A request's body as it arrives: which of the connection's bytes are body, how many came, and how fast.

Decides where the body ends, by the framing that the head declared (RFC 9112 §6.3). It must not know the connection's
states, timers or transport: the connection feeds it, and acts on what it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdnlab.wire.chunked import ChunkedDecoder

if TYPE_CHECKING:
    from cdnlab.net.exchange import Exchange
    from cdnlab.wire.fields import Field

#: An unread request body up to this size is discarded and the connection kept; beyond it, it is closed.
DISCARD = 262144


class RequestBody:
    """The body of one request. Only a request that has one makes it, so the others cost nothing."""

    __slots__ = ("_decoder", "_paced", "_since", "done", "left", "rest", "total", "trailers")

    def __init__(self, length: int, instant: float) -> None:
        """`length`: bytes, or -1 for chunked coding. `instant`: now, seconds."""
        self._decoder = ChunkedDecoder() if length < 0 else None
        self.left = length
        """Bytes still to come; -1 if chunked, where nobody knows."""
        self.total = 0
        """Bytes that have come."""
        self.done = False
        self.trailers: tuple[Field, ...] = ()
        self.rest = b""
        """What followed the end in the last data: the next request."""
        self._since = instant
        self._paced = 0

    @property
    def too_large_to_drop(self) -> bool:
        """Whether closing the connection is cheaper than reading what is known to be left."""
        return self.left > DISCARD

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of body in `data`, none of them empty. Malformed if the chunked coding is."""
        if self._decoder is not None:
            pieces = self._decoder.feed(data)
            if self._decoder.done:
                self.done = True
                self.trailers, self.rest = self._decoder.trailers, self._decoder.rest
            return pieces
        piece, self.rest = data[: self.left], data[self.left :]
        self.left -= len(piece)
        self.done = self.left == 0
        return [piece] if piece else []

    def count(self, size: int) -> None:
        """`size` bytes have come."""
        self.total += size
        self._paced += size

    def pace_from(self, instant: float) -> None:
        """The rate is reckoned from now on: before, nobody read."""
        self._since = instant
        self._paced = 0

    def too_slow(self, instant: float, rate: float) -> bool:
        """Whether it came at less than `rate` bytes per second on average."""
        return self._paced < rate * (instant - self._since)


class Discard:
    """Reads and drops what is left of a body that nobody wants, within bounds (RFC 9112 §9.3)."""

    __slots__ = ("exchange", "seen")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.seen = 0

    def body_data(self, data: bytes) -> None:
        """Drop it; too much of it ends the connection."""
        self.seen += len(data)
        if self.seen > DISCARD:
            self.exchange.abort("too much unread body")

    def body_end(self, trailers: tuple[Field, ...]) -> None:
        """It was all there; the connection goes on by itself."""

    def body_failed(self, reason: str) -> None:
        """The connection ends by itself."""
