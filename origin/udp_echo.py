"""The origin's UDP: an echo that says which address it sees, and whatever else answers datagrams.

Decides how a socket is read and answered. What an answer says is the function's that it is given.

The echo's answer is a line, then what came:

    from 127.0.1.10:40312 to 127.1.1.20:8082 node origin-1

It gives no answer to what looks like one, or two echoes whose addresses somebody forged would talk for ever.

Behind a balancer `from` is the balancer, on the port it took for this flow: the translation of addresses, made visible.
The echo over TCP says the same (tcp_echo.py). docs/flows.md.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cdnlab.node.node import Node

LARGEST = 65507
"""Bytes of payload of the largest datagram over IPv4."""
BURST = 32

Answer = Callable[[bytes, tuple[Any, ...]], bytes | None]
"""What to answer to a datagram and its sender; None is nothing."""


def echo(name: str, own: str, data: bytes, peer: tuple[Any, ...]) -> bytes | None:
    """The echo's answer, cut where a datagram ends. `own`: the address that was asked, as host:port."""
    if data.startswith(b"from ") and b" node " in data[:200].partition(b"\n")[0]:
        return None
    return f"from {shown(peer)} to {own} node {name}\n".encode() + data[: LARGEST - 200]


def shown(address: tuple[Any, ...]) -> str:
    """host:port."""
    host = address[0]
    return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"


class UdpPort:
    """A socket that is read and answered. `open` it on the running loop."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._sock: socket.socket | None = None
        self.answered = 0
        self.faulty = 0
        """Datagrams that got no answer, and answers that could not be sent."""

    def open(self, host: str, port: int) -> tuple[str, int]:
        """Bind and begin to answer; the address. OSError."""
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.bind((host, port))
        except BaseException:
            sock.close()
            raise
        self._sock = sock
        asyncio.get_running_loop().add_reader(sock.fileno(), self._readable, sock)
        address: tuple[str, int] = sock.getsockname()[:2]
        return address

    def _readable(self, sock: socket.socket) -> None:
        for _ in range(BURST):
            try:
                data, peer = sock.recvfrom(65536)
            except OSError:  # nothing more
                return
            said = self._answer(data, peer)
            try:
                if said is not None:
                    sock.sendto(said, peer)
                    self.answered += 1
                    continue
            except OSError:  # no room, or no way back
                pass
            self.faulty += 1

    def close(self) -> None:
        """Stop answering."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None


def ports(node: Node) -> Iterator[tuple[UdpPort, str, int]]:
    """What a node answers over UDP, and where: the echo where a pool wants its tier's UDP, and DNS where it is set."""
    topology = node.topology
    host = topology.data_address(node.name)[0]
    if any(pool.tier == node.tier and pool.service == "udp" for pool in topology.pools.values()):
        port = topology.service_port(node.name, "udp")
        yield UdpPort(partial(echo, node.name, shown((host, port)))), host, port
    if topology.origin.dns is not None:
        from origin.dns import Zone  # a library that an origin without DNS need not import

        yield UdpPort(Zone(topology, node.name).answer), host, topology.origin.dns
