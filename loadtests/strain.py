"""Whether the load generator itself was the limit: then the times it shows are its own, not the lab's.

Decides by two things: how much of a core the process used (Python uses one at most), and how late its event loop
was, which each measured time includes. Must not know users, places, nor Locust.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from time import perf_counter, process_time

import gevent

TICK = 0.02  # seconds
WINDOW = 2.0  # seconds
CPU_LIMIT = 0.85  # of a core
LATE_LIMIT = 0.010  # seconds
LATE_SHARE = 0.9  # so many of the ticks were less late


class Limit(StrEnum):
    """What the generator lacked."""

    CPU = "cpu"
    LATE = "late"

    @property
    def remedy(self) -> str:
        """What to do."""
        return _REMEDIES[self]


_REMEDIES = {
    Limit.CPU: "fewer users (--users), or more processes (--processes 2)",
    Limit.LATE: "fewer users, or another machine for Locust: others, the lab too, take the cores of this one",
}


def judge(cpu: float, late: float) -> Limit | None:
    """The limit of one window: `cpu` as a share of a core, `late` in seconds. A busy process is late because of it."""
    if cpu >= CPU_LIMIT:
        return Limit.CPU
    return Limit.LATE if late >= LATE_LIMIT else None


@dataclass(slots=True)
class Strain:
    """What was measured since the test began: windows, how many were limited and by what, the last and the worst."""

    windows: int = 0
    by_cpu: int = 0
    by_late: int = 0
    cpu: float = 0.0
    late: float = 0.0
    worst_cpu: float = 0.0
    worst_late: float = 0.0

    def add(self, cpu: float, late: float) -> Limit | None:
        """One more window; its limit."""
        limit = judge(cpu, late)
        self.windows += 1
        self.by_cpu += limit is Limit.CPU
        self.by_late += limit is Limit.LATE
        self.cpu, self.late = cpu, late
        self.worst_cpu, self.worst_late = max(self.worst_cpu, cpu), max(self.worst_late, late)
        return limit

    @property
    def limit(self) -> Limit | None:
        """The verdict on the whole test: what was lacking in a quarter of it or more, and twice at least."""
        if self.by_cpu + self.by_late < max(2, self.windows / 4):
            return None
        return Limit.CPU if self.by_cpu >= self.by_late else Limit.LATE

    def sentence(self, who: str) -> str:
        """The warning, empty if none is due."""
        limit = self.limit
        if limit is None:
            return ""
        used, late = f"{100 * self.worst_cpu:.0f} % of a core", f"{1000 * self.worst_late:.0f} ms late"
        why = (
            f"it used up to {used}"
            if limit is Limit.CPU
            else f"its event loop was up to {late}, using {used}"
        )
        return (
            f"{who} was the limit in {self.by_cpu + self.by_late} of {self.windows} looks: {why}. "
            f"Rates and times include that and are not the lab's alone; use {limit.remedy}."
        )


class Watch:
    """The greenlet that measures."""

    def __init__(self, warn: Callable[[str], None], window: float = WINDOW) -> None:
        """`warn` is called once a test, when the verdict turns against it."""
        self.strain = Strain()
        self._warn = warn
        self._window = window
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        """Begin a test."""
        self.stop()
        self.strain = Strain()
        self._greenlet = gevent.spawn(self._run, self.strain)

    def stop(self) -> None:
        """End a test; what was measured stays."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)
            self._greenlet = None

    def _run(self, strain: Strain) -> None:
        warned = False
        while True:
            strain.add(*_measure(self._window))
            if not warned and strain.limit is not None:
                warned = True
                self._warn(strain.sentence("the load generator"))


def _measure(window: float) -> tuple[float, float]:
    """(share of a core, seconds by which LATE_SHARE of the ticks were less late) of one window."""
    began, used, late = perf_counter(), process_time(), []
    while (tick := perf_counter()) < began + window:
        gevent.sleep(TICK)
        late.append(perf_counter() - tick - TICK)
    share = (process_time() - used) / (perf_counter() - began)
    return share, sorted(late)[int(LATE_SHARE * len(late))]
