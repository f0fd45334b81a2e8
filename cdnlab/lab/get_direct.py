"""The same request without the CDN: straight to an origin, over the distance that the client would have to it.

It decides which origin, what it is told and how far it is. What is measured is fetch.py's.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from cdnlab.lab.errors import LabError
from cdnlab.lab.fetch import Answer, Open, fetch
from cdnlab.net import link
from cdnlab.plan.topology import BackendSpec, Topology
from cdnlab.world.distance import round_trip


@dataclass(slots=True)
class Origin:
    """Whom `--direct` asks: the backend, the Host it is told, and the round trip to it in seconds."""

    backend: BackendSpec
    host: str
    rtt: float


def choose(topology: Topology, named: str | None, place: str, host: str) -> Origin:
    """The origin called `named`, else the pool's first one, as far as it is from `place`. LabError without one."""
    pool = topology.edge.pool
    backends = topology.backends(pool)
    if not backends:
        raise LabError(f"the pool {pool} has no origin to ask directly", "see `cdnlab status`")
    backend = next((one for one in backends if one.name == named), backends[0])
    distance = topology.distance
    rtt = 0.0
    if distance.enabled and backend.place:
        rtt = round_trip(topology.place(place), topology.place(backend.place), stretch=distance.stretch)
    return Origin(backend, topology.pool(pool).origin_host or host, rtt)


async def ask(origin: Origin, request: bytes, method: bytes, window: int) -> Answer:
    """Ask the origin `request` over its distance. FetchFailed."""
    return await fetch(opener(origin, window), request, method, lambda data: None)


def opener(origin: Origin, window: int) -> Open:
    """How a connection to `origin` is opened: TCP at once, then the link, then TLS through the link."""
    backend = origin.backend

    async def open_connection(factory: Callable[[], asyncio.Protocol]) -> None:
        context = _tls() if backend.tls else None
        name = backend.server_name or backend.address
        await link.connect(
            asyncio.get_running_loop(),
            factory,
            backend.address,
            backend.port,
            rtt=origin.rtt,
            window=window,
            tls=context,
            server_name=name if context else None,
        )

    return open_connection


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
