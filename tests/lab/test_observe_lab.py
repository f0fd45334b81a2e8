"""A lab of real nodes that were started apart, and what an observer beside it shows of their deaths and freezes."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from cdnlab.lab.status import virtual_addresses
from tests.support.apart import NODES, Apart, running
from tests.support.labs import until

pytestmark = pytest.mark.scenario


@pytest.fixture(scope="module")
def lab() -> Iterator[Apart]:
    with running() as made:
        until(lambda: holder(made), "a holder of the VIP")
        yield made


def holder(lab: Apart) -> str | None:
    answer = lab.ask("/status")
    name: str | None = virtual_addresses(answer["lab"], answer["nodes"])[0]["holder"]
    return name


def got(lab: Apart, *words: str) -> dict[str, Any]:
    done = lab.cdnlab("get", *words, "--json")
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_status_log_and_events_are_as_beside_up(lab: Apart) -> None:
    found = got(lab, "/?seen", "--from", "icn", "--direct")
    assert found["response"]["status"] == found["direct"]["status"] == 200
    assert [one["name"] for one in found["stations"]][2:] == ["edge-icn", "origin-1"]
    assert found["request"]["url"] == f"http://127.0.0.1:{lab.base + 1}/?seen", "as people outside call it"

    shown = lab.cdnlab("status").stdout
    assert f"5 of {len(NODES)} nodes ready" in shown
    assert f"held by {holder(lab)}" in shown
    assert "Store  external  up" in shown

    seen = [row["node"] for row in lab.rows("log") if row["target"] == "/?seen"]
    assert {"edge-icn", "origin-1"} < set(seen)
    events = lab.rows("events", "-n", "1000")
    assert {event["node"] for event in events} >= {*NODES, "lab"}
    assert f"all {len(NODES)} nodes are ready" in lab.events("lab")


def test_a_client_whose_address_cannot_be_had_says_where_it_is(lab: Apart) -> None:
    found = got(lab, "/", "--from", "gru")
    assert found["request"]["source"] is None
    assert found["stations"][0]["what"] == "in São Paulo (gru), by Cdnlab-From"
    assert found["stations"][2]["name"] == "edge-gru"


def test_a_killed_node_is_dead_and_its_successor_starts_anew(lab: Apart) -> None:
    got(lab, "/?before", "--from", "gru")
    lab.rows("log")  # what nobody asked for before dies with the node
    first = lab.node("edge-gru")["pid"]
    lab.signal("edge-gru", signal.SIGKILL)
    dead = lab.until_state("edge-gru", "dead")
    address = f"127.55.1.10:{lab.base + 1021}"
    assert dead["reason"] == f"does not answer on {address}: connection refused"
    assert (dead["running"], dead["ready"], dead["pid"]) == (False, False, None)
    assert lab.events("edge-gru")[-1] == dead["reason"]

    process = lab.start("edge-gru")
    assert lab.until_state("edge-gru", "ready")["pid"] == process.pid != first
    until(lambda: "was started anew" in lab.events("edge-gru")[-1], "the event")
    until(lambda: got(lab, "/?after", "--from", "gru")["stations"][2]["name"] == "edge-gru", "it is used")
    targets = [row["target"] for row in lab.rows("log", "edge-gru")]
    assert targets.count("/?before") == 1
    assert "/?after" in targets


def test_a_frozen_node_is_silent_and_is_heard_again(lab: Apart) -> None:
    pid = lab.node("edge-icn")["pid"]
    lab.signal("edge-icn", signal.SIGSTOP)
    silent = lab.until_state("edge-icn", "silent")
    assert silent["reason"].startswith(f"does not answer on 127.82.1.10:{lab.base + 1021}: frozen, hung")
    assert silent["since"] == lab.node("edge-icn")["since"]
    line = next(text for text in lab.cdnlab("status").stdout.splitlines() if text.startswith("edge-icn"))
    assert "? silent" in line

    lab.signal("edge-icn", signal.SIGCONT)
    assert lab.until_state("edge-icn", "ready")["pid"] == pid
    assert lab.events("edge-icn")[-1] == f"answers again, still process {pid}"


def test_a_frozen_balancer_is_followed_and_the_site_answers(lab: Apart) -> None:
    first = holder(lab)
    assert first is not None
    lab.signal(first, signal.SIGSTOP)
    lab.until_state(first, "silent")
    until(lambda: holder(lab) not in (None, first), "the other one holds the VIP")
    lab.signal(first, signal.SIGCONT)
    lab.until_state(first, "ready")


def test_the_store_goes_by_what_the_nodes_say(lab: Apart) -> None:
    lab.signal("store", signal.SIGKILL)
    until(lambda: lab.ask("/lab")["store"]["state"] == "away", "its absence is heard of")
    assert "not reached by" in lab.cdnlab("status").stdout
    (lab.directory / "store.sock").unlink(missing_ok=True)
    lab.start("store")
    until(lambda: lab.ask("/lab")["store"]["state"] == "up", "its return is heard of")
