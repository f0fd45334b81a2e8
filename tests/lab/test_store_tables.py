"""Pins and flows in a real lab while the store is away and after: kept, and put together, by all who have a part."""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.request import Request, urlopen

import pytest

from cdnlab.lab import status
from tests.support.faults import typed
from tests.support.labs import PATIENCE, RunningLab, lab, until

pytestmark = pytest.mark.scenario

TOPOLOGY = """
name: tables
nodes:
  lb-a: {tier: lb, address: 127.0.1.10}
  lb-b: {tier: lb, address: 127.0.1.11}
  edge-icn: {tier: edge, place: icn, address: 127.82.1.10}
  edge-fra: {tier: edge, place: fra, address: 127.49.1.10}
  origin-1: {tier: origin, place: iad, address: 127.1.1.20}
  origin-2: {tier: origin, place: iad, address: 127.1.1.21}
pools:
  edges: {tier: edge, algorithm: nearest}
  origins: {tier: origin, sticky: {mode: learn, cookie: app}}
  udp: {tier: origin, service: udp}
edge: {purge_lag_max: 0.6}
routes: [{pool: edges}]
l4:
  udp: {protocol: udp, pool: udp, idle_timeout: 60s}
"""
EDGES = {"edge-icn": "127.82.1.10", "edge-fra": "127.49.1.10"}
EACH = 8
"""Clients of each kind: by chance they would all find their server again once in 256 times."""
numbers = itertools.count()


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    with lab("--distance", "off", module="cdnlab", topology=TOPOLOGY) as started:
        yield started.ready()


def ask(running: RunningLab, edge: str, session: str, *, log_in: bool = False) -> str:
    """Which origin answers this session at this edge."""
    path = f"/behave?cc=no-store&set_cookie=app%3D{session}" if log_in else "/behave?cc=no-store"
    fields = {} if log_in else {"Cookie": f"app={session}"}
    request = Request(f"http://{EDGES[edge]}:{running.base}{path}", headers=fields)
    with urlopen(request, timeout=20) as answer:
        assert answer.status == 200
        return str(answer.headers["Cdnlab-Origin"])


def log_in(running: RunningLab, edge: str) -> dict[str, str]:
    """New sessions, and the origin that has each."""
    sessions = [f"s{next(numbers)}" for _ in range(EACH)]
    return {session: ask(running, edge, session, log_in=True) for session in sessions}


def served(running: RunningLab, edge: str, sessions: dict[str, str]) -> dict[str, str]:
    return {session: ask(running, edge, session) for session in sessions}


def nodes(running: RunningLab) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in running.ask("/status")["nodes"]}


def pins(running: RunningLab, edge: str) -> int:
    """How many pins an edge knows."""
    return sum(pool["pins"] for pool in nodes(running)[edge]["pins"]["pools"])


def degraded(running: RunningLab) -> set[str]:
    return {row["feature"] for node in nodes(running).values() for row in node.get("degraded") or ()}


def flows(running: RunningLab, node: str) -> set[str]:
    """The clients of the live flows that a balancer knows."""
    answer = json.loads(typed(status.command, running, "--flows", "--json"))
    found = [row for one in answer["nodes"] if one["node"] == node for row in one["rows"]]
    return {row["client"] for row in found if row["state"] != "closed"}


class Source:
    """A client of the UDP echo."""

    def __init__(self, running: RunningLab) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.82.1.100", 0))
        self.sock.settimeout(0.2)
        self.name = f"127.82.1.100:{self.sock.getsockname()[1]}"
        self._vip = ("127.0.0.1", running.base + 2)

    def ask(self) -> str:
        """Which origin answers."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.sock.sendto(b"?", self._vip)
            try:
                return self.sock.recv(65536).partition(b"\n")[0].rpartition(b" ")[2].decode()
            except TimeoutError:
                continue
        raise AssertionError("no answer")


@pytest.mark.parametrize(("away", "back"), [("pause", "resume"), ("kill", "start")])
def test_tables_go_on_and_are_put_together_afterwards(running: RunningLab, away: str, back: str) -> None:
    until(lambda: not degraded(running), "the store is there")
    known = pins(running, "edge-icn")
    before = log_in(running, "edge-icn")
    until(lambda: pins(running, "edge-fra") == known + EACH, "the other edge knows the pins")
    with ExitStack() as stack:
        sources = [Source(running) for _ in range(EACH)]
        for source in sources:
            stack.callback(source.sock.close)
        old = {source.name: source.ask() for source in sources[: EACH // 2]}

        running.ask(f"/{away}", node="store")
        until(lambda: degraded(running) >= {"pins", "flows", "leases"}, "all say what is degraded")
        assert served(running, "edge-fra", before) == before, "what was known is known"
        here, there = log_in(running, "edge-icn"), log_in(running, "edge-fra")
        assert served(running, "edge-icn", here) == here
        until(lambda: pins(running, "edge-fra") == known + 2 * EACH, "it has its own, and not the other's")
        new = {source.name: source.ask() for source in sources[EACH // 2 :]}
        assert {source.name: source.ask() for source in sources} == {**old, **new}

        running.ask(f"/{back}", node="store")
        until(lambda: not degraded(running), "the store is there again")
        for edge in EDGES:
            until(lambda edge=edge: pins(running, edge) == known + 3 * EACH, f"{edge} knows all")  # type: ignore[misc]
        everybody = {**before, **here, **there}
        for edge in EDGES:
            assert served(running, edge, everybody) == everybody
        names = {source.name for source in sources}
        for balancer in ("lb-a", "lb-b"):
            until(lambda node=balancer: flows(running, node) >= names, f"{balancer} knows all")  # type: ignore[misc]
        assert {source.name: source.ask() for source in sources} == {**old, **new}

        running.ask("/kill", node="edge-fra")
        running.ask("/start", node="edge-fra")
        assert served(running, "edge-fra", everybody) == everybody, "the store has them all, too"
