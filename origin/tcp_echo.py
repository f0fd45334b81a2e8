"""The origin's TCP echo: it says first whom it sees, then gives back what comes.

    ──▶ connect
    ◀── from 127.0.1.10:40312 to 127.1.1.20:8081 node origin-1\n
    ──▶ any bytes, at any time
    ◀── the same bytes
    ──▶ end of stream
    ◀── what is left of the bytes, end of stream

`from` is the peer: behind a balancer that one, on a port it took for this flow, which is the translation of addresses
made visible. Where the pool has `send_proxy`, balancers begin with a PROXY header; then the line says what stands in
that: the client, and what it connected to. From a balancer the header is required then, from anybody else it is bytes
like any other, since whoever comes directly may not say that it is another.

Decides nothing else. It must not know HTTP.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from cdnlab.wire import proxy_protocol
from cdnlab.wire.errors import Malformed

if TYPE_CHECKING:
    from cdnlab.node.node import Node

BACKLOG = 1024
MOST = 4096
"""Connections at a time; further ones are closed at once."""
HEADER_TIMEOUT = 10.0
"""Seconds within which a PROXY header has to come."""

Address = tuple[str, int]


class TcpEcho:
    """The listener. `open` it on the running loop."""

    def __init__(self, name: str, trusted: frozenset[str] = frozenset()) -> None:
        """`trusted`: the peers whose connections begin with a PROXY header."""
        self.name = name
        self.trusted = trusted
        self.connections: set[Echo] = set()
        self.accepted = 0
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> Address:
        """Listen; the address. OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Echo(self), host, port, backlog=BACKLOG)
        return cast(Address, self._server.sockets[0].getsockname()[:2])

    def close(self) -> None:
        """Stop accepting, and end what runs when it has been sent what is due."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for each in list(self.connections):
            each.close()


class Echo(asyncio.Protocol):
    """One connection."""

    __slots__ = ("_header", "_home", "_timer", "_transport")

    def __init__(self, home: TcpEcho) -> None:
        self._home = home
        self._header: bytes | None = None
        """What has come of a PROXY header; None: none is awaited."""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or wait for the PROXY header first."""
        self._transport = cast(asyncio.Transport, transport)
        home = self._home
        if len(home.connections) >= MOST:
            transport.close()
            return
        home.connections.add(self)
        home.accepted += 1
        peer: Address = transport.get_extra_info("peername")[:2]
        if peer[0] in home.trusted:
            self._header = b""
            self._timer = asyncio.get_running_loop().call_later(HEADER_TIMEOUT, self._transport.abort)
        else:
            self._greet(peer, transport.get_extra_info("sockname")[:2])

    def _greet(self, source: Address, destination: Address) -> None:
        line = f"from {_show(source)} to {_show(destination)} node {self._home.name}\n"
        self._transport.write(line.encode())

    def data_received(self, data: bytes) -> None:
        """Give it back."""
        if self._header is not None:
            data = self._take_header(data)
        if data:
            self._transport.write(data)

    def _take_header(self, data: bytes) -> bytes:
        assert self._header is not None
        self._header += data
        try:
            parsed = proxy_protocol.parse(self._header)
        except Malformed:
            self._transport.abort()
            return b""
        if parsed is None:
            return b""
        rest, self._header = self._header[parsed.size :], None
        if self._timer is not None:
            self._timer.cancel()
        transport = self._transport
        self._greet(
            parsed.source or transport.get_extra_info("peername")[:2],
            parsed.destination or transport.get_extra_info("sockname")[:2],
        )
        return rest

    def eof_received(self) -> bool:
        """Nothing more comes: end, too, when all has been given back."""
        self._transport.close()
        return True

    def pause_writing(self) -> None:
        """The client does not read: nor do we."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It does again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._home.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def close(self) -> None:
        """End it from here."""
        self._transport.close()


def _show(address: Address) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def make(node: Node) -> tuple[TcpEcho, str, int] | None:
    """The echo of a node and where it listens; None where no pool wants its tier's TCP."""
    topology = node.topology
    pools = [pool for pool in topology.pools.values() if pool.tier == node.tier and pool.service == "tcp"]
    if not pools:
        return None
    said = any(pool.send_proxy != "off" for pool in pools)
    host = topology.data_address(node.name)[0]
    balancers = {
        address
        for name in topology.tier("lb")
        for address in (topology.node(name).address, *topology.node(name).addresses)
    }
    echo = TcpEcho(node.name, frozenset(balancers) if said else frozenset())
    return echo, host, topology.service_port(node.name, "tcp")
