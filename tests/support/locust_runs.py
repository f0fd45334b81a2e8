"""Locust as a process, and what its final print says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import NamedTuple

from tests.support.labs import ROOT

LIMIT = 60  # seconds for a run of any kind


class Place(NamedTuple):
    """A line of the final table."""

    users: int
    requests: int
    failures: int
    by_edge: int
    hits: int


class Ended(NamedTuple):
    """A Locust that has ended: all it printed, and the exit code."""

    code: int
    text: str

    @property
    def places(self) -> dict[str, Place]:
        """The table by place; "all" is the sum."""
        table = self.text.partition("By place (")[2]
        rows = re.findall(r"^(\w{3})\b[^\d\n]*((?:\s+\d+){5})\s", table, re.MULTILINE)
        return {name: Place(*map(int, numbers.split())) for name, numbers in rows}

    @property
    def names(self) -> dict[str, int]:
        """Requests by name, of Locust's own table."""
        table = self.text.partition("Response time percentiles")[0]
        rows = re.findall(r"^GET +(\[\w+\] .*?) {2,}(\d+) +\d+\(", table, re.MULTILINE)
        return {name: int(count) for name, count in rows}


def locust(*words: str) -> Ended:
    """Run `locust` in the checkout to its end, without what the environment would tell it."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("LOCUST_", "CDNLAB_"))}
    done = subprocess.run(
        [sys.executable, "-m", "locust", "--headless", *words],
        cwd=ROOT,
        env=kept,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=LIMIT,
    )
    return Ended(done.returncode, done.stdout)
