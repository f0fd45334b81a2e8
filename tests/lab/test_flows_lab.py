"""Flows at layer 4 in a real lab: what lives through a takeover, what expires, what `status --flows` shows."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from tests.support.labs import PATIENCE, RunningLab, cdnlab, lab, until

pytestmark = pytest.mark.scenario

TOPOLOGY = """
name: flows
nodes:
  lb-a: {tier: lb, address: 127.0.1.10}
  lb-b: {tier: lb, address: 127.0.1.11}
  origin-1: {tier: origin, place: iad, address: 127.1.1.20}
  origin-2: {tier: origin, place: iad, address: 127.1.1.21}
distance: {enabled: off}
pools:
  origins: {tier: origin}
  udp: {tier: origin, service: udp}
  tcp: {tier: origin, service: tcp, sticky: {mode: source}}
routes: [{pool: origins}]
l4:
  udp: {protocol: udp, pool: udp, idle_timeout: 2.5s}
  tcp: {protocol: tcp, pool: tcp, idle_timeout: 20s}
"""


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    with lab(module="cdnlab", topology=TOPOLOGY) as started:
        yield started.ready()


class Client:
    """A source of UDP."""

    def __init__(self, running: RunningLab, host: str = "127.82.1.100") -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((host, 0))
        self.vip = ("127.0.0.1", running.base + 2)
        self.name = "{}:{}".format(*self.sock.getsockname())
        self.count = 0
        self.answered: set[bytes] = set()

    def ask(self) -> str:
        """Ask until an answer comes; who gave it. Each question is answered once at most, from the VIP."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.count += 1
            self.sock.sendto(b"%d" % self.count, self.vip)
            if (answer := self.hear(0.1)) is not None:
                return answer
        raise AssertionError("no answer")

    def hear(self, seconds: float) -> str | None:
        """The origin that answered within so long."""
        if not select.select([self.sock], [], [], seconds)[0]:
            return None
        data, peer = self.sock.recvfrom(65536)
        assert peer == self.vip
        number = data.partition(b"\n")[2]
        assert number not in self.answered, "two balancers answered one question"
        self.answered.add(number)
        return data.partition(b"\n")[0].rpartition(b" ")[2].decode()


def holder(running: RunningLab) -> str:
    """Who holds the VIP."""

    def found() -> str | None:
        for node in running.ask("/status")["nodes"]:
            if any(vip.get("state") == "active" for vip in node.get("vips") or ()) and not node["paused"]:
                return str(node["name"])
        return None

    return str(until(found, "somebody holds the VIP"))


def rows(running: RunningLab, node: str) -> list[dict[str, Any]]:
    """The flow table of one balancer."""
    answer = json.loads(running.cdnlab("status", "--flows", "--json").stdout)
    return [row for one in answer["nodes"] if one["node"] == node for row in one["rows"]]


def knows(running: RunningLab, node: str, clients: list[Client]) -> bool:
    """Whether a balancer has an entry for each of these clients, who go on asking meanwhile."""
    names = {client.name for client in clients if client.ask()}
    return names <= {row["client"] for row in rows(running, node) if row["state"] != "closed"}


@pytest.mark.parametrize("deed", ["kill", "pause"])
def test_udp_flows_live_through_a_takeover(running: RunningLab, deed: str) -> None:
    """Eight sources, placed in turn: by chance they would all find their backend again once in 256 times."""
    active = holder(running)
    other = "lb-b" if active == "lb-a" else "lb-a"
    with ExitStack() as stack:
        clients = [Client(running) for _ in range(8)]
        for client in clients:
            stack.callback(client.sock.close)
        before = [client.ask() for client in clients]
        assert set(before) == {"origin-1", "origin-2"}
        until(lambda: knows(running, other, clients), "the other balancer knows the flows")
        assert running.cdnlab(deed, active).returncode == 0
        after = [client.ask() for client in clients]
        assert after == before
        assert running.cdnlab("start" if deed == "kill" else "resume", active).returncode == 0
        until(lambda: knows(running, active, clients), "who was gone knows the flows again")
        assert [client.ask() for client in clients] == before
        for client in clients:  # questions that waited for the successor were answered late, and once
            while client.hear(0.0) is not None:
                pass


