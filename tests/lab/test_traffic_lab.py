"""Limits, splits and mirrors in a real lab, over a takeover and with the store away."""

from __future__ import annotations

import http.client
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.support.labs import RunningLab, lab, until
from tests.support.peers import free_port

pytestmark = pytest.mark.scenario

TOPOLOGY = """
name: traffic
nodes:
  lb-a: {tier: lb, address: 127.0.1.10}
  lb-b: {tier: lb, address: 127.0.1.11}
  origin-1: {tier: origin, place: iad, address: 127.1.1.20, data_port: PORT}
  origin-2: {tier: origin, place: iad, address: 127.1.1.21, data_port: PORT}
  origin-3: {tier: origin, place: iad, address: 127.1.1.22, data_port: PORT}
pools:
  main: {backends: [{name: origin-1, address: 127.1.1.20, port: PORT}]}
  canary: {backends: [{name: origin-2, address: 127.1.1.21, port: PORT}]}
  shadow: {backends: [{name: origin-3, address: 127.1.1.22, port: PORT}]}
routes:
  - {pool: main, split: {canary: 0.2}, mirror: {pool: shadow, share: 0.5}}
  - {path: /api, pool: main, rate_limit: {requests: 0.001, burst: 40, shared: true}}
failover: {lease: 500ms, renew: 100ms}
"""


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    topology = TOPOLOGY.replace("PORT", str(free_port()))
    with lab("--distance", "off", module="cdnlab", topology=topology) as started:
        yield started.ready()


def ask(running: RunningLab, path: str, client: str = "127.0.0.1") -> http.client.HTTPResponse:
    with closing(
        http.client.HTTPConnection("127.0.0.1", running.base, timeout=10, source_address=(client, 0))
    ) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer


def said(running: RunningLab, name: str) -> dict[str, Any]:
    """What a node says of itself."""
    found: dict[str, Any] = next(node for node in running.ask("/status")["nodes"] if node["name"] == name)
    return found


def traffic(running: RunningLab, name: str) -> dict[str, Any]:
    return {row["route"]: row for row in said(running, name)["traffic"]}


def test_requests_are_split_and_copied(running: RunningLab) -> None:
    found = Counter(ask(running, "/").headers["Cdnlab-Origin"] for _ in range(20))
    assert found == {"origin-1": 16, "origin-2": 4}
    until(lambda: traffic(running, "lb-a")["/"]["mirror"]["copies"] == {"answered": 10}, "the copies")
    shown = running.cdnlab("status").stdout
    assert "split: 0.8 to main (16 requests), 0.2 to canary (4 requests)" in " ".join(shown.split())


def test_what_a_client_has_spent_is_known_to_the_balancer_that_takes_over(running: RunningLab) -> None:
    assert [ask(running, "/api").status for _ in range(42)] == [404] * 40 + [429] * 2
    refused = ask(running, "/api")
    assert 900 < int(refused.headers["Retry-After"]) <= 1000
    assert running.cdnlab("kill", "lb-a").returncode == 0
    first = ask(running, "/api")  # nothing is asked before a request passes
    assert (first.status, first.headers["Via"]) == (404, "1.1 lb-b")
    until(lambda: ask(running, "/api").status == 429, "the new holder has heard")
    assert traffic(running, "lb-b")["/api"]["rate_limit"]["passed"] < 40, (
        "by itself it would have let 40 pass"
    )
    assert ask(running, "/api", "127.0.0.9").status == 404


def test_without_the_store_each_counts_for_itself_and_says_so(running: RunningLab) -> None:
    assert running.cdnlab("kill", "store").returncode == 0
    until(lambda: said(running, "lb-b")["store"]["state"] == "away", "the store is away")
    answers = [ask(running, "/api", "127.0.0.10").status for _ in range(42)]
    assert answers == [404] * 40 + [429] * 2
    assert "rate_limits" in {row["feature"] for row in said(running, "lb-b")["degraded"]}
