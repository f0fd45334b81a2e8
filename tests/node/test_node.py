"""Health answers, secrets, the figures of the last ten seconds, tasks: what a node keeps."""

from __future__ import annotations

import asyncio
import logging
import stat
from pathlib import Path

import pytest

from cdnlab.net import tasks
from cdnlab.net.clock import now, wall
from cdnlab.node.health_answer import NodeState, answer
from cdnlab.node.metrics import Tallies
from cdnlab.node.node import Node
from cdnlab.node.secrets import ADMIN_TOKEN, COOKIE_KEY, EXPLAIN_KEY, Secrets, SecretsError, load, make
from cdnlab.node.stalls import StallMeter
from cdnlab.node.window import Window
from cdnlab.plan.errors import PlanError
from cdnlab.plan.single import single_edge


def a_node(**options: object) -> Node:
    return Node(single_edge("127.0.0.1:8080", ["http://127.0.0.1:9001"]), "edge", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", list(NodeState))
def test_only_a_ready_node_is_alive(state: NodeState) -> None:
    status, head, body = answer(state, "edge-icn")
    assert status == (200 if state is NodeState.READY else 503)
    lines = head.split(b"\r\n")
    assert lines[0].startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Length: %d" % len(body) in lines
    assert lines[-1] == b""
    assert lines[-2] != b""
    assert body.decode().startswith(f"edge-icn {state}: ")


def test_states_are_events_and_drains_are_told() -> None:
    node, told = a_node(), []
    node.drain_changed.append(told.append)
    for state in (NodeState.READY, NodeState.READY, NodeState.DRAINING, NodeState.READY):
        node.change(state, "because")
    assert told == [True, False]
    texts = [event["text"] for event in node.events.after(0)["entries"]]
    assert texts == ["ready: because", "draining: because", "ready: because"]


def test_an_unknown_node_is_named_with_the_nearest() -> None:
    with pytest.raises(PlanError, match="edge"):
        Node(single_edge("127.0.0.1:8080", ["http://127.0.0.1:9001"]), "egde")


def test_secrets_are_made_once_and_only_for_us(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "secrets"
    made = make(directory)
    assert make(directory) == load(directory) == made
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert (directory / ADMIN_TOKEN).read_text().strip() == made.admin_token
    assert list(made.cookie_keys) == ["1"]
    assert len({made.explain_key, made.hello_key, made.hash_key, *made.cookie_keys.values()}) == 4


def test_secrets_are_not_shown() -> None:
    secrets = Secrets()
    assert secrets.admin_token not in repr(secrets)
    assert secrets.explain_key.hex() not in repr(secrets)
    assert Secrets() != secrets


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (EXPLAIN_KEY, None, "No such file"),
        (EXPLAIN_KEY, "", "has 0 bytes"),
        (EXPLAIN_KEY, "abcd", "has 2 bytes"),
        (EXPLAIN_KEY, "no key at all", "hexadecimal"),
        (COOKIE_KEY + "1", None, "no cookie key"),
    ],
)
def test_a_bad_secret_is_named(tmp_path: Path, name: str, content: str | None, problem: str) -> None:
    make(tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(SecretsError, match=problem) as caught:
        load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SecretsError, match="--state"):
        make(tmp_path / "file" / "secrets")


def test_the_window_is_ten_seconds_wide() -> None:
    tallies = Tallies(("hit", "miss", "error"), ["icn", "fra"], errors=["error"], hits=["hit"])
    window = Window(100.0)
    assert window.figures(tallies, 100.0)["requests"]["hit_ratio"] is None
    for second in range(101, 131):
        for _ in range(3):
            tallies.of("icn")[0].add(0.0001)
        tallies.of("fra")[2].add(2.0)
        window.sample(tallies, float(second))
    figures = window.figures(tallies, 130.0)
    assert figures["requests"] == {
        "total": 120, "per_second": 4.0, "errors": 30, "errors_per_second": 1.0, "hit_ratio": 0.75,
    }  # fmt: skip
    assert figures["latency"]["p50"] < 0.0001
    assert 1.0 < figures["latency"]["p99"] <= 2.5
    for second in range(131, 142):
        window.sample(tallies, float(second))
    quiet = window.figures(tallies, 141.0)
    assert (quiet["requests"]["per_second"], quiet["latency"]["p99"]) == (0.0, None)


async def test_a_stall_is_counted() -> None:
    still: list[float] = []
    meter = StallMeter(still.append)
    meter.start()
    until = now() + 0.05
    while now() < until:  # nothing else runs
        pass
    await asyncio.sleep(0.01)
    meter.stop()
    tally = meter.histogram.tallies[()]
    assert tally.count == 1
    assert 0.03 < tally.seconds < 5.0
    assert still == []


async def test_a_task_is_kept_named_logged_and_ended(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise ValueError("broken")

    async def waits() -> None:
        await asyncio.Event().wait()

    with caplog.at_level(logging.ERROR, "cdnlab.tasks"):
        done, _ = await asyncio.wait([tasks.spawn(fails(), "failing one")])
    assert "failing one" in caplog.text
    assert "broken" in caplog.text
    assert len(done) == 1
    waiting = tasks.spawn(waits(), "waiting one")
    assert tasks.running() == ("waiting one",)
    assert await tasks.cancel_all() == ()
    assert waiting.cancelled()
    assert tasks.running() == ()


async def test_a_task_that_will_not_end_is_named() -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                pass

    task = tasks.spawn(stubborn(), "stubborn one")
    await asyncio.sleep(0)
    assert await tasks.cancel_all(grace=0.01) == ("stubborn one",)
    release.set()
    await task


def test_the_clocks_go_forward() -> None:
    assert now() <= now()
    assert wall() > 1_700_000_000
