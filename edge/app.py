"""An edge's process: its storage, its pool, its listener, its health checks.

Decides the order in which these start and end. It must not know how a request is handled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cdnlab.forward.control import PoolControl
from cdnlab.forward.forwarder import Forwarder
from cdnlab.forward.key import key_rules
from cdnlab.forward.metrics import listener_families, pool_families
from cdnlab.forward.pins import Pins
from cdnlab.forward.trail import Trail
from cdnlab.forward.upkeep import Upkeep as PoolUpkeep
from cdnlab.forward.upstreams import (
    backend_rows,
    make_connector,
    make_forwarders,
    make_listener,
    make_upkeep,
    place_finder,
    pool_rows,
    trip_times,
)
from cdnlab.net import tasks
from cdnlab.net.clock import now
from cdnlab.net.listener import Listener
from cdnlab.net.timers import Sweep
from cdnlab.node.metrics import Family
from cdnlab.node.node import Node
from cdnlab.node.process import binding
from cdnlab.node.replica_metrics import families as replica_families
from cdnlab.plan.topology import Topology
from cdnlab.pool.backend import Backend
from edge import cache_status, stats
from edge.cache import Cache
from edge.coding.coder import Coder
from edge.coding.rules import from_spec
from edge.collapse import Flights
from edge.configured import prepare, settings_of
from edge.disk.opening import attach, directory_of, last_words, open_disk
from edge.disk.opening import status as disk_status
from edge.disk.storage import DiskStorage
from edge.explain import explain
from edge.fetch import Fetch
from edge.neighbours import Neighbours
from edge.parents import Parents
from edge.purge.asked import target_rule
from edge.purge.office import Office
from edge.results import new_tallies
from edge.upkeep import Upkeep, storage_of

LOOK = 0.05  # seconds between looks whether a drain is over
TICK = 0.25  # seconds between looks at who has waited too long
BACKLOG = 1024
LAST_WRITES = 1.0  # seconds at the end for what waits to be written to disk


class Edge:
    """The App of tier edge."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.tallies = node.tallies = new_tallies(node.topology.place_codes())
        self.cache: Cache | None = None
        self._directory = directory_of(node)
        self.office = Office(node, self._directory, target=target_rule(key_rules(node.topology.routes)))
        """What is done about purges."""
        self.disk: DiskStorage | None = None
        self.listener: Listener | None = None
        self._forwarders: dict[str, Forwarder] = {}
        self._pool_upkeep: PoolUpkeep | None = None
        self._neighbours: Neighbours | None = None
        self._server: asyncio.Server | None = None
        self._address: tuple[str, int] | None = None
        self._sweep: Sweep | None = None
        self.pins = Pins(node)
        """Which clients are kept with which origin."""
        node.connections = lambda: len(self.listener.connections) if self.listener else 0

    async def start(self) -> None:
        """Open what this edge listens on. StartError, PlanError."""
        node, topology = self.node, self.node.topology
        loop = asyncio.get_running_loop()
        disk = self.disk = open_disk(node, self._directory, self.office.purges)
        sweep = self._sweep = Sweep(loop)
        connector = make_connector(node, loop, sweep)
        self._forwarders = make_forwarders(topology, {topology.edge.pool}, connector, node.secrets.hash_key)
        forwarder = self._forwarders[topology.edge.pool]
        cache = self.cache = self._make_cache(forwarder)
        if disk is not None:
            attach(cache, disk, topology.edge.object_max)
        self.keep_clients(topology)
        self.pins.start()
        self._meet(Neighbours(node, loop, sweep), forwarder, cache)
        node.explain = lambda asked: explain(cache, asked)
        self._pool_upkeep = make_upkeep(node, forwarder)
        self._pool_upkeep.start()
        node.pools = PoolControl(node, lambda: [each.pool for each in self._forwarders.values()]).asked
        await self.office.start(cache)
        await self.pins.loaded()
        self.listener = make_listener(node, cache, sweep, accept_rtt=self._accept_rtt())
        with binding(*topology.data_address(node.name), f"--listen, or nodes.{node.name} in the topology"):
            await self._turn(False)
        node.fault_desk.turns.append(self._turn)
        tasks.spawn(self._tick(cache), "edge tick")
        upkeep = Upkeep(cache.storage)
        node.policy = upkeep.change
        tasks.spawn(upkeep.run(), "edge upkeep")
        node.prepare = lambda topology: prepare(self, topology)

    def keep_clients(self, topology: Topology) -> None:
        """Keep clients with their origin as `topology` says."""
        forwarder = self._forwarders[topology.edge.pool]
        self.pins.attach(topology, [forwarder])
        if self.cache is not None:
            sticky = forwarder.sticky
            self.cache.sticky = sticky if sticky is not None and sticky.mode == "cookie" else None

    def upkeeps(self) -> list[PoolUpkeep]:
        """Those of the pools that the topology describes."""
        return [self._pool_upkeep] if self._pool_upkeep is not None else []

    async def _turn(self, shut: bool) -> None:
        """Take connections, or refuse them. OSError if the address can't be had."""
        if shut and self._server is not None:
            self._server.close()
        elif not shut and self.listener is not None:
            # an address that was chosen by the system stays the same after a fault
            host, port = self._address or self.node.topology.data_address(self.node.name)
            self._server = await asyncio.get_running_loop().create_server(
                self.listener, host, port, backlog=BACKLOG, reuse_address=True
            )
            self._address = self._server.sockets[0].getsockname()[:2]

    def _meet(self, neighbours: Neighbours, origin: Forwarder, cache: Cache) -> None:
        """Let the cache ask other edges, where there are any to ask."""
        self._neighbours = neighbours
        self._forwarders |= {each.pool.name: each for each in neighbours.forwarders}
        cache.parents = Parents(
            self.node.name,
            origin,
            sharing=neighbours.sharing,
            shield=neighbours.shield,
            position=self.office.purges.line,
        )

        def lost(backend: Backend) -> None:
            for fetch in cache.flights.under_way():
                fetch.lose(backend)

        neighbours.start(self.node, lost)

    def _make_cache(self, forwarder: Forwarder) -> Cache:
        node, topology = self.node, self.node.topology
        spec = topology.edge
        settings = settings_of(node, topology)
        storage = storage_of(spec.memory, spec.policy, spec.variants_max, spec.shadows)
        flights: Flights[Fetch] = Flights(spec.collapse_waiters, spec.collapse_timeout)
        rules = from_spec(spec.compression, spec.memory)
        coder = None
        if rules is not None:
            edges = frozenset(name.encode() for name in topology.tier("edge"))
            coder = Coder(rules, storage, cache_status.name(node.name.encode()), edges)
        return Cache(
            settings, storage, flights, forwarder, Trail(node.name), self.tallies, node.ring,
            purges=self.office.purges, coder=coder,
        )  # fmt: skip

    def _accept_rtt(self) -> Callable[[str], float] | None:
        """A client that asks this edge directly is felt at its distance; our own tiers have applied theirs."""
        node, topology = self.node, self.node.topology
        place, seconds = node.place, trip_times(topology)
        if place is None or seconds is None:
            return None
        trusted, place_of = topology.trusted_peers(node.name), place_finder(topology)
        return lambda peer: 0.0 if peer in trusted else seconds(place_of(peer), place)

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it listens: the port that the system chose, if 0 was asked for."""
        return self._address

    async def _tick(self, cache: Cache) -> None:
        while True:
            await asyncio.sleep(TICK)
            cache.tick()

    async def drain(self, deadline: float) -> None:
        """Stop accepting, finish what runs."""
        if self._server is not None:
            self._server.close()
        if self.listener is None:
            return
        self.listener.drain()
        while self.listener.connections and now() < deadline:  # noqa: ASYNC110 - once in a node's life
            await asyncio.sleep(LOOK)
        await self.pins.flushed(LAST_WRITES)

    async def stop(self) -> None:
        """Close everything."""
        self.pins.stop()
        if self._pool_upkeep is not None:
            self._pool_upkeep.stop()
        if self._neighbours is not None:
            self._neighbours.stop()
        if self._server is not None:
            self._server.close()
        if self.listener is not None:
            self.listener.abort_all("the edge ends")
        for forwarder in self._forwarders.values():
            forwarder.connector.close()
        if self._sweep is not None:
            self._sweep.stop()
        if self.cache is not None and self.cache.coder is not None:
            self.cache.coder.stop()
        if self.disk is not None:
            await last_words(self.cache, self.disk, LAST_WRITES)

    def status(self) -> Mapping[str, Any]:
        """Backends, and what is stored."""
        cache = self.cache
        if cache is None:
            return {}
        return {
            "backends": [row for each in self._forwarders.values() for row in backend_rows(each.pool)],
            "pools": pool_rows(each.pool for each in self._forwarders.values()),
            "resilience": [each.status() for each in self._forwarders.values()],
            "storage": Upkeep(cache.storage).status(),
            "disk": disk_status(cache.shelf),
            "fetches": len(cache.flights),
            "purges": self.office.status(),
            **self.pins.status(),
        }

    def metrics(self) -> Iterable[Family]:
        """The tier's table, filled, and the shared parts'."""
        if self.cache is not None:
            yield from stats.families(self.cache)
            yield from Upkeep(self.cache.storage).metrics()
            yield from self.office.families()
        yield from self.pins.families()
        yield from replica_families(self.pins.replicas)
        yield from pool_families(self._forwarders.values())
        if self.listener is not None:
            yield from listener_families([self.listener])
