"""Sticky sessions in a whole lab of real processes: edges and origins die, drain and are asked directly."""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from cdnlab.node.secrets import STAGED
from tests.support.labs import RunningLab, lab, until

pytestmark = pytest.mark.scenario

TOPOLOGY = """
name: sticky
distance: {enabled: false}
nodes:
  lb-a: {tier: lb, address: 127.0.1.10}
  edge-icn: {tier: edge, place: icn, address: 127.82.1.10}
  edge-fra: {tier: edge, place: fra, address: 127.49.1.10}
  origin-1: {tier: origin, place: iad, address: 127.1.1.20}
  origin-2: {tier: origin, place: iad, address: 127.1.1.21}
  origin-3: {tier: origin, place: iad, address: 127.1.1.22}
pools:
  edges: {tier: edge, algorithm: nearest}
  origins: {tier: origin}
"""
EDGES = ("127.82.1.10", "127.49.1.10")
SEOUL = "127.82.1.100"


class Said(NamedTuple):
    status: int
    origin: str
    via: str
    pin: str
    """name=value of the pin's cookie, if one was set."""


def ask(
    running: RunningLab, cookie: str = "", at: str = "127.0.0.1", path: str = "/login", method: str = "GET"
) -> Said:
    """What a client in Seoul is told, at the VIP or at an edge."""
    connection = http.client.HTTPConnection(at, running.base, 10, source_address=(SEOUL, 0))
    with closing(connection):
        connection.request(method, path, headers={"Cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        answer.read()
        set_cookies = answer.headers.get_all("Set-Cookie") or []
        pins = [each.partition(";")[0] for each in set_cookies if each.startswith("cdnlab-pin=")]
        origin = answer.headers.get("Cdnlab-Origin") or ""
        return Said(answer.status, origin, answer.headers.get("Via") or "", pins[0] if pins else "")


def pins(running: RunningLab, at: str) -> int:
    """How many pins stand in the table of the edge at an address."""
    with closing(http.client.HTTPConnection(at, running.base + 1021, timeout=10)) as connection:
        connection.request("GET", "/status")
        return int(json.loads(connection.getresponse().read())["pins"]["pools"][0]["pins"])


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    with lab("--sticky", "cookie", module="cdnlab", topology=TOPOLOGY) as made:
        made.ready()
        yield made


def test_a_client_keeps_its_origin_whatever_becomes_of_the_rest(running: RunningLab) -> None:
    """One story, since a lab takes a second to start."""
    first = ask(running)
    assert first.status == 200
    assert first.pin.startswith("cdnlab-pin=1.")
    rotated = running.cdnlab("rotate")
    assert (rotated.returncode, rotated.stderr) == (0, "")
    assert rotated.stdout.startswith("cookie key 2 is accepted at once")
    again = running.cdnlab("rotate")
    assert again.returncode == 1
    assert "cookie key 2 was only just made" in again.stderr

    new = running.state.secrets / "cookie_key.2"
    os.utime(new, (time.time() - STAGED, time.time() - STAGED))  # as if it had been there for so long

    # through any edge, and none is told what it knows
    for at in ("127.0.0.1", *EDGES):
        for _ in range(3):
            assert ask(running, first.pin, at).origin == first.origin
    assert {ask(running).origin for _ in range(6)} == {"origin-1", "origin-2", "origin-3"}

    # nobody's hit bears it
    hits = [ask(running, path="/") for _ in range(3)]
    assert {said.pin for said in hits} == {""}

    # the cookie is renewed under the new key, and then nobody is told what it knows
    renewed = until(lambda: ask(running, first.pin).pin, "the new key signs")
    assert renewed.startswith("cdnlab-pin=2.")
    until(lambda: ask(running, at=EDGES[1]).pin.startswith("cdnlab-pin=2."), "at the other edge, too")
    for at in EDGES:
        assert ask(running, renewed, at)[1:4:2] == (first.origin, "")

    # its edge dies
    assert "edge-icn" in ask(running, first.pin).via
    assert running.cdnlab("kill", "edge-icn").returncode == 0
    after = ask(running, first.pin)
    assert (after.origin, "edge-fra" in after.via) == (first.origin, True)
    assert running.cdnlab("start", "edge-icn").returncode == 0
    until(lambda: running.node("edge-icn")["ready"], "the edge is back")
    assert ask(running, first.pin, EDGES[0]).origin == first.origin, "it reads the cookie, and needs no table"

    # its origin drains
    assert running.cdnlab("drain", first.origin).returncode == 0
    assert {ask(running, first.pin).origin for _ in range(4)} == {first.origin}
    assert first.origin not in {ask(running).origin for _ in range(6)}
    assert running.cdnlab("enable", first.origin).returncode == 0


def test_a_dead_origin_s_clients_are_moved_and_every_edge_knows_where_to(running: RunningLab) -> None:
    """They go on showing the old cookie: each of twelve is moved by one edge, and found there by the other."""
    until(
        lambda: {ask(running).origin for _ in range(6)} == {"origin-1", "origin-2", "origin-3"},
        "all are used",
    )
    clients = []
    while len(clients) < 12:
        said = ask(running)
        if said.origin == "origin-2":
            clients.append(said.pin)
    assert running.cdnlab("kill", "origin-2").returncode == 0
    moved = {}
    for number, pin in enumerate(clients):
        here, there = EDGES[number % 2], EDGES[1 - number % 2]
        moved[pin] = ask(running, pin, here).origin
        assert moved[pin] in ("origin-1", "origin-3")
        until(lambda at=there, known=number + 1: pins(running, at) >= known, "the other edge was told")  # type: ignore[misc]
        assert ask(running, pin, there).origin == moved[pin]
    assert set(moved.values()) == {"origin-1", "origin-3"}
    assert running.cdnlab("start", "origin-2").returncode == 0
    until(lambda: running.node("origin-2")["ready"], "the origin is back")
    for pin, origin in moved.items():
        assert ask(running, pin).origin == origin, "what comes back gets nobody back"


def test_the_store_goes_and_pins_hold(running: RunningLab) -> None:
    pins = [ask(running) for _ in range(4)]
    assert running.cdnlab("kill", "store").returncode == 0
    for said in pins:
        for at in EDGES:
            assert ask(running, said.pin, at).origin == said.origin
    assert running.cdnlab("start", "store").returncode == 0

    def shared() -> bool:
        nodes = json.loads(running.cdnlab("status", "--json").stdout)["nodes"]
        edges = [node for node in nodes if node["tier"] == "edge"]
        return all(node["pins"]["replica"]["state"] == "follows" for node in edges)

    until(shared, "the edges follow the store again")


def test_words_that_mean_nothing_are_refused() -> None:
    with lab("--sticky", "glue", module="cdnlab", topology=TOPOLOGY) as made:
        _, err = made.process.communicate(timeout=20)
        assert made.process.returncode == 2
        assert "write off, cookie, source or learn:NAME" in err
