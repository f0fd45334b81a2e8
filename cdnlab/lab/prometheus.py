"""The Prometheus beside the lab (`cdnlab up --prometheus`): where its program lies, how it is started, if it answers.

A program of the machine's, not of PyPI. It runs as a child of the nursery, as the embedded store does, listens on
127.0.0.1 only, and keeps little: what it holds is worth no more than the lab it watched. What it scrapes is
monitor.py's business.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from cdnlab.lab import monitor
from cdnlab.lab.errors import MISUSED, LabError
from cdnlab.plan.topology import Topology

NAME = "prometheus"
HOST = "127.0.0.1"
#: Above ports.base: 9090 in the shipped topology, which is where people look for it.
OFFSET = 1010
#: What it keeps, whichever ends first. The default lab writes a megabyte a minute, packed small after some three hours.
KEPT_TIME, KEPT_SIZE = "6h", "512MB"
#: Seconds for its answer, while it starts and after.
ANSWER = 1.0


def find_program() -> Path:
    """Where it is installed. LabError with the remedy where it is not."""
    found = shutil.which(NAME)
    if found is None:
        raise LabError(
            "--prometheus: there is no program called prometheus on this machine",
            "install it (apt-get install prometheus), or leave the option out",
            MISUSED,
        )
    return Path(found)


def address(topology: Topology) -> tuple[str, int]:
    """(host, port) where it listens. LabError where the base leaves no port for it."""
    port = topology.ports.base + OFFSET
    taken = {
        topology.ports.page: "the page",
        **{topology.vip_address(vip)[1]: "a VIP" for vip in topology.vips},
    }
    if port > 65535 or port in taken:
        why = f"is {taken[port]}'s" if port in taken else "does not exist"
        raise LabError(
            f"port {port}, needed for Prometheus ({OFFSET} above ports.base), {why}",
            "use other ports: --port BASE, or ports in the topology",
            MISUSED,
        )
    return HOST, port


def url(topology: Topology) -> str:
    """Its address as a person opens it."""
    host, port = address(topology)
    return f"http://{host}:{port}/"


def arguments(directory: Path, port: int) -> list[str]:
    """The command line, for Prometheus 2.42 and later; `directory` is the one that monitor.write filled."""
    return [
        "cdnlab-prometheus",
        f"--config.file={directory / monitor.CONFIG}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--storage.tsdb.retention.time={KEPT_TIME}",
        f"--storage.tsdb.retention.size={KEPT_SIZE}",
        f"--web.listen-address={HOST}:{port}",
        "--log.level=warn",
    ]


async def answers(port: int) -> bool:
    """Whether it says that it is ready."""
    try:
        async with asyncio.timeout(ANSWER):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(b"GET /-/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
