"""A real lab whose store is killed, frozen, slow, reads only, or comes back empty: clients notice nothing."""

from __future__ import annotations

import http.client
import itertools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple
from urllib.request import urlopen

import pytest

from cdnlab.lab import embedded_store
from tests.support.faults import order
from tests.support.labs import RunningLab, lab, until

pytestmark = pytest.mark.scenario

TOPOLOGY = """
name: away
nodes:
  lb-a: {tier: lb, address: 127.0.1.10}
  lb-b: {tier: lb, address: 127.0.1.11}
  edge-icn: {tier: edge, place: icn, address: 127.82.1.10}
  origin-1: {tier: origin, place: iad, address: 127.1.1.20}
  origin-2: {tier: origin, place: iad, address: 127.1.1.21}
pools:
  edges: {tier: edge, algorithm: nearest}
  origins: {tier: origin, sticky: {mode: cookie}}
routes:
  - {pool: edges, rate_limit: {requests: 100000, burst: 100000, shared: true}}
"""
NODES = ("lb-a", "lb-b", "edge-icn", "origin-1", "origin-2")
EACH = 20
"""Requests of each kind: hits, misses, clients to be pinned, pinned ones, reads of the shop."""
KEPT = [f"/behave?cc=max-age=3600&etag=%22{number}%22" for number in range(5)]
fresh = itertools.count(100)


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    with lab("--distance", "off", module="cdnlab", topology=TOPOLOGY) as started:
        yield started.ready()


class Answer(NamedTuple):
    """What a client got."""

    status: int
    cache: str
    origin: str
    cookie: str


class Client:
    """Asks under the VIP, on one connection."""

    def __init__(self, base: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", base, 20)

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def ask(self, path: str, method: str = "GET", cookie: str = "") -> Answer:
        """One request; `cookie` is one that was given before."""
        self._connection.request(method, path, headers={"Cookie": cookie} if cookie else {})
        response = self._connection.getresponse()
        response.read()
        said = (response.getheader(name, "") for name in ("Cache-Status", "Cdnlab-Origin", "Set-Cookie"))
        cache, origin, given = said
        return Answer(response.status, cache, origin, given.partition(";")[0])


def everything(base: int) -> dict[str, float]:
    """Ask for all kinds of things, and see that each is answered as ever; the seconds that each kind took."""
    took: dict[str, float] = {}

    def timed(kind: str, *words: str) -> Answer:
        begun = time.monotonic()
        answer = client.ask(*words)
        took[kind] = took.get(kind, 0.0) + time.monotonic() - begun
        return answer

    with closing(Client(base)) as client:
        for number in range(EACH):
            hit = timed("hit", KEPT[number % len(KEPT)])
            assert (hit.status, "; hit" in hit.cache) == (200, True), hit
            miss = timed("miss", f"/behave?cc=max-age=60&size={next(fresh)}")
            assert (miss.status, "fwd=uri-miss" in miss.cache) == (200, True), miss
            new = timed("new", "/echo", "POST")
            assert (new.status, "pin=" in new.cookie) == (200, True), new
            pinned = timed("pinned", "/echo", "POST", new.cookie)
            assert (pinned.status, pinned.origin) == (200, new.origin), pinned
            shop = timed("shop", f"/api/items?fresh={next(fresh)}")
            assert (shop.status, "fwd=uri-miss" in shop.cache) == (200, True), shop
    return took


def nodes(running: RunningLab) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in running.ask("/status")["nodes"]}


def degraded(running: RunningLab) -> set[str]:
    """The features of which some node says that they are."""
    return {row["feature"] for node in nodes(running).values() for row in node["degraded"]}


def in_metrics(running: RunningLab, address: str) -> set[str]:
    """The same as the metrics of one node say it."""
    with urlopen(f"http://{address}:{running.base + 1021}/metrics", timeout=20) as page:
        return set(re.findall(r'cdnlab_node_degraded\{feature="(\w+)"\} 1', page.read().decode()))


