"""Rows that are one figure of ours, without a peer: memory of an idle connection, times of a whole lab."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.idle import bytes_per_connection
from bench.lab import first_answer, takeover_after_freeze, takeover_after_kill
from bench.purges import reach


@dataclass(frozen=True)
class Figure:
    """What is measured once a round; `scale` brings it from base units (bytes, seconds) to `unit`."""

    name: str
    title: str
    measure: Callable[[Path, tuple[int, int]], float]
    unit: str
    scale: float
    goal: float

    def line(self, values: Sequence[float]) -> str:
        """The figure as measured, in words."""
        middle = median(values)
        word = "met" if middle <= self.goal else "NOT met"
        around = f"({min(values):.2f}-{max(values):.2f})"
        return f"{self.title}: {middle:.2f} {self.unit} {around}; goal: at most {self.goal:g} {self.unit}: {word}"

    def as_json(self, values: Sequence[float]) -> dict[str, Any]:
        """The same for a file."""
        middle = median(values)
        kept: dict[str, Any] = {"row": self.name, "title": self.title, "unit": self.unit}
        return {
            **kept,
            "values": list(values),
            "median": middle,
            "goal": self.goal,
            "met": middle <= self.goal,
        }


FIGURES = (
    Figure(
        "idle",
        "memory of an idle keep-alive connection, 5,000 on one edge",
        bytes_per_connection,
        "KB",
        1e-3,
        12,
    ),
    Figure("up", "cdnlab up to the first 200 through the VIP", first_answer, "s", 1.0, 4),
    Figure("kill", "longest wait of a request, the active balancer killed", takeover_after_kill, "s", 1.0, 2),
    Figure(
        "freeze", "longest wait of a request, the active balancer frozen", takeover_after_freeze, "s", 1.0, 2
    ),
    Figure("purge", "a purge at the last of six edges, 99th percentile of 300 purges", reach, "ms", 1e3, 50),
)
