"""The network of docs/shield.yaml for real: processes that are frozen and killed, and what clients notice of it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.support.labs import PATIENCE, ROOT, RunningLab, lab, until

SEOUL, FRANKFURT = "127.82.1.100", "127.49.1.100"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    topology = (ROOT / "docs" / "shield.yaml").read_text()
    with lab("--distance", "off", module="cdnlab", topology=topology) as started:
        yield started.ready()


def caches(running: RunningLab, path: str, client: str) -> list[str]:
    """Whose members are in Cache-Status, nearest to the origin first."""
    connection = http.client.HTTPConnection("127.0.0.1", running.base, PATIENCE, source_address=(client, 0))
    with closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status == 200, path
        return [member.partition(";")[0] for member in (response.getheader("Cache-Status") or "").split(", ")]


def explained(running: RunningLab, path: str, place: str) -> dict[str, Any]:
    result = running.cdnlab("get", path, "--from", place, "--json")
    assert result.stderr == ""
    stations = json.loads(result.stdout)["stations"]
    return {station["name"]: station for station in stations}


def down(running: RunningLab, name: str) -> set[str]:
    """Which edges' checks call another edge down."""
    nodes = running.ask("/status")["nodes"]
    return {
        node["name"]
        for node in nodes
        for row in node.get("backends", ())
        if row["name"] == name and row["pool"].startswith("edge.") and not row["usable"]
    }


def test_a_shield_and_two_owners_that_come_and_go(running: RunningLab) -> None:
    until(lambda: running.get("/")[0] == 200, "a holder of the VIP")
    first = [caches(running, f"/shop?{number}", SEOUL) for number in range(12)]
    assert {tuple(each) for each in first} == {("edge-iad", "edge-icn-1"), ("edge-iad", "edge-icn-2")}
    for number in range(12):  # the balancer finds the owner again, and the shield serves another place
        assert caches(running, f"/shop?{number}", SEOUL) == first[number]
        assert caches(running, f"/shop?{number}", FRANKFURT) == ["edge-iad", "edge-fra"]

    hops = explained(running, "/shop?explained", "icn")
    owner = next(name for name in hops if name.startswith("edge-icn"))
    assert [name for name in hops if name.startswith("edge-")] == [owner, "edge-iad"]
    assert "whose key it is" in " ".join(next(hops[name] for name in hops if name.startswith("lb"))["notes"])

    assert running.cdnlab("pause", "edge-iad").returncode == 0
    assert caches(running, "/shop?frozen", FRANKFURT) == ["edge-fra"]
    until(lambda: "edge-fra" in down(running, "edge-iad"), "the verdict on the shield")
    assert caches(running, "/shop?frozen-still", FRANKFURT) == ["edge-fra"]
    assert running.cdnlab("resume", "edge-iad").returncode == 0
    until(lambda: "edge-fra" not in down(running, "edge-iad"), "the shield's return")
    assert caches(running, "/shop?thawed", FRANKFURT) == ["edge-iad", "edge-fra"]

    other = ({"edge-icn-1", "edge-icn-2"} - {owner}).pop()
    assert running.cdnlab("kill", owner).returncode == 0
    assert caches(running, "/shop?explained", SEOUL)[-1] == other
    until(lambda: other in down(running, owner), "the verdict on the owner")
    assert running.cdnlab("start", owner).returncode == 0
    until(lambda: not down(running, owner), "its return")
    until(lambda: caches(running, "/shop?explained", SEOUL)[-1] == owner, "its keys")