def holder(running: RunningLab) -> list[tuple[str, int]]:
    """(node, token) of each that says that it holds the VIP."""
    found = nodes(running)
    vips = [(name, vip) for name, node in found.items() for vip in node["vips"]]
    return [(name, vip["token"]) for name, vip in vips if vip["state"] == "active"]


@pytest.fixture
def settled(running: RunningLab) -> RunningLab:
    """The store is there, everybody knows it, and what shall be hit is stored."""
    until(
        lambda: all(node["store"]["state"] == "up" for node in nodes(running).values()), "the store is there"
    )
    until(lambda: not degraded(running), "nothing is degraded")
    with closing(Client(running.base)) as client:
        for path in KEPT:
            until(lambda path=path: "; hit" in client.ask(path).cache, "it is stored")  # type: ignore[misc]
    return running


def kill(running: RunningLab) -> None:
    running.ask("/kill", node="store")


def freeze(running: RunningLab) -> None:
    running.ask("/pause", node="store")


def slow(running: RunningLab) -> None:
    order(running, "store", "--delay", "1s")


def reads_only(running: RunningLab) -> None:
    embedded_store.write(running.state.store_socket, [("REPLICAOF", "127.0.0.1", "1")])


def start(running: RunningLab) -> None:
    running.ask("/start", node="store")


def thaw(running: RunningLab) -> None:
    running.ask("/resume", node="store")


def quick(running: RunningLab) -> None:
    order(running, "store", "--clear")


def writes(running: RunningLab) -> None:
    embedded_store.write(running.state.store_socket, [("REPLICAOF", "NO", "ONE")])


Deed = Callable[[RunningLab], None]


@pytest.mark.parametrize(
    ("away", "back"), [(freeze, thaw), (slow, quick), (reads_only, writes), (kill, start)]
)
def test_clients_notice_nothing_and_people_are_told(settled: RunningLab, away: Deed, back: Deed) -> None:
    before = holder(settled)
    assert len(before) == 1
    away(settled)
    everything(settled.base)  # from the first moment on: nobody knows yet that it is away
    until(
        lambda: degraded(settled) >= {"leases", "rate_limits", "purges", "pins", "items"},
        "all say what is degraded",
    )
    assert in_metrics(settled, "127.0.1.10") >= {"leases", "rate_limits"}
    assert in_metrics(settled, "127.82.1.10") >= {"purges", "pins"}
    assert holder(settled) == before, "the VIP stays where it is"
    everything(settled.base)
    back(settled)
    everything(settled.base) if back is not start else None
    until(lambda: not degraded(settled), "nothing is degraded any more")
    assert in_metrics(settled, "127.0.1.10") == set()
    assert holder(settled) == before


def test_no_request_waits_for_the_store(settled: RunningLab) -> None:
    """A store that is slow but not yet away would cost whoever asks it its time, again and again."""
    delay = 0.4
    order(settled, "store", "--delay", f"{delay * 1000:.0f}ms")
    try:
        took = everything(settled.base)
    finally:
        quick(settled)
    assert len(took) == 5
    assert max(took.values()) < EACH * delay, "a kind of request that waited would take longer"


def test_a_store_that_comes_back_empty_has_each_object_revalidated_once(settled: RunningLab) -> None:
    def generation() -> str:
        purges = nodes(settled)["edge-icn"]["purges"]
        return str(purges["position"]) if purges["state"] == "confirmed" else ""

    before = generation()
    kill(settled)
    start(settled)
    until(lambda: generation() not in ("", before), "the edge follows the new stream")
    events = [each for each in settled.ask("/events?node=edge-icn")["events"] if each["kind"] == "purge"]
    assert any("everything stored is revalidated" in each["text"] for each in events), events
    with closing(Client(settled.base)) as client:
        for path in KEPT:
            first, *later = (client.ask(path) for _ in range(4))
            assert first.status == 200
            assert "fwd-status=304" in first.cache, first
            assert all("; hit" in each.cache for each in later), later
        assert client.ask(f"/behave?cc=max-age=60&size={next(fresh)}").status == 200
