"""What may be done to a running lab, and what it then says of itself."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cdnlab.lab.errors import LabError
from cdnlab.lab.state import StateDirectory
from cdnlab.lab.supervisor import Supervisor
from tests.support.labs import RunningLab, children, lab, until


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    with lab() as started:
        yield started.ready()


def test_a_killed_node_stays_dead_and_says_why_until_it_is_started(running: RunningLab) -> None:
    before = running.node("edge-fra")["pid"]
    assert running.cdnlab("kill", "edge-fra").stdout == "edge-fra: killed\n"
    dead = running.node("edge-fra")
    assert (dead["running"], dead["pid"], dead["exit"]) == (False, None, -9)
    assert dead["reason"] == "ended by SIGKILL (cdnlab kill)"
    again = running.cdnlab("kill", "edge-fra")
    assert again.returncode == 1
    assert "edge-fra is not running (ended by SIGKILL (cdnlab kill))" in again.stderr
    assert running.cdnlab("start", "edge-fra").returncode == 0
    assert running.node("edge-fra")["pid"] not in (before, None)
    twice = running.cdnlab("start", "edge-fra")
    assert twice.returncode == 1
    assert "already running" in twice.stderr


def test_a_node_that_dies_by_itself_is_not_restarted(running: RunningLab) -> None:
    os.kill(running.node("edge-fra")["pid"], signal.SIGSEGV)
    until(lambda: not running.node("edge-fra")["running"], "the report of the death")
    assert running.node("edge-fra")["reason"] == "ended by SIGSEGV"
    running.ask("/start", node="edge-fra")


def test_a_frozen_node_is_shown_so_whoever_froze_it(running: RunningLab) -> None:
    assert running.cdnlab("pause", "edge-icn").returncode == 0
    assert running.node("edge-icn")["reason"] == "frozen by cdnlab pause"
    status = {node["name"]: node for node in running.ask("/status")["nodes"]}
    assert status["edge-icn"]["state"] == "paused"
    assert status["edge-fra"]["state"] == "ready"
    assert running.cdnlab("resume", "edge-icn").returncode == 0
    assert not running.node("edge-icn")["paused"]
    os.kill(running.node("edge-icn")["pid"], signal.SIGSTOP)
    until(lambda: running.node("edge-icn")["paused"], "the report of the stop")
    assert running.node("edge-icn")["reason"] == "frozen by a signal"
    running.ask("/resume", node="edge-icn")


def test_an_unknown_node_names_the_nearest(running: RunningLab) -> None:
    done = running.cdnlab("kill", "edge-icm")
    assert done.returncode == 2
    assert done.stderr.startswith("cdnlab: no node named 'edge-icm'\n  did you mean edge-icn")


def test_the_store_is_killed_and_started_like_a_node(running: RunningLab) -> None:
    running.ask("/kill", node="store")
    assert running.ask("/lab")["store"]["state"] == "dead"
    running.ask("/start", node="store")
    assert running.ask("/lab")["store"]["state"] == "up"


async def test_a_store_that_somebody_else_runs_is_said_to_be(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with closing(theirs), closing(ours):
        supervisor = Supervisor(["lb-a"], StateDirectory(tmp_path), ours)
        for act in (supervisor.kill, supervisor.pause, supervisor.resume, supervisor.start):
            with pytest.raises(LabError, match="cdnlab fault store"):
                await act("store")
        asyncio.get_running_loop().remove_reader(ours.fileno())


def test_the_store_listens_on_no_port(running: RunningLab) -> None:
    (nursery,) = children(running.process.pid)
    store = next(
        pid for pid in children(nursery) if Path(f"/proc/{pid}/comm").read_text() == "valkey-server\n"
    )
    sockets = {os.readlink(entry.path) for entry in os.scandir(f"/proc/{store}/fd")}
    listening = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()
    ]
    assert not [fields for fields in listening if f"socket:[{fields[9]}]" in sockets]


def test_a_standby_started_later_inherits_the_same_vip_socket(running: RunningLab) -> None:
    def inode(name: str) -> set[str]:
        pid = running.node(name)["pid"]
        return {os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")} & vips

    port = f"{running.base:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    vips = {
        f"socket:[{fields[9]}]" for fields in lines if fields[1] == f"0100007F:{port}" and fields[3] == "0A"
    }
    assert len(vips) == 1
    running.ask("/kill", node="lb-b")
    running.ask("/start", node="lb-b")
    assert inode("lb-a") == inode("lb-b") == vips
    assert inode("edge-icn") == set()
    assert not {os.readlink(e.path) for e in os.scandir(f"/proc/{running.process.pid}/fd")} & vips


def test_what_waits_at_the_vip_waits_for_the_successor(running: RunningLab) -> None:
    running.ask("/kill", node="lb-a")
    connection = http.client.HTTPConnection("127.0.0.1", running.base, 30)
    with closing(connection):
        connection.request("GET", "/")
        running.ask("/start", node="lb-a")
        assert connection.getresponse().read().startswith(b"lb-a")


def test_events_tell_what_happened(running: RunningLab) -> None:
    before = running.ask("/events")["next"]
    running.ask("/kill", node="edge-fra")
    running.ask("/start", node="edge-fra")
    answer = running.ask(f"/events?after={before}")
    own = [event for event in answer["events"] if event["node"] == "lab"]
    assert [(e["subject"], e["kind"]) for e in own] == [
        ("edge-fra", kind) for kind in ("stop", "start", "start")
    ]
    assert [e["time"] for e in answer["events"]] == sorted(e["time"] for e in answer["events"])
    assert [e["seq"] for e in answer["events"]] == list(range(before + 1, answer["next"] + 1))
    assert {"lab", "edge-fra", "lb-b"} <= {event["node"] for event in running.ask("/events")["events"]}
    assert {event["node"] for event in running.ask("/events?node=lab&limit=2")["events"]} == {"lab"}
    assert running.ask(f"/events?after={answer['next']}")["events"] == []


def test_a_full_disk_for_a_log_ends_no_node(running: RunningLab) -> None:
    running.ask("/kill", node="edge-fra")
    log = running.directory / "logs" / "edge-fra.log"
    log.unlink()
    log.symlink_to("/dev/full")
    running.ask("/start", node="edge-fra")
    assert running.node("edge-fra")["ready"]
    running.ask("/kill", node="edge-fra")
    log.unlink()
    running.ask("/start", node="edge-fra")


@pytest.mark.parametrize(
    ("method", "path", "host", "status"),
    [
        ("GET", "/lab", "127.0.0.1:{port}", 200),
        ("GET", "/status", "localhost:{port}", 200),
        ("GET", "/lab", "evil.example:{port}", 403),
        ("GET", "/lab", "127.0.0.1.evil.example", 403),
        ("POST", "/kill", "127.0.0.1:{port}", 405),
        ("POST", "/down", "127.0.0.1:{port}", 405),
        ("GET", "/events?after=-1&node=lab", "127.0.0.1:{port}", 404),
        ("GET", "/../supervisor.py", "127.0.0.1:{port}", 404),
        ("GET", "/", "127.0.0.1:{port}", 200),
    ],
)
def test_the_page_reads_only_and_for_this_machine_only(
    running: RunningLab, method: str, path: str, host: str, status: int
) -> None:
    port = running.base + 1020
    connection = http.client.HTTPConnection("127.0.0.1", port, 10)
    with closing(connection):
        connection.request(method, path, body=b'{"node": "lb-a"}', headers={"Host": host.format(port=port)})
        assert connection.getresponse().status == status


def test_orders_that_are_no_orders_are_refused(running: RunningLab) -> None:
    with pytest.raises(LabError, match=re.escape('the body is {"node": NAME}')):
        running.ask("/kill", nod="lb-a")


def test_secrets_and_directory_are_the_owners_alone(running: RunningLab) -> None:
    assert running.directory.stat().st_mode & 0o777 == 0o700
    for path in (running.directory / "secrets").iterdir():
        assert path.stat().st_mode & 0o077 == 0
    assert running.state.topology.is_file()
