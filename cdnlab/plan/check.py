"""Whether the sections of a topology agree: each name used is declared, no address is used twice.

Decides on a topology whose values are each valid. Must not know files: load.py adds file and line.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from typing import TYPE_CHECKING

from cdnlab.plan.errors import PlanError, did_you_mean, nearest
from cdnlab.world.places import PLACES
from cdnlab.world.prefixes import parse_prefix

if TYPE_CHECKING:
    from cdnlab.plan.topology import Topology

RESERVED_PLACES = frozenset({"other", "none", "off"})
"""`other` is the metrics' label for no known place; the others are words of the command line."""

_SERVER_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_PLACE = re.compile(r"[a-z][a-z0-9]{1,15}")


def check(topology: Topology) -> None:
    """Raise PlanError for the first disagreement, with the further ones in `more`."""
    rules = (
        _default_place,
        _places,
        _prefixes,
        _nodes,
        _addresses,
        _pools,
        _routes,
        _layer4,
        _shield,
        _timing,
    )
    problems = [problem for rule in rules for problem in rule(topology)]
    if problems:
        first, *more = problems
        raise PlanError(first.problem, first.where, first.remedy, more)


def _default_place(topology: Topology) -> Iterator[PlanError]:
    yield from _known_place(topology, topology.default_place, "default_place")


def _places(topology: Topology) -> Iterator[PlanError]:
    for code, spec in topology.places.items():
        where = f"places.{code}"
        if not _PLACE.fullmatch(code) or code in RESERVED_PLACES:
            yield PlanError(
                f'"{code}" can\'t name a place', where, "use 2 to 16 lower-case letters and digits"
            )
        elif code not in PLACES and (spec.latitude is None or spec.longitude is None):
            close = nearest(code, PLACES)
            hint = f', or did you mean "{close}"?' if close else ""
            yield PlanError("a new place needs a position", where, f"give it latitude and longitude{hint}")


def _prefixes(topology: Topology) -> Iterator[PlanError]:
    own = {code: spec.prefixes for code, spec in topology.places.items() if spec.prefixes is not None}
    shipped = {code: place.prefixes for code, place in PLACES.items() if code not in own}
    owners = {parse_prefix(prefix): code for code, prefixes in shipped.items() for prefix in prefixes}
    for code, prefixes in own.items():
        for index, prefix in enumerate(prefixes):
            where = f"places.{code}.prefixes[{index}]"
            try:
                owner = owners.setdefault(parse_prefix(prefix), code)
            except ValueError as error:
                yield PlanError(f"this is no prefix: {error}", where, "write such as 127.99.1.0/24")
                continue
            if owner != code:
                remedy = "give each prefix to one place"
                yield PlanError(f"{prefix} already belongs to {owner}", where, remedy)


def _known_place(topology: Topology, code: str | None, where: str) -> Iterator[PlanError]:
    if code is not None and code not in PLACES and code not in topology.places:
        yield PlanError(f'there is no place "{code}"', where, meant_place(topology, code))


def meant_place(topology: Topology, word: str) -> str:
    """The remedy for an unknown place: the code nearest to `word`, or to the city or country it names."""
    codes = (*PLACES, *(code for code in topology.places if code not in PLACES))
    names = {name.lower(): place.code for place in PLACES.values() for name in (place.country, place.city)}
    close = nearest(word, codes) or names.get(nearest(word, names) or "")
    if close is None:
        return did_you_mean(word, codes)
    city = PLACES[close].city if close in PLACES else topology.places[close].city
    return f'did you mean "{close}"{f" ({city})" if city else ""}?'


def _nodes(topology: Topology) -> Iterator[PlanError]:
    if not topology.nodes:
        yield PlanError("there are no nodes", "nodes", "start from a copy of the default topology")
    for name, node in topology.nodes.items():
        yield from _known_place(topology, node.place, f"nodes.{name}.place")
        if node.tier == "lb" and node.place is not None:
            remedy = "leave it out: a balancer stands where its client stands"
            yield PlanError("a balancer has no place", f"nodes.{name}.place", remedy)
    if topology.tier("lb") and not topology.vips:
        yield PlanError(
            "the balancers have no VIP", "vips", "give one, such as {name: main, address: 127.0.0.1}"
        )


