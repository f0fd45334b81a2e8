"""UDP through the balancer: one socket to a backend for each source, for as long as datagrams go by.

Decides which flow a datagram belongs to, when a flow begins, ends, and goes on to another backend. Which backend is the
pool's to say, and the flow table's for a source that had one. It must not know who holds the VIP, but until when.

    client ──▶ VIP's socket ──▶ flow of (address, port) ──▶ its own connected socket ──▶ backend
       ◀────── VIP's socket ◀──────────────────────────────── only the backend is heard

Three ways to read and write were weighed. uvloop's datagram transports copy each datagram into an object of its own,
make a task per endpoint, and do not say to which address a datagram went. recvmmsg is not in Python's library, and
through ctypes it costs more than it saves. What is done here: the loop says that a socket can be read, and it is read
until it is empty or BURST datagrams are through, into one buffer and out of it: no copy, no object that lives.

Before each datagram is read the clock is compared with the holder's deadline: a process that was frozen and thaws
takes nothing out of the queue it shares with its successor, and answers nothing.

A backend that is not there says so by ICMP, which comes as ECONNREFUSED, mostly one datagram late. So the latest
unanswered datagram of a flow is kept, and the next candidate gets it. A backend that is silent says nothing: UDP does
not know whether an answer was due, and its health checks have to find out.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Protocol

from cdnlab.forward.client import client_key
from cdnlab.net.clock import now
from cdnlab.node.metrics import Family, family
from lb.flow_entry import Address, Ended
from lb.udp_delay import Delay, Travels
from lb.udp_flow import UdpFlow, may_go_on
from lb.udp_socket import VIEW, Door
from lb.udp_stats import BYTES, DATAGRAMS, DROPPED, FLOWS, MOVED, QUEUED, Counts, Drop

if TYPE_CHECKING:
    from cdnlab.forward.forwarder import Forwarder
    from cdnlab.net.timers import Sweep
    from cdnlab.plan.layer4 import L4Spec
    from cdnlab.pool.backend import Backend
    from lb.flow_table import FlowTable

#: Datagrams read in one go before others get their turn, half a millisecond; and how many of them may begin a flow,
#: which takes ten times as long.
BURST, BEGINNINGS = 32, 8
#: Flows whose sockets are closed in one go.
ENDINGS = 100
#: Seconds that a balancer which ends waits for answers that are due.
ANSWERS = 1.0


class Holder(Protocol):
    """Until when (boot time) this process may answer."""

    deadline: float


class UdpProxy:
    """The flows of one port under one VIP."""

    def __init__(
        self,
        name: str,
        spec: L4Spec,
        forwarder: Forwarder,
        flows: FlowTable,
        *,
        holder: Holder,
        sweep: Sweep,
        vip: Address,
        place_of: Callable[[str], str] = lambda host: "",
    ) -> None:
        """`vip`: the address under which the flows stand in the table; it must be served there."""
        self.name = name
        self.spec = spec
        self.forwarder = forwarder
        self.table = flows
        self.holder = holder
        self.sweep = sweep
        self.vip = vip
        self.life = spec.idle_timeout
        self.counts = Counts()
        self.count = 0
        """Flows now."""
        self.kept = 0
        """Bytes of unanswered datagrams that are kept."""
        self._place_of = place_of
        self._clients: dict[str, dict[tuple[int, bytes], UdpFlow]] = {}
        self._members: tuple[Backend, ...] = ()
        self._names: dict[str, Backend] = {}
        self._addresses: set[tuple[str, int]] = set()
        self._door: Door | None = None
        """The socket that answers leave through: the newest of those that are read."""
        self._reading: dict[int, Door] = {}
        self._loop = asyncio.get_running_loop()
        self.delay = Delay(self._loop, self._arrived)
        self._quiet = asyncio.Event()
        self._leaving: list[UdpFlow] = []
        """Flows that are over since the VIP was lost, and still have their sockets."""

    # -- the seam to the VIP -----------------------------------------------------------------------------------

    def start_accepting(self, sock: socket.socket) -> None:
        """Read what comes to `sock`, which is bound, does not block, and stays the caller's; there may be several."""
        door = self._door = self._reading[sock.fileno()] = Door(sock)
        self._loop.add_reader(sock.fileno(), self._readable, door)

    def stop_accepting(self) -> None:
        """Read no more; answers still go out through the socket."""
        for number in self._reading:
            self._loop.remove_reader(number)
        self._reading.clear()

    def abort_all(self, reason: str) -> None:
        """Another balancer holds the VIP, or we end: relay nothing from here on. The flows' entries stay.

        Nothing is read any more, and no answer passes the deadline; the sockets are closed a few at a time.
        """
        self.stop_accepting()
        self.delay.stop()
        self._leaving += self.flows()
        self._leave_some()

    def _leave_some(self) -> None:
        instant, leaving = now(), self._leaving
        for _ in range(min(ENDINGS, len(leaving))):
            leaving.pop().close(instant, Ended.LOST)
        if leaving:
            self._loop.call_soon(self._leave_some)

    async def drain(self, deadline: float) -> None:
        """Let answers that are due come through, a second at most; then hand the flows over."""
        self.stop_accepting()
        self._quiet.clear()
        if self.kept or self.delay.bytes:
            try:
                async with asyncio.timeout(max(0.0, min(ANSWERS, deadline - now()))):
                    await self._quiet.wait()
            except TimeoutError:
                pass
        self.delay.stop()
        instant = now()
        for flow in list(self.flows()):
            flow.close(instant, Ended.DRAINED)

    def flows(self) -> Iterator[UdpFlow]:
        """The flows now."""
        return (flow for ports in self._clients.values() for flow in ports.values())

    # -- from clients ------------------------------------------------------------------------------------------

    def _readable(self, door: Door) -> None:
        holder, clients = self.holder, self._clients
        begun = 0
        for _ in range(BURST):
            instant = now()
            if instant >= holder.deadline:
                self.stop_accepting()  # what waits is for whoever holds the VIP; holding it again begins anew
                return
            try:
                size, client, at = door.read()
            except OSError:  # nothing more, or an ICMP error for an answer that a client did not want
                return
            ports = clients.get(client[0])
            flow = None if ports is None else ports.get((client[1], at))
            if flow is None:
                flow = self._begin(client, at, instant)
                begun += 1
            if flow is None:
                pass
            elif flow.half_trip:
                self.travel(flow, True, bytes(VIEW[:size]), instant)
            else:
                flow.up(VIEW[:size], instant)
            if begun == BEGINNINGS:
                return

    def _begin(self, client: Address, at: bytes, instant: float) -> UdpFlow | None:
        """A flow for a source that has none; None, and counted, where a bound or the pool says no."""
        host = client[0]
        ports = self._clients.get(host)
        if self.count >= self.spec.max_flows:
            self.counts.drop(Drop.FLOWS)
        elif ports is not None and len(ports) >= self.spec.max_flows_per_client:
            self.counts.drop(Drop.CLIENT_FLOWS)
        elif not client[1]:
            self.counts.drop(Drop.UNDELIVERABLE)
        elif self._is_ours(client):
            self.counts.drop(Drop.LOOP)
        else:
            place = self._place_of(host)
            flow = UdpFlow(self, client, at, place)
            self._clients.setdefault(host, {})[client[1], at] = flow
            self.count += 1
            why = flow.begin(self.candidates(client, place, instant), instant)
            if why is None:
                return flow
            self.counts.drop(why)
            flow.close(instant, Ended.UNREACHABLE)
        return None

    def _is_ours(self, client: Address) -> bool:
        """Whether a source, which anybody may put on a datagram, is one of those that answer datagrams here."""
        host, port = client[0], client[1]
        if port == self.vip[1] and (host == self.vip[0] or ip_address(self.vip[0]).is_unspecified):
            return True
        self._know_members()
        return (host, port) in self._addresses

    def _know_members(self) -> None:
        """Keep the pool's backends by name and by address, while they are the same."""
        members = self.forwarder.pool.backends
        if members is not self._members:
            self._members = members
            self._names = {each.name: each for each in members}
            self._addresses = {(each.host, each.port) for each in members}

    def candidates(
        self, client: Address, place: str, instant: float, without: Backend | None = None
    ) -> Iterator[Backend]:
        """Whom to try: the backend that the source belongs to, while it is up or drains, then as the pool says."""
        pool = self.forwarder.pool
        pinned = None
        if without is None and (name := self.table.find("udp", client, self.vip, instant)) is not None:
            self._know_members()
            pinned = self._names.get(name)
            if pinned is not None and self.keeps(pinned):
                yield pinned
        for backend in pool.candidates(place, None, self._key(client) if pool.keyed else b""):
            if backend is not pinned and backend is not without and backend.live < backend.limit:
                yield backend

    def keeps(self, backend: Backend) -> bool:
        """Whether flows stay with a backend: while it is up or drains, and in a panic, when no verdict counts."""
        return may_go_on(backend) or self.forwarder.pool.panic

    def _key(self, client: Address) -> bytes:
        """What an algorithm with keys goes by: the client's address, or both ends of the flow."""
        if self.forwarder.pool.by_source:
            return client_key(client[0])
        return f"{client[0]} {client[1]} {self.vip[0]} {self.vip[1]}".encode()

    def forget(self, flow: UdpFlow) -> None:
        """A flow has ended."""
        host, port = flow.client[0], flow.client[1]
        ports = self._clients.get(host)
        if ports is not None and ports.get((port, flow.at)) is flow:
            del ports[port, flow.at]
            self.count -= 1
            if not ports:
                del self._clients[host]

    # -- to clients --------------------------------------------------------------------------------------------

    def answer(self, flow: UdpFlow, data: bytes | memoryview, instant: float) -> None:
        """Send what a backend said to the client of its flow, if we still hold the VIP."""
        if instant >= self.holder.deadline or self._door is None:
            self.counts.drop(Drop.NOT_HOLDER)
            return
        try:
            self._door.write(data, flow.client, flow.at)
        except BlockingIOError:
            self.counts.drop(Drop.CLIENT_BUSY)
        except OSError:
            self.counts.drop(Drop.UNDELIVERABLE)
        else:
            self.counts.down += 1
            self.counts.down_bytes += len(data)

    def settled(self) -> None:
        """An answer that was due has come, or will not."""
        if not self.kept and not self.delay.bytes:
            self._quiet.set()

    # -- over a distance ---------------------------------------------------------------------------------------

    def travel(self, flow: UdpFlow, up: bool, data: bytes, instant: float) -> None:
        """Deliver `data` half a round trip from now."""
        if not self.delay.push(instant + flow.half_trip, flow, up, data):
            self.counts.drop(Drop.QUEUE)

    def _arrived(self, flow: Travels, up: bool, data: bytes) -> None:
        assert isinstance(flow, UdpFlow)
        if flow.closed:
            return
        instant = now()
        if up and instant >= self.holder.deadline:  # this process was frozen while it was under way
            self.counts.drop(Drop.NOT_HOLDER)
        elif up:
            flow.up(memoryview(data), instant)
        else:
            self.answer(flow, data, instant)
            self.settled()

    # -- what people see ---------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The row of /status."""
        return {
            "name": self.name,
            "protocol": "udp",
            "pool": self.forwarder.pool.name,
            "flows": self.count,
            "queued_bytes": self.kept + self.delay.bytes,
            "dropped": {str(why): count for why, count in self.counts.dropped.items() if count},
        }


