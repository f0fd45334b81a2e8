"""What a pool needs while it runs: its checks, its ejections, its slow starts; and every change of state said aloud.

Decides who is told of what. Who is down, ejected or ramped is decided in cdnlab/pool; how a check is made, in check.py.

One task per pool ticks four times a second; nothing here is asked for per request. Each change is an event of the
node, with its reason: a line in its log and an entry of `cdnlab events`. What it leaves behind is a metric
(health_metrics.py) and a row of `cdnlab status` (upstreams.py).

Whoever waits for a backend that has gone is sent elsewhere: by the forwarder itself where broken exchanges ejected it,
from here where checks call it down because it does not answer. Who answers badly, to checks (a node that drains says
503) or to requests, does answer: what it has is left to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from cdnlab.net.clock import now
from cdnlab.net.tasks import spawn
from cdnlab.pool.ejection import Ejector
from cdnlab.pool.health import State, Transition
from cdnlab.pool.slow_start import SlowStart

if TYPE_CHECKING:
    from cdnlab.forward.forwarder import Forwarder
    from cdnlab.forward.probe import Prober
    from cdnlab.node.log import Events
    from cdnlab.plan.pools import PoolSpec
    from cdnlab.pool.backend import Backend

TICK = 0.25
"""Seconds: an ejection ends this late at most, and a slow start of 2.5 s has all of its steps."""


class Upkeep:
    """The ticks of one pool; start() and stop() belong to the running loop."""

    def __init__(
        self,
        forwarder: Forwarder,
        spec: PoolSpec,
        prober: Prober,
        events: Events,
        heard: Callable[[Backend, Transition], None] | None = None,
    ) -> None:
        """`heard` is told of every verdict and ejection, after the pool has taken note of it."""
        pool = forwarder.pool
        self.pool = pool
        self.forwarder = forwarder
        self.prober = prober
        self.ejector = forwarder.ejector = Ejector(pool, spec.ejection, relays=spec.tier == "edge")
        self.slow_start = SlowStart(pool, spec.slow_start)
        self._events = events
        self._heard = heard
        self._panicked = False
        self._task: asyncio.Task[None] | None = None
        prober.on_transition = self._checked
        self.ejector.on_transition = self._ejected
        self.ejector.on_refused = prober.hasten
        pool.watch(self._changed)
        self._adjust(spec)

    def start(self) -> None:
        """Begin to check and to tick."""
        self.prober.start()
        self._task = spawn(self._run(), f"upkeep {self.pool.name}")

    def stop(self) -> None:
        """End; what is believed of the backends stays."""
        self.prober.stop()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def take_up(self, spec: PoolSpec) -> None:
        """Go by other settings from now on; verdicts, ejections and counts stay."""
        self.ejector.spec = spec.ejection
        self.ejector.relays = spec.tier == "edge"
        self.slow_start.window = spec.slow_start
        self.prober.take_up(spec.health)
        self._adjust(spec)

    def _adjust(self, spec: PoolSpec) -> None:
        self.pool.slow_start = spec.slow_start > 0
        self.pool.panic_below = spec.panic
        self.forwarder.look()
        self.pool.usable_changed()

    async def _run(self) -> None:
        while True:
            self.tick(now())
            await asyncio.sleep(TICK)

    def tick(self, instant: float) -> None:
        """What is due."""
        self.ejector.tick(instant)
        for backend in self.slow_start.tick(instant):
            self._ramped(backend)

    # -- what is said ---------------------------------------------------------------------------------------------

    def _checked(self, backend: Backend, transition: Transition) -> None:
        """The checks came to another verdict."""
        self._say("health", backend, transition)
        if transition.after is State.DOWN and not backend.health.answered:
            self.forwarder.abandon(backend, f"its checks call it down: {transition.detail}")
        elif transition.before is State.DOWN:
            self.ejector.recovered(backend, transition.at)

    def _ejected(self, backend: Backend, transition: Transition) -> None:
        """An ejection began or ended. The checks may know more of a backend that fails, and should say so soon."""
        self._say("ejection", backend, transition)
        if transition.after is State.EJECTED:
            self.prober.hasten(backend)

    def _say(self, kind: str, backend: Backend, transition: Transition) -> None:
        self._events.add(
            kind,
            backend.name,
            f"{transition.before} -> {transition.after}: {transition.detail}",
            pool=self.pool.name,
            before=str(transition.before),
            after=str(transition.after),
            reason=transition.detail,
        )
        if self._heard is not None:
            self._heard(backend, transition)

    def _ramped(self, backend: Backend) -> None:
        seconds = self.slow_start.window
        text = (
            "slow start is over: it has all of its weight"
            if backend.ramp == 1
            else f"slow start: {backend.ramp:.0%} of its weight, all of it in {seconds:g} s"
        )
        self._events.add("slow_start", backend.name, text, pool=self.pool.name, share=backend.share)

    def _changed(self) -> None:
        """Of what a pool tells its watchers, only panic is news to people."""
        pool = self.pool
        if pool.panic == self._panicked:
            return
        self._panicked = pool.panic
        usable = sum(backend.usable for backend in pool.backends)
        wanted = sum(backend.wanted for backend in pool.backends)
        text = (
            f"panic: {usable} of {wanted} backends are usable, less than {pool.panic_below:.0%}; all are used"
            if pool.panic
            else f"no panic any more: {usable} of {wanted} backends are usable, and only they are used"
        )
        self._events.add("panic", pool.name, text, pool=pool.name, usable=usable, wanted=wanted)
