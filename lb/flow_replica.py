"""A balancer's flow table at work: its clock, what it says to other balancers and hears of them, and what people see.

Decides when the table is looked at and what is asked of it. What an entry means is the table's.

The words travel through the store, a batch each 20 ms (cdnlab/node/replica.py), and are for whoever takes the VIP over:
it then sends a source that returns where its flow went before. Without a store, or while it is away, the table is this
balancer's alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cdnlab.net.clock import now, wall
from cdnlab.node.degrades import Feature
from cdnlab.node.metrics import Family, MetricSpec, family
from cdnlab.node.replica import Replica
from lb.flow_entry import SHOWN, Address
from lb.flow_table import STATES, FlowTable

if TYPE_CHECKING:
    from cdnlab.net.timers import Sweep
    from cdnlab.node.node import Node
    from cdnlab.plan.layer4 import L4Spec

TOPIC = "flows"
#: Rows looked at in one go: some of them are told to others, which takes 10 µs.
TICK_ROWS = 150
#: Seconds until the next look where one was not enough.
TICK_AGAIN = 0.005
#: Entries that one answer shows, and at most.
SHOW, SHOW_MOST = 200, 5000

ENTRIES = MetricSpec(
    "cdnlab_lb_flow_entries",
    "gauge",
    ("state",),
    "Entries of the flow table: of flows that this balancer relays, of others' flows, and of flows that are over.",
)
OPENED = MetricSpec("cdnlab_lb_flows_opened_total", "counter", (), "Flows entered into the flow table.")
LEARNED = MetricSpec(
    "cdnlab_lb_flows_learned_total", "counter", (), "Words of other balancers that the flow table took in."
)
EVICTED = MetricSpec(
    "cdnlab_lb_flows_evicted_total",
    "counter",
    (),
    "Entries that gave way, since the table was full (flows.max).",
)
FULL = MetricSpec(
    "cdnlab_lb_flows_refused_total",
    "counter",
    (),
    "Flows for which the table had no room: all its entries lived.",
)
FLOW_METRICS = (ENTRIES, OPENED, LEARNED, EVICTED, FULL)


class Flows:
    """The flow table of one balancer. `start` it once its services are known."""

    def __init__(self, node: Node) -> None:
        spec = node.topology.flows
        self.table = FlowTable(spec.max, to_wall=wall() - now())
        self.replica: Replica | None = None
        self._node = node
        self._sweep: Sweep | None = None
        if node.store is not None and spec.replicate:
            node.degrades.register(Feature.FLOWS)
            self.replica = Replica(
                node.store,
                node.topology.name,
                TOPIC,
                self._hear,
                lambda: self.table.each(now()),
                most=spec.max,
                batch=spec.batch,
            )
            self.table.publisher = self.replica
        node.flows = self.shown

    def serve(self, name: str, spec: L4Spec, vip: Address) -> None:
        """Take the flows of the layer-4 port `name` under `vip` (host, port)."""
        sticky = self._node.topology.pool(spec.pool).sticky
        prefixes = (sticky.prefix4, sticky.prefix6) if sticky.mode == "source" else None
        self.table.serve(name, spec.protocol, vip, spec.idle_timeout, prefixes)

    def start(self, sweep: Sweep) -> None:
        """Begin to follow, and to end what is over; on the running loop."""
        self._sweep = sweep
        sweep.ticks.append(self._tick)
        if self.replica is not None:
            self.replica.start()

    async def flush(self, within: float) -> None:
        """Wait until others were told all, for at most `within` seconds: before this balancer ends."""
        if self.replica is not None:
            await self.replica.flushed(within)

    def stop(self) -> None:
        """End it."""
        if self._sweep is not None and self._tick in self._sweep.ticks:
            self._sweep.ticks.remove(self._tick)
        if self.replica is not None:
            self.replica.stop()

    def _tick(self, instant: float) -> None:
        self.table.to_wall = wall() - instant
        self._visit()

    def _visit(self) -> None:
        if self.table.tick(now(), TICK_ROWS):
            asyncio.get_running_loop().call_later(TICK_AGAIN, self._visit)

    def _hear(self, key: bytes, value: bytes, life: float) -> None:
        if life > 0:
            self.table.learn(key, value, life, now())
        else:
            self.table.unlearn(key)

    # -- what people see ---------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The "flows" of /status: how many entries of each state, and how fresh the replica is."""
        table = self.table
        counts = {STATES[state]: table.counts[state] for state in SHOWN}
        return {
            **counts,
            "max": table.most,
            "opened": table.opened,
            "learned": table.learned,
            "evicted": table.evicted,
            "refused": table.full,
            "unreadable": table.malformed,
            "replica_status": None if self.replica is None else self.replica.status(),
        }

    def shown(self, limit: int = SHOW) -> dict[str, Any]:
        """The answer to GET /flows?limit=N: `status` and the entries, those of live flows first."""
        rows = self.table.rows(min(limit, SHOW_MOST), now())
        return {"node": self._node.name, **self.status(), "rows": [row._asdict() for row in rows]}

    def families(self) -> Iterator[Family]:
        """The rows of FLOW_METRICS; those of the replica are the node's (cdnlab/node/replica_metrics.py)."""
        table = self.table
        yield family(ENTRIES, [((STATES[state],), table.counts[state]) for state in SHOWN])
        yield family(OPENED, [((), table.opened)])
        yield family(LEARNED, [((), table.learned)])
        yield family(EVICTED, [((), table.evicted)])
        yield family(FULL, [((), table.full)])
