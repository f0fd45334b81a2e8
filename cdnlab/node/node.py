"""What a tier sees of its process: names, secrets, store, rings, and the state it is in.

It decides what /status and the shared metrics say. It opens nothing and knows no signal, no socket and no
admin API; process.py gives it a life, and tests make one without.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cdnlab.net.clock import now, wall
from cdnlab.node.degrades import DEGRADED, Degrades
from cdnlab.node.faults import FAULT_METRICS, FaultDesk
from cdnlab.node.health_answer import NodeState
from cdnlab.node.log import AccessLog, Events, Ring
from cdnlab.node.metrics import Family, MetricSpec, Tallies, family
from cdnlab.node.secrets import Secrets
from cdnlab.node.stalls import STALL_SPEC, Garbage, StallMeter
from cdnlab.node.window import Window

if TYPE_CHECKING:
    from cdnlab.net.faults import Faults
    from cdnlab.node.admin import Admin
    from cdnlab.node.store import Store
    from cdnlab.node.versions import Versions
    from cdnlab.plan.topology import Topology

INFO = MetricSpec("cdnlab_node_info", "gauge", ("version",), "1; the label says which version runs.")
READY = MetricSpec("cdnlab_node_ready", "gauge", (), "1 while the node wants requests.")
DRAINING = MetricSpec(
    "cdnlab_node_draining", "gauge", (), "1 while the node finishes what runs and wants nothing new."
)
CONNECTIONS = MetricSpec("cdnlab_node_connections", "gauge", (), "Client connections open now.")
LOG_DROPPED = MetricSpec(
    "cdnlab_log_dropped_total", "counter", (), "Access log lines that the disk or pipe did not take."
)
NODE_METRICS = (INFO, READY, DRAINING, CONNECTIONS, LOG_DROPPED, STALL_SPEC, DEGRADED, *FAULT_METRICS)


class BadRequest(Exception):
    """What was posted to the admin API can't be understood: what is wrong, and the remedy."""

    def __init__(self, error: str, remedy: str) -> None:
        super().__init__(f"{error}; {remedy}")
        self.error = error
        self.remedy = remedy


class App(Protocol):
    """What a tier does in a node. `build(node)` makes it; nothing is opened before start()."""

    async def start(self) -> None:
        """Open the listeners; StartError or PlanError for what the configuration got wrong."""

    async def drain(self, deadline: float) -> None:
        """Stop accepting, return when nothing runs any more; at `deadline` (boot time) it is cancelled."""

    async def stop(self) -> None:
        """Close everything at once."""

    def status(self) -> Mapping[str, Any]:
        """What /status says beyond the node's own: backends, vips, …; equal keys replace the node's."""

    def metrics(self) -> Iterable[Family]:
        """The families of the tier's table, filled."""


