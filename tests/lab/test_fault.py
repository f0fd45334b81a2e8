"""`cdnlab fault` against a real lab: nodes of every tier, the store, and nodes that start later."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from cdnlab.lab import fault, status
from tests.support.commands import Typed
from tests.support.labs import RunningLab, lab, until

pytestmark = pytest.mark.scenario

TOPOLOGY = """
name: faults
nodes:
  lb-a: {tier: lb, address: 127.0.1.10}
  edge-icn: {tier: edge, place: icn, address: 127.82.1.10}
  origin-1: {tier: origin, place: iad, address: 127.1.1.20}
pools:
  edges: {tier: edge, algorithm: nearest}
  origins: {tier: origin}
edge: {purge_lag_max: 0.6}
"""
ADDRESS = {"lb-a": "127.0.0.1", "edge-icn": "127.82.1.10", "origin-1": "127.1.1.20"}
PATH = "/behave?cc=no-store&size=4096"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    with lab("--distance", "off", module="cdnlab", topology=TOPOLOGY) as started:
        yield started.ready()


@pytest.fixture
def tell(running: RunningLab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Typed]:
    told = Typed(fault.command, running.directory, monkeypatch)
    yield told
    cleared = told("--clear")
    assert cleared.exit_code == 0, cleared.output
    until(lambda: ask(running, "edge-icn") == 200, "it answers again")


def ask(running: RunningLab, node: str, within: float = 20) -> int | str:
    """The status that a client of this node gets, else how the connection ended."""
    try:
        with urlopen(f"http://{ADDRESS[node]}:{running.base}{PATH}", timeout=within) as answer:
            answer.read()
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code
    except TimeoutError:
        return "nothing"
    except URLError as error:
        return str(error.reason)
    except ConnectionResetError:
        return "reset"


def seen(running: RunningLab, node: str) -> dict[str, Any]:
    """What a node says of itself."""
    (found,) = [each for each in running.ask("/status")["nodes"] if each["name"] == node]
    return dict(found)


@pytest.mark.parametrize("node", list(ADDRESS))
def test_every_tier_fails_as_it_is_told(running: RunningLab, tell: Typed, node: str) -> None:
    done = tell(node, "--errors", "100%")
    assert (done.exit_code, done.output) == (0, f"{node}  errors 100 %\n")
    assert ask(running, node) == 503
    assert tell(node, "--reset").output == f"{node}  reset\n"
    assert "reset" in str(ask(running, node))
    assert tell(node, "--hang", "--for", "90s").output.startswith(f"{node}  hang, ")
    assert ask(running, node, within=0.3) == "nothing"
    assert tell(node, "--refuse").exit_code == 0
    until(lambda: ask(running, node) != 200, "connections are refused")
    if node != "lb-a":  # a VIP's sockets are shared and stay open: there a connection is reset
        assert "refused" in str(ask(running, node))
    assert tell(node, "--slow-body", "16KiB/s", "--delay", "10ms").exit_code == 0
    until(lambda: ask(running, node) == 200, "it answers again")
    begun = time.monotonic()
    assert ask(running, node) == 200
    assert time.monotonic() - begun > 0.15, "4 KiB at 16 KiB/s"
    assert tell(node, "--clear").output == f"{node}  no faults\n"
    assert ask(running, node) == 200
    with urlopen(
        f"http://{ADDRESS[node] if node != 'lb-a' else '127.0.1.10'}:{running.base + 1021}/metrics"
    ) as page:
        text = page.read().decode()
    assert 'cdnlab_node_fault{fault="errors"} 0' in text
    assert 'cdnlab_node_faults_total{fault="errors"} 1' in text


def test_they_are_in_status_and_events_and_as_json(
    running: RunningLab, tell: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tell("edge-icn", "--delay", "10ms", "--errors", "20%", "--for", "60s", "--json")
    (row,) = json.loads(asked.output)["nodes"]
    assert (row["node"], row["why"], row["store_faults"]) == ("edge-icn", "", None)
    assert (row["faults"]["delay"], row["faults"]["errors"]) == (0.01, 0.2)
    assert 59 < row["faults"]["until"] - row["faults"]["since"] < 61
    assert "edge-icn  delay 10 ms, errors 20 %, 60 s left" in tell().output
    assert "origin-1  no faults" in tell().output
    until(lambda: seen(running, "edge-icn")["faults"], "it is in the lab's status")
    shown = Typed(status.command, running.directory, monkeypatch)().output
    assert "Faults that were set" in shown
    assert "edge-icn  delay 10 ms, errors 20 %" in shown
    assert "serving, with faults: delay 10 ms" in " ".join(shown.split())
    events = [each for each in running.ask("/events")["events"] if each["kind"] == "fault"]
    assert events[-1]["text"] == "faults set: delay 10 ms, errors 20 % for 60 s"


def test_the_admin_api_meets_none(running: RunningLab, tell: Typed) -> None:
    assert tell("edge-icn", "--refuse", "--delay", "60s").exit_code == 0
    with urlopen(f"http://127.82.1.10:{running.base + 1021}/readyz", timeout=20) as answer:
        assert answer.status == 200


def test_the_stores_faults_reach_every_node_also_one_that_starts_later(
    running: RunningLab, tell: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = tell("store", "--hang")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [f"{node:<8}  store: hang" for node in ADDRESS]
    until(lambda: all(seen(running, node)["store"]["state"] == "away" for node in ADDRESS), "all miss it")
    running.ask("/kill", node="edge-icn")
    running.ask("/start", node="edge-icn")
    assert tell("edge-icn").output == "edge-icn  store: hang\n"
    until(lambda: seen(running, "edge-icn")["store_faults"], "it is in the lab's status")
    assert seen(running, "edge-icn")["store"]["state"] == "away"
    assert {row["feature"] for row in seen(running, "edge-icn")["degraded"]} >= {"purges"}
    shown = Typed(status.command, running.directory, monkeypatch)().output
    assert "Less well while the store is away" in shown
    assert "  store  hang" in shown
    assert ask(running, "lb-a") == 200
    cleared = tell("store", "--clear")
    assert cleared.output.splitlines() == [f"{node:<8}  store: no faults" for node in ADDRESS]
    until(lambda: all(seen(running, node)["store"]["state"] == "up" for node in ADDRESS), "it is there")
    until(lambda: not any(seen(running, node)["degraded"] for node in ADDRESS), "nothing is degraded")
    running.ask("/kill", node="edge-icn")
    running.ask("/start", node="edge-icn")
    assert tell("edge-icn").output == "edge-icn  no faults\n"


def test_a_node_that_is_not_reached_is_named(running: RunningLab, tell: Typed) -> None:
    running.ask("/kill", node="edge-icn")
    try:
        done = tell("edge-icn", "--hang")
        assert (done.exit_code, done.output) == (1, "edge-icn  not reached: connection refused\n")
        done = tell("store", "--delay", "1ms")
        assert done.exit_code == 1
        assert "lb-a      store: delay 1 ms" in done.output
    finally:
        running.ask("/start", node="edge-icn")
    assert "delay 1 ms" in tell("edge-icn").output, "it has read what was written down"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["edge-ice", "--hang"], "did you mean edge-icn?"),
        (["--hang"], "no node is named"),
        (["edge-icn", "--hang", "--clear"], "--clear stands alone"),
        (["edge-icn", "--hang", "--reset"], "both hang and be reset"),
        (["edge-icn", "--errors", "120%"], '--errors is "120%"'),
        (["edge-icn", "--errors", "some"], '--errors is "some"'),
        (["edge-icn", "--delay", "300"], ""),
        (["edge-icn", "--delay", "soon"], '--delay is "soon"'),
        (["edge-icn", "--for", "10s"], "no fault is named"),
        (["edge-icn", "--slow-body", "fast"], '--slow-body is "fast"'),
        (["store", "--slow-body", "1kB/s"], 'the store has no fault "slow_body"'),
    ],
)
def test_what_makes_no_sense_is_misuse(tell: Typed, words: list[str], error: str) -> None:
    done = tell(*words)
    assert done.exit_code == (2 if error else 0), done.output
    assert error in done.output


def test_the_token_is_asked_for(running: RunningLab) -> None:
    with closing(socket.create_connection(("127.82.1.10", running.base + 1021), 20)) as wire:
        wire.sendall(b'POST /faults HTTP/1.1\r\nHost: edge-icn\r\nContent-Length: 13\r\n\r\n{"hang":true}')
        assert wire.recv(100).startswith(b"HTTP/1.1 401 ")
