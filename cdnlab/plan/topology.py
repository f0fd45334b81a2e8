"""The topology: the one typed description of the network that every process reads.

Decides what the sections mean together: defaults that follow from others, addresses, the backends of a pool.
Must not know files (load.py), command lines (single.py), nor what any tier does with a setting.

A topology never changes; the `with_…` methods build and check a new one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from cdnlab.plan.bounds import Limits, UpstreamSpec
from cdnlab.plan.check import check, meant_place
from cdnlab.plan.errors import PlanError, did_you_mean
from cdnlab.plan.explain import explain
from cdnlab.plan.layer4 import FlowSpec, L4Spec
from cdnlab.plan.origins import parse_origins
from cdnlab.plan.pools import BackendSpec, HealthSpec, PoolSpec
from cdnlab.plan.routes import RouteSpec
from cdnlab.plan.section import Section, setting
from cdnlab.plan.settings import (
    Clients,
    Distance,
    EdgeSpec,
    FailoverSpec,
    LogSpec,
    NodeSpec,
    OriginSpec,
    PlaceSpec,
    Ports,
    StoreSpec,
    Vip,
)
from cdnlab.plan.units import Name
from cdnlab.world.places import PLACES, Place
from cdnlab.world.prefixes import PrefixTable

__all__ = [
    "BackendSpec",
    "Clients",
    "Distance",
    "EdgeSpec",
    "FailoverSpec",
    "FlowSpec",
    "HealthSpec",
    "L4Spec",
    "Limits",
    "LogSpec",
    "NodeSpec",
    "OriginSpec",
    "PlaceSpec",
    "PlanError",
    "PoolSpec",
    "Ports",
    "RouteSpec",
    "StoreSpec",
    "Topology",
    "UpstreamSpec",
    "Vip",
]

Entry = TypeVar("Entry")
Tier = Literal["lb", "edge", "origin"]


class Topology(Section):
    """A whole network. Raises pydantic's ValidationError for a bad value, PlanError for sections at odds."""

    name: Name = setting("lab", "The network's name, in Via and in the store's keys.")
    default_place: str = setting(
        "icn", "Where a client stands whose address is in no place's prefix.", "place"
    )
    clients: Clients = Field(default_factory=Clients, description="Who the clients are.")
    ports: Ports = Field(default_factory=Ports, description="Where nodes and VIPs listen.")
    vips: tuple[Vip, ...] = setting((Vip(),), "The virtual addresses of the balancers.")
    distance: Distance = Field(default_factory=Distance, description="Whether distance is felt.")
    places: dict[str, PlaceSpec] = Field(
        default_factory=dict, description="Changes to the shipped places, and places of your own."
    )
    nodes: dict[Name, NodeSpec] = Field(description="The processes.")
    pools: dict[Name, PoolSpec] = Field(description="What can be sent to.")
    routes: tuple[RouteSpec, ...] = setting(
        (), "What the balancers send where. Without routes, every request goes to the pool `edges`."
    )
    l4: dict[Name, L4Spec] = Field(
        default_factory=dict, description="Ports of every VIP whose bytes are passed on as they are."
    )
    flows: FlowSpec = Field(default_factory=FlowSpec, description="The table of layer-4 flows.")
    edge: EdgeSpec = Field(default_factory=EdgeSpec, description="What the edges do.")
    origin: OriginSpec = Field(default_factory=OriginSpec, description="What the demo origins do.")
    limits: Limits = Field(default_factory=Limits, description="What a listener takes from its clients.")
    upstream: UpstreamSpec = Field(
        default_factory=UpstreamSpec, description="What a node gives the backends it asks."
    )
    store: StoreSpec = Field(default_factory=StoreSpec, description="The Redis-protocol server.")
    failover: FailoverSpec = Field(default_factory=FailoverSpec, description="Who holds a VIP.")
    log: LogSpec = Field(default_factory=LogSpec, description="What nodes write into their log files.")

    @model_validator(mode="after")
    def _sections_agree(self) -> Topology:
        check(self)
        return self

    @classmethod
    def build(cls, data: Mapping[str, Any]) -> Topology:
        """The topology in plain dictionaries and lists. PlanError names the path of each complaint."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise explain(error, cls) from None

    # -- nodes ---------------------------------------------------------------------------------------------

    def node(self, name: str) -> NodeSpec:
        """The node called `name`; PlanError names the nearest."""
        return _named(self.nodes, name, "node", "nodes")

    def tier(self, tier: Tier) -> tuple[str, ...]:
        """The names of all nodes of `tier`, in the topology's order."""
        return tuple(name for name, node in self.nodes.items() if node.tier == tier)

    def data_address(self, name: str) -> tuple[str, int]:
        """(host, port) on which a node serves HTTP."""
        node = self.node(name)
        return node.address, self.ports.data if node.data_port is None else node.data_port

    def admin_address(self, name: str) -> tuple[str, int] | None:
        """(host, port) of a node's admin API, None where it is off."""
        node = self.node(name)
        if node.admin_address == "off":
            return None
        return (
            node.admin_address or node.address,
            self.ports.admin if node.admin_port is None else node.admin_port,
        )

    def vip_address(self, vip: Vip) -> tuple[str, int]:
        """(host, port) on which a VIP's holder serves HTTP."""
        return vip.address, self.ports.data if vip.port is None else vip.port

    def l4_port(self, spec: L4Spec) -> int:
        """The port of a listener at layer 4, the same under every VIP."""
        if spec.port is not None:
            return spec.port
        return self.ports.udp if spec.protocol == "udp" else self.ports.tcp

    def service_port(self, name: str, service: str) -> int:
        """The port on which a node serves `http`, `tcp` or `udp`."""
        if service == "http":
            return self.data_address(name)[1]
        return self.ports.tcp if service == "tcp" else self.ports.udp

    def dial_address(self, vip: Vip) -> tuple[str, int]:
        """(host, port) at which a program of ours reaches a VIP: a VIP on every address is at each balancer's."""
        host, port = self.vip_address(vip)
        vip_is = ip_address(host)
        specs = [self.nodes[name] for name in self.tier("lb")] if vip_is.is_unspecified else []
        known = (ip_address(address) for spec in specs for address in (spec.address, *spec.addresses))
        usable = (str(one) for one in known if one.version == vip_is.version and not one.is_unspecified)
        return next(usable, host), port

    def trusted_peers(self, name: str | None = None) -> frozenset[str]:
        """Addresses whose word about a client is believed: the balancers' and edges', and clients.trusted.

        A node, if named, is not its own peer: a lone edge on 127.0.0.1 must not trust everybody there. Nor is a
        balancer that shares its address.
        """
        me = None if name is None else self.nodes.get(name)
        ours = (
            node
            for key, node in self.nodes.items()
            if node.tier != "origin" and key != name and not _one_place_in_the_net(node, me)
        )
        addresses = (address for node in ours for address in (node.address, *node.addresses))
        known = (address for address in addresses if not ip_address(address).is_unspecified)
        return frozenset((*known, *self.clients.trusted))

    # -- pools and routes ----------------------------------------------------------------------------------

    def pool(self, name: str) -> PoolSpec:
        """The pool called `name`; PlanError names the nearest."""
        return _named(self.pools, name, "pool", "pools")

    def backends(self, pool: str) -> tuple[BackendSpec, ...]:
        """What a pool can send to: its list, or one backend per node of its tier."""
        spec = self.pool(pool)
        if spec.tier is None:
            return spec.backends
        return tuple(self._backend(name, spec.service) for name in self.tier(spec.tier))

    def _backend(self, name: str, service: str = "http") -> BackendSpec:
        """A node as a backend. It is asked about itself over HTTP, whichever of its services is meant."""
        host, data = self.data_address(name)
        return BackendSpec.model_construct(
            name=name,
            address=host,
            port=self.service_port(name, service),
            check_port=None if service == "http" else data,
            place=self.nodes[name].place,
        )

    def ours(self, backend: BackendSpec) -> bool:
        """Whether a backend is one of this topology's own nodes, wherever it is listed."""
        return any(self.reaches(backend, name) for name in self.nodes)

    def reaches(self, backend: BackendSpec, node: str) -> bool:
        """Whether a backend is this node, at whichever of its addresses."""
        spec, port = self.node(node), self.data_address(node)[1]
        return backend.port == port and backend.address in (spec.address, *spec.addresses)

    def edges_at(self, place: str | None) -> tuple[str, ...]:
        """The edges that stand at a place, in the topology's order."""
        return tuple(name for name in self.tier("edge") if self.nodes[name].place == place)

    def shields(self) -> tuple[BackendSpec, ...]:
        """Whom the edges ask before the origin: a node, a pool's backends, or the edges at a place; () for nobody."""
        name = self.edge.shield
        if name is None:
            return ()
        if name in self.nodes:
            return (self._backend(name),)
        return self.backends(name) if name in self.pools else tuple(map(self._backend, self.edges_at(name)))

    def is_shield(self, node: str) -> bool:
        """Whether a node is one of them, by whichever of its addresses."""
        return any(self.reaches(spec, node) for spec in self.shields())

    def shares_with(self, node: str) -> tuple[BackendSpec, ...]:
        """The edges between which the keys are shared at the place of edge `node`, itself included.

        Shields share among shields, and others among others: a shield that asked one of those would be asked back.
        """
        names = self.edges_at(self.node(node).place) if self.edge.share else (node,)
        mine = self.is_shield(node)
        return tuple(self._backend(name) for name in names if self.is_shield(name) is mine)

    def balancer_routes(self) -> tuple[RouteSpec, ...]:
        """The routes as written, or the one that stands for them: any host, any path, to the pool `edges`. None where
        no VIP serves HTTP."""
        if not any(vip.http for vip in self.vips):
            return ()
        return self.routes or (RouteSpec(pool="edges"),)

    # -- places --------------------------------------------------------------------------------------------

    @cached_property
    def all_places(self) -> dict[str, Place]:
        """The shipped places with the topology's changes, and its own."""
        merged = dict(PLACES)
        for code, spec in self.places.items():
            merged[code] = _merge(code, merged.get(code), spec)
        return merged

    def place(self, code: str) -> Place:
        """The place with this code; PlanError names the nearest."""
        if code not in self.all_places:
            raise PlanError(f'there is no place "{code}"', "places", meant_place(self, code))
        return self.all_places[code]

    def place_codes(self) -> tuple[str, ...]:
        """Every place a client can stand at: the label set of metrics by place."""
        return tuple(self.all_places)

    def prefix_table(self) -> PrefixTable:
        """Which addresses stand where; made once per topology."""
        return self._prefix_table

    @cached_property
    def _prefix_table(self) -> PrefixTable:
        return PrefixTable(
            (prefix, place.code) for place in self.all_places.values() for prefix in place.prefixes
        )

    def client_address(self, code: str) -> str:
        """An address to be a client at this place: .100 of its first IPv4 prefix (or its last)."""
        for prefix in self.place(code).prefixes:
            network = ip_network(prefix)
            if isinstance(network, IPv4Network):
                return str(network[min(100, network.num_addresses - 1)])
        raise PlanError(
            f"place {code} has no IPv4 prefix", f"places.{code}.prefixes", "give it one, e.g. 127.99.1.0/24"
        )

    # -- other topologies ----------------------------------------------------------------------------------

    def with_port(self, base: int) -> Topology:
        """The same network on other ports: those that follow from ports.base follow the new one."""
        return self._with(ports={**self.ports.model_dump(exclude_unset=True), "base": base})

    def with_distance(self, enabled: bool) -> Topology:
        """The same network with distance felt, or not."""
        return self._with(distance={**self.distance.model_dump(exclude_unset=True), "enabled": enabled})

    def with_sessions(self, kind: str) -> Topology:
        """The same network whose demo origins keep sessions so: `local` or `clustered`. PlanError for another word."""
        return self._with(origin={**self.origin.model_dump(exclude_unset=True), "sessions": kind})

    def with_sticky(self, sticky: Mapping[str, Any]) -> Topology:
        """The same network whose edges keep clients with their origin as `sticky` (a pool's) says."""
        pools = dict(self.pools)
        changed = {**pools[self.edge.pool].model_dump(exclude_unset=True), "sticky": dict(sticky)}
        return self._with(pools=_plain({**pools, self.edge.pool: changed}))

    def with_store(self, url: str) -> Topology:
        """The same network with the store at `url`."""
        return self._with(store={"url": url})

    def with_store_of(self, other: Topology) -> Topology:
        """The same network with the store of `other` where it names none: a lab tells its nodes where its own is."""
        url = other.store.url
        return self if url is None or self.store.url is not None else self.with_store(url)

    def with_origins(
        self,
        urls: Sequence[str],
        *,
        origin_host: str | None = None,
        forwarded_proto: str | None = None,
        origin_place: str | None = None,
    ) -> Topology:
        """The same network before other origins: they take the place of the topology's own in every pool.

        origin_place: the code of the place they stand at; None or "none" puts them at no distance.
        PlanError for a URL that doesn't parse, an unknown place, or no URL at all.
        """
        if origin_place not in (None, "none"):
            self.place(str(origin_place))
        given = {"origin_host": origin_host, "forwarded_proto": forwarded_proto}
        change: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        change["backends"] = [
            spec.model_dump(exclude_unset=True) for spec in parse_origins(urls, origin_place)
        ]
        nodes = {name: node for name, node in self.nodes.items() if node.tier != "origin"}
        pools = {
            name: _foreign(pool, change) if pool.tier == "origin" or name == self.edge.pool else pool
            for name, pool in self.pools.items()
        }
        for spec in self.l4.values():
            if spec.protocol == "udp" and self.pools[spec.pool].tier == "origin":
                pools.pop(spec.pool, None)  # an origin that is none of ours has no UDP that we know of
        l4 = {name: spec for name, spec in self.l4.items() if spec.pool in pools}
        return self._with(nodes=_plain(nodes), pools=_plain(pools), l4=_plain(l4))

    def _with(self, **sections: Any) -> Topology:
        """Through the whole check again: a copy would keep what was computed from the old sections."""
        return Topology.build({**self.model_dump(exclude_unset=True), **sections})

    def dump(self) -> str:
        """YAML that load() reads back equal: what was set, and nothing that was not."""
        data = self.model_dump(mode="json", exclude_unset=True)
        return yaml.dump(data, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=110)


