"""UDP's sockets: the VIP's, on which an answer must leave from the address that was asked, and one per flow.

Decides which address is put on what leaves. It must not know flows, pools nor who holds a VIP.

A socket bound to every address ("0.0.0.0") answers from whichever the routes prefer, and the client drops what comes
from an address it did not ask. So there the kernel tells with each datagram where it went (IP_PKTINFO, ip(7);
IPV6_RECVPKTINFO, RFC 3542 §6), and the answer says where it comes from.

A flow's socket is *connected*: the kernel drops what anybody but the backend sends to it, and hands an ICMP port
unreachable of the backend to us as ECONNREFUSED. Between bind and connect there is a moment in which a stranger's
datagram may come in; whatever is there before we have asked anything is read and dropped.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address
from typing import Any

from cdnlab.net.dial import IP_BIND_ADDRESS_NO_PORT

LARGEST = 65536
"""Bytes: more than any datagram has."""

IP_PKTINFO = getattr(socket, "IP_PKTINFO", 8)  # Python names it from 3.14 on
_PKTINFO4 = struct.Struct("@I4s4s")  # struct in_pktinfo: interface, local address, destination in the header
_PKTINFO6 = struct.Struct("@16sI")
STRANGERS = 1024
"""Datagrams that may have come in before connect: as many as fit into a receive buffer, about."""

BUFFER = bytearray(LARGEST)
"""Datagrams are read into this one and sent on from it: a loop has one thread, and each is done before the next."""
VIEW = memoryview(BUFFER)


class Door:
    """The VIP's socket: reads datagrams with their two addresses, and sends answers from the right one."""

    __slots__ = ("_anc", "_any", "_six", "address", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.address: tuple[Any, ...] = sock.getsockname()
        self._six = sock.family == socket.AF_INET6
        self._any = ip_address(self.address[0]).is_unspecified
        self._anc = socket.CMSG_SPACE(_PKTINFO6.size if self._six else _PKTINFO4.size)
        if self._any and self._six:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif self._any:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)

    def read(self) -> tuple[int, tuple[Any, ...], bytes]:
        """A datagram into BUFFER: its size, who sent it, and the address it went to (b"" where there is only one).
        OSError."""
        if not self._any:
            size, client = self.sock.recvfrom_into(BUFFER)
            return size, client, b""
        size, told, _, client = self.sock.recvmsg_into([BUFFER], self._anc)
        for level, kind, data in told:
            if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
                return size, client, _PKTINFO4.unpack(data)[2]
            if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
                return size, client, _PKTINFO6.unpack(data)[0]
        return size, client, b""

    def write(self, data: bytes | memoryview, client: tuple[Any, ...], at: bytes) -> None:
        """Send `data` to `client` from the address `at`, as `read` told it. OSError."""
        if not at:
            self.sock.sendto(data, client)
        elif self._six:
            told = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO6.pack(at, 0))
            self.sock.sendmsg([data], [told], 0, client)
        else:
            told = (socket.IPPROTO_IP, IP_PKTINFO, _PKTINFO4.pack(0, at, bytes(4)))
            self.sock.sendmsg([data], [told], 0, client)


def connected(family: int, address: tuple[Any, ...], source: str | None) -> tuple[socket.socket, int]:
    """A socket that hears `address` only, and how many strangers' datagrams had come in before. OSError."""
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if source is not None and family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
        sock.connect(address)
        return sock, drained(sock)
    except BaseException:
        sock.close()
        raise


def drained(sock: socket.socket) -> int:
    """Read what has come to `sock` and drop it; how many there were."""
    for count in range(STRANGERS):
        try:
            sock.recv(1)  # not into BUFFER: what the flow is made for lies there
        except OSError:  # nothing there, or an ICMP error for a datagram that was not ours
            return count
    return STRANGERS