def _addresses(topology: Topology) -> Iterator[PlanError]:
    """Every TCP address that will be listened on, once. A lone balancer's own address may be its VIP, and balancers
    that are started apart may share one: under it they listen at their admin ports only.
    """
    used: dict[tuple[str, int], str] = {}
    lone = topology.tier("lb") if len(topology.tier("lb")) == 1 else ()
    apart = topology.tier("lb") if all(vip.provider == "reuseport" for vip in topology.vips) else ()
    for where, address, remedy in _listeners(topology):
        owner = used.setdefault(address, where)
        shared = where.startswith("vips[") and owner in {f"nodes.{name}.address" for name in lone}
        shared = shared or {where, owner} <= {f"nodes.{name}.address" for name in apart}
        if owner != where and address[1] != 0 and not shared:
            host, port = address
            yield PlanError(f"{host}:{port} is already the address of {owner}", where, remedy)


def _listeners(topology: Topology) -> Iterator[tuple[str, tuple[str, int], str]]:
    """(path, address, what to do if it is taken)"""
    for name in topology.nodes:
        yield f"nodes.{name}.address", topology.data_address(name), "give it another address, or a data_port"
        admin = topology.admin_address(name)
        if admin is not None:
            yield f"nodes.{name}.admin_port", admin, "give it an admin_port of its own"
    if topology.tier("lb"):
        for index, vip in enumerate(topology.vips):
            if vip.http:
                yield f"vips[{index}].address", topology.vip_address(vip), "give it another address or port"


def _pools(topology: Topology) -> Iterator[PlanError]:
    for name, pool in topology.pools.items():
        where = f"pools.{name}"
        if pool.tier is not None and pool.backends:
            yield PlanError("it has both tier and backends", where, "keep one of them")
        elif pool.tier is not None and not topology.tier(pool.tier):
            yield PlanError(f"no node is of tier {pool.tier}", f"{where}.tier", "add one, or list backends")
        elif pool.tier is None and not pool.backends:
            yield PlanError("it has no backends", where, "give it `tier` or `backends`")
        yield from _twice((backend.name for backend in pool.backends), f"{where}.backends")
        for index, backend in enumerate(pool.backends):
            yield from _known_place(topology, backend.place, f"{where}.backends[{index}].place")
    yield from _twice((vip.name for vip in topology.vips), "vips")


def _twice(names: Iterable[str], where: str) -> Iterator[PlanError]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield PlanError(
                f'the name "{name}" is taken', f"{where}[{index}].name", "each needs a name of its own"
            )
        seen.add(name)


def _routes(topology: Topology) -> Iterator[PlanError]:
    """A pool that no route reaches is fine; a route to a pool that doesn't exist is not."""
    seen: dict[tuple[str | None, str], int] = {}
    for index, route in enumerate(topology.routes):
        where = f"routes[{index}]"
        yield from _known_pool(topology, route.pool, f"{where}.pool")
        for pool in route.split:
            yield from _known_pool(topology, pool, f"{where}.split")
        if route.mirror is not None:
            yield from _known_pool(topology, route.mirror.pool, f"{where}.mirror.pool")
        first = seen.setdefault((route.host, route.path), index)
        if first != index:
            yield PlanError(f"routes[{first}] has the same host and path", where, "remove one of them")
        if route.cookies != "rfc" and not topology.tier("edge"):
            remedy = "leave it out, or put an edge before the pool: a balancer passes cookies on"
            yield PlanError(f"no edge is there to {route.cookies} cookies", f"{where}.cookies", remedy)
    http = any(vip.http for vip in topology.vips)
    if topology.tier("lb") and http and not topology.routes and "edges" not in topology.pools:
        yield PlanError("the balancers have no route", "routes", "give one, or name the edges' pool `edges`")
    if topology.tier("edge"):
        yield from _known_pool(topology, topology.edge.pool, "edge.pool")


