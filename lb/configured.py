"""What a balancer does when its topology changes while it runs.

Decides which parts of a running balancer a change reaches: its pools, its routes, its pins' rules, its limits. Pools
that are gone are kept aside, for what still runs in them, and come back as they were if another version has them again:
their idle connections and verdicts are as good then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cdnlab.forward.reshape import reshaping
from cdnlab.forward.upstreams import make_forwarders, make_upkeep
from lb.l4_listeners import pools_of
from lb.routes import Routes, route_pools

if TYPE_CHECKING:
    from cdnlab.plan.topology import Topology
    from lb.app import Balancer


def prepare(balancer: Balancer, topology: Topology) -> Callable[[], None]:
    """Make what another topology needs; the switch goes by it. PlanError."""
    specs = topology.balancer_routes()
    http = route_pools(specs)
    wanted = http | pools_of(topology)
    pools = reshaping(topology, balancer.upkeeps.values(), balancer.node.secrets.hash_key)

    def switch() -> None:
        pools()
        _bring(balancer, topology, wanted)
        proxy = balancer.proxy
        if proxy is not None:
            routes = Routes(specs, proxy.routes)
            proxy.configure(topology, routes, {name: balancer.forwarders[name] for name in sorted(http)})
            balancer.share_limits(proxy)
        balancer.pins.attach(topology, balancer.forwarders.values())
        for listener in balancer.listeners:
            listener.take_up(topology.limits)
        if balancer.layer4 is not None:
            balancer.layer4.take_up(topology)

    return switch


def _bring(balancer: Balancer, topology: Topology, wanted: set[str]) -> None:
    """Have exactly the `wanted` pools at work."""
    node, connector = balancer.node, balancer.connector
    known = balancer.upkeeps
    new = wanted - known.keys()
    if new and connector is not None:
        for name, forwarder in make_forwarders(topology, new, connector, node.secrets.hash_key).items():
            known[name] = make_upkeep(node, forwarder)
            balancer.at_work(known[name])
    for name in [*balancer.forwarders]:
        if name not in wanted:
            known[name].stop()
            del balancer.forwarders[name]
    for name in sorted(wanted - balancer.forwarders.keys()):
        balancer.forwarders[name] = known[name].forwarder
        known[name].start()
