"""A balancer's process: its pools, its VIPs, its failover, its health checks.

Decides the order in which these start and end. It must not know how a request is handled or who holds a VIP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from cdnlab.forward.connect import Connector
from cdnlab.forward.control import PoolControl
from cdnlab.forward.forwarder import Forwarder
from cdnlab.forward.metrics import listener_families, pool_families
from cdnlab.forward.pins import Pins
from cdnlab.forward.trail import Trail
from cdnlab.forward.upkeep import Upkeep
from cdnlab.forward.upstreams import (
    backend_rows,
    make_connector,
    make_forwarders,
    make_listener,
    make_upkeep,
    pool_rows,
)
from cdnlab.net import tasks
from cdnlab.net.clock import now
from cdnlab.net.listener import Listener, quiet
from cdnlab.net.timers import Sweep
from cdnlab.node.degrades import Feature
from cdnlab.node.metrics import Family, Tallies, family
from cdnlab.node.node import Node
from cdnlab.node.replica_metrics import families as replica_families
from cdnlab.plan.settings import Vip as VipSpec
from lb import failover_lease, traffic
from lb.configured import prepare
from lb.failover import State
from lb.failover_lease import Failover
from lb.http_proxy import HttpProxy
from lb.l4_listeners import Layer4, pools_of
from lb.rate_share import RateShare
from lb.routes import Routes, route_pools
from lb.stats import BYTES, DURATION, ERRORS, HOLDER, OUTCOMES, REQUESTS, STATE, TRANSITIONS
from lb.vip import Vip, inherited, open_own, open_steered

#: How often a balancer that starts looks whether a VIP is held.
LOOK = 0.01

#: Seconds that a balancer which ends takes to tell the others of its last pins.
LAST_WORDS = 0.5

#: Share of a lease by which each further balancer of the topology begins later, so that the first one written is the
#: first to hold a VIP (VRRP's skew time does the same by priority, RFC 9568 §6.1).
SKEW = 0.25


class Balancer:
    """The App of tier lb."""

    def __init__(self, node: Node) -> None:
        self.node = node
        topology = node.topology
        self.tallies = node.tallies = Tallies(OUTCOMES, topology.place_codes(), errors=ERRORS)
        self.vips = [Vip(spec.name) for spec in topology.vips]
        self._own: list[Vip] = []
        self.listeners: list[Listener] = []
        self.failovers: list[Failover] = []
        self.forwarders: dict[str, Forwarder] = {}
        self.upkeeps: dict[str, Upkeep] = {}
        """Of every pool that there was since the start, by its name."""
        self.connector: Connector | None = None
        self._sweep: Sweep | None = None
        self.proxy: HttpProxy | None = None
        self.layer4: Layer4 | None = None
        self.pins = Pins(node)
        """Which clients are kept with which backend."""
        node.connections = self._connections

    async def start(self) -> None:
        """Open what this balancer listens on, and take part in failover. StartError, PlanError."""
        node, topology = self.node, self.node.topology
        loop = asyncio.get_running_loop()
        sweep = self._sweep = Sweep(loop)
        connector = self.connector = make_connector(node, loop, sweep)
        routes = topology.balancer_routes()
        http = route_pools(routes)
        self.forwarders = make_forwarders(
            topology, http | pools_of(topology), connector, node.secrets.hash_key
        )
        proxy = HttpProxy(
            topology,
            node.name,
            Routes(routes),
            {name: self.forwarders[name] for name in sorted(http)},
            Trail(node.name),
            self.tallies,
            node.ring,
            topology.trusted_peers(node.name),
            node.secrets.explain_key,
        )
        self.proxy = proxy
        self.pins.attach(topology, self.forwarders.values())
        self.pins.start(self._forget)
        self.share_limits(proxy)
        for name, forwarder in self.forwarders.items():
            upkeep = self.upkeeps[name] = make_upkeep(node, forwarder)
            self.at_work(upkeep)
            upkeep.start()
        node.prepare = lambda other: prepare(self, other)
        node.pools = PoolControl(node, lambda: [each.pool for each in self.forwarders.values()]).asked
        if topology.l4:
            self.layer4 = Layer4(node, connector, self.forwarders, sweep)
        shared = []
        for spec, vip in zip(topology.vips, self.vips, strict=True):
            listener = None
            if spec.http:
                listener = make_listener(node, proxy, sweep, holder=vip)
                self.listeners.append(listener)
            shared.append(self._come_by(vip, spec, listener))
            if self.layer4 is not None:
                self.layer4.open(vip, spec)
        if self.layer4 is not None:
            self.layer4.start()
        for vip, by_others in zip(self.vips, shared, strict=True):
            await self._take_part(vip, shared=by_others)
        await self.pins.loaded()
        await self._until_held(2 * topology.failover.lease)

    def _come_by(self, vip: Vip, spec: VipSpec, listener: Listener | None) -> bool:
        """Open the VIP's sockets for HTTP, or take them over; whether other balancers have it, too. `listener`: None
        where it is layer 4's alone. PlanError."""
        inherits = any(key.partition("/")[0] == spec.name for key in self.node.inherited)
        descriptor = self.node.inherited.get(spec.name)
        address = self.node.topology.vip_address(spec)
        if listener is not None and descriptor is not None:
            vip.add(inherited(descriptor), listener, listener.abort_all)
        elif listener is not None and spec.provider == "reuseport":
            vip.add_steered(open_steered(*address), listener, listener.abort_all)
        elif listener is not None:
            vip.add(open_own(*address), listener, listener.abort_all)
        shared = inherits or spec.provider == "reuseport"
        if not shared:
            self._own.append(vip)
        return shared

    def at_work(self, upkeep: Upkeep) -> None:
        """Forget what connections remember whenever this pool chooses in another way."""
        upkeep.pool.watch(self._forget)

    async def _take_part(self, vip: Vip, *, shared: bool) -> None:
        """A VIP whose sockets others have, too, is held by lease; any other is ours alone."""
        node, topology = self.node, self.node.topology
        if not shared or node.store is None:
            await vip.hold_forever()
            return
        node.degrades.register(Feature.LEASES)
        spec = topology.failover
        failover = failover_lease.make(
            vip,
            node.store,
            lab=topology.name,
            node=node.name,
            lease=spec.lease,
            renew=spec.renew,
            events=node.events,
        )
        self.failovers.append(failover)
        rank = topology.tier("lb").index(node.name)
        tasks.spawn(self._fail_over(failover, rank * SKEW * spec.lease), f"failover {vip.name}")

    @staticmethod
    async def _fail_over(failover: Failover, skew: float) -> None:
        await asyncio.sleep(skew)
        await failover.run()

    async def _until_held(self, seconds: float) -> None:
        """Ready means that somebody answers under the VIPs; not for ever, since the store may be away."""
        deadline = now() + seconds
        # only at the start: a callback for this would outlive its use
        while now() < deadline and not all(each.held for each in self.failovers):  # noqa: ASYNC110
            await asyncio.sleep(LOOK)

    def share_limits(self, proxy: HttpProxy) -> None:
        """Count together with the other balancers what is to be counted so."""
        node = self.node
        if node.store is None:
            return
        if proxy.rate_share is None:
            proxy.rate_share = RateShare(node.store, node.topology.name)
            proxy.rate_share.serve(proxy.routes.limits())
            proxy.rate_share.start()
        if any(limit.spec.shared for limit in proxy.routes.limits()):
            node.degrades.register(Feature.RATE_LIMITS)

    def _forget(self) -> None:
        """A pool chooses in another way: what connections remember of their last request says by what key."""
        for listener in self.listeners:
            for connection in listener.connections:
                connection.forget()

    async def drain(self, deadline: float) -> None:
        """Hand the VIPs over, then finish what runs."""
        for failover in self.failovers:
            await failover.stop()
        for vip in self.vips:
            vip.stop_accepting()
        for vip in self._own:
            vip.close()  # nobody comes after us: who knocks now must be refused, not kept waiting
        for listener in self.listeners:
            listener.drain()
        flows = [self.layer4.drain(deadline)] if self.layer4 is not None else []
        await asyncio.gather(quiet(self.listeners, deadline), *flows)
        await self.pins.flushed(LAST_WORDS)

    async def stop(self) -> None:
        """Close everything."""
        self.pins.stop()
        for upkeep in self.upkeeps.values():
            upkeep.stop()
        if self.proxy is not None:
            self.proxy.stop()
        for listener in self.listeners:
            listener.abort_all("the balancer ends")
        if self.layer4 is not None:
            self.layer4.stop()
        for vip in self.vips:
            vip.close()
        if self.connector is not None:
            self.connector.close()
        if self._sweep is not None:
            self._sweep.stop()

    def status(self) -> Mapping[str, Any]:
        """Backends and VIPs."""
        rows = [failover.status() for failover in self.failovers]
        shared = {row["name"] for row in rows}
        rows += [
            {
                "name": vip.name,
                "state": str(self._state(vip)),
                "holder": self.node.name,
                "token": 0,
            }
            for vip in self.vips
            if vip.name not in shared
        ]
        return {
            "backends": [
                row for forwarder in self.forwarders.values() for row in backend_rows(forwarder.pool)
            ],
            "pools": pool_rows(forwarder.pool for forwarder in self.forwarders.values()),
            "resilience": [forwarder.status() for forwarder in self.forwarders.values()],
            "vips": rows,
            "traffic": traffic.rows(self.proxy.routes) if self.proxy is not None else [],
            **self.pins.status(),
            **(self.layer4.status() if self.layer4 is not None else {}),
        }

    def _connections(self) -> int:
        flows = self.layer4.connections if self.layer4 is not None else 0
        return flows + sum(len(listener.connections) for listener in self.listeners)

    def metrics(self) -> Iterable[Family]:
        """The tier's table, filled."""
        yield from self.tallies.families(DURATION, REQUESTS, BYTES)
        yield family(HOLDER, [((vip.name,), int(vip.accepting)) for vip in self.vips])
        states = [(vip.name, self._state(vip)) for vip in self.vips]
        yield family(
            STATE, [((name, str(each)), int(each is state)) for name, state in states for each in State]
        )
        yield family(
            TRANSITIONS,
            [
                ((vip.name, str(state)), count)
                for vip in self.vips
                for state, count in self._transitions(vip).items()
            ],
        )
        if self.proxy is not None:
            yield from traffic.families(self.proxy.routes)
        yield from self.pins.families()
        flows = self.layer4.flows.replica if self.layer4 is not None else None
        yield from replica_families((*self.pins.replicas, *(() if flows is None else (flows,))))
        yield from pool_families(self.forwarders.values())
        yield from listener_families(self.listeners)
        if self.layer4 is not None:
            yield from self.layer4.families()

    def _state(self, vip: Vip) -> State:
        for failover in self.failovers:
            if failover.vip is vip:
                return failover.machine.state
        return State.ACTIVE if vip.accepting else State.INITIALIZE

    def _transitions(self, vip: Vip) -> dict[State, int]:
        for failover in self.failovers:
            if failover.vip is vip:
                return failover.transitions
        return dict.fromkeys(State, 0)
