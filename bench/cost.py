"""What a process costs, read from /proc: CPU seconds, memory, and how busy a core was.

Decides nothing about benchmarks: it must not know what is measured or why.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICK = 1.0 / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and its descendants: nginx's workers, Varnish's child."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of these processes, threads included, in seconds (proc(5): utime, stime)."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * _TICK


def waited_seconds(pid: int) -> float:
    """Seconds for which a process's first thread could have run, and another had its core (/proc/PID/schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) * 1e-9


def resident_bytes(pid: int) -> int:
    """VmRSS of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} has no VmRSS in /proc/{pid}/status")


@dataclass(frozen=True)
class CoreTime:
    """One core's time since boot, in ticks."""

    total: int
    idle: int

    def busy_since(self, earlier: CoreTime) -> float:
        """Share of the time between two readings in which the core ran anything at all, 0 to 1."""
        total = self.total - earlier.total
        return 1.0 - (self.idle - earlier.idle) / total if total else 0.0


def core_time(core: int) -> CoreTime:
    """Read one core's line of /proc/stat; iowait counts as idle, stolen time as busy."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *values = line.split()
        if name == f"cpu{core}":
            ticks = [int(value) for value in values[:8]]
            return CoreTime(sum(ticks), ticks[3] + ticks[4])
    raise ValueError(f"/proc/stat has no cpu{core}")
