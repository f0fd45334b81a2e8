"""A listener at layer 4 for TCP: who may have a flow, which backend it gets, and what becomes of flows when it ends.

Decides admission and the bounds. It must not know how a backend is chosen (l4_choice.py), how bytes are carried
(l4_relay.py, l4_linked.py), what a PROXY header or a ClientHello looks like, nor who holds the VIP, but until
when this process does.

Limits refuse with a reset: at layer 4 there is no status to answer with, and a client that is left to wait learns
nothing. A client that only connects costs two descriptors, and one that owes us a header or a ClientHello one; after
`opening_timeout` that is over, and `max_flows` bounds how many there are.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cdnlab.net.clock import now
from cdnlab.net.listener import Always, Holder
from cdnlab.net.tasks import spawn
from cdnlab.net.timers import Sweep
from cdnlab.pool.reasons import Reason
from lb.flow_entry import Ended
from lb.l4_choice import EXHAUSTED, Choice, failed
from lb.l4_flow import TELL, Address, Flow, Refusal
from lb.l4_half import abort
from lb.l4_linked import Linked
from lb.l4_names import ServerNames
from lb.l4_relay import AVAILABLE, Relay
from lb.l4_stats import Refused

if TYPE_CHECKING:
    from cdnlab.forward.connect import Connector
    from cdnlab.forward.forwarder import Forwarder
    from cdnlab.plan.layer4 import L4Spec
    from lb.flow_table import FlowTable

ACCEPTS = 64
"""Connections taken in one go."""
PAUSE = 0.05
"""Seconds without accepting after the system had nothing left, or while the VIP may be somebody else's."""
LOOK = 0.05
"""How often a drain looks whether flows are left."""


@dataclass
class Around:
    """What the proxies of one balancer share."""

    connector: Connector
    forwarders: Mapping[str, Forwarder]
    sweep: Sweep
    place_of: Callable[[str], str]
    trusted: frozenset[str] = frozenset()
    table: FlowTable | None = None
    opening_timeout: float = 10.0
    pace: Callable[[str], float] | None = None
    """Seconds that a client's next connection is too early, counting it if it is not; None: any rate will do."""
    send_proxy: Mapping[str, str] = field(default_factory=dict)
    """"v1" or "v2" by pool, for those whose backends want a PROXY header."""
    flows: int = 0
    """Those of all listeners now."""
    most: int = 1 << 30
    """Of them, as many as descriptors allow."""
    copies: bool = False
    """Carry through transports even where there is epoll (for tests)."""


