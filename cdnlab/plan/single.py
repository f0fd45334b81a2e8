"""The topologies of one node alone: an edge before somebody's origins, a balancer before somebody's servers.

Decides what a few command-line words mean as a topology. Must not know how the words were read.

Both forms trust no one, feel no distance unless told where the origin stands, and put the admin API 1021
above the port they listen on, unless told otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from cdnlab.plan.errors import PlanError
from cdnlab.plan.origins import parse_origin, parse_origins, split_address
from cdnlab.plan.topology import Topology

DISK_SIZE = "1GiB"
"""Of a single edge's disk, where only its directory is said."""


def single_edge(
    listen: str,
    origins: Sequence[str],
    *,
    name: str = "edge",
    origin_host: str | None = None,
    forwarded_proto: str | None = None,
    memory: str | int | None = None,
    admin: str | None = None,
    origin_place: str | None = None,
    query_sort: bool = False,
    query_drop: Sequence[str] = (),
    cookies: str | None = None,
    disk: str | None = None,
) -> Topology:
    """One edge at `listen` (host:port) before `origins` (URLs).

    origin_place: the code of the place the origins stand at, felt as distance; None or "none" is no distance.
    disk: a directory, or directory:size; None stores nothing on disk.
    query_sort, query_drop, cookies: the rule of the one route that there is.
    admin: host:port, "off", or None for the default. PlanError for whatever doesn't parse.
    """
    backends = [backend.model_dump(exclude_unset=True) for backend in parse_origins(origins, origin_place)]
    pool = {"backends": backends, "origin_host": origin_host, "forwarded_proto": forwarded_proto}
    edge: dict[str, Any] = {"memory": memory} if memory is not None else {}
    if disk is not None:
        edge["disk"] = _disk(disk)
    route: dict[str, Any] = {"pool": "origins"}
    if query_sort or query_drop:
        route["query"] = {"sort": query_sort, "drop": list(query_drop)}
    if cookies is not None:
        route["cookies"] = cookies
    return Topology.build(
        {
            **_alone(name, "edge", listen, admin),
            "distance": {"enabled": "place" in backends[0]},
            "vips": [],
            "pools": {"origins": pool},
            "routes": [route] if len(route) > 1 else [],
            "edge": edge,
        }
    )


def single_lb(
    listen: str,
    backends: Sequence[str],
    *,
    name: str = "lb",
    mode: str = "http",
    algorithm: str = "round_robin",
    sticky: str = "off",
    health: str = "tcp",
    interval: str | None = None,
    accept_proxy: bool = False,
    send_proxy: str = "off",
    trusted: Sequence[str] = (),
    admin: str | None = None,
) -> Topology:
    """One balancer at `listen` (host:port) before `backends` (host:port or URLs, with options); else as single_edge.

    mode: http, tcp or udp. sticky: off, cookie, source or learn:NAME. health: tcp, tls, none, http or http:/PATH, asked
    every `interval`. send_proxy: off, v1 or v2. PlanError for what does not parse, or not go together.
    """
    host, port = split_address(listen, "--listen")
    pool: dict[str, Any] = {
        "algorithm": algorithm,
        "backends": [_server(backend, number) for number, backend in enumerate(backends, 1)],
        "health": parse_health(health, interval),
        "sticky": parse_sticky(sticky),
        "send_proxy": send_proxy,
    }
    vip = {"address": host, "port": port}
    alone = {
        **_alone(name, "lb", listen, admin),
        "clients": {"trusted": list(trusted)},
        "distance": {"enabled": False},
        "pools": {"servers": pool},
    }
    if mode == "http":
        if accept_proxy or send_proxy != "off":
            word = "--accept-proxy" if accept_proxy else "--send-proxy"
            raise PlanError("PROXY headers are for layer 4", word, "add --mode tcp")
        return Topology.build({**alone, "vips": [vip], "routes": [{"pool": "servers"}]})
    if mode not in ("tcp", "udp"):
        raise PlanError(f'"{mode}" is no mode', "--mode", "write http, tcp or udp")
    if pool["sticky"]["mode"] in ("cookie", "learn"):
        raise PlanError("cookies are HTTP's", "--sticky", f"write source, or leave --mode {mode} out")
    if algorithm == "source_hash" or pool["sticky"]["mode"] == "source":
        pool["hash_on"] = "source"
    if health == "tcp" and mode == "udp":
        pool["health"] = {"kind": "none"}  # a UDP server need not listen on TCP; its refusals are noticed
    flow = {"protocol": mode, "port": port, "pool": "servers", "accept_proxy": accept_proxy}
    return Topology.build({**alone, "vips": [{**vip, "http": False}], "l4": {"front": flow}})


