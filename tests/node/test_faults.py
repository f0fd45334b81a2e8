"""Faults of a node and of its store: ordered, shown, counted, ended."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cdnlab.net.faults import BadFaults, Fault, Faults
from cdnlab.node import faults as file
from cdnlab.node.faults import FAULT_METRICS
from cdnlab.node.log import Events
from cdnlab.node.node import Node
from cdnlab.node.store import Store, StoreAway, StoreRefused
from cdnlab.plan.single import single_edge
from tests.support.peers import until

if TYPE_CHECKING:
    from tests.node.conftest import Valkey


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(single_edge("127.0.0.1:0", ["http://127.0.0.1:1"]), "edge", state=tmp_path)


def told(node: Node) -> list[tuple[str, str]]:
    rows = node.events.after(0)["entries"]
    return [(row["subject"], row["text"]) for row in rows if row["kind"] == "fault"]


def value(node: Node, name: str) -> dict[str, float]:
    (found,) = [each for each in node.fault_desk.families() if each.spec.name == name]
    return {dict(sample.labels)["fault"]: sample.value for sample in found.samples}


async def test_what_is_set_is_in_status_events_and_metrics_until_it_is_cleared(node: Node) -> None:
    desk = node.fault_desk
    begun = time.time()
    answer = desk.order({"delay": 0.3, "errors": 0.2})
    assert node.faults == Faults(delay=0.3, errors=0.2)
    assert answer["faults"]["words"] == "delay 300 ms, errors 20 %"
    assert answer["faults"]["until"] is None
    assert begun <= answer["faults"]["since"] <= time.time()
    status = node.status()
    assert (status["faults"], status["store_faults"]) == (answer["faults"], None)
    assert status["reason"].endswith("with faults: delay 300 ms, errors 20 %")
    assert {name for name, on in value(node, "cdnlab_node_fault").items() if on} == {"delay", "errors"}
    assert desk.order({"hang": True})["faults"]["words"] == "hang", "in the place of those before"
    assert desk.order({"clear": True}) == {"faults": None, "store_faults": None}
    assert node.faults is None
    assert "faults" not in node.status()["reason"]
    assert [text for _, text in told(node)] == [
        "faults set: delay 300 ms, errors 20 %",
        "faults set: hang",
        "faults cleared: as ordered; they were hang",
    ]
    assert set(value(node, "cdnlab_node_fault").values()) == {0}
    desk.order({"clear": True})
    assert len(told(node)) == 3, "there was nothing to clear"


async def test_they_end_by_themselves(node: Node) -> None:
    node.fault_desk.order({"hang": True, "for": 30})
    answer = node.fault_desk.order({"refuse": True, "for": 0.05})
    assert 0 < answer["faults"]["until"] - answer["faults"]["since"] < 0.06
    await until(lambda: node.faults is None, "the time is up")
    assert told(node)[-1] == ("edge", "faults cleared: their time is up; they were refuse")


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"store": True, "hang": True}, "this node has no store"),
        ({"clear": True, "hang": True}, '"clear" stands with "hang"'),
        ({"clear": 1}, '"clear" is 1'),
        ({"clear": False}, "no fault is named"),
    ],
)
async def test_orders_that_make_no_sense_change_nothing(
    node: Node, asked: dict[str, object], error: str
) -> None:
    node.fault_desk.order({"errors": 1})
    with pytest.raises(BadFaults, match=error):
        node.fault_desk.order(asked)
    assert node.faults == Faults(errors=1.0)


async def test_an_address_that_is_refused_at_is_opened_again_even_if_it_takes_some_tries(node: Node) -> None:
    done: list[bool] = []
    fails = iter((True, False))

    async def turn(shut: bool) -> None:
        await asyncio.sleep(0)
        if not shut and next(fails, False):
            raise OSError("taken")
        done.append(shut)

    node.fault_desk.turns.append(turn)
    node.fault_desk.order({"refuse": True})
    node.fault_desk.order({"delay": 1})
    node.fault_desk.order({"refuse": True, "delay": 1})
    await until(lambda: done == [True], "it is closed")
    node.fault_desk.order({"clear": True})
    await until(lambda: done == [True, False], "it is open")
    node.fault_desk.order({"hang": True})
    assert done == [True, False], "whoever does not refuse leaves it open"


# -- the store's -------------------------------------------------------------------------------------------------------


@pytest.fixture
def with_store(valkey: Valkey, tmp_path: Path) -> Node:
    valkey.start()
    store = Store(valkey.url, Events("edge"))
    topology = single_edge("127.0.0.1:0", ["http://127.0.0.1:1"])
    return Node(topology, "edge", state=tmp_path, store=store)


@pytest.mark.parametrize(
    ("faults", "kind", "error", "up"),
    [
        ({"refuse": True}, Fault.REFUSE, "connection refused", False),
        ({"reset": True}, Fault.RESET, "connection reset", False),
        ({"hang": True}, Fault.HANG, r"no answer within 0\.05 s", False),
        ({"delay": 5.0}, Fault.DELAY, r"no answer within 0\.05 s", False),
        ({"errors": 1.0}, Fault.ERRORS, "refused: a fault that was set", True),
    ],
)
async def test_a_store_that_fails_on_purpose_looks_as_one_that_fails(
    faults: dict[str, object],
    kind: Fault,
    error: str,
    up: bool,
    with_store: Node,
    valkey: Valkey,
) -> None:
    store = with_store.store
    assert store is not None
    await valkey.answering()
    await store.start()
    assert store.up
    with_store.fault_desk.order({"store": True, **faults})
    with pytest.raises(StoreAway, match=error) as away:
        await store.set("k", "v", within=0.05)
    assert isinstance(away.value, StoreRefused) is up
    assert store.up is up
    assert with_store.fault_desk.store_done[kind] >= 1
    assert with_store.fault_desk.done[kind] == 0, "no request of the node met it"
    assert value(with_store, "cdnlab_store_fault")[kind] == 1
    assert {each.spec for each in with_store.fault_desk.families()} == set(FAULT_METRICS)
    assert told(with_store)[-1][0] == "store"
    with_store.fault_desk.order({"store": True, "clear": True})
    async with asyncio.timeout(10):
        while not store.up:
            await store.changed()
    expected = b"v" if kind is Fault.DELAY else None
    assert await store.get("k") == expected, "a slow server has done what was asked"
    await store.stop()


async def test_a_node_that_starts_later_meets_the_stores_faults(with_store: Node) -> None:
    state, store = with_store.state, with_store.store
    assert state is not None
    assert store is not None
    file.write(state, Faults(hang=True), 30.0)
    with_store.fault_desk.begin()
    assert store.client.faults == Faults(hang=True)
    shown = with_store.fault_desk.status()["store_faults"]
    assert 0 < shown["until"] - time.time() <= 30.0
    file.write(state, None, None)
    assert file.read(state) is None
    with_store.fault_desk.order({"store": True, "clear": True})
    assert store.client.faults is None
    await store.stop()


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"faults": {"hang": true}}',
        b'{"faults": {"hang": true}, "until": 1.0}',
        b'{"faults": {"slow_body": 3}, "until": null}',
        b'{"faults": {}, "until": null}',
    ],
)
def test_a_file_that_is_odd_or_past_holds_no_faults(written: bytes, tmp_path: Path) -> None:
    (tmp_path / file.FILE).write_bytes(written)
    assert file.read(tmp_path) is None
