"""Another version of a pool's settings, taken up while exchanges run.

Decides which backends of the old version are those of the new one: the same name at the same address, over the same
kind of connection. Those keep everything, since they stay the same objects: connections, counts, verdicts, pins and
flows. Anything else with the same name is another server, and begins as an unknown one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from cdnlab.forward.upstreams import make_backends, settings_of

if TYPE_CHECKING:
    from cdnlab.forward.forwarder import Forwarder
    from cdnlab.forward.upkeep import Upkeep
    from cdnlab.plan.topology import Topology
    from cdnlab.pool.backend import Backend


def reshaping(topology: Topology, kept: Iterable[Upkeep], secret: bytes) -> Callable[[], None]:
    """What to do at the switch to `topology`: its pools' backends, algorithm, checks, retries and bounds. Pools that it
    does not have stay as they are, for what still runs. `secret` is that of the hash nodes agree on."""
    steps = [_step(topology, upkeep, secret) for upkeep in kept if upkeep.pool.name in topology.pools]

    def switch() -> None:
        for step in steps:
            step()

    return switch


def _step(topology: Topology, upkeep: Upkeep, secret: bytes) -> Callable[[], None]:
    pool, forwarder = upkeep.pool, upkeep.forwarder
    spec, settings = topology.pool(pool.name), settings_of(topology, pool.name, secret)
    made = make_backends(topology, topology.backends(pool.name))

    def switch() -> None:
        known = {backend.name: backend for backend in pool.backends}
        pool.reshape(
            [_same(known.get(new.name), new) for new in made],
            spec.algorithm,
            settings,
            panic_below=spec.panic,
            slow_start=spec.slow_start > 0,
        )
        upkeep.take_up(spec)
        forwarder.configure(spec.retry, spec.breaker, ask=spec.health.kind != "none")
        _bound(forwarder, topology)

    return switch


def _bound(forwarder: Forwarder, topology: Topology) -> None:
    """What the topology's `upstream` says of every pool; connections that stand keep their time-outs."""
    spec = topology.upstream
    forwarder.connector.spec = spec
    forwarder.budget.share = spec.retry_budget
    forwarder.max_retries, forwarder.replay_bytes = spec.retries, spec.replay_bytes


def _same(old: Backend | None, new: Backend) -> Backend:
    """The old one with the new one's settings, if it is the same server; else the new one."""
    if old is None or _address(old) != _address(new):
        return new
    old.priority, old.check_port = new.priority, new.check_port
    if old.weight != new.weight:
        old.weigh(new.weight, old.ramp)
    return old


def _address(backend: Backend) -> tuple[object, ...]:
    """What makes it the server that it is; the place, too, since its connections are felt from there."""
    return backend.key, backend.tls, backend.server_name, backend.place, backend.ours
