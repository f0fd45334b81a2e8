"""An origin on a real socket whose answers a test writes by hand, byte by byte where it matters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Talk:
    """One request at the origin."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        line, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = line.split(" ")
        pairs = (each.partition(": ") for each in lines if each)
        self.fields = {name.lower(): value for name, _, value in pairs}

    async def say(self, data: bytes | str) -> None:
        """Send bytes as they are."""
        self.writer.write(data.encode() if isinstance(data, str) else data)
        await self.writer.drain()

    async def answer(self, status: int, *fields: str, body: bytes = b"") -> None:
        """A whole response."""
        bodiless = status in (204, 304)
        length = () if bodiless else (f"Content-Length: {len(body)}",)
        head = "\r\n".join([f"HTTP/1.1 {status} Whatever", *fields, *length, "", ""])
        await self.say(head.encode("latin-1") + (b"" if bodiless or self.method == "HEAD" else body))

    async def body(self) -> bytes:
        """The request's body, whichever way it is framed."""
        if "content-length" in self.fields:
            return await self.reader.readexactly(int(self.fields["content-length"]))
        found = b""
        while size := int(await self.reader.readline(), 16):
            found += await self.reader.readexactly(size)
            await self.reader.readline()
        await self.reader.readline()
        return found


Script = Callable[[Talk], Awaitable[None]]


class Origin:
    """Serves `script`, keeps what it was asked."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.talks: list[Talk] = []
        self.errors: list[BaseException] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Its URL."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                talk = Talk(head, reader, writer)
                self.talks.append(talk)
                await self.script(talk)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def stop(self) -> None:
        """End it and every connection."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert not self.errors, self.errors
