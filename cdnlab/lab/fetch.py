"""One HTTP/1.1 request on one connection, and when each part of the answer came. What `get` measures with.

It reads by the same rules as the nodes (cdnlab.wire) and keeps nothing: body bytes go to whoever wants them. It
must not know labs, places or explanations.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from cdnlab.net.clock import now
from cdnlab.wire.chunked import ChunkedDecoder
from cdnlab.wire.errors import Malformed
from cdnlab.wire.fields import Field
from cdnlab.wire.response import ResponseBlock, ResponseMemo, body_framing

TIMEOUT = 60.0
"""Seconds for the whole answer: as long as a node gives an origin (upstream.response_timeout)."""
HEAD_BYTES = 65536
"""A head larger than this is refused, as the nodes do."""

GONE = cast(asyncio.Transport, None)

Open = Callable[[Callable[[], asyncio.Protocol]], Awaitable[object]]
"""Opens a connection for the protocol that the given factory makes; it has its transport when this returns."""


class FetchFailed(Exception):
    """There was no answer. str() says what happened, as one clause."""


@dataclass(slots=True)
class Answer:
    """A response and its times: seconds from the start of connecting."""

    status: int
    reason: str
    fields: list[tuple[str, str]]
    """(name in lower case, value), in order; Date and Age last."""
    connect: float
    first_byte: float
    """Until the head was complete."""
    total: float
    size: int
    """Bytes of the body."""
    cut: str = ""
    """Why the body ended early, or ""."""

    def field(self, name: str) -> str:
        """The values of the fields called `name` (lower case), joined by commas; "" if there is none."""
        return ", ".join(value for key, value in self.fields if key == name)


async def fetch(
    open_connection: Open, request: bytes, method: bytes, on_data: Callable[[bytes], object]
) -> Answer:
    """Send `request` (whole, to be answered once) over a new connection and read the answer to its end.

    `on_data` gets the body piece by piece. FetchFailed if no head comes; `cut` tells of a body that breaks off.
    """
    started = now()
    exchange = _Exchange(method, on_data)
    try:
        async with asyncio.timeout(TIMEOUT):
            await open_connection(lambda: exchange)
            connected = now()
            exchange.transport.write(request)
            await exchange.done
    except TimeoutError:
        if exchange.block is None:
            raise FetchFailed(f"no answer within {TIMEOUT:.0f} s") from None
        exchange.cut = f"the body was not complete within {TIMEOUT:.0f} s"
    except (OSError, Malformed) as error:
        raise FetchFailed(_words(error)) from None
    finally:
        exchange.close()
    block = exchange.block
    if block is None:
        raise FetchFailed("the connection was closed before an answer came")
    return Answer(
        status=block.status,
        reason=block.reason.decode("latin-1"),
        fields=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in exchange.fields()],
        connect=connected - started,
        first_byte=exchange.head_at - started,
        total=(exchange.ended_at or now()) - started,
        size=exchange.size,
        cut=exchange.cut,
    )


def _words(error: Exception) -> str:
    if isinstance(error, Malformed):
        return f"the answer is not HTTP: {error}"
    if isinstance(error, socket.gaierror):
        return f"its name does not resolve ({error.strerror})"
    number = getattr(error, "errno", None)  # asyncio's own text for a refused connection repeats the address
    return os.strerror(number).lower() if number else str(error)


class _Exchange(asyncio.Protocol):
    """Reads one response. `done` resolves when it has ended, well or not."""

    def __init__(self, method: bytes, on_data: Callable[[bytes], object]) -> None:
        self.transport: asyncio.Transport = GONE
        self._method = method
        self._on_data = on_data
        self._buffer = b""
        self._body: ChunkedDecoder | None = None
        self._left = 0
        self.block: ResponseBlock | None = None
        self.volatile: tuple[Field, ...] = ()
        self.cut = ""
        self.head_at = self.ended_at = 0.0
        self.size = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport = cast(asyncio.Transport, transport)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self.transport is not GONE:
            self.transport.abort()

    def fields(self) -> tuple[Field, ...]:
        """All fields of the head, Date and Age last."""
        return self.block.fields + self.volatile if self.block else ()

    def data_received(self, data: bytes) -> None:
        """Bytes of the response."""
        try:
            if self.block is None:
                self._head(self._buffer + data)
            else:
                self._take(data)
        except Malformed as error:
            self._fail(error)

    def connection_lost(self, error: Exception | None) -> None:
        """The end, which is proper only for a body that the connection's end ends (RFC 9112 §6.3)."""
        if self.done.done():
            return
        if self.block is None:
            self._fail(error or FetchFailed("the connection was closed before an answer came"))
        elif self._left != -2:
            self.cut = _words(error) if error else "the connection was closed before the body was complete"
        self._end()

    def _head(self, data: bytes) -> None:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            self._buffer = data
            if len(data) > HEAD_BYTES:
                self._fail(FetchFailed(f"the answer's head is longer than {HEAD_BYTES} bytes"))
            return
        block, volatile = ResponseMemo(0).head(head)
        if block.status < 200 and block.status != 101:
            self._buffer = b""
            return self._head(rest)
        self.head_at = now()
        self.block, self.volatile = block, volatile
        self._left = body_framing(block, self._method)
        if self._left == -1:
            self._body = ChunkedDecoder(502)
        if self._left == 0:
            self._end()
        elif rest:
            self._take(rest)

    def _take(self, data: bytes) -> None:
        if self._body is not None:
            pieces = self._body.feed(data) if not self._body.done else []
        else:
            pieces = [data[: self._left] if self._left >= 0 else data]
        for piece in pieces:
            self.size += len(piece)
            self._on_data(piece)
        if self._body is not None:
            if self._body.done:
                self._end()
        elif self._left >= 0:
            self._left -= len(pieces[0])
            if self._left == 0:
                self._end()

    def _fail(self, error: Exception) -> None:
        if self.done.done():
            return
        if self.block is None:
            self.done.set_exception(error)
        else:
            self.cut = _words(error)
            self._end()

    def _end(self) -> None:
        if not self.done.done():
            self.ended_at = now()
            self.done.set_result(None)
