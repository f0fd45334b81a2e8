"""A node's pools, connections and listeners, made from the topology: what balancer and edge set up alike.

It decides nothing that a request could notice; it joins the typed topology to the pieces that act.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from cdnlab.forward.client import client_key
from cdnlab.forward.connect import Connector
from cdnlab.forward.explain import MARK_FIELD, check
from cdnlab.forward.forwarder import Forwarder
from cdnlab.forward.probe import Prober
from cdnlab.forward.upkeep import Upkeep
from cdnlab.net.clock import now, wall
from cdnlab.net.listener import Holder, Listener
from cdnlab.net.timers import Sweep
from cdnlab.node.health_answer import answer as health_answer
from cdnlab.pool.algorithms.registry import Settings
from cdnlab.pool.backend import Backend
from cdnlab.pool.gcra import Gcra
from cdnlab.pool.health import Transition
from cdnlab.pool.pool import Pool
from cdnlab.pool.reasons import Reason
from cdnlab.world.distance import nearest_first, round_trip

if TYPE_CHECKING:
    from cdnlab.net.exchange import Exchange, Handler
    from cdnlab.node.node import Node
    from cdnlab.plan.bounds import Limits
    from cdnlab.plan.topology import BackendSpec, PoolSpec, Topology, UpstreamSpec


def make_pool(topology: Topology, name: str, secret: bytes = b"") -> Pool:
    """The pool `name` with its backends, algorithm and order of places; `secret` is that of the hash nodes agree on."""
    backends = make_backends(topology, topology.backends(name))
    return Pool(name, backends, topology.pool(name).algorithm, settings_of(topology, name, secret))


def settings_of(topology: Topology, name: str, secret: bytes = b"") -> Settings:
    """What the algorithm of the pool `name` goes by."""
    spec = topology.pool(name)
    return Settings(
        nearest=places_by_distance(topology),
        inner=spec.inner,
        secret=secret,
        balance_factor=spec.balance_factor,
        by_source=spec.hash_on == "source",
    )


def make_backends(topology: Topology, specs: Iterable[BackendSpec]) -> list[Backend]:
    """Backends of which nothing is known yet."""
    return [
        Backend(
            each.name,
            each.address,
            each.port,
            place=each.place or "",
            weight=each.weight,
            priority=each.priority,
            check_port=each.check_port,
            tls=each.tls,
            server_name=each.server_name,
            ours=topology.ours(each),
        )
        for each in specs
    ]


def places_by_distance(topology: Topology) -> dict[str, list[str]]:
    """For each place, all places nearest first."""
    places = topology.all_places
    return {code: nearest_first(place, places.values()) for code, place in places.items()}


def trip_times(topology: Topology) -> Callable[[str, str], float] | None:
    """Seconds of a round trip between two places; None where distance is off."""
    if not topology.distance.enabled:
        return None
    places, stretch = topology.all_places, topology.distance.stretch

    @lru_cache(maxsize=4096)
    def seconds(a: str, b: str) -> float:
        return round_trip(places[a], places[b], stretch=stretch)

    return seconds


def place_finder(topology: Topology) -> Callable[[str], str]:
    """Where an address stands; the default place if no prefix says."""
    table, default = topology.prefix_table(), topology.default_place

    def place_of(address: str) -> str:
        try:
            return table.lookup(address) or default
        except ValueError:  # a Unix socket's peer has no address
            return default

    return place_of


def make_connector(
    node: Node, loop: asyncio.AbstractEventLoop, sweep: Sweep, spec: UpstreamSpec | None = None
) -> Connector:
    """This node's upstream connections: from its own address, over links if distance is on. `spec`: what it gives the
    backends, where that is not the topology's `upstream`."""
    topology = node.topology
    return Connector(
        loop,
        sweep,
        spec or topology.upstream,
        source_address=own_address(node),
        round_trip=trip_times(topology),
        window=topology.distance.window,
    )


def make_forwarders(
    topology: Topology, names: set[str], connector: Connector, secret: bytes = b""
) -> dict[str, Forwarder]:
    """A forwarder for each pool named; `secret` is that of the hash nodes agree on."""
    return {name: _forwarder(topology, name, connector, secret) for name in sorted(names)}


def _forwarder(topology: Topology, name: str, connector: Connector, secret: bytes) -> Forwarder:
    spec = topology.pool(name)
    pool = make_pool(topology, name, secret)
    return Forwarder(pool, connector, spec.retry, spec.breaker, ask=spec.health.kind != "none")


def own_address(node: Node) -> str | None:
    """The address this node connects from, None for the kernel's choice.

    A node binds one of its own addresses, so that its peers can trust single addresses: on loopback a trusted range
    would be everybody. A node alone has no peers that need to know it, and its origin may be elsewhere: not bound.
    Nor is one that stands on several networks, since only the kernel knows which of its addresses leads where.
    """
    spec = node.topology.node(node.name)
    parsed = ip_address(spec.address)
    bound = len(node.topology.nodes) > 1 and parsed.version == 4 and not parsed.is_unspecified
    return spec.address if bound and not spec.addresses else None


