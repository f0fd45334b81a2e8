"""Medians, ratios and verdicts from samples; as a table to read and as JSON to keep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from bench.run import Result, Sample

_HEADINGS = (
    "",
    "us/request",
    "(min-max)",
    "ratio",
    "core",
    "own",
    "load core",
    "requests/s",
    "p50 ms",
    "p99 ms",
)


def cost(samples: Sequence[Sample]) -> float:
    """Median CPU time per request, in microseconds."""
    return median(sample.cost for sample in samples) * 1e6


def verdict(result: Result) -> dict[str, Any] | None:
    """Ours against the row's goal: peer, ratio, goal, met, and whether samples of either have complaints.

    None without a goal, or without both sides.
    """
    goal, ours = result.row.goal, result.row.contenders[0].name
    costs = {name: cost(samples) for name, samples in result.samples.items()}
    if goal is None or ours not in costs or not any(name in costs for name in goal.against):
        return None
    peer = min((name for name in goal.against if name in costs), key=costs.__getitem__)
    ratio = costs[ours] / costs[peer]
    doubtful = any(sample.complaints for name in (ours, peer) for sample in result.samples[name])
    judged = {"goal": goal.ratio, "met": ratio <= goal.ratio, "doubtful": doubtful}
    return {"peer": peer, "ratio": round(ratio, 3), **judged}


def row_lines(result: Result) -> list[str]:
    """One row of the table: a heading, a line per server, the verdict."""
    ours = result.row.contenders[0].name
    base = cost(result.samples[ours]) if ours in result.samples else None
    table = [list(_HEADINGS)]
    table += [_cells(name, samples, base) for name, samples in result.samples.items()]
    lines = [result.row.title, *_align(table)]
    lines += [f"  {name}: not measured, {reason}" for name, reason in result.missing.items()]
    for name, samples in result.samples.items():
        lines += [f"  ! {name}: {complaint}" for complaint in _complaints(samples)]
    return [*lines, _verdict_line(result), ""]


def row_json(result: Result) -> dict[str, Any]:
    """The same with every sample, for a file."""
    return {
        "row": result.row.name,
        "title": result.row.title,
        "verdict": verdict(result),
        "missing": result.missing,
        "servers": {
            name: {
                "microseconds_per_request": round(cost(samples), 3),
                "samples": list(map(_sample_json, samples)),
            }
            for name, samples in result.samples.items()
        },
    }


def _verdict_line(result: Result) -> str:
    found = verdict(result)
    if result.row.goal is None:
        return "  for comparison, no goal"
    if found is None:
        return f"  goal: {result.row.goal}; not to be judged here"
    word = "met" if found["met"] else "NOT met"
    doubt = ", but not proved: see the complaints (!)" if found["doubtful"] else ""
    return f"  goal: {result.row.goal}; measured {found['ratio']:.2f} x {found['peer']}: {word}{doubt}"


def _cells(name: str, samples: Sequence[Sample], base: float | None) -> list[str]:
    def middle(values: Iterable[float]) -> float:
        return median(values)

    costs = [sample.cost * 1e6 for sample in samples]
    return [
        name,
        f"{median(costs):.2f}",
        f"({min(costs):.2f}-{max(costs):.2f})",
        f"{base / median(costs):.2f}" if base else "-",
        f"{middle(sample.core_busy for sample in samples):.0%}",
        f"{middle(sample.own_share for sample in samples):.0%}",
        f"{middle(sample.load_core_busy for sample in samples):.0%}",
        f"{middle(sample.load.requests / sample.load.seconds for sample in samples):,.0f}",
        f"{middle(sample.load.p50 for sample in samples) / 1e3:.2f}",
        f"{middle(sample.load.p99 for sample in samples) / 1e3:.2f}",
    ]


def _align(table: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  " + "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in table
    ]


def _complaints(samples: Sequence[Sample]) -> list[str]:
    said = [(number, words) for number, sample in enumerate(samples, 1) for words in sample.complaints]
    return [f"round {number}: {words}" for number, words in said]


def _sample_json(sample: Sample) -> dict[str, Any]:
    return {
        "microseconds_per_request": round(sample.cost * 1e6, 3),
        "core_busy": round(sample.core_busy, 4),
        "own_share": round(sample.own_share, 4),
        "load_core_busy": round(sample.load_core_busy, 4),
        "requests": sample.load.requests,
        "seconds": sample.load.seconds,
        "bytes": sample.load.received,
        "p50_microseconds": sample.load.p50,
        "p99_microseconds": sample.load.p99,
        "failed": sample.load.failed,
        "complaints": list(sample.complaints),
    }
