"""The virtual address as sockets: accept under it, stop, and abort what came through it.

Decides nothing: the failover machine says when. It must not know the store, nor what travels on a connection.

`deadline` is what the HTTP server compares the clock with before it answers anything. It is moved before the
first connection is accepted, and is -inf whenever this balancer does not hold the VIP.

Three ways to come by the sockets. *Inherited*: somebody else opened them and every balancer has the same open
ones; each accepts on a duplicate of its own, so that closing it stops only this one, and what waits in the
kernel's queue waits for whoever accepts next. *Steered*: each balancer opens the address itself whenever it holds
the VIP (steer.py). *Own*: a balancer alone opens the address itself and holds it for ever.

A VIP has further ports at layer 4, TCP and UDP. Who serves one of those accepts, or reads, by itself (`Door`), on the
very socket: it only watches it while it may, so no duplicate is needed.
"""

from __future__ import annotations

import asyncio
import errno
import math
import socket
from collections.abc import Callable
from typing import Protocol

from cdnlab.plan.errors import PlanError
from lb.steer import Steered

BACKLOG = 4096
"""Connections that may wait to be accepted: Linux' default ceiling (net.core.somaxconn since 5.4)."""

Factory = Callable[[], asyncio.BaseProtocol]
AbortAll = Callable[[str], object]


class Door(Protocol):
    """Who serves a port at layer 4."""

    def start_accepting(self, sock: socket.socket) -> None:
        """Accept from, or read, a socket that stays the caller's; there may be several."""

    def stop_accepting(self) -> None:
        """Take nothing new; what runs goes on."""

    def abort_all(self, reason: str) -> object:
        """End what runs at once."""


