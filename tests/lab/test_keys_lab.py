"""Through balancer, edge and origin, all real: key and forwarded target are one; cookies are what the route says."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from cdnlab.lab.status import virtual_addresses
from tests.support.labs import RunningLab, lab, until

TOPOLOGY = """
name: keys
clients: {may_choose_place: true}
nodes:
  lb-a: {tier: lb, address: 127.0.1.10}
  edge-icn: {tier: edge, place: icn, address: 127.82.1.10}
  origin-1: {tier: origin, place: iad, address: 127.1.1.20}
pools:
  edges: {tier: edge, algorithm: nearest}
  origins: {tier: origin}
routes:
  - {pool: edges, query: {sort: on, drop: [utm_*]}}
  - {pool: edges, host: strip.test, cookies: strip}
  - {pool: edges, host: pass.test, cookies: pass}
"""
EDGE = "127.82.1.10"
MINUTE = "cc=max-age=60"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    with lab("--distance", "off", module="cdnlab", topology=TOPOLOGY) as started:
        ready = started.ready()
        until(
            lambda: virtual_addresses({}, ready.ask("/status")["nodes"])[0]["holder"], "a holder of the VIP"
        )
        yield ready


def ask(
    running: RunningLab, target: str, address: str = "127.0.0.1", **fields: str
) -> tuple[dict[str, str], dict[str, Any]]:
    """(fields in lower case, the request's head as it reached the origin)"""
    with closing(http.client.HTTPConnection(address, running.base, 10)) as connection:
        connection.request("GET", target, headers=fields)
        response = connection.getresponse()
        assert response.status == 200
        return {name.lower(): value for name, value in response.getheaders()}, json.load(response)


def got(running: RunningLab, *words: str) -> dict[str, Any]:
    """What `cdnlab get` finds at the edge."""
    result = running.cdnlab("get", *words, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def warnings(running: RunningLab) -> dict[str, int]:
    with closing(http.client.HTTPConnection(EDGE, running.base + 1021, 10)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    rows = [line for line in text.splitlines() if line.startswith("cdnlab_edge_warnings_total{")]
    return {row.split('"')[1]: int(float(row.rpartition(" ")[2])) for row in rows}


def test_key_and_forwarded_target_are_one(running: RunningLab) -> None:
    """By way of the balancer or directly, in whatever order, with whatever is dropped: one object, one target."""
    fields, seen = ask(running, f"/behave?utm_id=7&key=one&{MINUTE}&echo=1", Host="shop.example")
    assert "fwd=uri-miss" in fields["cache-status"]
    assert seen["target"] == f"/behave?{MINUTE}&echo=1&key=one"
    for target in (f"/behave?echo=1&{MINUTE}&key=one", f"/behave?{MINUTE}&&utm_x&echo=1&key=one&"):
        for address in ("127.0.0.1", EDGE):
            fields, again = ask(running, target, address, Host="shop.example")
            assert "; hit;" in fields["cache-status"]
            assert again["target"] == seen["target"]


def test_the_way_is_explained_although_the_target_changes(running: RunningLab) -> None:
    found = got(running, f"/behave?utm_id=7&key=two&{MINUTE}")
    assert [one["name"] for one in found["stations"]] == ["client", "lb-a", "edge-icn", "origin-1"]


def test_cookies_are_what_the_route_says(running: RunningLab) -> None:
    target = f"/behave?set_cookie=b=2&vary=Cookie&echo=1&{MINUTE}"
    fields, seen = ask(running, target, Host="strip.test", Cookie="a=1")
    assert "cookie" not in {name.lower() for name, _ in seen["fields"]}
    assert "set-cookie" not in fields
    fields, _ = ask(running, target, Host="strip.test", Cookie="c=3")
    assert "; hit;" in fields["cache-status"]
    for _ in range(2):
        fields, seen = ask(running, target, Host="pass.test", Cookie="a=1")
        assert "detail=cookie" in fields["cache-status"]
        assert fields["set-cookie"] == "b=2"
        fields, _ = ask(running, target, Host="pass.test")
        assert "detail=set-cookie" in fields["cache-status"]


def test_a_warning_stands_in_get_log_and_metric(running: RunningLab) -> None:
    before = warnings(running)
    path = f"/behave?key=three&set_cookie=b=2&{MINUTE}"
    edge = got(running, path, "-H", "Cookie: a=1")["stations"][2]
    assert "warning: stored-set-cookie" in json.dumps(edge)
    assert "warning: stored-for-cookie" in json.dumps(edge)
    assert warnings(running) == {reason: count + 1 for reason, count in before.items()}
    assert set(before) == {"stored-set-cookie", "stored-for-cookie"}
    rows = [json.loads(line) for line in running.cdnlab("log", "edge-icn", "--json").stdout.splitlines()]
    assert rows[-1]["reason"].endswith("stored-set-cookie")
    assert "stored-set-cookie" in running.cdnlab("log", "edge-icn", "-v").stdout
    assert "warning: stored-set-cookie" in running.cdnlab("get", path).stdout.replace("\n", " ")


def test_an_equal_query_is_found_through_the_balancer(running: RunningLab) -> None:
    rest = f"{MINUTE}&echo=1&header=No-Vary-Search:params%3D(%22key%22)"
    ask(running, f"/behave?key=four&{rest}")
    fields, seen = ask(running, f"/behave?key=five&{rest}")
    assert "; hit;" in fields["cache-status"]
    assert seen["target"].endswith("&key=four")