def parse_sticky(said: str) -> dict[str, Any]:
    """A pool's `sticky` from off, cookie, source or learn:NAME. PlanError."""
    mode, colon, cookie = said.partition(":")
    if mode not in ("off", "cookie", "source", "learn") or (mode in ("off", "source") and colon):
        raise PlanError(f'"{said}" is no stickiness', "--sticky", "write off, cookie, source or learn:NAME")
    if mode == "learn" and not cookie:
        remedy = "write learn:NAME with the name of the application's cookie, such as learn:JSESSIONID"
        raise PlanError("learn needs a cookie's name", "--sticky", remedy)
    return {"mode": mode, **({"cookie": cookie} if colon else {})}


def parse_health(said: str, interval: str | None = None) -> dict[str, Any]:
    """A pool's `health` from tcp, tls, none, http or http:/PATH. PlanError."""
    kind, colon, path = said.partition(":")
    if kind not in ("tcp", "tls", "none", "http") or (colon and kind != "http"):
        raise PlanError(f'"{said}" is no check', "--health", "write tcp, tls, none, http or http:/PATH")
    found: dict[str, Any] = {"kind": kind}
    if colon:
        found["path"] = path
    if interval is not None:
        found["interval"] = interval
    return found


def _disk(said: str) -> dict[str, Any]:
    """DIR or DIR:SIZE; what follows the last colon is a size if it begins with a digit and is no part of a path."""
    directory, colon, size = said.rpartition(":")
    if not (colon and size[:1].isdigit() and "/" not in size):
        directory, size = said, DISK_SIZE
    if not directory:
        raise PlanError(f"{said!r} names no directory", "--disk", "write DIR, or DIR:SIZE")
    return {"directory": os.path.abspath(os.path.expanduser(directory)), "size": size}


def _server(backend: str, number: int) -> dict[str, Any]:
    """HOST:PORT or a URL, and after commas weight=N, priority=N, name=NAME, place=CODE."""
    address, *options = backend.split(",")
    said: dict[str, Any] = {"name": f"server-{number}"}
    for option in options:
        key, equals, value = option.partition("=")
        if key not in ("name", "weight", "priority", "place") or not equals:
            remedy = "write such as 127.0.0.1:9001,weight=3,priority=1,name=app-1"
            raise PlanError(f'"{option}" says nothing of a backend', "--backend", remedy)
        said[key] = int(value) if key in ("weight", "priority") and value.isdigit() else value
    if "://" in address:
        return {**parse_origin(address, str(said["name"]), None).model_dump(exclude_unset=True), **said}
    host, port = split_address(address, "--backend")
    return {**said, "address": host, "port": port}


def _alone(name: str, tier: str, listen: str, admin: str | None) -> dict[str, Any]:
    """The sections both forms share; the node's data port is ports.base."""
    host, port = split_address(listen, "--listen")
    node: dict[str, Any] = {"tier": tier, "address": host}
    if admin == "off":
        node["admin_address"] = "off"
    elif admin is not None:
        node["admin_address"], node["admin_port"] = split_address(admin, "--admin")
    return {"name": name, "ports": {"base": port}, "nodes": {name: node}}
