"""`cdnlab purge` against a real lab: acknowledged by every edge, by frozen, dead and thawed ones, with and without a
store; and what a frozen edge answers when it runs on."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from typer.testing import CliRunner

from cdnlab.lab.errors import LabError
from cdnlab.lab.purge import command
from cdnlab.lab.purge_round import Edge, Round
from cdnlab.lab.state import StateDirectory
from edge.decision import NotReused
from tests.support.labs import RunningLab, environment, free_base, lab, state_directory, until

LAG = 0.6
TOPOLOGY = f"""
name: purges
nodes:
  lb-a: {{tier: lb, address: 127.0.1.10}}
  edge-icn: {{tier: edge, place: icn, address: 127.82.1.10}}
  edge-fra: {{tier: edge, place: fra, address: 127.49.1.10}}
  edge-gru: {{tier: edge, place: gru, address: 127.55.1.10}}
  origin-1: {{tier: origin, place: iad, address: 127.1.1.20}}
pools:
  edges: {{tier: edge, algorithm: nearest}}
  origins: {{tier: origin}}
edge: {{purge_lag_max: {LAG}}}
"""
EDGES = {"edge-icn": "127.82.1.10", "edge-fra": "127.49.1.10", "edge-gru": "127.55.1.10"}
BALANCER = "127.0.1.10"
PAGE = "/behave?cc=max-age=60"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    with lab("--distance", "off", module="cdnlab", topology=TOPOLOGY) as started:
        yield started.ready()


class Talk:
    """A connection to an edge's data port."""

    def __init__(self, running: RunningLab, edge: str, source: str = "127.0.0.1") -> None:
        self.host = f"127.0.0.1:{running.base}"
        self.socket = socket.create_connection((EDGES[edge], running.base), 20.0, (source, 0))
        self.file = self.socket.makefile("rb")

    def send(self, target: str) -> None:
        self.socket.sendall(f"GET {target} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())

    def receive(self) -> tuple[int, str]:
        """(status, Cache-Status)"""
        status = int(self.file.readline().split()[1])
        fields = dict(line.decode().rstrip().split(": ", 1) for line in iter(self.file.readline, b"\r\n"))
        fields = {name.lower(): value for name, value in fields.items()}
        self.file.read(int(fields["content-length"]))
        return status, fields.get("cache-status", "")

    def ask(self, target: str) -> str:
        self.send(target)
        return self.receive()[1]

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def how(running: RunningLab, edge: str, target: str = PAGE) -> str:
    """What the edge's own member of Cache-Status says."""
    with closing(Talk(running, edge)) as talk:
        return talk.ask(target)


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def typed(state: Path, *words: str) -> Done:
    """`cdnlab purge`, in this process: starting one takes longer than what it does."""
    app = typer.Typer(rich_markup_mode=None)
    app.command()(command)
    result = CliRunner().invoke(app, [*words, "--state", str(state)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def purge(running: RunningLab, *words: str) -> tuple[int, dict[str, Any]]:
    done = typed(running.directory, *words, "--json")
    assert done.stderr == "", done.stderr
    return done.returncode, json.loads(done.stdout)


def rows(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["node"]: row for row in answer["edges"]}


def confirmed(running: RunningLab) -> None:
    def all_are() -> bool:
        nodes = running.ask("/status")["nodes"]
        found = [node for node in nodes if node["tier"] == "edge"]
        return all((node.get("purges") or {}).get("state") == "confirmed" for node in found)

    until(all_are, "all edges are confirmed")


def test_a_path_of_the_lab_goes_from_every_edge_and_each_says_when(running: RunningLab) -> None:
    confirmed(running)
    for edge in EDGES:
        how(running, edge)
        assert "hit" in how(running, edge)
    done = running.cdnlab("purge", PAGE)
    assert (done.returncode, done.stderr) == (0, "")
    head, *lines = done.stdout.splitlines()
    assert head.startswith("accepted by edge-icn as ")
    assert [line.split()[:3] for line in lines] == [[edge, "applied", "after"] for edge in EDGES]
    for edge in EDGES:
        assert "uri-miss" in how(running, edge)


def test_a_soft_purge_of_everything(running: RunningLab) -> None:
    confirmed(running)
    how(running, "edge-icn")
    code, answer = purge(running, "--all", "--soft", "--node", "edge-gru")
    assert (code, answer["accepted_by"]) == (0, "edge-gru")
    assert all(row["applied"] and 0 <= row["seconds"] < 5 for row in answer["edges"])
    assert f"detail={NotReused.PURGED}" in how(running, "edge-icn")


def test_more_names_than_one_purge_may_have(running: RunningLab) -> None:
    confirmed(running)
    how(running, "edge-icn")
    names = [word for number in range(1100) for word in ("--tag", f"t{number}")]
    code, answer = purge(running, *names, PAGE)
    assert (code, all(row["applied"] for row in answer["edges"])) == (0, True)
    assert "uri-miss" in how(running, "edge-icn"), "the first part counts as much as the last"
    done = typed(running.directory, *names)
    assert "the last of 3" in done.stdout.splitlines()[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing was named"),
        (["--soft"], "nothing was named"),
        (["ftp://host/"], '"ftp://host/" is no URL'),
        (["http://user@host/"], "is malformed"),
        (["/a b"], "is malformed"),
        (["--prefix", "/a?b"], "has a query"),
        (["--group", "http://host"], "is no group of an origin"),
        (["--tag", "a,b"], "is no tag"),
        (["--tag", "x", "--node", "edge-ic"], "no edge named 'edge-ic'"),
        (["--tag", "x", "--within", "0"], "within"),
    ],
)
def test_what_means_nothing_is_refused(running: RunningLab, words: list[str], said: str) -> None:
    done = typed(running.directory, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_lab() -> None:
    with state_directory() as state:
        done = typed(state, "/")
    assert done.returncode == 1
    assert done.stderr == f"cdnlab: no lab is running in {state}\n  start one: cdnlab up\n"


def test_a_frozen_edge_is_named_and_answers_nothing_that_was_purged_when_it_runs_on(
    running: RunningLab,
) -> None:
    """The requests lie in its sockets when it thaws, and are served before any timer of its own."""
    confirmed(running)
    how(running, "edge-gru")
    untouched = "/"
    how(running, "edge-gru", untouched)
    with (
        closing(Talk(running, "edge-gru")) as purged,
        closing(Talk(running, "edge-gru")) as other,
        closing(Talk(running, "edge-gru", BALANCER)) as health,
    ):
        assert "hit" in purged.ask(PAGE)
        assert "hit" in other.ask(untouched)
        health.send("/.well-known/cdnlab/alive")
        assert health.receive()[0] == 200
        running.ask("/pause", node="edge-gru")
        frozen = time.monotonic()
        code, answer = purge(running, PAGE, "--within", "0.5")
        assert code == 1
        assert {name: row["applied"] for name, row in rows(answer).items()} == {
            "edge-icn": True, "edge-fra": True, "edge-gru": False,
        }  # fmt: skip
        assert "no answer" in rows(answer)["edge-gru"]["why"]
        for talk, target in ((purged, PAGE), (other, untouched), (health, "/.well-known/cdnlab/alive")):
            talk.send(target)
        until(lambda: time.monotonic() - frozen > 2 * LAG, "it was frozen for longer than its word is good")
        running.ask("/resume", node="edge-gru")
        assert health.receive()[0] == 503, "behind, in the first microsecond"
        status, said = other.receive()
        assert (status, f"detail={NotReused.UNPROVED}" in said) == (200, True), said
        status, said = purged.receive()
        assert (status, "hit" in said) == (200, False), said
        confirmed(running)
        assert "hit" in other.ask(untouched)
        health.send("/.well-known/cdnlab/alive")
        assert health.receive()[0] == 200
    code, answer = purge(running, "--tag", "x")
    assert code == 0
    events = [row["text"] for row in running.ask("/events?node=edge-gru")["events"] if row["kind"] == "purge"]
    assert any(text.startswith("behind") for text in events)


def test_a_dead_edge_is_named_and_one_that_starts_follows(running: RunningLab) -> None:
    confirmed(running)
    running.ask("/kill", node="edge-fra")
    done = typed(running.directory, "/")
    assert done.returncode == 1
    assert "edge-fra  not reached: connection refused" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("edge-fra may still hold what was purged")
    running.ask("/start", node="edge-fra")
    confirmed(running)
    assert purge(running, "/")[0] == 0


def test_without_the_store_each_edge_is_told_itself(running: RunningLab) -> None:
    confirmed(running)
    how(running, "edge-icn")
    how(running, "edge-gru")
    running.ask("/kill", node="store")
    code, answer = purge(running, PAGE)
    assert (code, answer["id"]) == (0, None)
    assert all(row["applied"] for row in answer["edges"])
    assert "uri-miss" in how(running, "edge-icn")
    assert "uri-miss" in how(running, "edge-gru")

    def blind() -> bool:
        nodes = [node for node in running.ask("/status")["nodes"] if node["tier"] == "edge"]
        return all(node["purges"]["state"] == "blind" and node["state"] == "ready" for node in nodes)

    until(blind, "the edges are blind and ready")
    assert "hit" in how(running, "edge-icn")
    running.ask("/kill", node="edge-fra")
    done = typed(running.directory, PAGE)
    assert done.returncode == 1
    assert done.stdout.startswith("told to each edge itself: ")
    assert "edge-fra  not reached: connection refused" in done.stdout
    assert done.stdout.rstrip().endswith("purge again once it is back")
    running.ask("/start", node="store")
    running.ask("/start", node="edge-fra")
    confirmed(running)
    code, answer = purge(running, PAGE)
    assert (code, bool(answer["id"])) == (0, True)


def test_an_edge_by_itself_is_found_by_its_directory(running: RunningLab) -> None:
    base = free_base()
    with state_directory() as state:
        command = [
            sys.executable,
            "-m",
            "edge",
            "--listen",
            f"127.0.0.1:{base}",
            "--state",
            str(state / "own"),
        ]
        origin = f"http://127.1.1.20:{running.base}"
        process = subprocess.Popen(
            [*command, "--origin", origin], cwd="/", env=environment(), stdout=subprocess.DEVNULL
        )
        try:
            until(
                lambda: typed(state / "own", "/").returncode == 0,
                "it takes a purge",
            )
            done = typed(state / "own", "--tag", "x", "--json")
            answer = json.loads(done.stdout)
            assert (done.returncode, [row["node"] for row in answer["edges"]]) == (0, ["edge"])
        finally:
            process.kill()
            process.wait()
        assert typed(state / "own", "/").returncode == 1
        assert (StateDirectory(state / "own").secrets / "admin_token").stat().st_mode & 0o077 == 0
        refused = subprocess.run(
            [*command[:-1], str(running.directory), "--origin", origin],
            cwd="/", env=environment(), capture_output=True, text=True, timeout=20,
        )  # fmt: skip
        assert (refused.returncode, "is a lab's state directory" in refused.stderr) == (2, True)


def test_who_listens_there_must_be_the_edge_and_take_the_token(running: RunningLab) -> None:
    admin = running.base + 1021
    token = (running.directory / "secrets" / "admin_token").read_text().strip()
    origin = ("127.1.1.20", admin)
    said = Round([Edge("edge-icn", origin), Edge("edge-off", None)], token, 1.0).run([{"all": True}])
    assert [row["applied"] for row in said.edges] == [False, False]
    assert said.edges[1]["why"] == "its admin API is off"
    with pytest.raises(LabError, match="admin token"):
        Round([Edge("edge-icn", ("127.82.1.10", admin))], "wrong", 1.0).run([{"all": True}])
