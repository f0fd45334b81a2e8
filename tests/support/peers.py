"""Scripted peers on real sockets: an origin that plays a script, a client that says exactly these bytes.

    async def script(wire):                      # once per connection
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")

    async with Origin(script) as origin, await dial(origin.port) as client:
        await client.send(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
        assert (await client.response()).status == 200

Messages are read here by a few plain lines of their own, not by the code under test. Whatever is waited for comes
within PATIENCE seconds, or the test fails and says what had come so far. Works on any asyncio loop.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

PATIENCE = 10.0
"""Seconds that any single wait may take: long, since it is only ever reached by a test that fails."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Ended(EOFError):
    """The peer closed before what was waited for; `so_far` is what had come."""

    def __init__(self, so_far: bytes) -> None:
        super().__init__(f"the peer closed after {so_far[-500:]!r}")
        self.so_far = so_far


@dataclass
class Message:
    """A request or a response as it came."""

    head: bytes
    """Everything up to the blank line, which is included."""
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)

    @property
    def line(self) -> bytes:
        """The request line or status line."""
        return self.head.partition(b"\r\n")[0]

    @property
    def status(self) -> int:
        """A response's status."""
        return int(self.head.split(b" ", 2)[1])

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """(lower-case name, value) in order."""
        return fields(self.head.partition(b"\r\n")[2])

    def all(self, name: bytes) -> list[bytes]:
        """Each value of a field, by its lower-case name."""
        return [value for each, value in self.fields if each == name]

    def one(self, name: bytes) -> bytes | None:
        """A field's value; None if absent; it must not be there twice."""
        found = self.all(name)
        assert len(found) < 2, f"{name!r} is there {len(found)} times: {found}"
        return found[0] if found else None


def fields(block: bytes) -> list[tuple[bytes, bytes]]:
    """The field lines of a block."""
    lines = [line.partition(b":") for line in block.split(b"\r\n") if line]
    return [(name.lower(), value.strip()) for name, _, value in lines]


class Wire:
    """One end of a TCP connection, byte by byte."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = 0
        """Of the connections of one origin: 0, 1, 2, …"""
        self.heard: list[Message] = []
        """The requests read on this connection."""
        self._buffer = b""

    async def __aenter__(self) -> Wire:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    # -- saying ------------------------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self.sock, data), PATIENCE)

    async def get(
        self, target: bytes = b"/", *lines: bytes, method: bytes = b"GET", host: bytes = b"example.test"
    ) -> Message:
        """Send a plain request and read its response."""
        head = [b"%b %b HTTP/1.1" % (method, target), b"Host: " + host, *lines, b"", b""]
        await self.send(b"\r\n".join(head))
        return await self.response(method)

    def half_close(self) -> None:
        """FIN: we send no more."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close as the kernel does it."""
        self.sock.close()

    def reset(self) -> None:
        """RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    # -- hearing -----------------------------------------------------------------------------------------------

    async def some(self, most: int = 65536) -> bytes:
        """What is there, at least a byte; b"" at the end. Raises ConnectionError after a reset."""
        if self._buffer:
            data, self._buffer = self._buffer[:most], self._buffer[most:]
            return data
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, most), PATIENCE)

    async def _more(self) -> None:
        before, self._buffer = self._buffer, b""
        try:
            data = await self.some()
        except TimeoutError:
            raise AssertionError(f"nothing came within {PATIENCE:g} s after {before[-500:]!r}") from None
        if not data:
            raise Ended(before)
        self._buffer = before + data

    async def until(self, mark: bytes) -> bytes:
        """Up to and including `mark`. Raises Ended."""
        while mark not in self._buffer:
            await self._more()
        data, _, self._buffer = self._buffer.partition(mark)
        return data + mark

    async def exactly(self, size: int) -> bytes:
        """`size` bytes. Raises Ended."""
        pieces, missing = [], size
        while missing:
            if not self._buffer:
                await self._more()
            piece, self._buffer = self._buffer[:missing], self._buffer[missing:]
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    async def rest(self) -> bytes:
        """All up to the end."""
        pieces = []
        while data := await self.some():
            pieces.append(data)
        return b"".join(pieces)

    async def ended(self) -> str:
        """How the connection ends: "closed" or "reset". Nothing may come before."""
        try:
            data = await self.some()
        except ConnectionError:
            return "reset"
        assert not data, f"more came instead of the end: {data[:500]!r}"
        return "closed"

    async def silent(self, seconds: float = 0.1) -> bool:
        """Whether nothing comes for a while: neither bytes nor the end. Looks only: a read that is given up when its
        time is over may have read already, and what it read is lost.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        while not self._buffer and not select.select([self.sock], [], [], 0)[0]:
            if asyncio.get_running_loop().time() >= deadline:
                return True
            await asyncio.sleep(0.005)
        return False

    async def request(self) -> Message:
        """A whole request. Raises Ended."""
        message = await self.request_head()
        await self.body(message)
        return message

    async def request_head(self) -> Message:
        """A request's head; `body` reads what follows."""
        message = Message(await self.until(b"\r\n\r\n"))
        self.heard.append(message)
        return message

    async def body(self, message: Message) -> Message:
        """The body of a request whose head has been read."""
        await self._body(message, until_close=False)
        return message

    async def interim(self) -> Message:
        """A 1xx."""
        message = Message(await self.until(b"\r\n\r\n"))
        assert message.status < 200, message.head
        return message

    async def response(self, method: bytes = b"GET") -> Message:
        """A whole response to `method`, the body read to its end as RFC 9112 §6.3 says. Raises Ended."""
        message = Message(await self.until(b"\r\n\r\n"))
        if method != b"HEAD" and message.status >= 200 and message.status not in (204, 304):
            await self._body(message, until_close=True)
        return message

    async def _body(self, message: Message, *, until_close: bool) -> None:
        length = message.one(b"content-length")
        coding = message.one(b"transfer-encoding")
        assert not (length and coding), f"both framings: {message.head!r}"
        if coding is not None:
            assert coding == b"chunked", coding
            await self._chunked(message)
        elif length is not None:
            message.body = await self.exactly(int(length))
        elif until_close:
            message.body = await self.rest()

    async def _chunked(self, message: Message) -> None:
        while size := int(await self.until(b"\r\n"), 16):
            message.chunks.append(await self.exactly(size))
            assert await self.exactly(2) == b"\r\n"
            message.body += message.chunks[-1]
        while (line := await self.until(b"\r\n")) != b"\r\n":
            message.trailers += fields(line)


