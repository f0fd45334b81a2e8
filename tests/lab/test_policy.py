"""`cdnlab policy` and `cdnlab status --policies` against a real lab."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import pytest

from cdnlab.lab import policy, status
from tests.support.commands import Typed
from tests.support.labs import RunningLab, lab, until

TOPOLOGY = """
name: policies
nodes:
  lb-a: {tier: lb, address: 127.0.1.10}
  edge-icn: {tier: edge, place: icn, address: 127.82.1.10}
  edge-fra: {tier: edge, place: fra, address: 127.49.1.10}
  origin-1: {tier: origin, place: iad, address: 127.1.1.20}
pools:
  edges: {tier: edge, algorithm: nearest}
  origins: {tier: origin}
edge: {policy: s3fifo, shadows: [lru, s3fifo]}
"""


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    with lab("--distance", "off", module="cdnlab", topology=TOPOLOGY) as started:
        yield started.ready()


def test_policies_are_shown_changed_and_counted(running: RunningLab, monkeypatch: pytest.MonkeyPatch) -> None:
    tell = Typed(policy.command, running.directory, monkeypatch)
    look = Typed(status.command, running.directory, monkeypatch)
    for _ in range(4):
        with urlopen(f"http://127.82.1.10:{running.base}/behave?cc=max-age=60", timeout=20) as answer:
            assert answer.status == 200

    shown = tell()
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines() == ["edge-icn  s3fifo", "edge-fra  s3fifo"]

    def told() -> dict[str, dict[str, Any]]:
        return {row["node"]: row for row in json.loads(look("--policies", "--json").output)}

    until(lambda: told()["edge-icn"]["policies"]["real"]["requests"] == 4, "the tick after the last hit")
    rows = told()
    assert set(rows) == {"edge-icn", "edge-fra"}
    real = rows["edge-icn"]["policies"]["real"]
    assert (real["policy"], real["hit_ratio"], real["objects"]) == ("s3fifo", 0.75, 1)
    shadows = {row["policy"]: row for row in rows["edge-icn"]["policies"]["shadows"]}
    assert shadows["s3fifo"] == real
    text = look("--policies").output
    assert "edge-icn  s3fifo decides" in text
    assert [
        word for word in ("policy", "hit ratio", "byte hit ratio", "objects", "evictions") if word not in text
    ] == []
    assert "75.0 %" in text

    changed = tell("sieve", "--node", "edge-icn", "--json")
    assert changed.exit_code == 0, changed.output
    (row,) = json.loads(changed.output)["edges"]
    assert (row["node"], row["policy"], row["before"], row["why"]) == ("edge-icn", "sieve", "s3fifo", "")
    until(
        lambda: tell().output.splitlines() == ["edge-icn  sieve", "edge-fra  s3fifo"], "the end of the change"
    )
    with urlopen(f"http://127.82.1.10:{running.base}/behave?cc=max-age=60", timeout=20) as answer:
        assert "; hit" in answer.headers["Cache-Status"], "what was stored stays"


def test_what_cannot_be_done_is_said(running: RunningLab, monkeypatch: pytest.MonkeyPatch) -> None:
    tell = Typed(policy.command, running.directory, monkeypatch)
    wrong = tell("mru")
    assert wrong.exit_code == 2
    assert "there is no policy 'mru'" in wrong.output
    assert "arc, fifo, gdsf" in wrong.output
    stranger = tell("lru", "--node", "edge-nrt")
    assert stranger.exit_code == 2
    assert "edge-nrt" in stranger.output
    assert running.cdnlab("kill", "edge-fra").returncode == 0
    half = tell("arc")
    assert half.exit_code == 1
    assert "edge-icn  arc" in half.output
    assert "edge-fra  not reached: connection refused" in half.output
    assert json.loads(tell("--json").output)["edges"][1]["why"] == "connection refused"


def test_without_a_lab_nobody_is_asked(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Typed(policy.command, tmp_path / "none", monkeypatch)  # type: ignore[operator]
    assert nowhere("lru").exit_code != 0