class TcpProxy:
    """One entry of `l4` under one VIP."""

    def __init__(
        self, name: str, spec: L4Spec, around: Around, address: Address, holder: Holder | None = None
    ) -> None:
        """`address`: where it listens, and under which its flows stand in the table; they must be served there."""
        self.name = name
        self.address = address
        self.holder: Holder = holder or Always()
        self.around = around
        self.spec = spec
        self.pool = spec.pool
        self.accept_proxy = spec.accept_proxy
        self.names = ServerNames(spec.sni, spec.pool) if spec.sni else None
        self.idle_timeout = spec.idle_timeout
        self.look = min(TELL, spec.idle_timeout / 2)
        self.flows: set[Flow] = set()
        self.per_client: dict[str, int] = {}
        self.accepted = 0
        self.up = self.down = 0
        """Bytes relayed, by direction."""
        self.retries = 0
        self.ends: dict[Ended, int] = dict.fromkeys(Ended, 0)
        self.refusals: dict[Refused, int] = dict.fromkeys(Refused, 0)
        self._choice = Choice(around.connector, around.table, self.address, spec.connect_timeout)
        self._loop = asyncio.get_running_loop()
        self._socks: list[socket.socket] = []
        self.relay: Relay | None = None
        if AVAILABLE and not around.copies:
            self.relay = Relay(self._loop, self.holder, self._lost)

    # -- accepting ------------------------------------------------------------------------------------------------

    def start_accepting(self, sock: socket.socket) -> None:
        """Accept from a listening, non-blocking socket, which stays the caller's; there may be several."""
        self._socks.append(sock)
        self._loop.add_reader(sock, self._accept, sock)

    @property
    def accepting(self) -> bool:
        """Whether connections are accepted."""
        return bool(self._socks)

    def stop_accepting(self) -> None:
        """Accept no more; flows go on."""
        for sock in self._socks:
            self._loop.remove_reader(sock)
        self._socks.clear()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS):
            instant = now()
            if instant > self.holder.deadline:  # whoever waits is the successor's
                self._pause(listening)
                return
            try:
                sock, peer = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                self.refusals[Refused.SYSTEM] += 1
                self._pause(listening)
                return
            sock.setblocking(False)
            self._admit(sock, peer[:2], instant)

    def _pause(self, listening: socket.socket) -> None:
        self._loop.remove_reader(listening)
        self._loop.call_later(PAUSE, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._socks:
            self._loop.add_reader(listening, self._accept, listening)

    def _admit(self, sock: socket.socket, peer: Address, instant: float) -> None:
        self.accepted += 1
        why = self._may(peer[0])
        if why is not None:
            self.refusals[why] += 1
            abort(sock)
            return
        flow = Flow(self, sock, peer, instant)
        self.flows.add(flow)
        self.around.flows += 1
        self.around.sweep.members.add(flow)
        self.per_client[peer[0]] = self.per_client.get(peer[0], 0) + 1
        flow.task = spawn(flow.open(), f"open flow {self.name}")

    def _may(self, host: str) -> Refused | None:
        """Why a peer may not have a flow, or None."""
        if len(self.flows) >= self.spec.max_flows:
            return Refused.TOO_MANY
        if self.around.flows >= self.around.most:
            return Refused.SYSTEM
        if self.accept_proxy:  # it speaks for others, whose limits hold once it has said for whom
            return None if host in self.around.trusted else Refused.STRANGER
        if self.per_client.get(host, 0) >= self.spec.max_flows_per_client:
            return Refused.TOO_MANY_FROM_CLIENT
        return Refused.TOO_FAST if self._too_fast(host) else None

    def _too_fast(self, host: str) -> bool:
        pace = self.around.pace
        return pace is not None and host not in self.around.trusted and pace(host) > 0

    def becomes(self, flow: Flow, client: Address) -> Refused | None:
        """A PROXY header says who the client is; why that one may not have one more flow, or None."""
        if self.per_client.get(client[0], 0) >= self.spec.max_flows_per_client:
            return Refused.TOO_MANY_FROM_CLIENT
        if self._too_fast(client[0]):
            return Refused.TOO_FAST
        self._uncount(flow.client[0])
        self.per_client[client[0]] = self.per_client.get(client[0], 0) + 1
        flow.client = client
        return None

    def _uncount(self, host: str) -> None:
        count = self.per_client.get(host, 0) - 1
        if count > 0:
            self.per_client[host] = count
        else:
            self.per_client.pop(host, None)

    # -- choosing and connecting ----------------------------------------------------------------------------------

    async def connect(self, flow: Flow) -> None:
        """Connect to the first candidate that can be, and have the flow relayed. Refusal."""
        around = self.around
        hello = flow.hello
        name = self.pool if hello is None or self.names is None else self.names.pool(hello.server_name)
        forwarder = flow.forwarder = around.forwarders[name]
        pool, place = forwarder.pool, around.place_of(flow.client[0])
        tried = 0
        for backend in self._choice.candidates(flow.client, flow.vip, forwarder, place):
            if tried > forwarder.max_retries:
                break
            if tried:
                self.retries += 1
            tried += 1
            pool.acquire(backend)
            try:
                far = await self._choice.dial(backend, forwarder)
            except BaseException:  # the VIP was lost, or the drain is over
                pool.release(backend)
                raise
            if far is None:
                pool.release(backend)
                continue
            if now() > self.holder.deadline:
                pool.release(backend)
                far.close()
                raise Refusal(Refused.NOT_HOLDER)
            if flow.sock is None:  # given up meanwhile
                pool.release(backend)
                far.close()
                return
            flow.backend = backend
            try:
                await self._carry(flow, far, name, place)
            except OSError:
                flow.backend = None
                pool.release(backend)
                raise Refusal(Refused.CLIENT_LEFT) from None
            return
        raise Refusal(Refused.UNREACHABLE if tried else Refused.NO_BACKEND)

    async def _carry(self, flow: Flow, far: socket.socket, pool: str, place: str) -> None:
        """From here on its bytes go by: over a link where the backend is at a distance."""
        around, backend = self.around, flow.backend
        assert backend is not None
        assert flow.sock is not None
        local: Address = far.getsockname()[:2] if backend.unix is None else ("0.0.0.0", 0)
        version = around.send_proxy.get(pool, "off")
        ahead, flow.ahead = flow.ahead, b""
        if version != "off":
            ahead = flow.sent_before(version) + ahead
        rtt = 0.0
        trip = around.connector.round_trip
        if trip is not None and backend.place and place:
            rtt = trip(place, backend.place)
        near = flow.sock
        if self.relay is not None and rtt <= 0:
            try:
                pair = self.relay.join(flow, near, far)
            except OSError:  # no room in the kernel's table, or a socket that is gone
                far.close()
                raise
            flow.sock, flow.carrier = None, pair
            self._enter(flow, local)
            if ahead:
                pair.first(ahead)
            return
        linked = Linked(flow, self.holder, self._lost)
        flow.sock, flow.carrier = None, linked
        self._enter(flow, local)
        try:
            await linked.join(near, far, ahead, rtt=rtt, window=around.connector.window)
        except OSError:
            flow.over(Ended.CLIENT)

    def _enter(self, flow: Flow, local: Address) -> None:
        table, instant = self.around.table, now()
        flow.seen = instant
        assert flow.backend is not None
        if table is not None:
            flow.handle = table.open(flow.client, self.address, local, flow.backend, "tcp", instant)

    # -- what flows tell ------------------------------------------------------------------------------------------

    def told(self, flow: Flow, up: int, down: int) -> None:
        """So many bytes more went by."""
        self.up += up
        self.down += down
        if flow.handle is not None and self.around.table is not None:
            self.around.table.touch(flow.handle, flow.seen, up, down)

    def ended(self, flow: Flow, why: Ended) -> None:
        """A flow that was relayed is over."""
        self.ends[why] += 1
        self._forget(flow)
        carrier, backend, forwarder = flow.carrier, flow.backend, flow.forwarder
        assert carrier is not None
        assert backend is not None
        assert forwarder is not None
        if carrier.down:
            if backend.streak:
                backend.streak = 0
        elif why is Ended.BACKEND:  # broke off before it said a byte: what at layer 7 is no answer
            failed(backend, forwarder, Reason.RESPONSE_FAILED)
        forwarder.pool.release(backend)
        if flow.handle is not None and self.around.table is not None:
            self.around.table.close(flow.handle, now(), why)

    def refused(self, flow: Flow, why: Refused) -> None:
        """A connection did not become a flow."""
        self.refusals[why] += 1
        self._forget(flow)

    def _forget(self, flow: Flow) -> None:
        self.flows.discard(flow)
        self.around.flows -= 1
        self.around.sweep.members.discard(flow)
        self._uncount(flow.client[0])

    # -- the end --------------------------------------------------------------------------------------------------

    def _lost(self) -> None:
        """A flow had something to relay when the VIP's time was over."""
        self.abort_all("the VIP's time was over")

    def abort_all(self, reason: str, why: Ended = Ended.LOST) -> int:
        """Break every flow; how many there were."""
        flows = list(self.flows)
        for flow in flows:
            flow.end(why, Refused.NOT_HOLDER)
        return len(flows)

    async def drain(self, deadline: float) -> None:
        """Accept no more, let flows finish, and break what is left at `deadline` (boot time) or after `spec.drain`."""
        self.stop_accepting()
        deadline = min(deadline, now() + self.spec.drain)
        while self.flows and now() < deadline:  # noqa: ASYNC110 -- as for HTTP: an event would cost every flow
            await asyncio.sleep(LOOK)
        self.abort_all("drained", Ended.DRAINED)

    def close(self) -> None:
        """Everything at once."""
        self.stop_accepting()
        self.abort_all("the balancer ends", Ended.DRAINED)
        if self.relay is not None:
            self.relay.close()

    def status(self) -> dict[str, Any]:
        """This listener's member of "l4" in /status."""
        return {
            "name": self.name,
            "protocol": "tcp",
            "address": f"{self.address[0]}:{self.address[1]}",
            "pool": self.pool,
            "accepting": self.accepting,
            "flows": len(self.flows),
            "max_flows": self.spec.max_flows,
            "accepted": self.accepted,
            "ended": {str(why): count for why, count in self.ends.items() if count},
            "refused": {str(why): count for why, count in self.refusals.items() if count},
            "bytes": {"up": self.up, "down": self.down},
        }
