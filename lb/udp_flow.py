"""One UDP flow: a source on one side, a connected socket to its backend on the other.

Decides what becomes of a datagram, when another backend is tried, and when the flow is over. It must not know the VIP's
socket, nor how candidates are chosen.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cdnlab.net.clock import now
from cdnlab.net.dial import Found, family_of
from cdnlab.net.tasks import spawn
from cdnlab.pool.reasons import Reason
from lb.flow_entry import Address, Ended
from lb.udp_socket import BUFFER, VIEW, connected
from lb.udp_stats import Drop

if TYPE_CHECKING:
    import socket

    from cdnlab.pool.backend import Backend
    from lb.udp_proxy import UdpProxy

#: Datagrams from a backend in one go.
BURST = 32
#: Bytes of datagrams that a proxy keeps: unanswered ones, for another backend, and those that wait for a name.
KEPT_MAX = 16 << 20
#: Datagrams of a flow that wait while its backend's name is being resolved.
WAITING = 8
#: What the machine has no more of: no other backend would change that.
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN})


def may_go_on(backend: Backend) -> bool:
    """Whether a flow stays with its backend: while it is up, or drains."""
    return not backend.ejected_until and backend.health.usable


class UdpFlow:
    """Made for the first datagram of a source; `close` ends it. A member of the sweep, for its lifetime."""

    __slots__ = (
        "at",
        "backend",
        "candidates",
        "client",
        "closed",
        "due",
        "half_trip",
        "handle",
        "kept",
        "place",
        "proxy",
        "queued",
        "resolving",
        "sock",
        "waiting",
    )

    def __init__(self, proxy: UdpProxy, client: Address, at: bytes, place: str) -> None:
        """`at`: the address of ours that was asked, where there are several."""
        self.proxy = proxy
        self.client = client
        self.at = at
        self.place = place
        self.half_trip = 0.0
        """Seconds from the client to the backend."""
        self.queued = 0
        self.due = 0.0
        self.closed = False
        self.backend: Backend | None = None
        self.sock: socket.socket | None = None
        self.handle: int | None = None
        self.kept: bytes | None = None
        """The latest datagram without an answer."""
        self.candidates: Iterator[Backend] = iter(())
        self.waiting: list[bytes] = []
        self.resolving: asyncio.Task[None] | None = None

    # -- which backend -----------------------------------------------------------------------------------------

    def begin(self, candidates: Iterator[Backend], instant: float) -> Drop | None:
        """Take the first of `candidates` that can be sent to; why there is none, else None."""
        self.candidates = candidates
        self.due = instant + self.proxy.life
        self.proxy.sweep.members.add(self)
        return self._next(instant)

    def _next(self, instant: float) -> Drop | None:
        for backend in self.candidates:
            family = family_of(backend.host)
            if family is None:
                self.resolving = spawn(self._resolve(backend), f"udp {backend.host}")
                return None
            why = self._open(backend, [(family, (backend.host, backend.port))], instant)
            if why is not Drop.NO_BACKEND:
                return why
        return Drop.NO_BACKEND

    async def _resolve(self, backend: Backend) -> None:
        """Where a backend has a name; what comes meanwhile waits."""
        try:
            found = await self.proxy.forwarder.connector.resolver.addresses(backend.host, backend.port)
        except OSError:
            found = []
        self.resolving = None
        if self.closed:
            return
        instant = now()
        why = self._open(backend, found, instant) if found else Drop.NO_BACKEND
        if why is Drop.NO_BACKEND:
            why = self._next(instant)
        if why is not None:
            for _ in self._waited():
                self.proxy.counts.drop(why)
            self.close(instant, Ended.UNREACHABLE)
        elif self.resolving is None:
            for data in self._waited():
                self.up(memoryview(data), instant)

    def _open(self, backend: Backend, found: Found, instant: float) -> Drop | None:
        """Connect to `backend`. NO_BACKEND: another one may do; any other: none will."""
        proxy, connector = self.proxy, self.proxy.forwarder.connector
        for family, address in found:
            try:
                sock, strangers = connected(family, address, connector.source_address)
            except OSError as error:
                if error.errno in EXHAUSTED:
                    return Drop.NO_SOCKET
                self._failed(backend, instant)
                continue
            proxy.counts.dropped[Drop.STRANGER] += strangers
            return self._take(backend, sock, instant)
        return Drop.NO_BACKEND

    def _take(self, backend: Backend, sock: socket.socket, instant: float) -> Drop | None:
        proxy, connector = self.proxy, self.proxy.forwarder.connector
        local = sock.getsockname()
        if self.handle is None:
            self.handle = proxy.table.open(self.client, proxy.vip, local, backend, "udp", instant)
            if self.handle is None:
                sock.close()
                return Drop.FLOWS
        else:
            proxy.table.moved(self.handle, local, backend, instant)
            proxy.counts.moved += 1
        if connector.round_trip is not None and backend.place and self.place:
            self.half_trip = connector.round_trip(self.place, backend.place) / 2
        else:
            self.half_trip = 0.0
        self.backend, self.sock = backend, sock
        proxy.forwarder.pool.acquire(backend)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._readable)
        return None

    def _failed(self, backend: Backend, instant: float) -> None:
        """A backend refused, or there is no way to it."""
        backend.failures += 1
        ejector = self.proxy.forwarder.ejector
        if ejector is not None:
            ejector.failed(backend, Reason.CONNECT_FAILED, instant)

    def _leave(self) -> None:
        """Let go of the backend and its socket."""
        sock, backend = self.sock, self.backend
        self.sock = self.backend = None
        if sock is not None:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()
        if backend is not None:
            self.proxy.forwarder.pool.release(backend)

    def _move(self, instant: float) -> bool:
        """Go on with the next candidate; False, and the flow is over, if there is none."""
        self._leave()
        no = self._next(instant)
        if no is None:
            return True
        self.proxy.counts.drop(no)
        self.close(instant, Ended.UNREACHABLE)
        return False

    # -- datagrams ---------------------------------------------------------------------------------------------

    def up(self, data: memoryview, instant: float) -> None:
        """A datagram of the client."""
        self.due = instant + self.proxy.life
        backend = self.backend
        if backend is not None and not self.proxy.keeps(backend):
            self.candidates = self.proxy.candidates(self.client, self.place, instant, backend)
            if not self._move(instant):
                return
        if self.sock is None:
            self._wait(data)
        else:
            self._send(data, instant)

    def _wait(self, data: memoryview) -> None:
        """The backend's name is being resolved."""
        proxy = self.proxy
        if len(self.waiting) < WAITING and proxy.kept + len(data) < KEPT_MAX:
            self.waiting.append(bytes(data))
            proxy.kept += len(data)
        else:
            proxy.counts.drop(Drop.QUEUE)

    def _waited(self) -> list[bytes]:
        """What has waited; nothing does any more."""
        waiting, self.waiting = self.waiting, []
        self.proxy.kept -= sum(map(len, waiting))
        return waiting

    def _send(self, data: memoryview, instant: float) -> None:
        counts = self.proxy.counts
        sock = self.sock
        assert sock is not None
        assert self.handle is not None
        try:
            sock.send(data)
        except BlockingIOError:
            counts.drop(Drop.BACKEND_BUSY)
        except ConnectionRefusedError:  # the answer, by ICMP, to an earlier one; this one was not sent
            self._refused(instant, bytes(data))
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                counts.drop(Drop.UNDELIVERABLE)
            else:
                self._refused(instant, bytes(data))
        else:
            size = len(data)
            counts.up += 1
            counts.up_bytes += size
            self.proxy.table.touch(self.handle, instant, size, 0)
            self._keep(data)

    def _keep(self, data: memoryview | None) -> None:
        """Keep the latest datagram until it is answered."""
        proxy = self.proxy
        if self.kept is not None:
            proxy.kept -= len(self.kept) or 1
            self.kept = None
        if data is None:
            if not proxy.kept:
                proxy.settled()
        elif proxy.kept + len(data) < KEPT_MAX:
            self.kept = bytes(data)
            proxy.kept += len(data) or 1

    def _refused(self, instant: float, data: bytes | None = None) -> None:
        """The backend is not there: the next one gets what was not answered, and `data`."""
        backend, kept = self.backend, self.kept
        assert backend is not None
        self._keep(None)
        self._failed(backend, instant)
        if self.candidates is _NONE:
            self.candidates = self.proxy.candidates(self.client, self.place, instant, backend)
        if not self._move(instant):
            return
        for each in (kept, data):
            if each is not None and not self.closed:
                if self.sock is None:
                    self._wait(memoryview(each))
                else:
                    self._send(memoryview(each), instant)

    def _readable(self) -> None:
        """The backend said something, or ICMP did of it."""
        sock = self.sock
        for _ in range(BURST):
            if sock is None or sock is not self.sock:
                return
            try:
                size = sock.recv_into(BUFFER)
            except BlockingIOError:
                return
            except OSError:
                self._refused(now())
                return
            self._down(VIEW[:size], now())

    def _down(self, data: memoryview, instant: float) -> None:
        proxy, backend = self.proxy, self.backend
        assert backend is not None
        assert self.handle is not None
        self.due = instant + proxy.life
        self.candidates = _NONE  # it is there: should it go, the pool is asked anew
        if backend.streak:
            backend.streak = 0
        proxy.table.touch(self.handle, instant, 0, len(data))
        if self.half_trip:
            proxy.travel(self, False, bytes(data), instant)
        else:
            proxy.answer(self, data, instant)
        if self.kept is not None:
            self._keep(None)

    # -- the end -----------------------------------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """The sweep: nothing came for the flow's lifetime. If we were frozen, we don't know what came to another."""
        self.close(now, Ended.IDLE if now < self.proxy.holder.deadline else Ended.LOST)

    def close(self, instant: float, why: Ended) -> None:
        """End the flow."""
        if self.closed:
            return
        self.closed = True
        self.proxy.sweep.members.discard(self)
        if self.resolving is not None:
            self.resolving.cancel()
            self.resolving = None
        self._waited()
        self.candidates = _NONE
        self._leave()
        if self.handle is not None:
            self.proxy.table.close(self.handle, instant, why)
            self.handle = None
        self.proxy.forget(self)
        if self.kept is not None:
            self._keep(None)


_NONE: Iterator[Backend] = iter(())
