"""A real balancer inside the test's own loop, before scripted origins.

`balancer(origin, limits={"body_bytes": 100})` is an async context; `client()` connects to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cdnlab.net import tasks
from cdnlab.net.listener import Listener
from cdnlab.node.node import Node
from cdnlab.plan.topology import Topology
from lb.app import Balancer
from tests.support.peers import Origin, Wire, dial, until

NAME = "lb"


def topology(*origins: Origin | int, pool: dict[str, Any] | None = None, **sections: Any) -> Topology:
    """A balancer on a free port before `origins` (or ports), unchecked, at no distance unless a section says so."""
    backends = [
        {
            "name": f"server-{number}",
            "address": "127.0.0.1",
            "port": each if isinstance(each, int) else each.port,
        }
        for number, each in enumerate(origins, 1)
    ]
    servers = {"backends": backends, "health": {"kind": "none"}, **(pool or {})}
    return Topology.build(
        {
            "name": "test",
            "distance": {"enabled": False},
            "vips": [{"address": "127.0.0.1", "port": 0}],
            "nodes": {NAME: {"tier": "lb", "address": "127.0.0.1", "admin_address": "off"}},
            "pools": {"servers": servers},
            "routes": [{"pool": "servers"}],
            **sections,
        }
    )


class Running:
    """A balancer that runs."""

    def __init__(self, node: Node, app: Balancer) -> None:
        self.node = node
        self.app = app
        self.port: int = app.vips[0]._doors[0][0].getsockname()[1]

    @property
    def listener(self) -> Listener:
        """What its client connections share."""
        return self.app.listeners[0]

    def idle(self, backend: int = 0) -> int:
        """How many idle connections a backend has."""
        lists: Any = self.backend(backend).idle
        return sum(len(each.connections) for each in (lists or {}).values())

    def backend(self, number: int = 0) -> Any:
        """A backend of the pool `servers`."""
        return self.app.forwarders["servers"].pool.backends[number]

    def results(self) -> list[str]:
        """How the requests so far ended, as the log names it."""
        return [str(row["result"]) for row in self.rows()]

    def rows(self) -> list[dict[str, Any]]:
        """The request log."""
        fields = self.node.ring.fields
        return [dict(zip(fields, entry, strict=True)) for entry in self.node.ring.entries]

    async def client(self, source: str | None = None, receive: int = 0) -> Wire:
        """A connection to it."""
        return await dial(self.port, source=source, receive=receive)


@asynccontextmanager
async def balancer(
    *origins: Origin | int, plan: Topology | None = None, name: str = NAME, **sections: Any
) -> AsyncIterator[Running]:
    """Run it; `plan` instead of a topology made from `origins` and `sections`."""
    node = Node(plan or topology(*origins, **sections), name)
    app = Balancer(node)
    node.serve(app)
    await app.start()
    try:
        yield Running(node, app)
    finally:
        await app.stop()
        sweep = app._sweep
        await until(lambda: not (sweep and sweep.members), "the balancer's connections are gone")
        assert await tasks.cancel_all() == ()
