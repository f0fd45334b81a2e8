"""A node for test_process.py: python sample_node.py BEHAVIOUR LISTEN ADMIN STATE STORE READY.

READY is the descriptor for the readiness line; STATE and STORE may be empty. It prints the port it listens on,
then a line per thing that happens to it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from cdnlab.node.log import configure
from cdnlab.node.metrics import Family
from cdnlab.node.process import Node, StartError, binding, run, warm
from cdnlab.plan.single import single_edge


def say(*words: object) -> None:
    print(*words, flush=True)


class Connection(asyncio.Protocol):
    """Echoes, and is counted while it is open."""

    def __init__(self, app: App) -> None:
        self.app = app

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.app.open.add(self)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.app.open.discard(self)
        self.app.changed.set()


class App:
    def __init__(self, node: Node) -> None:
        self.node = node
        self.open: set[Connection] = set()
        self.changed = asyncio.Event()
        node.connections = lambda: len(self.open)

    async def start(self) -> None:
        if BEHAVIOUR == "broken":
            raise RuntimeError("out of\ncheese")
        if BEHAVIOUR == "misconfigured":
            raise StartError("edge.memory is more than the machine has; give less")
        host, port = self.node.topology.data_address(self.node.name)
        with binding(host, port, "--listen"):
            loop = asyncio.get_running_loop()
            self.server = await loop.create_server(lambda: Connection(self), host, port)
        say(self.server.sockets[0].getsockname()[1])

    async def drain(self, deadline: float) -> None:
        self.server.close()
        say("draining", gc.get_freeze_count() > 1000, gc.get_threshold()[2] > 1_000_000)
        while self.open or BEHAVIOUR == "stubborn":
            self.changed.clear()
            await self.changed.wait()

    async def stop(self) -> None:
        say("stopped", len(self.open))

    def status(self) -> Mapping[str, Any]:
        return {}

    def metrics(self) -> Iterator[Family]:
        return iter(())


def main() -> int:
    _, _, listen, admin, state, store, ready = sys.argv
    topology = single_edge(listen, ["http://127.0.0.1:9001"], admin=admin)
    return run(
        topology,
        "edge",
        App,
        state=Path(state) if state else None,
        ready_fd=int(ready),
        store_url=store or None,
        drain=0.1 if BEHAVIOUR == "stubborn" else 30.0,
    )


BEHAVIOUR = sys.argv[1]
if BEHAVIOUR == "forked":
    configure("parent")
    warm()
    if pid := os.fork():
        say(pid)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os._exit(main())
sys.exit(main())
