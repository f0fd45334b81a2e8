"""The two clocks, each with its own name, so that nobody mixes them.

`now()` counts seconds since boot, sleep included: ages, leases and timeouts go by it, since a laptop that was closed
for an hour must find its leases run out. `wall()` is the calendar: Date, Expires and whatever is written to disk.
Pure files never call either; they are given `now` and `wall` as parameters, read once per request.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # where the kernel has no boot time clock: macOS, BSD

now: Callable[[], float] = partial(time.clock_gettime, CLOCK)
"""Seconds since boot as a float; never steps back. A partial, because a Python frame costs as much as the call."""

wall: Callable[[], float] = time.time
"""Seconds since 1970-01-01 UTC as a float; may step when the clock is set."""
