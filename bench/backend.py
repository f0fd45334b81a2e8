"""A backend that costs next to nothing, so that what a bench kills and freezes does not set the pace.

`python -m bench.backend ADDRESS PORT`: 1 KiB for anything, at once; /slow is a body of ten pieces, one each 0.1 s.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

BODY = b"x" * 1024
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
PIECE, PIECES, PAUSE = b"x" * 100, 10, 0.1
SLOW = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(PIECE) * PIECES)


class Serving(asyncio.Protocol):
    """One connection; requests come one at a time, and a body fits what came with its head."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """A request, or the rest of one."""
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if not end or len(body) < int(length or 0):
            return
        self._buffer = b""
        if b" /slow " in head[:16]:
            self.transport.write(SLOW)
            self._piece(PIECES)
        else:
            self.transport.write(ANSWER)

    def _piece(self, left: int) -> None:
        if not self.transport.is_closing():
            self.transport.write(PIECE)
            if left > 1:
                asyncio.get_running_loop().call_later(PAUSE, self._piece, left - 1)


async def serve(address: str, port: int) -> None:
    """Until the process ends."""
    server = await asyncio.get_running_loop().create_server(Serving, address, port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
