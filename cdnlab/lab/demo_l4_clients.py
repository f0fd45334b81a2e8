"""The clients of `cdnlab demo l4`: sources of UDP and TCP that note who answered them, from where, and when.

It decides nothing about what is shown. It must not know the lab, but for the address of its VIP.
"""

from __future__ import annotations

import asyncio
import re
import socket
from typing import NamedTuple

from cdnlab.lab.errors import LabError
from cdnlab.net.clock import now

#: Seconds for one answer, and for any at all.
TRY, PATIENCE = 0.05, 20.0

_SAID = re.compile(rb"from (\S+) to (\S+) node (\S+)\n")


class Seen(NamedTuple):
    """What the echo said: who it is, and whom it sees."""

    node: str
    balancer: str
    """host:port of the balancer's side."""


class Silent(LabError):
    """No answer came at all."""


def said(data: bytes) -> Seen | None:
    """The first line of an echo."""
    match = _SAID.match(data)
    return None if match is None else Seen(match[3].decode(), match[1].decode())


class UdpSource:
    """One address and port that asks."""

    def __init__(self, host: str, vip: tuple[str, int]) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        self._sock.bind((host, 0))
        self._vip = vip
        self.name = "{}:{}".format(*self._sock.getsockname())
        self.last = 0.0
        """When it last asked."""

    async def ask(self) -> Seen:
        """Ask, again each TRY, until an answer comes. Silent after PATIENCE."""
        loop, end = asyncio.get_running_loop(), now() + PATIENCE
        while now() < end:
            self.last = now()
            await loop.sock_sendto(self._sock, b"?", self._vip)
            try:
                async with asyncio.timeout(TRY):
                    data = await loop.sock_recv(self._sock, 2048)
            except TimeoutError:
                continue
            if (seen := said(data)) is not None:
                return seen
        raise Silent(f"{self.name} got no answer over UDP within {PATIENCE:.0f} s", "see the lab's log")

    def forget_late(self) -> None:
        """Drop answers that came after the next question."""
        while True:
            try:
                self._sock.recv(2048)
            except BlockingIOError:
                return

    def close(self) -> None:
        """Let go of the port."""
        self._sock.close()


class TcpSource:
    """One client address that opens connections."""

    def __init__(self, host: str, vip: tuple[str, int]) -> None:
        self.host = host
        self._vip = vip
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.name = host

    async def connect(self) -> Seen:
        """Open a connection, again where that fails, and hear who is there."""
        end = now() + PATIENCE
        while now() < end:
            try:
                async with asyncio.timeout(2.0):
                    self._streams = await asyncio.open_connection(*self._vip, local_addr=(self.host, 0))
                    seen = said(await self._streams[0].readline())
            except (OSError, TimeoutError):
                seen = None
            if seen is not None and self._streams is not None:
                self.name = "{}:{}".format(*self._streams[1].get_extra_info("sockname"))
                return seen
            self.close()
            await asyncio.sleep(TRY)
        raise Silent(f"{self.host} got no connection within {PATIENCE:.0f} s", "see the lab's log")

    async def lives(self, within: float) -> bool:
        """Whether the connection still gives back what is sent."""
        if self._streams is None:
            return False
        reader, writer = self._streams
        try:
            async with asyncio.timeout(within):
                writer.write(b"?")
                return await reader.readexactly(1) == b"?"
        except (OSError, EOFError, TimeoutError):
            return False

    def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
