"""The virtual address as sockets: accept under it, stop, and abort what came through it.

Decides nothing: the failover machine says when. It must not know the store, nor what travels on a connection.

`deadline` is what the HTTP server compares the clock with before it answers anything. It is moved before the
first connection is accepted, and is -inf whenever this balancer does not hold the VIP.

Three ways to come by the sockets. *Inherited*: somebody else opened them and every balancer has the same open
ones; each accepts on a duplicate of its own, so that closing it stops only this one, and what waits in the
kernel's queue waits for whoever accepts next. *Steered*: each balancer opens the address itself whenever it holds
the VIP (steer.py). *Own*: a balancer alone opens the address itself and holds it for ever.
"""

from __future__ import annotations

import asyncio
import errno
import math
import socket
from collections.abc import Callable

from cdnlab.plan.errors import PlanError
from lb.steer import Steered

BACKLOG = 4096
"""Connections that may wait to be accepted: Linux' default ceiling (net.core.somaxconn since 5.4)."""

Factory = Callable[[], asyncio.BaseProtocol]
AbortAll = Callable[[str], object]


class Vip:
    """One virtual address: its sockets, what serves each, and until when."""

    __slots__ = ("_doors", "_servers", "_steered", "deadline", "name")

    def __init__(self, name: str) -> None:
        """Begin as an address that is not held."""
        self.name = name
        self.deadline = -math.inf
        """Seconds on the clock of `cdnlab.net.clock.now`: the instant until which this process may answer."""
        self._doors: list[tuple[socket.socket, Factory, AbortAll]] = []
        self._steered: list[tuple[Steered, Factory, AbortAll]] = []
        self._servers: list[asyncio.Server] = []

    def add(self, sock: socket.socket, factory: Factory, abort_all: AbortAll) -> None:
        """Serve a listening socket with `factory`'s connections; `abort_all(reason)` ends those there are."""
        self._doors.append((sock, factory, abort_all))

    def add_steered(self, steered: Steered, factory: Factory, abort_all: AbortAll) -> None:
        """As `add`, for an address that every balancer opens for itself."""
        self._steered.append((steered, factory, abort_all))

    @property
    def accepting(self) -> bool:
        """Whether connections are accepted."""
        return bool(self._servers)

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
        except BaseException:
            self.stop_accepting()
            raise

    async def steer_anew(self) -> None:
        """Where another balancer has left or joined an address that we hold, make sure that we get its connections.

        OSError if the address can't be opened once more; what accepts goes on accepting.
        """
        for steered, factory, _ in self._steered:
            if self._servers and steered.moved():
                await self._serve(factory, steered.open())
                if not steered.opened:  # stopped in the meantime
                    self.stop_accepting()

    async def _serve(self, factory: Factory, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_server(factory, sock=sock, backlog=BACKLOG))

    def stop_accepting(self) -> None:
        """Accept no more; connections go on."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for steered, _, _ in self._steered:
            steered.forget()

    def lose(self, reason: str) -> None:
        """Unplanned: answer nothing from this instant, stop accepting, abort every connection."""
        self.deadline = -math.inf
        self.stop_accepting()
        for _, _, abort_all in (*self._doors, *self._steered):
            abort_all(reason)

    def finish(self) -> None:
        """Planned: stop accepting, and let what runs come to its end (the drain bounds it)."""
        self.stop_accepting()
        self.deadline = math.inf

    def close(self) -> None:
        """Let go of the sockets; connections go on."""
        self.stop_accepting()
        for sock, _, _ in self._doors:
            sock.close()
        for steered, _, _ in self._steered:
            steered.close()
        self._doors.clear()
        self._steered.clear()


def inherited(descriptor: int) -> socket.socket:
    """Take over a listening socket by its number; PlanError if it is none."""
    where = f"inherited socket {descriptor}"
    try:
        sock = socket.socket(fileno=descriptor)
        listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise PlanError(
            f"not an open socket ({error.strerror})", where, "start the node through the lab"
        ) from None
    if not listening:
        sock.detach()
        raise PlanError("not a listening socket", where, "start the node through the lab")
    sock.setblocking(False)
    return sock


def open_own(host: str, port: int) -> socket.socket:
    """Open and listen on an address; PlanError if it is taken or not ours.

    Without SO_REUSEPORT: with it a second start by mistake would go unnoticed and share the connections.
    """
    sock = _bind(host, port)
    try:
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise _refused(host, port, error) from None
    sock.setblocking(False)
    return sock


def open_steered(host: str, port: int) -> Steered:
    """Reserve an address that other balancers of this user may open, too; PlanError if somebody else has it."""
    if port == 0:
        where = f"listen address {host}:0"
        raise PlanError(
            "balancers that are started apart can't agree on a free port", where, "give the VIP a port"
        )
    return Steered(_bind(host, port, socket.SO_REUSEPORT), BACKLOG)


def _bind(host: str, port: int, *options: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise PlanError(f"{host} is not an address ({error.strerror})", "listen address") from None
    sock = socket.socket(family, kind, protocol)
    try:
        for option in (socket.SO_REUSEADDR, *options):
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise _refused(host, port, error) from None
    return sock


def _refused(host: str, port: int, error: OSError) -> PlanError:
    where = f"listen address {host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return PlanError(
            "the port is taken",
            where,
            f"end what listens there (ss -ltnp 'sport = :{port}') or choose another",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return PlanError("this machine does not have the address", where, "choose one that `ip addr` lists")
    if error.errno == errno.EACCES:
        return PlanError("not permitted", where, "choose a port above 1023")
    return PlanError(error.strerror or str(error), where)
