"""How late the event loop runs, and when the garbage collector may.

A stall is what keeps a timer waiting for more than 5 ms after it was due. One that ticks each 10 ms while the
process works, and each 100 ms while it idles, sees every stall of 15 ms, and a stall of S below that with the
chance (S - 5 ms) / 10 ms; measuring each one exactly would cost a wakeup per callback.

A full collection over a million objects takes 222 ms, longer than a lease lives. The data path makes no
reference cycles, so automatic full collections are off; young ones stay, and an explicit one a minute covers
only what came since the last freeze.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable

from cdnlab.net.clock import now
from cdnlab.node.metrics import Histogram, MetricSpec

STALL = 0.005
BUSY_TICK, IDLE_TICK = 0.010, 0.100  # seconds
BUSY_SHARE = 0.02  # of a core since the last tick; below it the node idles
STOOD_STILL = 1.0  # seconds: a stall that people should read about: a stopped process, a closed laptop
NEVER = 1_000_000_000  # young collections between automatic full ones
BLOCKS = 200_000  # allocated since the last freeze; more would take longer than a stall to go through

STALL_SPEC = MetricSpec(
    "cdnlab_loop_stall_seconds",
    "histogram",
    (),
    "Times the event loop ran nothing for more than 5 ms though a timer was due.",
)


class StallMeter:
    """Ticks on the running loop from start() to stop()."""

    def __init__(self, stood_still: Callable[[float], None] = lambda seconds: None) -> None:
        self.histogram = Histogram(STALL_SPEC)
        self._stood_still = stood_still
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._worked = 0.0

    def start(self) -> None:
        """Begin to measure."""
        self._schedule(BUSY_TICK)

    def stop(self) -> None:
        """No further tick."""
        if self._timer:
            self._timer.cancel()

    def _schedule(self, delay: float) -> None:
        self._due = now() + delay
        self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        late = now() - self._due
        if late > STALL:
            self.histogram.observe(late)
            if late > STOOD_STILL:
                self._stood_still(late)
        worked = time.process_time()
        busy = worked - self._worked > BUSY_SHARE * BUSY_TICK
        self._worked = worked
        self._schedule(BUSY_TICK if busy else IDLE_TICK)


class Garbage:
    """The collector's policy; freeze() also after a bulk load."""

    def __init__(self) -> None:
        self._blocks = 0

    def begin(self) -> None:
        """After start: what lives now lives on; no automatic full collection from here on."""
        gc.collect()
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, NEVER)
        self.freeze()

    def freeze(self) -> None:
        """Take what lives now out of every later collection (constant time)."""
        gc.freeze()
        self._blocks = sys.getallocatedblocks()

    def tidy(self) -> None:
        """Once a minute: collect what came since the last freeze, unless that is too much to go through."""
        if sys.getallocatedblocks() - self._blocks > BLOCKS:
            self.freeze()
        else:
            gc.collect()
