"""Slow start: a backend that came back gets its weight little by little. Pure.

Decides how much of its weight a backend has. It must not know why it was away.

A backend that returns has empty caches, no connections and often no compiled code; given its whole share at once it is
slow, or falls again. So it begins with a tenth of its weight (the pool sees to that, in the moment in which it becomes
usable) and gains evenly over the window (HAProxy's slowstart; Envoy's with aggression 1), in steps of a tenth: each
step makes the algorithm anew, and shares that are whole tenths of weights let turns be counted in integers.

Who is there when a pool begins has nobody to be spared by, and starts at once. Hashes don't take part: they would move
keys to and fro for the length of the window.
"""

from __future__ import annotations

from cdnlab.pool.backend import Backend
from cdnlab.pool.pool import Pool

STEPS = 10


class SlowStart:
    """The ramps of one pool's backends."""

    __slots__ = ("_since", "pool", "window")

    def __init__(self, pool: Pool, window: float) -> None:
        """`window`: seconds until a backend has all of its weight."""
        self.pool = pool
        self.window = window
        self._since: dict[Backend, float] = {}

    def tick(self, now: float) -> list[Backend]:
        """Raise whoever is due; returns those that have just begun or have all of their weight now."""
        ramping = [backend for backend in self.pool.backends if backend.ramp < 1 and backend.usable]
        begun = [backend for backend in ramping if backend not in self._since]
        self._since = {backend: self._since.get(backend, now) for backend in ramping}
        raised = [backend for backend in ramping if self._raise(backend, now - self._since[backend])]
        if raised:
            self.pool.usable_changed()
        done = [backend for backend in raised if backend.ramp == 1]
        for backend in done:
            del self._since[backend]
        return begun + done

    def _raise(self, backend: Backend, seconds: float) -> bool:
        """Give it what it is due after so many seconds; whether that was more than it had."""
        tenths = STEPS if seconds >= self.window else 1 + int((STEPS - 1) * seconds / self.window)
        if tenths / STEPS <= backend.ramp:
            return False
        backend.weigh(backend.weight, tenths / STEPS)
        return True
