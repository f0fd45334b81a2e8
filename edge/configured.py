"""What an edge makes of its topology, at the start and when it goes by another one.

Decides which parts of a running edge a change of the topology reaches: its pool, its settings, its routes' rules, its
limits, its policy. What is stored stays, under the keys that it has: where a rule changes what a key is, what lies
under old keys is no longer found, and leaves as the policy wants it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cdnlab.forward.key import key_rules
from cdnlab.forward.reshape import reshaping
from cdnlab.plan.errors import PlanError
from edge.purge.asked import target_rule
from edge.settings import Settings

if TYPE_CHECKING:
    from cdnlab.node.node import Node
    from cdnlab.plan.topology import Topology
    from edge.app import Edge


def settings_of(node: Node, topology: Topology) -> Settings:
    """What requests need to know of it."""
    spec, pool = topology.edge, topology.pool(topology.edge.pool)
    return Settings(
        node.name,
        node.place or topology.default_place,
        places=frozenset(topology.place_codes()),
        may_choose_place=topology.clients.may_choose_place,
        object_max=min(spec.object_max, spec.memory // 8),
        pool=topology.edge.pool,
        origin_host=pool.origin_host,
        forwarded_proto=pool.forwarded_proto,
        trusted=topology.trusted_peers(node.name),
        negative=spec.negative_ttl(),
        stale_disconnected=spec.stale_disconnected,
        background_max=spec.background_max,
        rules=key_rules(topology.routes),
        explain_key=node.secrets.explain_key,
    )


def prepare(edge: Edge, topology: Topology) -> Callable[[], None]:
    """Make what another topology needs; the switch goes by it. PlanError."""
    node, spec = edge.node, topology.edge
    if edge.cache is not None and edge.cache.storage.changing:
        raise PlanError(
            "the last change of the policy is still going on", "edge.policy", "ask again in some seconds"
        )
    settings = settings_of(node, topology)
    target = target_rule(settings.rules)
    pools = reshaping(topology, edge.upkeeps(), node.secrets.hash_key)

    def switch() -> None:
        pools()
        cache = edge.cache
        if cache is None:
            return
        cache.settings = cache.replies.settings = settings
        cache.flights.waiters_max = spec.collapse_waiters
        cache.flights.wait_max = spec.collapse_timeout
        edge.office.go_by(target)
        edge.keep_clients(topology)
        if node.policy is not None and cache.storage.policy.name != spec.policy:
            node.policy({"policy": spec.policy})
        if edge.listener is not None:
            edge.listener.take_up(topology.limits)

    return switch