def make_upkeep(
    node: Node,
    forwarder: Forwarder,
    *,
    like: PoolSpec | None = None,
    heard: Callable[[Backend, Transition], None] | None = None,
) -> Upkeep:
    """The checks and the other care of a forwarder's pool; each change of state is an event of this node, and `heard`
    is told.

    `like`: whose settings hold, where the pool is none of the topology's own. This node itself is not checked.
    """
    pool = forwarder.pool
    spec = like or node.topology.pool(pool.name)
    prober = Prober(
        pool,
        spec.health,
        source_address=own_address(node),
        host=spec.origin_host,
        without=node.name if like is not None else "",
    )
    return Upkeep(forwarder, spec, prober, node.events, heard)


def explains(key: bytes) -> Callable[[Exchange], bool]:
    """Whether an exchange bears a valid mark under `key`."""

    def explained(exchange: Exchange) -> bool:
        for name, value in exchange.volatile:
            if name == MARK_FIELD:
                line = exchange.line
                return check(key, value, line.method, line.target.canonical, wall())
        return False

    return explained


def make_listener(
    node: Node,
    handler: Handler,
    sweep: Sweep,
    *,
    holder: Holder | None = None,
    accept_rtt: Callable[[str], float] | None = None,
    proxy_protocol: bool = False,
) -> Listener:
    """A listener of this node with the topology's limits and trust."""
    topology = node.topology
    listener = Listener(
        handler,
        name=node.name,
        limits=topology.limits,
        sweep=sweep,
        place_of=place_finder(topology),
        trusted=topology.trusted_peers(node.name),
        holder=holder,
        alive=lambda: health_answer(node.state_now, node.name),
        explain=explains(node.secrets.explain_key),
        accept_rtt=accept_rtt,
        proxy_protocol=proxy_protocol,
        window=topology.distance.window,
        pacer=make_pace,
    )
    listener.on_refusal = _remember_refusals(node)
    node.fault_desk.attach(listener)
    return listener


def make_pace(limits: Limits) -> Callable[[str], float] | None:
    """What holds each client to the rate of new connections that `limits` allow; None if they allow any."""
    if limits.connection_rate is None:
        return None
    gcra = Gcra(limits.connection_rate, limits.connection_burst)
    return lambda peer: gcra.wait(client_key(peer), now())


def _remember_refusals(node: Node) -> Callable[[str, int, str], None]:
    """Refusals before the tier saw a request stand in its log, too: what a person sent may be just that."""
    place_of = place_finder(node.topology)

    def refused(peer: str, status: int, text: str) -> None:
        entry = (wall(), "-", "", "", status, "refused", place_of(peer), 0.0, "", 0, text, "", peer)
        node.ring.seen += 1
        node.ring.entries.append(entry)

    return refused


def pool_rows(pools: Iterable[Pool]) -> list[dict[str, Any]]:
    """The pools themselves for /status: how they choose, and whether they panic."""
    return [
        {
            "pool": pool.name,
            "algorithm": pool.algorithm_name,
            "backends": len(pool.backends),
            "usable": sum(backend.usable for backend in pool.backends),
            "panic": pool.panic,
        }
        for pool in pools
    ]


def backend_rows(pool: Pool) -> list[dict[str, Any]]:
    """The pool's backends for /status. No address: names are what people and strangers may read."""
    since_boot = wall() - now()
    rows = []
    for backend in pool.backends:
        state, reason, since = _standing(backend)
        if pool.panic and not backend.usable and backend.wanted:
            reason += "; it is used all the same, since the pool panics"
        rows.append(
            {
                "pool": pool.name,
                "name": backend.name,
                "place": backend.place or None,
                "state": state,
                "usable": backend.usable,
                "reason": reason,
                "since": round(since_boot + since, 3) if since else None,
                "live": backend.live,
                "served": backend.served,
                "failures": backend.failures,
                "weight": backend.weight,
                "share": round(backend.share, 3),
                "ejections": backend.ejections,
            }
        )
    return rows


def _standing(backend: Backend) -> tuple[str, str, float]:
    """(state, why, since when by the steady clock, 0 if nobody noted it)."""
    health, why = backend.health, backend.reason()
    if why is Reason.DRAINING or why is Reason.NO_WEIGHT:
        return "draining", why.sentence, 0.0
    if why is Reason.EJECTED:
        return "ejected", backend.ejected_why or why.sentence, backend.ejected_at
    reason = health.detail or why.sentence
    if backend.ramp < 1:
        reason += f"; slow start, {backend.ramp:.0%} of its weight"
    return str(health.state), reason, health.since
