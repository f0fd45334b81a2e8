"""Distance that is off costs nothing: no link, no look at a table of distances, the bare transport."""

from __future__ import annotations

from typing import Any

from cdnlab.net.link import Link
from tests.support.balancers import Running, balancer
from tests.support.peers import Origin


def kept(lb: Running) -> list[Any]:
    """The balancer's idle connections."""
    return [upstream for each in lb.backend().idle.values() for upstream in each.connections]


def placed(origin: Origin) -> dict[str, Any]:
    """A pool of one backend far away."""
    return {"backends": [{"name": "server-1", "address": "127.0.0.1", "port": origin.port, "place": "gru"}]}


async def test_off_is_the_bare_transport() -> None:
    async with Origin() as origin, balancer(origin, pool=placed(origin)) as lb, await lb.client() as client:
        assert (await client.get()).status == 200
        (upstream,) = kept(lb)
        assert not isinstance(upstream.transport, Link)
        assert lb.app.forwarders["servers"].connector.round_trip is None


async def test_on_is_a_link() -> None:
    sections: dict[str, Any] = {"distance": {"enabled": True, "stretch": 0.1}, "default_place": "icn"}
    async with (
        Origin() as origin,
        balancer(origin, pool=placed(origin), **sections) as lb,
        await lb.client() as client,
    ):
        assert (await client.get()).status == 200
        (upstream,) = kept(lb)
        assert isinstance(upstream.transport, Link)
