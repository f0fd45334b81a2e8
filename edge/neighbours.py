"""The pools of other edges that this one may ask, with their connections and health checks.

Opens what parents.py chooses from, and decides how long another edge is waited for. It must not know requests.

A connection to another edge is given up sooner than one to an origin: somebody else can be asked. An answer is waited
for longer: the other edge waits for the origin as long as this one would, and then says so itself; a try of our own
after that would only wait once more. An edge that is frozen answers nothing and refuses nothing, so whatever waits for
it goes elsewhere as soon as the health checks call it down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdnlab.forward.forwarder import Forwarder
from cdnlab.forward.owner import sharing
from cdnlab.forward.upstreams import make_backends, make_connector, make_pool, make_upkeep
from cdnlab.plan.topology import PoolSpec
from cdnlab.pool.health import State
from edge.routing import POOLS

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from cdnlab.forward.upkeep import Upkeep
    from cdnlab.net.timers import Sweep
    from cdnlab.node.node import Node
    from cdnlab.pool.backend import Backend
    from cdnlab.pool.health import Transition
    from cdnlab.pool.pool import Pool

SHARING, SHIELD = POOLS

GRACE = 5.0  # seconds for which another edge's answer is waited for beyond the time that it gives its origin

_CHECKS = PoolSpec.model_validate(
    {"tier": "edge", "health": {"interval": 0.5, "timeout": 0.5, "rise": 2, "fall": 3}}
)
"""How edges check one another where no pool of the topology has all of them."""


class Neighbours:
    """The other edges of one edge's network, as far as it may ask them."""

    __slots__ = ("sharing", "shield", "upkeeps")

    def __init__(self, node: Node, loop: asyncio.AbstractEventLoop, sweep: Sweep) -> None:
        """Open nothing yet; `sharing` and `shield` are None where there is nobody to ask."""
        topology, secret = node.topology, node.secrets.hash_key
        self.upkeeps: list[Upkeep] = []
        self.sharing: Forwarder | None = None
        self.shield: Forwarder | None = None
        siblings = topology.shares_with(node.name)
        shields = () if topology.is_shield(node.name) else topology.shields()
        if len(siblings) < 2 and not shields:
            return
        upstream = topology.upstream
        connector = make_connector(
            node, loop, sweep,
            upstream.model_copy(
                update={
                    "connect_timeout": topology.edge.parent_connect_timeout,
                    "response_timeout": upstream.response_timeout + GRACE,
                }
            ),
        )  # fmt: skip
        if len(siblings) > 1:
            self.sharing = Forwarder(sharing(SHARING, make_backends(topology, siblings), secret), connector)
        if shields:
            name = topology.edge.shield
            if name in topology.pools:
                pool = make_pool(topology, name, secret)
                pool.name = SHIELD
            else:
                pool = sharing(SHIELD, make_backends(topology, shields), secret)
            self.shield = Forwarder(pool, connector)

    @property
    def forwarders(self) -> list[Forwarder]:
        """Those that there are."""
        return [each for each in (self.sharing, self.shield) if each is not None]

    def start(self, node: Node, lost: Callable[[Backend], None]) -> None:
        """Begin to check them; `lost` hears of each that is found down."""

        def heard(backend: Backend, transition: Transition) -> None:
            if transition.after is State.DOWN:
                lost(backend)

        for forwarder in self.forwarders:
            upkeep = make_upkeep(node, forwarder, like=_checks(node, forwarder.pool), heard=heard)
            upkeep.start()
            self.upkeeps.append(upkeep)

    def stop(self) -> None:
        """End the checks."""
        for upkeep in self.upkeeps:
            upkeep.stop()


def _checks(node: Node, pool: Pool) -> PoolSpec:
    """Those of the pool that was named, else those by which the balancers check the edges."""
    pools = node.topology.pools
    named = pools.get(node.topology.edge.shield or "") if pool.name == SHIELD else None
    return named or next((spec for spec in pools.values() if spec.tier == "edge"), _CHECKS)