def _layer4(topology: Topology) -> Iterator[PlanError]:
    """Pools that exist; a port of its own for each, and none for HTTP."""
    http = (topology.vip_address(vip)[1] for vip in topology.vips if vip.http)
    used = {("tcp", port): "the VIPs' HTTP" for port in http}
    if topology.vips and not any(vip.http for vip in topology.vips) and not topology.l4:
        yield PlanError("no VIP serves anything", "vips", "turn `http` on, or give `l4` a port")
    for name, spec in topology.l4.items():
        where = f"l4.{name}"
        yield from _known_pool(topology, spec.pool, f"{where}.pool")
        served = topology.pools.get(spec.pool)
        listed = served is not None and served.backends and "health" not in served.model_fields_set
        if spec.protocol == "udp" and listed:
            remedy = (
                "give it `health: {kind: none}`, or a kind that its servers answer and a check_port for each"
            )
            yield PlanError("its backends would be checked over TCP", f"pools.{spec.pool}.health", remedy)
        for pool in dict.fromkeys((spec.pool, *spec.sni.values())):
            yield from _fits_layer4(topology, pool, spec.protocol, f"{where}.pool")
        for server, pool in spec.sni.items():
            yield from _known_pool(topology, pool, f"{where}.sni.{server}")
            if not _SERVER_NAME.fullmatch(server):
                remedy = "write such as shop.example.com or *.example.com"
                yield PlanError(f'"{server}" is no server name', f"{where}.sni", remedy)
        port = topology.l4_port(spec)
        owner = used.setdefault((spec.protocol, port), where)
        if owner != where and port:
            remedy = "give it a port of its own"
            yield PlanError(
                f"{spec.protocol} port {port} is already that of {owner}", f"{where}.port", remedy
            )


def _fits_layer4(topology: Topology, name: str, protocol: str, where: str) -> Iterator[PlanError]:
    """Servers that speak the protocol, and clients that are known by more than HTTP's cookies."""
    pool = topology.pools.get(name)
    if pool is None:
        return
    if pool.tier is not None and (pool.service == "udp") is not (protocol == "udp"):
        remedy = f"name a pool with `service: {protocol}`"
        yield PlanError(
            f"the servers of {name} are asked by {pool.service}, not by {protocol}", where, remedy
        )
    routed = {each for route in topology.balancer_routes() for each in (route.pool, *route.split)}
    routed.add(topology.edge.pool)
    if pool.sticky.mode in ("cookie", "learn") and name not in routed:
        yield PlanError(
            "cookies are HTTP's, and only `l4` leads here", f"pools.{name}.sticky", "write `source`"
        )


def _shield(topology: Topology) -> Iterator[PlanError]:
    """A node, a pool or a place, and only one of them; somebody who can be asked, and not the origins themselves."""
    name, where = topology.edge.shield, "edge.shield"
    if name is None:
        return
    places = {code for node in topology.nodes.values() if node.tier == "edge" and (code := node.place)}
    kinds: dict[str, Container[str]] = {
        "node": topology.nodes,
        "pool": topology.pools,
        "place with edges": places,
    }
    meant = [kind for kind, names in kinds.items() if name in names]
    if len(meant) > 1:
        yield PlanError(f'"{name}" is a {meant[0]} and a {meant[1]}', where, "rename one of them")
    elif not meant and (name in PLACES or name in topology.places):
        yield PlanError(f'no edge stands at "{name}"', where, "name a place with an edge, a node or a pool")
    elif not meant:
        known = (*topology.tier("edge"), *topology.pools, *sorted(places))
        yield PlanError(f'"{name}" is no edge, pool or place with edges', where, did_you_mean(name, known))
    elif name in topology.nodes and topology.nodes[name].tier != "edge":
        yield PlanError(f"{name} is no edge", where, "name an edge, or a pool of other caches")
    elif name == topology.edge.pool:
        yield PlanError("the edges fetch from this pool already", where, "leave it out")


def _known_pool(topology: Topology, name: str, where: str) -> Iterator[PlanError]:
    if name not in topology.pools:
        yield PlanError(f'there is no pool "{name}"', where, did_you_mean(name, topology.pools))


def _timing(topology: Topology) -> Iterator[PlanError]:
    lease, renew = topology.failover.lease, topology.failover.renew
    if renew * 3 > lease:
        remedy = f"make it at most {lease / 3:.3g} s, so that two renewals may be lost"
        yield PlanError(
            f"renewing every {renew:g} s is too late for a lease of {lease:g} s", "failover.renew", remedy
        )
    if topology.edge.object_max > max(topology.edge.memory, topology.edge.disk.size // 8):
        yield PlanError(
            "an object may be larger than the memory",
            "edge.object_max",
            "make it at most edge.memory, or an eighth of edge.disk.size if that is more",
        )