def _one_place_in_the_net(node: NodeSpec, me: NodeSpec | None) -> bool:
    """Two balancers in one network namespace, or on one host, each ready to hold the VIP."""
    if me is None or not node.tier == me.tier == "lb":
        return False
    return not {node.address, *node.addresses}.isdisjoint((me.address, *me.addresses))


_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def _plain(sections: Mapping[str, Section | dict[str, Any]]) -> dict[str, Any]:
    return {
        name: section.model_dump(exclude_unset=True) if isinstance(section, Section) else section
        for name, section in sections.items()
    }


def _foreign(pool: PoolSpec, change: Mapping[str, Any]) -> dict[str, Any]:
    """`pool` with backends that aren't ours: those can't be asked about themselves."""
    spec = {
        name: value
        for name, value in pool.model_dump(exclude_unset=True).items()
        if name not in ("tier", "service")
    }
    if pool.health.kind == "alive":
        spec["health"] = {**spec.get("health", {}), "kind": "tcp"}
    return {**spec, **change}


def _named(table: Mapping[str, Entry], name: str, kind: str, where: str) -> Entry:
    try:
        return table[name]
    except KeyError:
        raise PlanError(f'there is no {kind} "{name}"', where, did_you_mean(name, table)) from None


def _merge(code: str, shipped: Place | None, spec: PlaceSpec) -> Place:
    """check() has made sure that a new place has a position."""

    def pick(field: str, otherwise: Any) -> Any:
        value = getattr(spec, field)
        return value if value is not None else getattr(shipped, field, otherwise)

    return Place(
        code=code,
        country_code=pick("country_code", ""),
        city=pick("city", code),
        country=pick("country", ""),
        continent=pick("continent", ""),
        latitude=pick("latitude", 0.0),
        longitude=pick("longitude", 0.0),
        prefixes=pick("prefixes", ()),
    )
