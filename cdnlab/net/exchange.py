"""What a tier and a connection promise each other: the exchange, and the sinks and sources around it.

A tier is handed an exchange when a request head is complete. It never sees a connection, a transport or a parser, so
that HTTP/2 streams can later stand behind the same surface. Everything here is called on the loop's thread, and
nothing may block.
"""

from __future__ import annotations

from typing import Any, Protocol

from cdnlab.wire.fields import Field
from cdnlab.wire.request import RequestBlock, RequestLine

UNCOPIED = 65536
"""Bytes from which on a whole body is handed to the transport as it is: a copy with its head in front costs more than a
second buffer, and each client that reads slowly would hold a copy of its own for as long as it likes."""


class BodySink(Protocol):
    """Takes a request's body as it arrives."""

    def body_data(self, data: bytes) -> None:
        """More bytes of the body, framing removed."""

    def body_end(self, trailers: tuple[Field, ...]) -> None:
        """The body is complete."""

    def body_failed(self, reason: str) -> None:
        """The body will not be completed: the client has gone, stalled, or sent malformed framing."""


class Source(Protocol):
    """Whoever produces a response's body; told about the client that reads it."""

    def pause(self) -> None:
        """The client reads slower than the bytes come: stop."""

    def resume(self) -> None:
        """There is room again."""

    def client_gone(self, reason: str) -> None:
        """Nobody will read the rest."""


class TunnelSink(Protocol):
    """Takes raw bytes after a 101 has been passed on."""

    def tunnel_data(self, data: bytes) -> None:
        """Bytes as they came."""

    def tunnel_end(self) -> None:
        """The peer will send no more, but may still read."""


class Exchange(Protocol):
    """One request and its response."""

    line: RequestLine
    block: RequestBlock
    volatile: tuple[Field, ...]
    host: bytes
    """The authority asked for: the absolute-form target's, or Host. Lower-case."""
    peer: str
    """Address the request came from: the PROXY source where the listener requires PROXY, else the peer."""
    trusted: bool
    """Whether that peer is one of the topology's own nodes."""
    place: str
    """Where the client stands. A tier may move it for this one request."""
    started: float
    """BOOTTIME at which the head was complete."""
    body: int
    """0: none; n: that many bytes; -1: chunked."""
    status: int
    """Status of the response begun; 0 before."""
    sent: int
    """Body bytes of the response given to the transport."""
    explain: bool
    """Whether the request bears a valid mark that asks for an explanation."""
    tag: Any
    """A slot in which the tier remembers what it computed once for this connection."""
    source: Source | None

    @property
    def scheme(self) -> bytes:
        """`http` or `https`, as the client asked."""

    def field(self, name: bytes) -> bytes | None:
        """The combined value of a field by its lower-case name; None if absent."""

    def answer(self, status: int, head: bytes, body: bytes | memoryview = b"") -> None:
        """The whole response at once. `head` is the status line and the fields, each line ended by CRLF, with
        Content-Length and without the blank line. The body is not sent where the method or status has none."""

    def respond(self, status: int, head: bytes, length: int | None) -> None:
        """Begin a response. `head` as in `answer`; it has a Content-Length line exactly if `length` is not None."""

    def write(self, data: bytes) -> None:
        """Body bytes of the response begun."""

    def finish(self, trailers: tuple[Field, ...] = ()) -> None:
        """The response is complete."""

    def abort(self, reason: str) -> None:
        """Break the connection so that the client sees the response was cut short."""

    def interim(self, raw: bytes) -> None:
        """Pass on a whole 1xx head, blank line included."""

    def receive(self, sink: BodySink) -> None:
        """Start the delivery of the request's body."""

    def pause_body(self) -> None:
        """Stop delivering the body."""

    def resume_body(self) -> None:
        """Deliver again."""

    def tunnel(self, head: bytes, sink: TunnelSink) -> None:
        """Send a 101 `head` (status line and fields, no blank line) and hand over the connection's bytes."""

    def tunnel_end(self) -> None:
        """Half-close toward the client."""


class Handler(Protocol):
    """What a tier is to its listener."""

    def handle(self, exchange: Exchange) -> None:
        """A request head is complete. Answer now, or keep the exchange and answer later."""
