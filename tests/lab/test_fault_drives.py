"""Faults at one of three servers, and what a balancer makes of them: clients see no error, and people see why."""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.request import urlopen

import pytest

from tests.support.faults import order
from tests.support.labs import RunningLab, lab, until

pytestmark = pytest.mark.scenario

TOPOLOGY = """
name: drives
nodes:
  lb-a: {tier: lb, address: 127.0.1.10}
  origin-1: {tier: origin, place: iad, address: 127.1.1.20}
  origin-2: {tier: origin, place: iad, address: 127.1.1.21}
  origin-3: {tier: origin, place: iad, address: 127.1.1.22}
pools:
  origins:
    tier: origin
    health: {interval: 30s}
    ejection: {time: 0.5}
    retry: {statuses: [500-599], try_timeout: 1.0}
  unwatched:
    tier: origin
    health: {kind: none}
    ejection: {consecutive: 0, success_rate: false}
    retry: {hedge_after: 0.05}
  tcp: {tier: origin, service: tcp, ejection: {time: 0.5}}
  udp: {tier: origin, service: udp, ejection: {time: 0.5}}
edge: {pool: origins}
l4:
  tcp: {protocol: tcp, pool: tcp}
  udp: {protocol: udp, pool: udp}
routes:
  - {host: hedged.example, pool: unwatched}
  - {pool: origins}
"""
MANY = 60
GET = "/behave?cc=no-store"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    with lab("--distance", "off", module="cdnlab", topology=TOPOLOGY) as started:
        yield started.ready()


@pytest.fixture
def sound(running: RunningLab) -> Iterator[RunningLab]:
    """All three are up, and nothing is set at them."""
    until(lambda: all(row["usable"] for row in backends(running)), "all are up")
    yield running
    order(running, "--clear")


def backends(running: RunningLab) -> list[dict[str, Any]]:
    """As the balancer sees them."""
    (node,) = [node for node in running.ask("/status")["nodes"] if node["name"] == "lb-a"]
    return [row for row in node["backends"] if row["pool"] == "origins"]


def left_out(running: RunningLab) -> dict[str, str]:
    return {row["name"]: row["reason"] for row in backends(running) if not row["usable"]}


def counted(running: RunningLab, name: str) -> float:
    """The sum of a metric of the balancer."""
    with urlopen(f"http://127.0.1.10:{running.base + 1021}/metrics", timeout=20) as page:
        rows = re.findall(rf"^{name}(?:{{.*}})? (.*)$", page.read().decode(), re.MULTILINE)
    return sum(map(float, rows))


def ask(running: RunningLab, count: int, method: str = "GET", host: str = "site.example") -> Counter[int]:
    """How many answers of which status."""
    found: Counter[int] = Counter()
    path = GET if method == "GET" else "/echo"
    with closing(http.client.HTTPConnection("127.0.0.1", running.base, 20)) as connection:
        for _ in range(count):
            connection.request(method, path, headers={"Host": host})
            response = connection.getresponse()
            response.read()
            found[response.status] += 1
    return found


def events_of(running: RunningLab, subject: str) -> list[str]:
    return [each["text"] for each in running.ask("/events")["events"] if each["subject"] == subject]


@pytest.mark.parametrize("words", [("--errors", "50%"), ("--hang",), ("--refuse",), ("--reset",)])
def test_one_of_three_fails_and_clients_see_no_error(sound: RunningLab, words: tuple[str, ...]) -> None:
    before = counted(sound, "cdnlab_pool_retries_total")
    order(sound, "origin-1", *words)
    total: Counter[int] = Counter()

    def found_out() -> dict[str, str]:
        total.update(ask(sound, 20))
        return left_out(sound)

    reasons = until(found_out, "it is left out")
    assert set(reasons) == {"origin-1"}, reasons
    total.update(ask(sound, MANY))
    assert set(total) == {200}, total
    assert counted(sound, "cdnlab_pool_retries_total") > before
    order(sound, "origin-1", "--clear")
    until(lambda: not left_out(sound), "it is back")
    assert ask(sound, MANY) == {200: MANY}


def test_a_share_of_errors_is_found_by_ejection_and_not_by_a_health_check(sound: RunningLab) -> None:
    def verdicts() -> list[str]:
        return [text for text in events_of(sound, "origin-1") if "-> down" in text]

    def ejections() -> list[str]:
        return [text for text in events_of(sound, "origin-1") if "ejected" in text]

    before, ejected = verdicts(), ejections()
    order(sound, "origin-1", "--errors", "60%")

    def found_out() -> bool:
        assert set(ask(sound, 20)) == {200}
        return ejections() != ejected

    until(found_out, "it is ejected")
    assert verdicts() == before


def test_who_refuses_costs_no_post_either(sound: RunningLab) -> None:
    order(sound, "origin-1", "--refuse")
    assert ask(sound, MANY, "POST") == {200: MANY}


def tcp_flow(running: RunningLab) -> str:
    """Which server a new connection reaches."""
    with socket.create_connection(("127.0.0.1", running.base + 1), 20) as flow:
        return flow.makefile("rb").readline().decode().rpartition(" ")[2].strip()


def udp_flow(running: RunningLab) -> str:
    """Which server a new source reaches."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flow:
        flow.settimeout(0.5)
        for _ in range(40):
            flow.sendto(b"?", ("127.0.0.1", running.base + 2))
            try:
                return flow.recv(65536).partition(b"\n")[0].decode().rpartition(" ")[2]
            except TimeoutError:
                continue
    raise AssertionError("no answer")


@pytest.mark.parametrize("flow", [tcp_flow, udp_flow])
def test_who_refuses_takes_no_flows(sound: RunningLab, flow: Callable[[RunningLab], str]) -> None:
    others = {"origin-2", "origin-3"}
    until(lambda: flow(sound) == "origin-1", "it takes its turn")
    order(sound, "origin-1", "--refuse")
    until(lambda: {flow(sound) for _ in range(6)} <= others, "it takes none")
    assert Counter(flow(sound) in others for _ in range(12)) == {True: 12}
    order(sound, "--clear")
    until(lambda: flow(sound) == "origin-1", "it takes its turn again")


def test_a_slow_one_of_three_is_hedged(sound: RunningLab) -> None:
    """Nobody watches this pool, and every third request would wait for two seconds."""
    order(sound, "origin-1", "--delay", "2s")
    begun = time.monotonic()
    assert ask(sound, 30, host="hedged.example") == {200: 30}
    assert time.monotonic() - begun < 10 * 2, "a third of them would have taken as long by themselves"
    assert counted(sound, "cdnlab_pool_hedges_total") > 0
