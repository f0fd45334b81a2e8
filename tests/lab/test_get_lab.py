"""What a person sees of a real lab: the way of a miss and of a hit, and a node that is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cdnlab.lab.status import passed_over, virtual_addresses
from tests.support.labs import RunningLab, lab, until


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    with lab("--distance", "off", module="cdnlab") as started:
        yield started.ready()


def got(running: RunningLab, *words: str) -> dict[str, Any]:
    result = running.cdnlab("get", *words, "--json")
    assert result.stderr == ""
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def by_tier(found: dict[str, Any], start: str) -> dict[str, Any]:
    station: dict[str, Any] = next(one for one in found["stations"] if one["name"].startswith(start))
    return station


def test_a_miss_a_hit_and_the_next_nearest(running: RunningLab) -> None:
    until(lambda: virtual_addresses({}, running.ask("/status")["nodes"])[0]["holder"], "a holder of the VIP")
    missed = got(running, "/?first", "--from", "icn", "--direct")
    assert missed["response"]["status"] == 200
    assert [one["name"].partition("-")[0] for one in missed["stations"]] == ["client", "lb", "edge", "origin"]
    assert by_tier(missed, "edge-")["name"] == "edge-icn"
    assert by_tier(missed, "edge-")["result"] == "miss"
    assert missed["direct"]["status"] == 200

    hit = got(running, "/?first", "--from", "icn")
    assert by_tier(hit, "edge-")["result"] == "hit"
    assert len(hit["stations"]) == 3

    assert running.cdnlab("kill", "edge-icn").returncode == 0
    elsewhere = got(running, "/?first", "--from", "icn")
    assert by_tier(elsewhere, "edge-")["name"] == "edge-fra"
    assert "edge-icn" in [one["name"] for one in by_tier(elsewhere, "lb-")["passed"]]

    rows = [json.loads(line) for line in running.cdnlab("log", "edge-fra", "--json").stdout.splitlines()]
    assert rows[-1]["target"] == "/?first"
    assert rows[-1]["client_place"] == "icn"

    until(lambda: passed_over(running.ask("/status")["nodes"]), "the balancers' verdict")
    told = running.cdnlab("status").stdout
    assert "✗ dead" in next(line for line in told.splitlines() if line.startswith("edge-icn"))
    assert "SIGKILL" in told
    assert "Backends passed over" in told
    assert "edge-icn" in running.cdnlab("events").stdout
