"""The flow table's size and its longest calls, as `python -m bench.flows` measures them, on a smaller table."""

from __future__ import annotations

import subprocess
import sys

from tests.support.labs import ROOT


def test_an_entry_is_small_and_no_call_takes_long() -> None:
    """10,000 entries: what is there once, such as the chains' heads, weighs more on each than on one of a million."""
    words = [sys.executable, "-m", "bench.flows", "--flows", "10000"]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stdout + said.stderr
    assert all(kind in said.stdout for kind in ("ipv4", "ipv4-affinity", "ipv6-affinity"))
