"""The nursery alone, under small programs: it forks, tells, signals, reaps, and goes with its parent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdnlab.lab.log_file import Forgiving, last_line
from tests.support.labs import alive, children, environment, until

#: A supervisor that passes orders from standard input on, and reports to standard output.
PARENT = r"""
import os, select, sys, threading, time
from pathlib import Path
from cdnlab.lab import nursery

def run(name, ready):
    print("hello from", name)
    if name == "fails":
        os.write(ready, b"failed: no such luck\n")
        return 3
    if name == "raises":
        raise ValueError("a bug")
    if name == "exits":
        sys.exit("a last word")
    if name == "execs":
        os.execv("/bin/sleep", ["sleep", "60"])
    if name == "lists":
        print(sorted(int(fd) for fd in os.listdir("/proc/self/fd")), "ready", ready)
        return 0
    os.write(ready, b"ready\n")
    os.close(ready)
    time.sleep(60)
    return 0

logs = Path(sys.argv[1])
pid, channel = nursery.fork_nursery(run, lambda name: logs / f"{name}.log")
while True:
    for source in select.select([channel, sys.stdin], [], [])[0]:
        if source is channel:
            print(channel.recv(65536).decode(), flush=True)
        elif lines := os.read(0, 65536):
            for line in lines.splitlines():
                channel.send(line)
        else:
            channel.close()
            nursery.reap(pid)
            sys.exit(0)
"""


class Parent:
    """The process above, and the conversation with it."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(logs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def order(self, do: str, name: str, **more: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, "name": name, **more}) + "\n")
        self.process.stdin.flush()

    def report(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def start(self, name: str) -> list[dict[str, Any]]:
        """Start a program and return its reports up to its end."""
        self.order("start", name)
        reports = [self.report()]
        while reports[-1]["is"] != "exited":
            reports.append(self.report())
        return reports

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text()


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Parent]:
    made = Parent(tmp_path)
    yield made
    made.process.kill()
    with made.process:  # closes the pipes
        made.process.wait()


def test_ready_stopped_continued_killed(parent: Parent) -> None:
    parent.order("start", "node")
    started = parent.report()
    assert (started["is"], started["name"], alive(started["pid"])) == ("started", "node", True)
    assert parent.report() == {"is": "ready", "name": "node"}
    parent.order("start", "node")
    assert parent.report() == {"is": "refused", "name": "node", "why": "it is running"}
    for number, kind in ((19, "stopped"), (18, "continued")):
        parent.order("signal", "node", signal=number)
        assert parent.report() == {"is": kind, "name": "node"}
    parent.order("signal", "node", signal=9)
    assert parent.report() == {"is": "exited", "name": "node", "code": 0, "signal": 9}
    assert not alive(started["pid"])
    parent.order("signal", "node", signal=9)  # it is nobody's pid any more: nothing happens
    parent.order("start", "node")
    assert parent.report()["is"] == "started"


@pytest.mark.parametrize(
    ("name", "reports", "words"),
    [
        ("fails", [{"is": "failed", "name": "fails", "why": "no such luck"}], "hello from fails"),
        ("raises", [], "ValueError: a bug"),
        ("exits", [], "a last word"),
    ],
)
def test_ways_to_fail(parent: Parent, name: str, reports: list[dict[str, Any]], words: str) -> None:
    code = 3 if name == "fails" else 1
    assert parent.start(name)[1:] == [*reports, {"is": "exited", "name": name, "code": code, "signal": 0}]
    assert last_line(parent.logs / f"{name}.log") == words


def test_a_child_has_its_own_descriptors_only(parent: Parent) -> None:
    parent.order("start", "node")
    assert [parent.report()["is"], parent.report()["is"]] == ["started", "ready"]
    parent.start("lists")
    listed, _, ready = last_line(parent.logs / "lists.log").rpartition(" ready ")
    reading = {3}  # the directory itself, at the lowest free number
    assert set(json.loads(listed)) == {0, 1, 2, int(ready)} | reading


def test_an_exec_keeps_the_tie_to_the_parent(parent: Parent) -> None:
    parent.order("start", "execs")
    pid = parent.report()["pid"]
    until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "the exec")
    (nursery,) = children(parent.process.pid)
    parent.process.kill()
    until(lambda: not alive(pid) and not alive(nursery), "the end of both")


def test_the_nursery_ends_when_the_supervisor_hangs_up(parent: Parent) -> None:
    parent.order("start", "node")
    pid = parent.report()["pid"]
    (nursery,) = children(parent.process.pid)
    assert parent.process.stdin is not None
    parent.process.stdin.close()
    assert parent.process.wait(10) == 0
    until(lambda: not alive(pid) and not alive(nursery), "the end of both")


def test_a_stream_on_a_full_disk_drops_and_says_so_later(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full, (tmp_path / "log").open("w+") as log:
        stream = Forgiving(full.fileno())
        assert [stream.write("one\n"), stream.write("two\n"), stream.dropped] == [4, 4, 2]
        stream._descriptor = log.fileno()
        stream.write("three\n")
        log.seek(0)
        assert log.read() == "(2 writes to this log were dropped)\nthree\n"
        assert stream.dropped == 0
