"""TCP at layer 4 in a real lab: a holder that freezes, one that ends in order, and whom an origin sees."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.support.labs import PATIENCE, RunningLab, lab, until

pytestmark = pytest.mark.scenario

TOPOLOGY = """
name: tcp
nodes:
  lb-a: {tier: lb, address: 127.0.1.10}
  lb-b: {tier: lb, address: 127.0.1.11}
  origin-1: {tier: origin, place: iad, address: 127.1.1.20}
distance: {enabled: off}
pools:
  origins: {tier: origin}
  tcp: {tier: origin, service: tcp, send_proxy: v2}
routes: [{pool: origins}]
l4:
  echo: {protocol: tcp, pool: tcp}
"""


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    with lab(module="cdnlab", topology=TOPOLOGY) as started:
        yield started.ready()


class Client:
    """A flow through the VIP; `greeting` is what the origin said first."""

    def __init__(self, running: RunningLab, host: str = "127.82.1.100") -> None:
        vip = ("127.0.0.1", running.base + 1)
        self.sock = socket.create_connection(vip, PATIENCE, source_address=(host, 0))
        self.greeting = b""
        while not self.greeting.endswith(b"\n"):
            piece = self.sock.recv(4096)
            assert piece, f"it was closed after {self.greeting!r}"
            self.greeting += piece

    def ask(self, data: bytes) -> None:
        """Send, and get the same."""
        self.sock.sendall(data)
        assert self.sock.recv(len(data)) == data


def holder(running: RunningLab) -> str | None:
    for node in running.ask("/status")["nodes"]:
        if any(vip.get("state") == "active" for vip in node.get("vips") or ()) and not node["paused"]:
            return str(node["name"])
    return None


def test_the_origin_hears_who_the_client_is(running: RunningLab) -> None:
    client = Client(running)
    mine = "{}:{}".format(*client.sock.getsockname())
    assert client.greeting.decode() == f"from {mine} to 127.0.0.1:{running.base + 1} node origin-1\n"
    client.ask(b"x" * 100)
    client.sock.close()
    with socket.create_connection(("127.1.1.20", running.base + 1), PATIENCE) as direct:
        assert b" node origin-1\n" in direct.recv(4096)


def test_a_frozen_holder_relays_nothing_when_it_thaws(running: RunningLab) -> None:
    active = until(lambda: holder(running), "somebody holds the VIP")
    old = Client(running)
    old.ask(b"before")
    assert running.cdnlab("pause", active).returncode == 0
    old.sock.sendall(b"into the ice")
    until(lambda: holder(running) not in (None, active), "the other one holds the VIP")
    new = Client(running)
    new.ask(b"elsewhere")
    assert not select.select([old.sock], [], [], 0)[0]
    assert running.cdnlab("resume", active).returncode == 0
    with pytest.raises(ConnectionResetError):
        old.sock.recv(100)
    old.sock.close()
    new.ask(b"and still")
    new.sock.close()


def test_a_holder_that_ends_in_order_lets_its_flows_finish(running: RunningLab) -> None:
    active = until(lambda: holder(running), "somebody holds the VIP")
    old = Client(running)
    old.ask(b"before")
    pid = next(node["pid"] for node in running.ask("/status")["nodes"] if node["name"] == active)
    os.kill(pid, signal.SIGTERM)
    until(lambda: holder(running) not in (None, active), "the other one holds the VIP")
    new = Client(running)
    new.ask(b"elsewhere")
    for _ in range(3):
        old.ask(b"still here")
    old.sock.shutdown(socket.SHUT_WR)
    assert old.sock.recv(10) == b""
    old.sock.close()
    until(lambda: not os.path.exists(f"/proc/{pid}"), "the balancer has ended")
    new.ask(b"after")
    new.sock.close()
