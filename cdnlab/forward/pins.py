"""A node's pins: those of all its pools that keep their clients, shared with the other nodes through the store.

Owns what the pools have in common: the one replica, the cookie keys, and the tick. A new version of the topology brings
new pools; a pool that goes on under its name keeps its pins.

It must not know requests; sticky.py decides where they go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import TYPE_CHECKING, Any

from cdnlab.forward.sticky import Stickiness
from cdnlab.net.clock import now, wall
from cdnlab.net.tasks import spawn
from cdnlab.node import secrets
from cdnlab.node.degrades import Feature
from cdnlab.node.metrics import Family, MetricSpec, family
from cdnlab.node.replica import Entry, Replica
from cdnlab.pool.pin_cookie import Refused
from cdnlab.pool.sticky import COOKIE, KEY_BYTES, Repin

if TYPE_CHECKING:
    from cdnlab.forward.forwarder import Forwarder
    from cdnlab.node.node import Node
    from cdnlab.plan.pools import PoolSpec
    from cdnlab.plan.topology import Topology

log = logging.getLogger("cdnlab.pins")

TOPIC = "pins"
NAME_MAX = 255  # bytes of a backend's name that others may tell
TICK = 1.0  # seconds between looks for pins whose life is over, and for cookie keys
LOAD = 0.5
"""Seconds that a node that starts waits to be told of all pins. Beyond, it serves with what it knows by then."""

PINS = MetricSpec("cdnlab_pool_pins", "gauge", ("pool",), "Clients in the table of pins.")
MADE = MetricSpec(
    "cdnlab_pool_pins_made_total", "counter", ("pool",), "Clients pinned that were not pinned before."
)
REPINS = MetricSpec(
    "cdnlab_pool_repins_total", "counter", ("pool", "reason"), "Clients moved off their backend, and why."
)
REFUSED = MetricSpec(
    "cdnlab_pool_pin_cookies_refused_total",
    "counter",
    ("pool", "reason"),
    "Cookies of ours that pinned nobody, and why.",
)
EVICTED = MetricSpec(
    "cdnlab_pool_pins_evicted_total", "counter", ("pool",), "Pins that had to go since the table was full."
)
PIN_METRICS = (PINS, MADE, REPINS, REFUSED, EVICTED)


class Pins:
    """The pins of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._by_pool: dict[bytes, Stickiness] = {}
        self.replica: Replica | None = None
        known = node.secrets.cookie_keys
        self._keys: tuple[Mapping[str, bytes], str] = (known, max(known, key=secrets.age_order))
        """Those that verify, by id, and the id of the one that signs."""
        self._forget: Callable[[], None] = lambda: None
        self._started = False
        self._look_for_keys()

    def attach(self, topology: Topology, forwarders: Iterable[Forwarder]) -> None:
        """Let the pools of these forwarders keep their clients, as `topology` says. Pools that are not a topology's own
        don't."""
        before, self._by_pool = self._by_pool, {}
        for forwarder in forwarders:
            pool = forwarder.pool
            spec = topology.pools.get(pool.name)
            forwarder.sticky = None
            if spec is None or spec.sticky.mode == "off":
                continue
            cookie = cookie_name(topology.pools, pool.name)
            had = before.get(pool.name.encode())
            if had is not None and had.pool is pool and had.says(spec.sticky, cookie):
                forwarder.sticky = self._by_pool[pool.name.encode()] = had
                continue
            made = Stickiness(pool, spec.sticky, cookie, self._node.secrets.hash_key)
            if had is not None:
                made.take_over(had)
            made.use_keys(*self._keys)
            made.share, made.away = self._sharer(pool.name.encode(), spec), self._away
            forwarder.sticky = self._by_pool[pool.name.encode()] = made
        for gone in before.values():
            if gone not in self._by_pool.values():
                gone.leave()
        self._begin_to_share()

    def start(self, forget: Callable[[], None] = lambda: None) -> None:
        """Begin to share, and to tick. `forget` is called when connections have to forget what they remember of their
        clients, for a key was rotated."""
        self._forget, self._started = forget, True
        self._begin_to_share()
        spawn(self._ticks(), "pins")

    def _begin_to_share(self) -> None:
        node = self._node
        if node.store is None or self.replica is not None or not (self._started and self._by_pool):
            return
        node.degrades.register(Feature.PINS)
        life = max(each.table.lifetime for each in self._by_pool.values())
        most = sum(each.table.most for each in self._by_pool.values())
        self.replica = Replica(
            node.store, node.topology.name, TOPIC, self._merge, self._each, life=life, most=most
        )
        self.replica.start()

    async def flushed(self, within: float) -> None:
        """Wait until the others have been told of all pins, for at most `within` seconds: before a node ends."""
        if self.replica is not None and self._node.store is not None and self._node.store.up:
            await self.replica.flushed(within)

    def stop(self) -> None:
        """Share no more."""
        if self.replica is not None:
            self.replica.stop()

    async def loaded(self) -> None:
        """Wait until the store has told us of all pins, or for as long as that is worth."""
        if self.replica is not None and self._by_pool:
            await self.replica.loaded(LOAD)

    def status(self) -> dict[str, Any]:
        """The "pins" of /status; nothing where no pool keeps its clients."""
        if not self._by_pool:
            return {}
        return {
            "pins": {
                "pools": [each.status() for each in self._by_pool.values()],
                "replica": self.replica.status() if self.replica is not None else None,
                "keys": sorted(self._keys[0], key=secrets.age_order),
                "signs": self._keys[1],
            }
        }

    def families(self) -> Iterator[Family]:
        """The rows of PIN_METRICS, filled."""
        every = tuple(self._by_pool.values())
        yield family(PINS, [((each.pool.name,), each.table.count) for each in every])
        yield family(MADE, [((each.pool.name,), each.made) for each in every])
        yield family(
            REPINS, [((each.pool.name, str(why)), each.repins[why]) for each in every for why in Repin]
        )
        yield family(
            REFUSED, [((each.pool.name, str(why)), each.refused[why]) for each in every for why in Refused]
        )
        yield family(EVICTED, [((each.pool.name,), each.table.evicted) for each in every])

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """What is shared, for its metrics."""
        return () if self.replica is None else (self.replica,)

    # -- the others ----------------------------------------------------------------------------------------------------

    def _away(self) -> bool:
        store = self._node.store
        return store is not None and not store.up

    def _sharer(self, pool: bytes, spec: PoolSpec) -> Callable[[bytes, str], None]:
        life = spec.sticky.lifetime

        def share(key: bytes, name: str) -> None:
            if self.replica is not None:
                self.replica.put(b"%b/%b" % (pool, key), name.encode(), life)

        return share

    def _merge(self, key: bytes, value: bytes, life: float) -> None:
        sticky = self._by_pool.get(key[: -KEY_BYTES - 1])
        if sticky is not None and 0 < len(value) <= NAME_MAX:
            sticky.merge(key[-KEY_BYTES:], value.decode(), life)

    def _each(self) -> Iterator[Entry]:
        for pool, sticky in tuple(self._by_pool.items()):
            for key, name, left in sticky.table.each(now()):
                yield b"%b/%b" % (pool, key), name.encode(), left

    # -- the tick ------------------------------------------------------------------------------------------------------

    async def _ticks(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            instant = now()
            for each in tuple(self._by_pool.values()):
                while each.table.expire(instant) and now() - instant < 0.002:
                    pass
            if self._by_pool:
                self._look_for_keys()

    def _look_for_keys(self) -> None:
        """Cookie keys may be rotated while the node runs: their files say which hold."""
        node = self._node
        if node.state is None:
            return
        try:
            found = secrets.cookie_keys(node.state / "secrets", wall())
        except secrets.SecretsError as error:
            log.warning("the cookie keys stay as they were: %s", error)
            return
        if found != self._keys:
            self._keys = found
            for each in self._by_pool.values():
                each.use_keys(*found)
            self._forget()


def cookie_name(pools: Mapping[str, PoolSpec], name: str) -> str:
    """What the pin's cookie of a pool is called: as its spec says, else `cdnlab-pin`, with the pool's name behind it
    where several pools have one of ours and would overwrite each other's."""
    spec = pools[name].sticky
    if spec.cookie is not None:
        return spec.cookie
    unnamed = [each for each in pools.values() if each.sticky.mode == "cookie" and each.sticky.cookie is None]
    return COOKIE if len(unnamed) <= 1 else f"{COOKIE}-{name}"


def pins_taken_out(topology: Topology, pools: Iterable[str], ours: Set[str]) -> dict[str, tuple[bytes, ...]]:
    """For each of a balancer's `pools` the cookies of pins that are taken out of what is sent there: its own, and those
    of all others, which tell its backends nothing. Only where the backends are `ours`, edges that is, the one by which
    they choose an origin travels on."""
    made = {
        name: cookie_name(topology.pools, name).encode()
        for name in {*pools, topology.edge.pool}
        if name in topology.pools and topology.pools[name].sticky.mode == "cookie"
    }
    found = {}
    for pool in pools:
        last = topology.edge.pool if pool in ours and pool != topology.edge.pool else None
        found[pool] = tuple(sorted({cookie for name, cookie in made.items() if name != last}))
    return found