class Node:
    """What a tier sees of its process. Making one opens nothing; tests make them without a process."""

    def __init__(
        self,
        topology: Topology,
        name: str,
        *,
        state: Path | None = None,
        secrets: Secrets | None = None,
        store: Store | None = None,
        events: Events | None = None,
        inherited: Mapping[str, int] | None = None,
    ) -> None:
        """`inherited`: listening sockets by VIP name, opened by the parent. PlanError for an unknown name."""
        spec = topology.node(name)
        self.topology = topology
        self.name = name
        self.tier: str = spec.tier
        self.place: str | None = spec.place
        self.state = state
        self.secrets = secrets or Secrets()
        self.store = store
        self.degrades = Degrades(store)
        """Each part that needs the store to be whole registers its feature here when it is made."""
        self.inherited = dict(inherited or {})
        self.events = events or Events(name)
        every = topology.log.every
        self.access = AccessLog(1, every) if every else None
        self.ring = Ring(access=self.access)
        self.tallies: Tallies | None = None
        """The tier's requests; build() sets it, and /status and the samples read it."""
        self.connections: Callable[[], int] = lambda: 0
        """How many client connections are open; build() sets it."""
        self.drain_changed: list[Callable[[bool], None]] = []
        """Called after the admin API, or a signal, made the node draining (True) or not (False)."""
        self.purge: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]] | None = None
        """What POST /purge does with its JSON body, or BadRequest; None answers 501."""
        self.policy: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
        """What POST /policy does with its JSON body, or BadRequest; None answers 501."""
        self.explain: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]] | None = None
        """What POST /explain says to its JSON body, or BadRequest; None answers 501."""
        self.pools: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
        """What POST /pools does with its JSON body, or BadRequest; None answers 501."""
        self.prepare: Callable[[Topology], Callable[[], None]] | None = None
        """What the tier makes of another topology before it goes by it: PlanError, or what to do at the switch, which
        can't fail. None: nothing in it depends on what may change."""
        self.versions: Versions | None = None
        """Which version of the topology it goes by; the process sets it."""
        self.purges: Callable[[str | None], Mapping[str, Any]] | None = None
        """What GET /purges?id=ID says; None answers 501."""
        self.flows: Callable[[int], Mapping[str, Any]] | None = None
        """What GET /flows?limit=N says; None answers 501."""
        self.behind: Callable[[], bool] = lambda: False
        """Whether what this node holds may be out of date; asked whenever its state is, since nothing tells a process
        that it was frozen. build() sets it."""
        self.faults: Faults | None = None
        """What is done to this node's requests on purpose; None when nothing is."""
        self.fault_desk = FaultDesk(self)
        self.admin: Admin | None = None
        self.garbage = Garbage()
        self.stalls = StallMeter(self._stood_still)
        self.ending = False
        """A signal told the process to end; only then does draining lead to the exit."""
        self.health = NodeState.STARTING
        self.reason = NodeState.STARTING.sentence
        self.started = self.since = wall()
        self._started = now()
        self._window = Window(self._started)
        self._app: App | None = None

    @property
    def ready(self) -> bool:
        """Whether the node wants requests."""
        return self.state_now is NodeState.READY

    @property
    def state_now(self) -> NodeState:
        """`health`, but BEHIND for a ready node that is."""
        return NodeState.BEHIND if self.health is NodeState.READY and self.behind() else self.health

    @property
    def reason_now(self) -> str:
        """Why it is in `state_now`."""
        state = self.state_now
        reason = self.reason if state is self.health else state.sentence
        return f"{reason}, with faults: {self.fault_desk.words}" if self.faults else reason

    @property
    def draining(self) -> bool:
        """Whether the node finishes what runs and wants nothing new."""
        return self.health is NodeState.DRAINING

    def serve(self, app: App) -> None:
        """Make `app` what this node does: its status and metrics are the node's from here on."""
        self._app = app

    def change(self, state: NodeState, reason: str) -> None:
        """Go to `state`; an event, and what /readyz and the health answer say from now on."""
        if state is self.health:
            return
        was_draining, self.health = self.draining, state
        self.reason, self.since = reason, wall()
        self.events.add("state", self.name, f"{state}: {reason}", state=state)
        if self.draining is not was_draining:
            for changed in self.drain_changed:
                changed(self.draining)

    def sample(self) -> None:
        """Once a second: the figures of /status, and the access log."""
        if self.tallies is not None:
            self._window.sample(self.tallies, now())
        if self.access is not None:
            self.access.flush()

    def status(self) -> dict[str, Any]:
        """The answer to GET /status; times are wall seconds, durations seconds."""
        none: dict[str, Any] = {"requests": {}, "latency": {}}
        return {
            "node": self.name,
            "tier": self.tier,
            "place": self.place,
            "state": self.state_now,
            "reason": self.reason_now,
            "since": self.since,
            "pid": os.getpid(),
            "started": self.started,
            "uptime": round(now() - self._started, 3),
            "version": our_version(),
            "configuration": self.versions.status() if self.versions else None,
            "connections": self.connections(),
            **(none if self.tallies is None else self._window.figures(self.tallies, now())),
            "backends": [],
            "vips": [],
            "store": self.store.status() if self.store else None,
            "degraded": self.degrades.status(),
            **self.fault_desk.status(),
            **(self._app.status() if self._app else {}),
        }

    def families(self) -> Iterator[Family]:
        """All metrics of the node: the shared ones, the store's, the tier's."""
        yield family(INFO, [((our_version(),), 1)])
        yield family(READY, [((), int(self.ready))])
        yield family(DRAINING, [((), int(self.draining))])
        yield family(CONNECTIONS, [((), self.connections())])
        yield family(LOG_DROPPED, [((), self.access.dropped if self.access else 0)])
        yield self.stalls.histogram.family()
        yield self.degrades.family()
        yield from self.fault_desk.families()
        if self.store:
            yield from self.store.families()
        if self._app:
            yield from self._app.metrics()

    def _stood_still(self, seconds: float) -> None:
        self.events.add("state", self.name, f"ran nothing for {seconds:.1f} s: stopped, or the machine slept")


@lru_cache(maxsize=1)
def our_version() -> str:
    """The installed version; in a checkout that was not installed, "0"."""
    try:
        return version("cdnlab")
    except PackageNotFoundError:
        return "0"
