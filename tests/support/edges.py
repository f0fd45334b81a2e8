"""Several real edges in the test's own loop, at addresses of their own, before one scripted origin.

    async with network({"icn-1": "icn", "icn-2": "icn"}, script) as net:
        answer = await net.ask("icn-1", "/a")

A request comes from a stranger's address unless `trusted` says that it comes from a balancer's.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from cdnlab.forward.owner import owner
from cdnlab.net import tasks
from cdnlab.net.clock import now
from cdnlab.node.health_answer import NodeState
from cdnlab.node.node import Node
from cdnlab.node.secrets import Secrets
from cdnlab.plan.topology import Topology
from cdnlab.pool.health import State
from edge.app import Edge
from edge.routing import POOLS
from tests.edge.origin import Origin, Script

PATIENCE = 15.0
FAST = {"kind": "alive", "interval": 0.05, "timeout": 10, "rise": 1, "fall": 2}
"""What is gone refuses at once; what is only slow, on a machine with more to do than this, must not count as gone."""


class Answer(NamedTuple):
    """What a client got."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def caches(self) -> list[str]:
        """The members of Cache-Status, nearest to the origin first."""
        value = self.fields.get("cache-status", "")
        return value.split(", ") if value else []


class Network:
    """Edges that run, and their origin."""

    def __init__(self, topology: Topology, origin: Origin, base: str) -> None:
        self.topology = topology
        self.origin = origin
        self.base = base
        self.secrets = Secrets()
        self.apps: dict[str, Edge] = {}

    async def start(self, name: str) -> None:
        """Start one edge."""
        app = self.apps[name] = Edge(Node(self.topology, name, secrets=self.secrets))
        await app.start()
        app.node.change(NodeState.READY, "the test says so")

    async def stop(self, name: str) -> None:
        """End it: from now on its port refuses. A connection may just have been accepted, and be made only now."""
        app = self.apps.pop(name)
        await app.stop()
        await turns()
        if app.listener is not None:
            app.listener.abort_all("the test ends it")
            listener, sweep = app.listener, app._sweep
            await until(lambda: not listener.connections, "the end of its connections")
            await until(lambda: not (sweep and sweep.members), "the end of its upstream connections")

    async def ask(
        self,
        name: str,
        target: str,
        *fields: str,
        method: str = "GET",
        body: bytes = b"",
        trusted: bool = False,
    ) -> Answer:
        """One request on a connection of its own."""
        return await asyncio.wait_for(self._ask(name, target, fields, method, body, trusted), PATIENCE)

    async def _ask(
        self, name: str, target: str, fields: tuple[str, ...], method: str, body: bytes, trusted: bool
    ) -> Answer:
        host, port = self.topology.data_address(name)
        source = f"{self.base}.9" if trusted else "127.0.0.1"
        reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0))
        lines = [f"{method} {target} HTTP/1.1", "Host: shop.example", "Connection: close", *fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        raw = await reader.read()
        writer.close()
        head, _, rest = raw.partition(b"\r\n\r\n")
        line, *named = head.decode("latin-1").split("\r\n")
        pairs = [each.partition(": ") for each in named]
        found = {field.lower(): value for field, _, value in pairs}
        return Answer(
            int(line.split(" ")[1]), found, _unchunked(rest) if "chunked" in head.decode("latin-1") else rest
        )

    def settled(self) -> bool:
        """Whether each edge's checks have found all others that run."""
        pools = [
            (name, forwarder.pool)
            for name, app in self.apps.items()
            for pool, forwarder in app._forwarders.items()
            if pool in POOLS
        ]
        return all(
            backend.health.state is State.UP
            for name, pool in pools
            for backend in pool.backends
            if backend.name in self.apps and backend.name != name
        )

    def owner(self, name: str, target: str) -> str:
        """Whose a target is in the eyes of the edge `name`."""
        parents = self.apps[name].cache.parents  # type: ignore[union-attr]
        assert parents is not None
        assert parents.sharing is not None
        found = owner(parents.sharing.pool, f"http://shop.example{target}".encode())
        assert found is not None
        return found.name

    def owned_by(self, owner: str, *, seen_from: str, prefix: str = "/") -> str:
        """A target that an edge owns."""
        return next(t for t in (f"{prefix}{n}" for n in range(1000)) if self.owner(seen_from, t) == owner)

    def stored(self, name: str) -> int:
        """How many objects lie in an edge."""
        return self.apps[name].cache.storage.objects  # type: ignore[union-attr]

    def metric(self, name: str, series: str) -> float:
        """The value of one series of an edge."""
        text = "".join(family.text() for family in self.apps[name].metrics())
        line = next(line for line in text.splitlines() if line.startswith(series + " "))
        return float(line.rpartition(" ")[2])


def _unchunked(data: bytes) -> bytes:
    found = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        count = int(size, 16)
        found, data = found + data[:count], data[count + 2 :]
    return found


def free_ports(addresses: list[str]) -> list[int]:
    """A free port at each address."""
    sockets = [socket.create_server((address, 0)) for address in addresses]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@asynccontextmanager
async def network(
    places: dict[str, str],
    script: Script,
    *,
    start: bool = True,
    pools: dict[str, Any] | None = None,
    edge: dict[str, Any] | None = None,
    **sections: Any,
) -> AsyncIterator[Network]:
    """Edges by name and place, in front of an origin that plays `script`; not yet started unless `start`."""
    origin = Origin(script)
    url = await origin.start()
    base = f"127.{random.randrange(100, 250)}.{random.randrange(1, 250)}"
    addresses = [f"{base}.{10 + number}" for number in range(len(places))]
    ports = free_ports(addresses)
    nodes: dict[str, Any] = {
        "lb": {"tier": "lb", "address": f"{base}.9", "data_port": 0, "admin_address": "off"}
    }
    for (name, place), address, port in zip(places.items(), addresses, ports, strict=True):
        nodes[name] = {
            "tier": "edge", "place": place, "address": address, "data_port": port, "admin_address": "off"
        }  # fmt: skip
    backend = {"name": "origin-1", "address": "127.0.0.1", "port": int(url.rpartition(":")[2])}
    topology = Topology.build(
        {
            "name": "test",
            "distance": {"enabled": False},
            "vips": [{"address": f"{base}.9", "port": 0}],
            "nodes": nodes,
            "pools": {
                "edges": {"tier": "edge", "health": FAST},
                "origins": {"backends": [backend], "health": {"kind": "none"}},
                **(pools or {}),
            },
            "edge": {"compression": {"enabled": False}, **(edge or {})},
            **sections,
        }
    )
    net = Network(topology, origin, base)
    try:
        if start:
            for name in places:
                await net.start(name)
            await until(net.settled, "that all know one another to be there")
        yield net
    finally:
        for app in net.apps.values():
            if app._neighbours is not None:
                app._neighbours.stop()
        await turns()
        for name in list(net.apps):
            await net.stop(name)
        await origin.stop()
        await tasks.cancel_all()
        await turns()


async def turns(count: int = 5) -> None:
    """Let what the loop has been told to do be done: closing a transport takes two turns."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for it, for as long as only a test that fails would."""
    limit = now() + PATIENCE
    while not condition():
        assert now() < limit, f"{what} did not come about"
        await asyncio.sleep(0.005)
