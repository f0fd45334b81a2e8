"""What arrived here, said back: the request's head in JSON, and a WebSocket that repeats what it hears.

Decides how much of a body is read, and how many WebSockets may be open. Must not know the site.
"""

from __future__ import annotations

import hashlib

from aiohttp import WSMsgType, web

from origin import reply

MAX_BODY = 16 * 1024 * 1024  # bytes that /echo reads and digests before it says 413
MAX_MESSAGE = 64 * 1024
MAX_WEBSOCKETS = 1000
HEARTBEAT = 30.0  # seconds between pings; a peer that stays silent for half of it more is let go


def head(request: web.Request) -> dict[str, object]:
    """The request's line and fields as they arrived, in order, with repeats."""
    return {
        "method": request.method,
        "target": request.raw_path,
        "version": f"{request.version.major}.{request.version.minor}",
        "peer": request.remote,
        "fields": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.raw_headers],
    }


async def echo(request: web.Request) -> web.StreamResponse:
    """Answer any method with the request's head, and the length and SHA-256 of its body."""
    digest, length = hashlib.sha256(), 0
    async for piece in request.content.iter_any():
        length += len(piece)
        if length > MAX_BODY:
            return reply.problem(413, f"The body is over {MAX_BODY} bytes.")
        digest.update(piece)
    value = {**head(request), "body": {"bytes": length, "sha256": digest.hexdigest() if length else None}}
    fields = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return web.Response(body=reply.dump(value), headers=fields)


class WebSockets:
    """The open WebSockets, each repeating what it hears, text or binary."""

    def __init__(self) -> None:
        self.open: set[web.WebSocketResponse] = set()
        self.messages = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Serve one WebSocket until either side closes it."""
        if len(self.open) >= MAX_WEBSOCKETS:
            return reply.problem(503, f"{MAX_WEBSOCKETS} WebSockets are open already.", {"Retry-After": "10"})
        socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE, heartbeat=HEARTBEAT, protocols=("echo",))
        if not socket.can_prepare(request).ok:
            fields = {"Upgrade": "websocket", "Connection": "Upgrade"}
            return reply.problem(426, "This resource is a WebSocket; upgrade to it.", fields)
        await socket.prepare(request)
        self.open.add(socket)
        try:
            await self._repeat(socket)
        finally:
            self.open.discard(socket)
        return socket

    async def close(self) -> None:
        """Say goodbye to all: the server goes away (RFC 6455 §7.4.1)."""
        for socket in tuple(self.open):
            await socket.close(code=1001, message=b"the origin is stopping")

    async def _repeat(self, socket: web.WebSocketResponse) -> None:
        async for message in socket:
            self.messages += 1
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
