"""A lab of small nodes: real processes under the real nursery, with an App that answers one line and nothing else.

    python -m tests.support.stub_tiers up --port BASE --state DIR [...]

It is the `cdnlab` command, with the tiers exchanged. A node whose name is in $STUB_FAILS does not start; one in
$STUB_HANGS never becomes ready.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cdnlab.lab import cli, programs
from cdnlab.node.metrics import Family
from cdnlab.node.node import Node
from cdnlab.node.process import StartError, run
from cdnlab.plan.topology import Topology


class StubApp:
    """Listens on the node's data address, and on the VIP where the node is the first balancer."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._servers: list[asyncio.Server] = []

    async def start(self) -> None:
        name = self._node.name
        if name in os.environ.get("STUB_FAILS", "").split():
            raise StartError(f"{name} was told to fail")
        if name in os.environ.get("STUB_HANGS", "").split():
            await asyncio.sleep(3600)
        host, port = self._node.topology.data_address(name)
        self._servers.append(await asyncio.start_server(self._answer, host, port))
        if name == self._node.topology.tier("lb")[0]:
            vips = [
                each for key, each in self._node.inherited.items() if "/" not in key
            ]  # not those at layer 4
            for descriptor in vips:
                self._servers.append(
                    await asyncio.start_server(self._answer, sock=socket.socket(fileno=os.dup(descriptor)))
                )

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = f"{self._node.name} {os.getpid()}\n".encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
        )
        await writer.drain()
        writer.close()

    async def drain(self, deadline: float) -> None:
        await self.stop()

    async def stop(self) -> None:
        for server in self._servers:
            server.close()

    def status(self) -> Mapping[str, Any]:
        return {}

    def metrics(self) -> Iterable[Family]:
        return ()


def node_main(
    topology: Topology, name: str, state: Path | None, inherited: dict[str, int] | None, ready_fd: int | None
) -> int:
    """A tier's entry point."""
    return run(topology, name, StubApp, state=state, inherited=inherited, ready_fd=ready_fd)


STUBS = programs.Tiers(lambda tier: node_main, ("cdnlab.node.admin", "cdnlab.node.store"))

if __name__ == "__main__":
    from cdnlab.lab import up

    up.up.__defaults__ = (STUBS,)  # the one way in that leaves the command line as it is
    cli.main()
