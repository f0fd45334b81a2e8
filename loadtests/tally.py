"""What was counted at each place: requests, failures, hits, bytes, times; and the table of it.

Decides what a hit is, and how rows add up across processes. Must not know connections, users, nor Locust. Pure.

A hit is what Cache-Status calls one: the edge answered from its store and asked nobody. Hits are counted against all
answers that an edge gave, as README's expressions for Prometheus do, so both come to the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

PERCENTILES = (0.5, 0.95, 0.99)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


@lru_cache(maxsize=8192)
def edge_said(cache_status: str, via: str) -> bool | None:
    """Whether an edge answered from its store, by Cache-Status (RFC 9211); None if no edge answered.

    Caches append their member, and the edge is the last one on the way to the client. One that is not in Via is not
    of this network: some cache before the origin, seen past the edges.
    """
    last = _QUOTED.sub('""', cache_status).rpartition(",")[2]
    name, *parameters = (word.strip() for word in last.split(";"))
    passed = {words[1] for member in via.split(",") if len(words := member.split()) > 1}
    if not name or (name != '""' and name not in passed):
        return None
    return "hit" in parameters or "hit=?1" in parameters


@dataclass(slots=True)
class Row:
    """The counts of one place. Times are counted by milliseconds, rounded to two digits as Locust does."""

    requests: int = 0
    failures: int = 0
    by_edge: int = 0
    hits: int = 0
    bytes: int = 0
    edge_bytes: int = 0
    hit_bytes: int = 0
    elsewhere: int = 0
    times: Counter[int] = field(default_factory=Counter)

    def extend(self, other: Row) -> None:
        """Add another row's counts."""
        for one in fields(Row):
            if one.name == "times":
                self.times.update(other.times)
            else:
                setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    @property
    def hit_ratio(self) -> float | None:
        """Hits by request, of what edges answered; None before the first."""
        return self.hits / self.by_edge if self.by_edge else None

    @property
    def hit_byte_ratio(self) -> float | None:
        """The same by byte."""
        return self.hit_bytes / self.edge_bytes if self.edge_bytes else None

    def percentile(self, share: float) -> int:
        """Milliseconds within which this share of the requests was answered."""
        left = share * self.times.total()
        for time, count in sorted(self.times.items()):
            left -= count
            if left <= 0:
                return time
        return 0


class Tally:
    """The rows of all places."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def add(
        self, place: str, answer: Mapping[str, str] | None, size: int, seconds: float, failed: bool
    ) -> None:
        """One request of a user at `place`: the answer's fields (None: none came), bytes of body, seconds."""
        row = self.rows.get(place) or self.rows.setdefault(place, Row())
        row.requests += 1
        row.failures += failed
        row.bytes += size
        row.times[rounded(seconds * 1000)] += 1
        if answer is None:
            return
        row.elsewhere += answer.get("cdnlab-place", place) != place
        said = edge_said(answer.get("cache-status", ""), answer.get("via", ""))
        if said is not None:
            row.by_edge += 1
            row.edge_bytes += size
            row.hits += said
            row.hit_bytes += size if said else 0

    def take(self) -> dict[str, Any]:
        """The rows as plain data, for a report to the master; counting starts again."""
        names = [one.name for one in fields(Row)]
        report = {place: {name: getattr(row, name) for name in names} for place, row in self.rows.items()}
        self.rows = {}
        return {place: {**row, "times": list(row["times"].items())} for place, row in report.items()}

    def give(self, report: Mapping[str, Any]) -> None:
        """Add the rows of another process's report."""
        for place, row in report.items():
            counts = Row(**{**row, "times": Counter(dict(row["times"]))})
            self.rows.setdefault(place, Row()).extend(counts)

    def clear(self) -> None:
        """Start again."""
        self.rows = {}

    def total(self) -> Row:
        """All places together."""
        total = Row()
        for row in self.rows.values():
            total.extend(row)
        return total


def rounded(milliseconds: float) -> int:
    """Milliseconds in two significant digits, so that few different ones have to be kept."""
    whole = round(milliseconds)
    return round(whole, 2 - len(str(whole))) if whole >= 100 else whole


HEADINGS = ("place", "users", "requests", "failed", "by an edge", "hits", "hit ratio", "bytes", "by byte", "p50", "p95",
            "p99")  # fmt: skip


def cells(name: str, users: int, row: Row) -> tuple[str, ...]:
    """One line of the table, under HEADINGS."""
    times = (f"{row.percentile(share)} ms" for share in PERCENTILES)
    counts = (str(number) for number in (users, row.requests, row.failures, row.by_edge, row.hits))
    return (name, *counts, percent(row.hit_ratio), size(row.bytes), percent(row.hit_byte_ratio), *times)


def table(tally: Tally, users: Mapping[str, int], cities: Mapping[str, str]) -> list[str]:
    """The lines of the table, its places in the order of their requests, and the sum of all."""
    order = sorted(tally.rows, key=lambda code: (-tally.rows[code].requests, code))
    lines = [
        cells(f"{code} {cities.get(code, '')}".strip(), users.get(code, 0), tally.rows[code])
        for code in order
    ]
    return _aligned([HEADINGS, *lines, cells("all", sum(users.values()), tally.total())])


def percent(ratio: float | None) -> str:
    """A ratio for people."""
    return "–" if ratio is None else f"{100 * ratio:.1f} %"


def size(count: int) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000  # type: ignore[assignment]
    return f"{count:.1f} GB"


def _aligned(lines: Iterable[tuple[str, ...]]) -> list[str]:
    rows = list(lines)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            (
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            )
        )
        for row in rows
    ]
