"""`cdnlab reload`, `pool`, `drain` and SIGHUP against a real lab, while clients keep asking."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cdnlab.lab import pools, reload
from tests.support.commands import Typed
from tests.support.labs import RunningLab, lab, until

pytestmark = pytest.mark.scenario

TOPOLOGY = """
name: reloaded
nodes:
  lb-a: {tier: lb, address: 127.0.1.10}
  edge-icn: {tier: edge, place: icn, address: 127.82.1.10}
  origin-1: {tier: origin, place: iad, address: 127.1.1.20}
  origin-2: {tier: origin, place: iad, address: 127.1.1.21}
pools:
  edges: {tier: edge, algorithm: nearest}
  origins: {tier: origin, algorithm: round_robin, health: {interval: 100ms}}
"""


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    with lab("--distance", "off", module="cdnlab", topology=TOPOLOGY) as started:
        yield started.ready()


@pytest.fixture
def write(running: RunningLab, tmp_path: Path) -> Any:
    """A file with the lab's topology, and these replacements."""

    def write(*changes: tuple[str, str]) -> str:
        text = TOPOLOGY
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.yaml"
        file.write_text(text)
        return str(file)

    return write


class Clients:
    """Two connections that are kept open and ask again and again: one POSTs, one GETs what no cache keeps."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.answers: Counter[tuple[str, int]] = Counter()
        self.origins: Counter[str] = Counter()
        self.failures: list[str] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(method,)) for method in ("GET", "POST")]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self, method: str) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", self.base, timeout=20)) as connection:
            while not self._end.is_set():
                try:
                    connection.request(method, "/behave?cc=no-store", b"x" * 10 if method == "POST" else None)
                    answer = connection.getresponse()
                    answer.read()
                except (OSError, http.client.HTTPException) as error:
                    self.failures.append(f"{method}: {error!r}")
                    return
                self.answers[method, answer.status] += 1
                self.origins[answer.headers["Cdnlab-Origin"]] += 1

    def more(self, count: int = 20) -> Counter[str]:
        """The origins of `count` further answers, at least."""
        before, seen = self.answers.total(), self.origins.copy()
        until(lambda: self.failures or self.answers.total() >= before + count, "more answers")
        assert not self.failures
        return self.origins - seen


def configuration(running: RunningLab) -> dict[str, int]:
    """The version of each node."""
    nodes = running.ask("/status")["nodes"]
    return {node["name"]: (node.get("configuration") or {}).get("version") for node in nodes}


def test_pools_change_under_open_connections(running: RunningLab, monkeypatch: pytest.MonkeyPatch) -> None:
    tell = Typed(pools.app, running.directory, monkeypatch)
    drain = Typed(pools.drain, running.directory, monkeypatch)
    enable = Typed(pools.enable, running.directory, monkeypatch)
    with Clients(running.base) as clients:
        assert set(clients.more()) == {"origin-1", "origin-2"}
        assert drain("origin-2").exit_code == 0
        clients.more(4)  # those that were under way
        assert set(clients.more()) == {"origin-1"}
        assert enable("origin-2").exit_code == 0
        until(lambda: clients.more()["origin-2"], "origin-2 is used again")
        assert tell("weight", "origins", "origin-1", "0").exit_code == 0
        clients.more(4)
        assert set(clients.more()) == {"origin-2"}
        assert tell("weight", "origins", "origin-1", "1").exit_code == 0
        assert tell("algorithm", "origins", "random").exit_code == 0
        added = tell("add", "origins", "third", f"127.1.1.20:{running.base}")
        assert added.exit_code == 0, added.output
        assert "third was added" in added.output
        assert tell("remove", "origins", "origin-2").exit_code == 0
        clients.more(4)
        assert set(clients.more()) == {"origin-1"}, "the third is the first by another name"
        shown = tell()
        assert "third" in shown.output
        assert "origin-2" not in shown.output
    assert {status for _, status in clients.answers} == {200}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("weight", "origins", "origin-9", "1"), 2, "no backend 'origin-9'"),
        (("weight", "origin", "origin-1", "1"), 2, 'did you mean "origins"?'),
        (("weight", "origins", "origin-1", "1001"), 2, "no weight"),
        (("algorithm", "origins", "robin"), 2, "no algorithm 'robin'"),
        (("add", "origins", "x", "nowhere"), 2, "not an address with a port"),
        (("add", "origins", "x", "127.0.0.1:1", "--place", "xyz"), 2, 'no place "xyz"'),
        (("remove", "edges", "edge-icn"), 2, "the last backend"),
    ],
)
def test_what_makes_no_sense_changes_nothing(
    running: RunningLab, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, message: str
) -> None:
    said = Typed(pools.app, running.directory, monkeypatch)(*words)
    assert (said.exit_code, message in said.output) == (code, True), said.output


def test_a_reload_keeps_connections(running: RunningLab, monkeypatch: pytest.MonkeyPatch, write: Any) -> None:
    tell = Typed(reload.command, running.directory, monkeypatch)
    with Clients(running.base) as clients:
        clients.more()
        before = max(configuration(running).values())
        file = write(
            ("algorithm: round_robin", "algorithm: first"),
            ("name: reloaded", "name: reloaded\nlimits: {header_count: 20}"),
        )
        planned = tell(file, "--dry-run")
        assert "pools.origins.algorithm: round_robin -> first" in planned.output
        assert set(configuration(running).values()) == {before}
        done = tell(file, "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.output)["changes"] == ["pools.origins.algorithm", "limits.header_count"]
        until(lambda: set(configuration(running).values()) == {before + 1}, "all nodes at the new version")
        clients.more(4)
        assert set(clients.more()) == {"origin-1"}
    assert {status for _, status in clients.answers} == {200}
    fields = "".join(f"X-{number}: 1\r\n" for number in range(30))
    assert first_line(running.base, f"GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").endswith(
        "431 Request Header Fields Too Large"
    )
    assert "Nothing differs" in tell(file).output


def first_line(base: int, request: str) -> str:
    """The status line of the answer to these bytes."""
    import socket

    with closing(socket.create_connection(("127.0.0.1", base), 20)) as sock:
        sock.sendall(request.encode())
        return sock.makefile("rb").readline().decode().strip()


def test_a_bad_file_changes_nothing(running: RunningLab, monkeypatch: pytest.MonkeyPatch, write: Any) -> None:
    tell = Typed(reload.command, running.directory, monkeypatch)
    before = configuration(running)
    for change, message in (
        (("algorithm: round_robin", "algorithm: robin"), 'did you mean "round_robin"?'),
        (("127.1.1.21", "127.1.1.22"), "nodes.origin-2.address: this can't change while the lab runs"),
        (("name: reloaded", "name: other"), "name: this can't change"),
    ):
        refused = tell(write(change))
        assert (refused.exit_code, message in refused.output) == (2, True), refused.output
    assert configuration(running) == before


def test_a_frozen_node_stops_a_reload_and_a_dead_one_does_not(
    running: RunningLab, monkeypatch: pytest.MonkeyPatch, write: Any
) -> None:
    tell = Typed(reload.command, running.directory, monkeypatch)
    monkeypatch.setattr("cdnlab.lab.tell.ANSWER", 0.5)
    before = configuration(running)["lb-a"]
    file = write(("algorithm: round_robin", "algorithm: least_connections"))
    running.ask("/pause", node="origin-2")
    stopped = tell(file)
    assert stopped.exit_code != 0
    assert "origin-2 can't prepare it" in stopped.output
    running.ask("/resume", node="origin-2")
    assert configuration(running)["lb-a"] == before
    running.ask("/kill", node="origin-2")
    assert tell(file).exit_code == 0
    running.ask("/start", node="origin-2")
    until(lambda: set(configuration(running).values()) == {before + 1}, "it starts with the new version")


def test_sighup_has_one_node_read_the_file_again(running: RunningLab) -> None:
    pid = running.node("edge-icn")["pid"]
    before = configuration(running)["edge-icn"]
    file = running.state.topology
    text = file.read_text()
    try:
        file.write_text(text.replace("least_connections", "robin"))
        os.kill(pid, signal.SIGHUP)
        until(lambda: any("stays at version" in event for event in events(running)), "the refusal")
        file.write_text(text.replace("least_connections", "round_robin"))
        os.kill(pid, signal.SIGHUP)
        until(lambda: configuration(running)["edge-icn"] == before + 1, "the new version")
        assert configuration(running)["lb-a"] == before
    finally:
        file.write_text(text)


def events(running: RunningLab) -> list[str]:
    """What edge-icn said of reloads."""
    found = running.ask("/events?node=edge-icn&limit=1000")["events"]
    return [event["text"] for event in found if event["kind"] == "reload"]


def test_a_route_may_come_and_go(running: RunningLab, monkeypatch: pytest.MonkeyPatch, write: Any) -> None:
    tell = Typed(reload.command, running.directory, monkeypatch)
    shop = "routes:\n  - {pool: edges}\n  - {path: /behave, pool: origins, split: {other: 1.0}}\npools:"
    other = f"  other: {{backends: [{{name: again, address: 127.1.1.21, port: {running.base}}}]}}\n"
    file = write(("pools:", shop), ("  origins:", other + "  origins:"))

    def origin() -> tuple[str | None, str | None]:
        with closing(http.client.HTTPConnection("127.0.0.1", running.base, timeout=20)) as connection:
            connection.request("GET", "/behave?cc=no-store")
            answer = connection.getresponse()
            answer.read()
            return answer.headers["Cdnlab-Origin"], answer.headers["Cache-Status"]

    with Clients(running.base) as clients:
        clients.more()
        said = tell(file)
        assert said.exit_code == 0, said.output
        clients.more(4)
        assert set(clients.more()) == {"origin-2"}, "a pool that no route had before, on open connections"
        assert origin() == ("origin-2", None), "past the edge"
        assert tell(write()).exit_code == 0
        clients.more(4)
        until(lambda: clients.more().keys() == {"origin-1", "origin-2"}, "both origins, through the edge")
        assert origin()[1] is not None
        assert tell(file).exit_code == 0
        clients.more(4)
        assert set(clients.more()) == {"origin-2"}, "the pool comes back as it was"
    assert {status for _, status in clients.answers} == {200}
