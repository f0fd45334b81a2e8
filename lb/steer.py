"""A VIP's socket where no lab has opened one for all: each holder opens its own, and steers to it.

Decides to which socket the kernel gives a new connection. It must not know who holds the VIP, nor the store.

Balancers that are started apart, on one host or in one network namespace, all bind the address with SO_REUSEPORT.
The kernel makes one group of all sockets that *listen* on it and spreads new connections over them. Only the holder
listens, so the group is normally it alone. But a holder that was frozen still listens, and would get its share of the
connections and leave them unanswered. So whoever takes over attaches a program to the group (SO_ATTACH_REUSEPORT_CBPF,
socket(7); unprivileged) that gives every connection to one member by its index.

Which index? The kernel tells nobody; but it appends each new member at the end (reuseport_add_sock), so the one that
has just begun to listen is the last, and counting the members gives its index. When a member leaves, the kernel moves
the last one into its place, and the index may be wrong. That was weighed:

- to open a new socket and close the old one: closing moves members again, and drops what waits in its queue;
- an eBPF map of sockets instead of indexes: needs privileges;
- to append one more socket of our own, and steer to that: certain, and cheap since members change only when a
  balancer thaws or dies. The holder does it whenever the members are not those that they were (`moved`).

What comes or goes while a socket is being appended is noticed too, since members are known by their inodes; then the
holder looks again. An index beyond the end, which a member that left causes, makes the kernel spread by hash again:
with one member that is right, too. Connections that a frozen holder had not accepted yet are lost, unlike in a lab,
where all balancers have the same socket.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

from cdnlab.net.listening import bound_datagrams, listeners

SO_ATTACH_REUSEPORT_CBPF = getattr(socket, "SO_ATTACH_REUSEPORT_CBPF", 51)
RETURN_CONSTANT = 0x06
"""BPF_RET | BPF_K: the program's one instruction returns the index."""


class Steered:
    """The listening sockets of one balancer under an address that others may listen on, too."""

    __slots__ = ("_bound", "_members", "address", "backlog", "family", "kind", "opened")

    def __init__(self, bound: socket.socket, backlog: int) -> None:
        """`bound` has the address, with SO_REUSEPORT, and does not listen: it reserves the port. UDP's is closed at
        once, since a bound one would get its share of the datagrams: for UDP nothing is reserved."""
        self.family, self.kind = bound.family, bound.type
        self._bound = bound
        self.backlog = backlog
        self.address: tuple[str, int] = bound.getsockname()[:2]
        self.opened = 0
        """How many sockets this balancer has opened since it last held nothing."""
        self._members: frozenset[str] = frozenset()
        if self.kind == socket.SOCK_DGRAM:
            bound.close()

    def open(self) -> socket.socket:
        """A new listening socket, the one that gets every connection from now on. OSError."""
        sock = socket.socket(self.family, self.kind)
        stream = self.kind == socket.SOCK_STREAM
        try:
            if stream:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setblocking(False)
            expected = self._listening() | {str(os.fstat(sock.fileno()).st_ino)}
            sock.bind(self.address)
            if stream:
                sock.listen(self.backlog)
            members = self._listening()
            if not members:
                raise OSError(errno.ENOSYS, "this system does not tell who listens (/proc/net/tcp)")
            steer(sock, len(members) - 1)
            self._members = members if members == expected else frozenset()  # else look again soon
        except BaseException:
            sock.close()
            raise
        self.opened += 1
        return sock

    def moved(self) -> bool:
        """Whether members have come or gone since the last `open`, so that the index may be wrong. OSError."""
        return self.opened > 0 and self._listening() != self._members

    def forget(self) -> None:
        """This balancer's sockets are closed."""
        self.opened = 0

    def close(self) -> None:
        """Give the address up."""
        self._bound.close()

    def _listening(self) -> frozenset[str]:
        if self.kind == socket.SOCK_DGRAM:
            return frozenset(bound_datagrams(*self.address))
        return frozenset(listeners(*self.address))


def steer(sock: socket.socket, index: int) -> None:
    """Give every new connection of the group of `sock` to its member number `index`, from 0. OSError."""
    instruction = struct.pack("=HBBI", RETURN_CONSTANT, 0, 0, index)
    code = ctypes.create_string_buffer(instruction, len(instruction))
    program = struct.pack("@HP", 1, ctypes.addressof(code))  # struct sock_fprog
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)
