"""What all processes of a load test know together: counts and users by place, and how strained each process was.

Decides how a worker's report is made and added up, and how the tables of the web UI and of the final print are
filled. Must not know Locust, connections, nor pages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from loadtests.standing import Crowd
from loadtests.strain import Strain, Watch
from loadtests.tally import PERCENTILES, Row, Tally, table

KEY = "cdnlab"
"""Where our part lies in a worker's report."""
FIGURES = ("windows", "by_cpu", "by_late", "cpu", "late", "worst_cpu", "worst_late")


class Together:
    """This process's own counts, and those that workers reported to it."""

    def __init__(self, watch: Watch, cities: Mapping[str, str]) -> None:
        """`cities`: names of places, for people."""
        self.tally = Tally()
        self.watch = watch
        self.cities = cities
        self.crowd: Crowd | None = None
        self.name = "this process"
        self.prints = False
        """Whether this process has the last word, and not another, nor JSON."""
        self._present: dict[str, Mapping[str, int]] = {}
        self._most: dict[str, Mapping[str, int]] = {}
        self._strains: dict[str, Strain] = {}

    def clear(self) -> None:
        """Forget the test before."""
        self.crowd = None
        self.tally.clear()
        for reports in (self._present, self._most, self._strains):
            reports.clear()

    def take(self) -> dict[str, Any]:
        """This worker's report: its counts since the last one, its users, its strain."""
        crowd, strain = self.crowd, self.watch.strain
        return {
            "rows": self.tally.take(),
            "present": dict(crowd.present) if crowd else {},
            "most": dict(crowd.most) if crowd else {},
            "strain": [getattr(strain, name) for name in FIGURES],
        }

    def give(self, worker: str, report: Mapping[str, Any]) -> None:
        """Such a report, at the master."""
        self.tally.give(report["rows"])
        self._present[worker], self._most[worker] = report["present"], report["most"]
        self._strains[worker] = Strain(**dict(zip(FIGURES, report["strain"], strict=True)))

    def users(self, most: bool = False) -> Counter[str]:
        """Users by place now, or the most there were at once in each process."""
        found: Counter[str] = Counter()
        if self.crowd is not None:
            found.update(self.crowd.most if most else self.crowd.present)
        for reported in (self._most if most else self._present).values():
            found.update(reported)
        return found

    def processes(self) -> dict[str, Strain]:
        """What was measured, by process."""
        workers = {f"worker {number}": strain for number, strain in enumerate(self._strains.values(), 1)}
        return {self.name: self.watch.strain, **workers}

    def warnings(self) -> list[str]:
        """A sentence for each process that was a limit itself."""
        said = (strain.sentence(name) for name, strain in self.processes().items())
        return [sentence for sentence in said if sentence]

    def final(self) -> list[str]:
        """The lines of the final print; none if nothing was counted."""
        if not self.tally.rows:
            return []
        head = "By place (a hit is what Cache-Status calls one, against all that edges answered)"
        lines = table(self.tally, self.users(most=True), self.cities)
        said = [*self.warnings(), *self._strayed()]
        return [head, *lines, *(f"WARNING: {sentence}" for sentence in said), ""]

    def _strayed(self) -> list[str]:
        """That the rows are no places, if so. One answer may be: a run's first look finds out how users stand."""
        total = self.tally.total()
        if total.elsewhere <= max(1, len(self._strains), total.requests / 100):
            return []
        return [
            f"{total.elsewhere} of {total.requests} answers were for another place than their user's: the lab "
            "honours neither its address nor Cdnlab-From there, so the rows are not what those cities see."
        ]

    def place_rows(self) -> list[dict[str, Any]]:
        """The rows of the tab: each place, all of them, and a hint if a process was the limit."""
        users, rows = self.users(), self.tally.rows
        found = [
            {"name": self._city(code), "users": users[code], **_row(rows.get(code, Row()))}
            for code in sorted({*rows, *users})
        ]
        note = [{"name": "! The generator was the limit: see its tab"}] if self.warnings() else []
        return [*note, {"name": "All", "users": users.total(), **_row(self.tally.total())}, *found]

    def generator_rows(self) -> list[dict[str, Any]]:
        """The rows of the other tab: each process."""
        return [
            {
                "name": name,
                "cpu": round(100 * strain.cpu),
                "worst_cpu": round(100 * strain.worst_cpu),
                "late": round(1000 * strain.late, 1),
                "worst_late": round(1000 * strain.worst_late, 1),
                "verdict": strain.sentence(name) or "at ease",
            }
            for name, strain in self.processes().items()
        ]

    def _city(self, code: str) -> str:
        return f"{code} {self.cities.get(code, '')}".strip()


def _row(row: Row) -> dict[str, Any]:
    times = {f"p{round(100 * share)}": row.percentile(share) for share in PERCENTILES}
    ratios = {"hit_ratio": _percent(row.hit_ratio), "hit_byte_ratio": _percent(row.hit_byte_ratio)}
    counts = {"requests": row.requests, "failures": row.failures, "hits": row.hits}
    return {**counts, "megabytes": round(row.bytes / 1e6, 1), **ratios, **times}


def _percent(ratio: float | None) -> float | str:
    """A number, so that the page sorts by it."""
    return "–" if ratio is None else round(100 * ratio, 1)
