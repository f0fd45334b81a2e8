"""The two clocks, each with its own name, so that nobody mixes them.

`now()` counts seconds since boot, sleep included: ages, leases and timeouts go by it, since a laptop that
was closed for an hour must find its leases run out. `wall()` is the calendar: Date, Expires and whatever is
written to disk. Pure files never call either; they are given `now` and `wall`, read once per request.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS and BSD have no boot time clock

now: Callable[[], float] = partial(time.clock_gettime, CLOCK)
"""Seconds since boot; never steps back. A partial: a Python frame would double its 60 ns."""

wall: Callable[[], float] = time.time
"""Seconds since 1970-01-01 UTC; may step when somebody sets the clock."""