class Vip:
    """One virtual address: its sockets, what serves each, and until when."""

    __slots__ = (
        "_accepting",
        "_doors", "_ports", "_ports_open", "_servers", "_steered", "_steered_ports", "deadline", "name",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        """Begin as an address that is not held."""
        self.name = name
        self.deadline = -math.inf
        """Seconds on the clock of `cdnlab.net.clock.now`: the instant until which this process may answer."""
        self._doors: list[tuple[socket.socket, Factory, AbortAll]] = []
        self._steered: list[tuple[Steered, Factory, AbortAll]] = []
        self._accepting = False
        self._servers: list[asyncio.Server] = []
        self._ports: list[tuple[socket.socket, Door]] = []
        self._steered_ports: list[tuple[Steered, Door]] = []
        self._ports_open: list[socket.socket] = []
        """Those that were opened because we hold the VIP."""

    def add(self, sock: socket.socket, factory: Factory, abort_all: AbortAll) -> None:
        """Serve a listening socket with `factory`'s connections; `abort_all(reason)` ends those there are."""
        self._doors.append((sock, factory, abort_all))

    def add_steered(self, steered: Steered, factory: Factory, abort_all: AbortAll) -> None:
        """As `add`, for an address that every balancer opens for itself."""
        self._steered.append((steered, factory, abort_all))

    def add_port(self, sock: socket.socket | Steered, door: Door) -> None:
        """Have a port at layer 4 served by `door`: a socket that listens, or is bound if it is UDP's, or one that every
        balancer opens for itself."""
        if isinstance(sock, Steered):
            self._steered_ports.append((sock, door))
        else:
            self._ports.append((sock, door))

    @property
    def accepting(self) -> bool:
        """Whether connections are accepted."""
        return self._accepting

    async def hold_forever(self) -> None:
        """Accept under an address that nobody else can hold: the single-node form."""
        self.deadline = math.inf
        await self.start_accepting()

    async def start_accepting(self) -> None:
        """Accept on a duplicate of every socket; OSError leaves nothing accepting."""
        self.stop_accepting()
        try:
            for sock, factory, _ in self._doors:
                await self._serve(factory, sock.dup())
            for steered, factory, _ in self._steered:
                await self._serve(factory, steered.open())
            for sock, door in self._ports:
                door.start_accepting(sock)
            for steered, door in self._steered_ports:
                self._open_port(steered, door)
            self._accepting = True
        except BaseException:
            self.stop_accepting()
            raise

    async def steer_anew(self) -> None:
        """Where another balancer has left or joined an address that we hold, make sure that we get its connections.

        OSError if the address can't be opened once more; what accepts goes on accepting.
        """
        for steered, factory, _ in self._steered:
            if self._accepting and steered.moved():
                await self._serve(factory, steered.open())
                if not steered.opened:  # stopped in the meantime
                    self.stop_accepting()
        for steered, door in self._steered_ports:
            if self._accepting and steered.moved():
                self._open_port(steered, door)

    def _open_port(self, steered: Steered, door: Door) -> None:
        sock = steered.open()
        self._ports_open.append(sock)
        door.start_accepting(sock)

    async def _serve(self, factory: Factory, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_server(factory, sock=sock, backlog=BACKLOG))

    def stop_accepting(self) -> None:
        """Accept no more; connections go on."""
        self._accepting = False
        for server in self._servers:
            server.close()
        self._servers.clear()
        for steered, _, _ in self._steered:
            steered.forget()
        for _, door in (*self._ports, *self._steered_ports):
            door.stop_accepting()
        for sock in self._ports_open:
            sock.close()
        self._ports_open.clear()
        for steered, _ in self._steered_ports:
            steered.forget()

    def lose(self, reason: str) -> None:
        """Unplanned: answer nothing from this instant, stop accepting, abort every connection."""
        self.deadline = -math.inf
        self.stop_accepting()
        for _, _, abort_all in (*self._doors, *self._steered):
            abort_all(reason)
        for _, door in (*self._ports, *self._steered_ports):
            door.abort_all(reason)

    def finish(self) -> None:
        """Planned: stop accepting, and let what runs come to its end (the drain bounds it)."""
        self.stop_accepting()
        self.deadline = math.inf

    def close(self) -> None:
        """Let go of the sockets; connections go on."""
        self.stop_accepting()
        for sock in [*(door[0] for door in self._doors), *(port[0] for port in self._ports)]:
            sock.close()
        for steered in [*(door[0] for door in self._steered), *(port[0] for port in self._steered_ports)]:
            steered.close()
        self._doors.clear()
        self._steered.clear()
        self._ports.clear()
        self._steered_ports.clear()


def inherited(descriptor: int) -> socket.socket:
    """Take over a listening socket, or UDP's bound one, by its number; PlanError if it is none."""
    where = f"inherited socket {descriptor}"
    try:
        sock = socket.socket(fileno=descriptor)
        listening = sock.type == socket.SOCK_DGRAM or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise PlanError(
            f"not an open socket ({error.strerror})", where, "start the node through the lab"
        ) from None
    if not listening:
        sock.detach()
        raise PlanError("not a listening socket", where, "start the node through the lab")
    sock.setblocking(False)
    return sock


def open_own(host: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """Open an address and listen on it (UDP's need not); PlanError if it is taken or not ours.

    Without SO_REUSEPORT: with it a second start by mistake would go unnoticed and share the connections.
    """
    sock = _bind(host, port, kind)
    try:
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise _refused(host, port, kind, error) from None
    sock.setblocking(False)
    return sock


def open_steered(host: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> Steered:
    """Reserve an address that other balancers of this user may open, too; PlanError if somebody else has it."""
    if port == 0:
        where = f"listen address {host}:0"
        raise PlanError(
            "balancers that are started apart can't agree on a free port", where, "give the VIP a port"
        )
    return Steered(_bind(host, port, kind, socket.SO_REUSEPORT), BACKLOG)


def _bind(host: str, port: int, kind: socket.SocketKind, *options: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=kind, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise PlanError(f"{host} is not an address ({error.strerror})", "listen address") from None
    sock = socket.socket(family, kind, protocol)
    try:
        if kind == socket.SOCK_STREAM:  # for UDP it would let a second balancer take the datagrams
            options = (socket.SO_REUSEADDR, *options)
        for option in options:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise _refused(host, port, kind, error) from None
    return sock


def _refused(host: str, port: int, kind: socket.SocketKind, error: OSError) -> PlanError:
    where = f"listen address {host}:{port}"
    if error.errno == errno.EADDRINUSE:
        which = "-ltnp" if kind == socket.SOCK_STREAM else "-lunp"
        return PlanError(
            "the port is taken",
            where,
            f"end what listens there (ss {which} 'sport = :{port}') or choose another",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return PlanError("this machine does not have the address", where, "choose one that `ip addr` lists")
    if error.errno == errno.EACCES:
        return PlanError("not permitted", where, "choose a port above 1023")
    return PlanError(error.strerror or str(error), where)
