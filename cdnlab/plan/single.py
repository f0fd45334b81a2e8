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
    algorithm: str = "round_robin",
    admin: str | None = None,
) -> Topology:
    """One balancer at `listen` (host:port) before `backends` (host:port or URLs); else as single_edge."""
    host, port = split_address(listen, "--listen")
    servers = [_server(backend, number) for number, backend in enumerate(backends, 1)]
    return Topology.build(
        {
            **_alone(name, "lb", listen, admin),
            "distance": {"enabled": False},
            "vips": [{"address": host, "port": port}],
            "pools": {"servers": {"algorithm": algorithm, "backends": servers}},
            "routes": [{"pool": "servers"}],
        }
    )


def _disk(said: str) -> dict[str, Any]:
    """DIR or DIR:SIZE; what follows the last colon is a size if it begins with a digit and is no part of a path."""
    directory, colon, size = said.rpartition(":")
    if not (colon and size[:1].isdigit() and "/" not in size):
        directory, size = said, DISK_SIZE
    if not directory:
        raise PlanError(f"{said!r} names no directory", "--disk", "write DIR, or DIR:SIZE")
    return {"directory": os.path.abspath(os.path.expanduser(directory)), "size": size}


def _server(backend: str, number: int) -> dict[str, Any]:
    name = f"server-{number}"
    if "://" in backend:
        return parse_origin(backend, name, None).model_dump(exclude_unset=True)
    host, port = split_address(backend, "--backend")
    return {"name": name, "address": host, "port": port}


def _alone(name: str, tier: str, listen: str, admin: str | None) -> dict[str, Any]:
    """The sections both forms share; the node's data port is ports.base."""
    host, port = split_address(listen, "--listen")
    node: dict[str, Any] = {"tier": tier, "address": host}
    if admin == "off":
        node["admin_address"] = "off"
    elif admin is not None:
        node["admin_address"], node["admin_port"] = split_address(admin, "--admin")
    return {"name": name, "ports": {"base": port}, "nodes": {name: node}}
