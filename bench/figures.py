"""Rows that are figures of ours, without a peer: memory, stalls, what a hit costs among many, times of a whole lab."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.flows import GOAL_BYTES, GOAL_RATIO, GOAL_SECONDS, flows
from bench.idle import bytes_per_connection
from bench.lab import first_answer, takeover_after_freeze, takeover_after_kill
from bench.losses import HOW, losses
from bench.objects import hits_among_many
from bench.purges import reach
from bench.run import Bench
from bench.sweep import purge_of_a_tag
from edge.eviction.registry import names


@dataclass(frozen=True)
class Part:
    """One number; `scale` brings it from base units (bytes, seconds) to `unit`. Without a goal it is for comparison."""

    name: str
    title: str
    unit: str
    scale: float
    goal: float | None

    def line(self, values: Sequence[float], complaints: Sequence[str] = ()) -> str:
        """The number as measured, in words; `values` in base units."""
        scaled = self._scaled(values)
        middle = f"{self.title}: {median(scaled):.2f}{self._unit}"
        around = f" ({min(scaled):.2f}-{max(scaled):.2f})" if len(scaled) > 1 else ""
        if self.goal is None:
            return f"{middle}{around}{' (!)' if complaints else ''}"
        doubt = ", but not proved: see the complaints (!)" if complaints else ""
        word = "met" if self._met(scaled) else "NOT met"
        return f"{middle}{around}; goal: at most {self.goal:g}{self._unit}: {word}{doubt}"

    def as_json(self, row: str, values: Sequence[float], complaints: Sequence[str] = ()) -> dict[str, Any]:
        """The same for a file."""
        scaled = self._scaled(values)
        kept: dict[str, Any] = {"row": row, "part": self.name, "title": self.title, "unit": self.unit}
        kept |= {"values": scaled, "median": median(scaled), "goal": self.goal}
        kept |= {"complaints": list(complaints)}
        return kept if self.goal is None else {**kept, "met": self._met(scaled)}

    @property
    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""

    def _scaled(self, values: Sequence[float]) -> list[float]:
        return [value * self.scale for value in values]

    def _met(self, scaled: Sequence[float]) -> bool:
        return self.goal is not None and median(scaled) <= self.goal


@dataclass(frozen=True)
class Figure:
    """What is measured, once a round in a new directory, or `once` where the measuring has rounds of its own.

    `measure` gives the parts by name, in base units. `programs`: what must be installed.
    """

    name: str
    measure: Callable[[Bench, Path], Mapping[str, float]]
    parts: Sequence[Part]
    programs: Sequence[str] = ()
    once: bool = False


def _single(
    name: str,
    title: str,
    measure: Callable[[Path, tuple[int, int]], float],
    unit: str,
    scale: float,
    goal: float,
) -> Figure:
    """A figure that is one number and has no options."""

    def all_parts(bench: Bench, directory: Path) -> Mapping[str, float]:
        return {name: measure(directory, (bench.server_core, bench.load_core))}

    return Figure(name, all_parts, (Part(name, title, unit, scale, goal),))


def _losses(bench: Bench, directory: Path) -> Mapping[str, float]:
    return losses(directory, (bench.server_core, bench.load_core), bench.say)


_OBJECTS = (
    Part("ratio", "a hit on all objects to one on 1,000, the worst of all policies", "", 1.0, 1.25),
    *(Part(policy, f"  {policy}", "", 1.0, None) for policy in names()),
    Part("memory", "resident memory of an object beyond its stored head and body", "bytes", 1.0, 700),
    Part("fill", "longest stall of the loop while they came", "ms", 1e3, 5),
    Part("change", "longest stall of the loop while the policy changed", "ms", 1e3, 5),
)
_PURGE_TAG = Part(
    "purge-tag", "longest stall of the loop while the objects of a tag were purged", "ms", 1e3, 5
)

_LOST = (
    Part("kill", "requests lost at 2,000/s, one of three backends killed", "requests", 1.0, 0),
    Part("freeze", "requests lost at 2,000/s, one of three backends frozen", "requests", 1.0, 0),
    Part("drain", "requests lost at 2,000/s, one drained, half of them POSTs", "requests", 1.0, 0),
    Part("unnamed", "responses cut after their head that the balancer did not count and name", "", 1.0, 0),
    *(Part(f"{how}-wait", f"  longest wait for a good answer, {how}", "ms", 1e3, None) for how in HOW),
)
_FLOWS = (
    Part("bytes", "resident memory of an entry of the flow table", "bytes", 1.0, GOAL_BYTES),
    Part("stall", "longest call of the flow table, in CPU time", "ms", 1e3, GOAL_SECONDS * 1e3),
    Part("ratio", "a lookup among all flows to one among 1,000", "", 1.0, GOAL_RATIO),
)

FIGURES = (
    _single(
        "idle",
        "memory of an idle keep-alive connection, 5,000 on one edge",
        bytes_per_connection,
        "KB",
        1e-3,
        12,
    ),
    _single("up", "cdnlab up to the first 200 through the VIP", first_answer, "s", 1.0, 4),
    _single(
        "kill", "longest wait of a request, the active balancer killed", takeover_after_kill, "s", 1.0, 2
    ),
    _single(
        "freeze", "longest wait of a request, the active balancer frozen", takeover_after_freeze, "s", 1.0, 2
    ),
    _single("purge", "a purge at the last of six edges, 99th percentile of 300 purges", reach, "ms", 1e3, 50),
    Figure("losses", _losses, _LOST),
    Figure("flows", flows, _FLOWS, once=True),
    Figure("purge-tag", purge_of_a_tag, (_PURGE_TAG,), ("nginx",)),
    Figure("objects", hits_among_many, _OBJECTS, ("wrk", "nginx"), once=True),
)
