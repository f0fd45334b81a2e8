"""However a lab ends, no process of it is left: frozen ones, the store and the nursery included."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from cdnlab.lab.errors import LabError
from tests.support.labs import RunningLab, alive, children, family, lab, until


def signal_up(number: signal.Signals) -> Callable[[RunningLab], object]:
    return lambda running: os.kill(running.process.pid, number)


def kill_nursery(running: RunningLab) -> None:
    (nursery,) = children(running.process.pid)
    os.kill(nursery, signal.SIGKILL)


def freeze_nursery_and_kill_up(running: RunningLab) -> None:
    (nursery,) = children(running.process.pid)
    os.kill(nursery, signal.SIGSTOP)
    os.kill(running.process.pid, signal.SIGKILL)


def down(running: RunningLab) -> None:
    done = running.cdnlab("down")
    assert (done.returncode, done.stderr) == (0, "")
    assert "has ended" in done.stdout


def freeze_up_and_down(running: RunningLab) -> None:
    os.kill(running.process.pid, signal.SIGSTOP)
    begun = time.monotonic()
    down(running)
    assert time.monotonic() - begun < 15, "it took as long as a lab that may yet answer"


ENDS = {
    "Ctrl-C": (signal_up(signal.SIGINT), 0),
    "SIGTERM": (signal_up(signal.SIGTERM), 0),
    "terminal closed": (signal_up(signal.SIGHUP), 0),
    "down": (down, 0),
    "up frozen, down": (freeze_up_and_down, 0),
    "kill -9 up": (signal_up(signal.SIGKILL), -signal.SIGKILL),
    "kill -9 nursery": (kill_nursery, 1),
    "nursery frozen, kill -9 up": (freeze_nursery_and_kill_up, -signal.SIGKILL),
}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left(end: str) -> None:
    act, code = ENDS[end]
    with lab() as running:
        pids = family(running.ready().process.pid)
        assert len(pids) == 1 + 1 + 1 + 5  # up, nursery, store, nodes
        running.ask("/pause", node="edge-icn")
        running.ask("/pause", node="store")
        act(running)
        assert running.process.wait(20) == code
        if code == 1:
            assert running.process.communicate()[1] == "Ending: the nursery is gone, and the nodes with it\n"
        until(lambda: not any(map(alive, pids)), f"the end of {pids}")
        until(lambda: running.state.holder() is None, "the release of the lock")


def test_down_ends_a_lab_whose_supervisor_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    from cdnlab.lab import ask, orders

    monkeypatch.setattr(ask, "TIMEOUT", 0.2)
    monkeypatch.setattr(orders, "END", 0.5)
    with lab() as running:
        pids = family(running.ready().process.pid)
        os.kill(running.process.pid, signal.SIGSTOP)
        assert "has ended" in orders._down(running.state)
        running.process.wait(20)
        until(lambda: not any(map(alive, pids)), f"the end of {pids}")


def all_but_one_ready(running: RunningLab) -> list[int]:
    """Wait until a lab in which one node hangs waits for nothing but it; its processes."""

    def waiting() -> bool:
        try:
            return len([node for node in running.ask("/lab")["nodes"] if node["ready"]]) == 4
        except LabError:
            return False

    until(waiting, "all nodes but one")
    return family(running.process.pid)


def test_ctrl_c_during_the_start_leaves_nothing() -> None:
    with lab(STUB_HANGS="lb-b") as running:
        pids = all_but_one_ready(running)
        os.kill(running.process.pid, signal.SIGINT)
        assert running.process.wait(10) == 1
        until(lambda: not any(map(alive, pids)), f"the end of {pids}")
        assert "the lab is ending: Ctrl-C" in running.process.communicate()[1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGKILL, -9)])
def test_the_end_of_the_one_in_front_is_the_end_of_a_detached_start(
    number: signal.Signals, code: int
) -> None:
    with lab("-d", STUB_HANGS="lb-b") as running:
        pids = all_but_one_ready(running)
        assert len(pids) == 2 + 1 + 1 + 5
        os.kill(running.process.pid, number)
        assert running.process.wait(10) == code
        until(lambda: not any(map(alive, pids)), f"the end of {pids}")


def test_a_node_that_fails_to_start_ends_the_lab_with_one_message() -> None:
    with lab(STUB_FAILS="edge-fra") as running:
        assert running.process.wait(30) == 1
        out, said = running.process.communicate()
        assert said.startswith(
            "cdnlab: edge-fra did not start; it ended with exit code 2: edge-fra was told to fail\n"
        )
        assert f"its log: {running.directory}/logs/edge-fra.log" in said
        assert "Ready" not in out
        assert running.state.holder() is None


def test_a_second_interrupt_hurries() -> None:
    with lab() as running:
        pids = family(running.ready().process.pid)
        os.kill(running.process.pid, signal.SIGINT)
        os.kill(running.process.pid, signal.SIGINT)
        assert running.process.wait(20) == 0
        until(lambda: not any(map(alive, pids)), f"the end of {pids}")
