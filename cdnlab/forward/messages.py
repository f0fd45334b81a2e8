"""What a tier and a forward say to each other: the request that is sent, the response's taker, the failure. Pure.

Decides nothing. It must not know backends' addresses, retries or connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cdnlab.pool.reasons import Reason

if TYPE_CHECKING:
    from cdnlab.forward.exchange import Forward
    from cdnlab.forward.upload import Upload
    from cdnlab.wire.fields import Field
    from cdnlab.wire.response import ResponseBlock


#: The line by which a request asks for an upgrade. We write it ourselves, so its spelling is known.
UPGRADE = b"\r\nConnection: Upgrade\r\n"


class OutRequest:
    """What is sent to a backend. `head` is complete: request line, fields, framing, blank line."""

    __slots__ = ("body", "expect", "head", "idempotent", "method", "place")

    def __init__(
        self, method: bytes, head: bytes, place: str, idempotent: bool, body: int = 0, expect: bool = False
    ) -> None:
        self.method = method
        self.head = head
        self.place = place
        self.idempotent = idempotent
        self.body = body
        """0 none, n bytes, -1 chunked."""
        self.expect = expect
        """The client waits for 100 (Continue), and the head says so."""


class Failure:
    """Why there is no (whole) response. `status` is what a gateway answers (RFC 9110 §15.6.3 to §15.6.5)."""

    __slots__ = ("again", "backend", "detail", "reason", "status", "upload")

    def __init__(
        self,
        status: int,
        reason: Reason,
        backend: str,
        detail: str,
        again: bool = False,
        upload: Upload | None = None,
    ) -> None:
        self.status = status
        self.reason = reason
        self.backend = backend
        """The last backend tried, "" if none was."""
        self.detail = detail
        """For the operator's log; may name addresses, so it is never sent to a client."""
        self.again = again
        """The request may be sent to another pool: nothing of it can have had an effect that a second one would
        repeat, and its body can be had again."""
        self.upload = upload
        """That body. Whoever sends it on takes it out of here, while the sink is told of the failure."""


class ForwardSink(Protocol):
    """Takes the response."""

    def forward_interim(self, raw: bytes) -> None:
        """A whole 1xx head, to be passed on."""

    def forward_head(
        self, block: ResponseBlock, volatile: tuple[Field, ...], length: int, whole: bytes | None
    ) -> None:
        """The head. `length`: n, -1 chunked, -2 until close. `whole`: the complete body if it came with the head;
        then nothing more is called."""

    def forward_data(self, data: bytes) -> None:
        """Bytes of the body."""

    def forward_end(self, trailers: tuple[Field, ...]) -> None:
        """The response is complete."""

    def forward_failed(self, failure: Failure) -> None:
        """No response, or, after `forward_head`, a response cut short."""

    def forward_upgraded(self, block: ResponseBlock, volatile: tuple[Field, ...], forward: Forward) -> None:
        """101: hand the connections to `tunnel.join`."""
