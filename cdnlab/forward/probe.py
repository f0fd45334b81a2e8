"""Active health checks: one task per backend of a pool asks it, again and again, whether it can serve.

Decides when checks are made and hands their outcomes to `cdnlab.pool.health`. It must not know how a check is made
(check.py), requests, nor what other nodes think: each judges for itself.

Backends come and go: whoever is added to the pool is checked from then on, whoever is removed no longer.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from cdnlab.forward.check import Checker, Unhealthy
from cdnlab.net.clock import now
from cdnlab.net.tasks import spawn
from cdnlab.pool.backend import Backend
from cdnlab.pool.health import Schedule, Starts, Transition
from cdnlab.pool.pool import Pool

if TYPE_CHECKING:
    from cdnlab.plan.pools import HealthSpec

HASTE = 0.1
"""Seconds between checks at least, however often somebody asks for one: failing requests may do so all the time."""

OnTransition = Callable[[Backend, Transition], None]


class Prober:
    """Checks every backend of one pool; start() and stop() belong to the running loop."""

    def __init__(
        self,
        pool: Pool,
        spec: HealthSpec,
        *,
        source_address: str | None = None,
        host: str | None = None,
        on_transition: OnTransition | None = None,
        context: ssl.SSLContext | None = None,
        rng: Random | None = None,
        without: str = "",
    ) -> None:
        """Check `pool` as `spec` says.

        `source_address`: the node's own address to ask from, or None for whichever the kernel takes.
        `host`: the Host field where the spec names none (the pool's origin_host). `context`: for checks
        with TLS; without one certificates are verified against the system's authorities.
        `on_transition` is called after the pool has taken note of a change. `without`: the backend that is this
        node itself, and is not asked about itself.
        """
        self.pool = pool
        self.spec = spec
        self.on_transition = on_transition
        self._checker = Checker(spec, source_address=source_address, host=host, context=context)
        self._made = {"source_address": source_address, "host": host, "context": context}
        self._rng = rng or Random()
        self._without = without
        self._starts = Starts(spec.interval)
        self._tasks: dict[Backend, asyncio.Task[None]] = {}
        self._wakes: dict[Backend, asyncio.Event] = {}
        self._running = False
        pool.watch(self._follow)
        self._count()

    def start(self) -> None:
        """Begin: first checks at once, but not all in the same moment."""
        self._running = True
        self._follow()

    def stop(self) -> None:
        """End; the verdicts stay as they are."""
        self._running = False
        for backend in list(self._tasks):
            self._forget(backend)

    def take_up(self, spec: HealthSpec) -> None:
        """Check as `spec` says from now on; the verdicts stay, and so does what has been counted towards the next."""
        if spec == self.spec:
            return
        running = self._running
        self.stop()
        self.spec = spec
        self._checker = Checker(spec, **self._made)  # type: ignore[arg-type]
        self._starts = Starts(spec.interval)
        self._count()
        if running:
            self.start()

    async def check(self, backend: Backend) -> str:
        """Ask once. Returns what was good; raises Unhealthy within the spec's timeout."""
        return await self._checker.check(backend)

    def hasten(self, backend: Backend) -> None:
        """There is reason to doubt a backend: make its next check now, or HASTE after the last one."""
        wake = self._wakes.get(backend)
        if wake is not None:
            wake.set()

    # -- who is checked -------------------------------------------------------------------------------------------

    def _count(self) -> None:
        for backend in self.pool.backends:
            backend.health.rise, backend.health.fall = self.spec.rise, self.spec.fall

    def _follow(self) -> None:
        """Check whom the pool has now."""
        if not self._running or self.spec.kind == "none":
            return
        members = [backend for backend in self.pool.backends if backend.name != self._without]
        for backend in [each for each in self._tasks if each not in members]:
            self._forget(backend)
        for backend in members:
            if backend not in self._tasks:
                backend.health.rise, backend.health.fall = self.spec.rise, self.spec.fall
                begin = self._starts.take(now(), len(members))
                self._wakes[backend] = asyncio.Event()
                self._tasks[backend] = spawn(
                    self._watch(backend, begin), f"check {self.pool.name}/{backend.name}"
                )

    def _forget(self, backend: Backend) -> None:
        self._tasks.pop(backend).cancel()
        del self._wakes[backend]

    # -- one backend ----------------------------------------------------------------------------------------------

    async def _watch(self, backend: Backend, begin: float) -> None:
        spec, wake = self.spec, self._wakes[backend]
        schedule = Schedule(spec.interval, spec.jitter, spec.interval_down)
        due = schedule.next_probe(begin, self._rng)
        began = -HASTE
        while True:
            if await _woken(wake, due):
                await asyncio.sleep(max(0.0, began + HASTE - now()))
                schedule.due = now()
            began = now()
            try:
                detail, ok, answered = await self.check(backend), True, True
            except Unhealthy as why:
                detail, ok, answered = str(why), False, why.answered
            backend.health.answered = answered
            self._note(backend, ok, detail)
            due = schedule.next_probe(now(), self._rng, backend.health.uncertain)

    def _note(self, backend: Backend, ok: bool, detail: str) -> None:
        transition = backend.health.result(now(), ok, detail)
        if transition is None:
            return
        self.pool.usable_changed()
        if self.on_transition is not None:
            self.on_transition(backend, transition)


async def _woken(wake: asyncio.Event, due: float) -> bool:
    """Wait until `due`, or until somebody cannot wait; whether that was so."""
    try:
        async with asyncio.timeout(max(0.0, due - now())):
            await wake.wait()
    except TimeoutError:
        return False
    wake.clear()
    return True