def udp_families(proxies: Iterable[UdpProxy]) -> Iterator[Family]:
    """The rows of UDP_METRICS; what stands under several VIPs by one name is one service."""
    named: dict[str, list[UdpProxy]] = {}
    for proxy in proxies:
        named.setdefault(proxy.name, []).append(proxy)

    def total(name: str, value: Callable[[UdpProxy], int]) -> int:
        return sum(map(value, named[name]))

    ways = ("up", "down")
    yield family(DATAGRAMS, [((name, way), total(name, counted(way))) for name in named for way in ways])
    yield family(
        BYTES, [((name, way), total(name, counted(f"{way}_bytes"))) for name in named for way in ways]
    )
    yield family(DROPPED, [((name, str(why)), total(name, dropped(why))) for name in named for why in Drop])
    yield family(MOVED, [((name,), total(name, counted("moved"))) for name in named])
    yield family(FLOWS, [((name,), total(name, lambda each: each.count)) for name in named])
    yield family(
        QUEUED, [((name,), total(name, lambda each: each.kept + each.delay.bytes)) for name in named]
    )


def counted(name: str) -> Callable[[UdpProxy], int]:
    """One of a proxy's counters."""
    return lambda each: int(getattr(each.counts, name))


def dropped(why: Drop) -> Callable[[UdpProxy], int]:
    """How many datagrams a proxy dropped for this reason."""
    return lambda each: each.counts.dropped[why]
