"""A steady load: so many requests a second whatever becomes of them, and what became of each.

Decides what counts as lost. It must not know what is done to the servers meanwhile.

Open loop: a request sets out when its time has come, not when another has ended, so that those that a frozen backend
holds do not hold the rest back. A request whose connection closes before its response's head is lost, never sent again
by this client. Each outcome has one name:

    ok           a status below 500, whole
    status NNN   any other status: somebody answered that it failed
    no head      the connection ended before the head: closed or reset
    late         no head within PATIENCE
    cut          a head, and then not all of the body, or not within PATIENCE
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import cast

#: Seconds for a response, after which its client has given up.
PATIENCE = 15.0
#: Seconds between looks at how many requests are due.
TICK = 0.005

_GET = b"GET %b HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: steady\r\n\r\n"
_POST = b"POST %b HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: steady\r\nContent-Length: 4\r\n\r\nbody"


class Steady:
    """A load of `rate` requests a second on one server, every `post_every`-th of them a POST."""

    def __init__(self, port: int, rate: int, path: bytes, *, post_every: int = 0) -> None:
        self.port = port
        self.rate = rate
        self.get, self.post = _GET % path, _POST % path
        self.post_every = post_every
        self.outcomes: Counter[str] = Counter()
        self.sent = 0
        self.longest = 0.0
        """Seconds that the slowest good answer took."""
        self.idle: list[Client] = []
        self.busy: set[Client] = set()
        self._ended = False

    async def run(self, seconds: float, then: Callable[[], object] | None = None, after: float = 0.0) -> None:
        """Ask for `seconds`, and wait for what is still out. `then` is called in a thread after `after` seconds."""
        began = time.monotonic()
        doing = asyncio.ensure_future(self._do(then, after)) if then is not None else None
        opening: set[asyncio.Task[None]] = set()
        while (gone := time.monotonic() - began) < seconds:
            for _ in range(int(gone * self.rate) - self.sent):
                self._send(opening)
            self._give_up_late()
            await asyncio.sleep(TICK)
        if doing is not None:
            await doing
        while self.busy or opening:
            self._give_up_late()
            await asyncio.sleep(TICK)
        for client in self.idle:
            client.transport.abort()
        self.idle.clear()

    @staticmethod
    async def _do(then: Callable[[], object], after: float) -> None:
        await asyncio.sleep(after)
        await asyncio.to_thread(then)

    @property
    def failed(self) -> int:
        """Requests without a good answer whose head had not come."""
        return sum(count for name, count in self.outcomes.items() if name not in ("ok", "cut"))

    def _send(self, opening: set[asyncio.Task[None]]) -> None:
        self.sent += 1
        posts = self.post_every and self.sent % self.post_every == 0
        request = self.post if posts else self.get
        while self.idle:
            client = self.idle.pop()
            if not client.transport.is_closing():
                client.ask(request, time.monotonic())
                return
        task = asyncio.ensure_future(self._open(request, time.monotonic()))
        opening.add(task)
        task.add_done_callback(opening.discard)

    async def _open(self, request: bytes, began: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, client = await loop.create_connection(lambda: Client(self), "127.0.0.1", self.port)
        except OSError:
            self.outcomes["no head"] += 1
            return
        client.ask(request, began)

    def _give_up_late(self) -> None:
        limit = time.monotonic() - PATIENCE
        for client in [each for each in self.busy if each.began < limit]:
            client.over("late" if client.waits_for_head else "cut")


class Client(asyncio.Protocol):
    """One connection of the load; one request at a time."""

    def __init__(self, owner: Steady) -> None:
        self.owner = owner
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.began = 0.0
        self.asking = False
        self._buffer = b""
        self._missing = -1
        """Bytes of the body still to come; -1 before the head."""
        self._status = b""

    @property
    def waits_for_head(self) -> bool:
        """Whether nothing whole has come yet."""
        return self._missing < 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes, began: float) -> None:
        """Send one request."""
        self.began = began
        self.asking = True
        self._buffer, self._missing = b"", -1
        self.owner.busy.add(self)
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Bytes of the response."""
        if self._missing < 0:
            self._buffer += data
            head, end, data = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self._status = head[9:12]
            length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            self._missing = int(length) if length else 0
        self._missing -= len(data)
        if self._missing <= 0 and self.asking:
            good = self._status < b"500"
            if good:
                self.owner.longest = max(self.owner.longest, time.monotonic() - self.began)
            self.over("ok" if good else f"status {self._status.decode()}", keep=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self.asking:
            self.over("no head" if self.waits_for_head else "cut")
        elif self in self.owner.idle:
            self.owner.idle.remove(self)

    def over(self, outcome: str, *, keep: bool = False) -> None:
        """The request has ended so."""
        self.asking = False
        owner = self.owner
        owner.busy.discard(self)
        owner.outcomes[outcome] += 1
        if keep and not self.transport.is_closing():
            owner.idle.append(self)
        elif self.transport is not None:
            self.transport.abort()