def test_an_idle_flow_expires_and_its_source_is_placed_anew(running: RunningLab) -> None:
    client = Client(running, "127.82.1.101")
    with closing(client.sock):
        first = client.ask()

        def entries() -> list[dict[str, Any]]:
            return [row for row in rows(running, holder(running)) if row["client"] == client.name]

        (row,) = entries()
        assert row["state"] == "active"
        assert row["backend"] == first
        assert 0 < row["left"] <= 2.5
        assert row["vip"] == f"127.0.0.1:{running.base + 2}"
        assert row["local"].startswith("127.0.1.1")
        until(lambda: all(row["state"] == "closed" for row in entries()), "the flow is over")
        assert client.ask()  # anybody


def test_a_clients_new_connections_follow_its_entry_also_after_a_takeover(running: RunningLab) -> None:
    """Source affinity: five clients, several connections each, on either side of a takeover."""
    active = holder(running)
    other = "lb-b" if active == "lb-a" else "lb-a"
    hosts = [f"127.49.1.{number}" for number in range(101, 106)]

    def served(host: str) -> str:
        with socket.create_connection(
            ("127.0.0.1", running.base + 1), PATIENCE, source_address=(host, 0)
        ) as sock:
            sock.sendall(b"hello\n")
            sock.shutdown(socket.SHUT_WR)
            data = b""
            while piece := sock.recv(4096):
                data += piece
        return "origin-1" if b"origin-1" in data else "origin-2" if b"origin-2" in data else repr(data)

    before = {host: served(host) for host in hosts}
    assert set(before.values()) == {"origin-1", "origin-2"}
    assert {host: served(host) for host in hosts} == before
    until(
        lambda: (
            len({row["client"].partition(":")[0] for row in rows(running, other) if row["protocol"] == "tcp"})
            >= 5
        ),
        "the other balancer knows the clients",
    )
    assert running.cdnlab("kill", active).returncode == 0
    until(lambda: holder(running) == other, "the other one holds the VIP")
    assert {host: served(host) for host in hosts} == before
    assert running.cdnlab("start", active).returncode == 0


def test_status_shows_each_flow_once_with_both_four_tuples(running: RunningLab) -> None:
    vip = ("127.0.0.1", running.base + 1)
    with socket.create_connection(vip, PATIENCE, source_address=("127.82.1.102", 0)) as sock:
        told = sock.recv(4096).decode().split()  # from BALANCER to ORIGIN node NAME
        name = "{}:{}".format(*sock.getsockname())
        active = holder(running)
        other = "lb-b" if active == "lb-a" else "lb-a"
        until(lambda: any(row["client"] == name for row in rows(running, other)), "the replica")
        shown = running.cdnlab("status", "--flows").stdout.splitlines()
        at = next(number for number, line in enumerate(shown) if name in line)
        assert shown[at].strip() == f"{name} > 127.0.0.1:{vip[1]} | {told[1]} > {told[3]}"
        assert f"tcp  active  {told[5]}" in shown[at - 1]
        assert shown[at - 1].endswith(f"{active}; known to {other}")
        assert max(map(len, shown)) <= 80
        words = ("status", "--flows", "--state", str(running.directory))
        wide = cdnlab(*words, COLUMNS="180").stdout.splitlines()
        (line,) = [line for line in wide if name in line]
        assert [cell in line for cell in (told[1], told[3], told[5], "active")] == [True] * 4
        assert any(line.startswith(active) and "active" in line for line in shown)
        assert any(line.startswith(other) and "replica" in line and "old" in line for line in shown)