Script = Callable[[Wire], Awaitable[object]]


async def answer_ok(wire: Wire) -> None:
    """The plainest origin: 200 to everything, for as long as the connection stands."""
    while True:
        await wire.request()
        await wire.send(OK)


def saying(*answers: bytes) -> Script:
    """A script that reads a request before each of `answers`, then waits for the end."""

    async def script(wire: Wire) -> None:
        for answer in answers:
            await wire.request()
            await wire.send(answer)
        await wire.rest()

    return script


class Origin:
    """Listens on a free port of 127.0.0.1 and plays `script(wire)` on each connection, then closes it.

    A script may end by Ended or ConnectionError, as any server does when its client leaves; any other error, an
    AssertionError above all, is raised where the `async with` block ends.
    """

    def __init__(self, script: Script = answer_ok, *, address: str = "127.0.0.1", port: int = 0) -> None:
        self.script = script
        self.wires: list[Wire] = []
        self._sock = socket.create_server((address, port), backlog=256)
        self._sock.setblocking(False)
        self.address = address
        self.port: int = self._sock.getsockname()[1]
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def requests(self) -> list[Message]:
        """All requests heard, by connection."""
        return [message for wire in self.wires for message in wire.heard]

    @property
    def connections(self) -> int:
        """How many came."""
        return len(self.wires)

    async def __aenter__(self) -> Origin:
        self._tasks.append(asyncio.ensure_future(self._accept()))
        return self

    async def __aexit__(self, kind: object, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._sock.close()
        for end in ends:
            expected = isinstance(end, (asyncio.CancelledError, Ended, ConnectionError))
            if isinstance(end, BaseException) and not expected and kind is None:
                raise end

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self._sock)
            wire = Wire(sock)
            wire.number = len(self.wires)
            self.wires.append(wire)
            self._tasks.append(asyncio.ensure_future(self._play(wire)))

    async def _play(self, wire: Wire) -> None:
        try:
            await self.script(wire)
        finally:
            wire.close()


async def dial(port: int, *, address: str = "127.0.0.1", source: str | None = None, receive: int = 0) -> Wire:
    """Connect to a server; `source`: from that address; `receive`: with a receive buffer of so many bytes."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    if receive:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    if source:
        sock.bind((source, 0))
    try:
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return Wire(sock)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition inside this process."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while not condition():
        assert loop.time() < end, f"not within {PATIENCE:g} s: {what}"
        await asyncio.sleep(0.005)
