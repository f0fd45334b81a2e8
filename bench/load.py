"""The load: wrk, with the requests that wrk.lua makes."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: wrk's threads, and so the Cookies in play: wrk.lua says why.
THREADS = 8

_SCRIPT = Path(__file__).with_name("wrk.lua")
_SUMMARY = re.compile(
    r"^bench: requests=(\d+) microseconds=(\d+) bytes=(\d+) p50=(\d+) p99=(\d+) failed=(\d+)$", re.MULTILINE
)


class LoadFailed(Exception):
    """wrk ended without its summary."""


@dataclass(frozen=True)
class Shape:
    """What is asked for: `objects` targets under `prefix`, one after the other or at random, and how many different
    Cookies; `few`: with Host and Cookie only, where nobody that is measured reads them."""

    prefix: str
    objects: int
    connections: int
    cookies: int
    random: bool = False
    few: bool = False


@dataclass(frozen=True)
class Load:
    """What wrk saw. Latencies in microseconds, at saturation: mostly the wait for the other connections' turns."""

    requests: int
    seconds: float
    received: int
    p50: int
    p99: int
    failed: int


def run_load(port: int, shape: Shape, seconds: int) -> Load:
    """Ask 127.0.0.1:`port` for `seconds` (whole ones: wrk knows no others), from this process's core."""
    words = [
        "wrk",
        f"-t{THREADS}",
        f"-c{shape.connections}",
        f"-d{seconds}s",
        "--timeout",
        "10s",
        "-s",
        str(_SCRIPT),
    ]
    words += [f"http://127.0.0.1:{port}/", "--", shape.prefix, str(shape.objects), str(shape.cookies)]
    words += ["random"] if shape.random else []
    words += ["few"] if shape.few else []
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + 30)
    return parse_summary(done.stdout + done.stderr)


def parse_summary(printed: str) -> Load:
    """The line that wrk.lua prints at the end."""
    found = _SUMMARY.search(printed)
    if found is None:
        raise LoadFailed(f"wrk gave no result: {printed.strip()[-300:]}")
    requests, microseconds, received, p50, p99, failed = (int(word) for word in found.groups())
    return Load(requests, microseconds / 1e6, received, p50, p99, failed)
