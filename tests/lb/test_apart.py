"""Balancers that nobody started together: `cdnlab node`, one address, SO_REUSEPORT, a real store."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.node.conftest import Valkey
from tests.support.labs import ROOT, environment, free_base, state_directory, until

NAMES = ("lb-a", "lb-b", "lb-c")
#: More than hashing alone would let pass by luck.
MANY = 40

TOPOLOGY = """
name: apart
distance: {{enabled: off}}
ports: {{base: {base}, tcp: {tcp}, udp: {tcp}}}
vips: [{{name: main, address: 0.0.0.0, port: {vip}, provider: reuseport}}]
store: {{url: "{store}"}}
nodes:
  lb-a: {{tier: lb, address: 127.0.1.10, addresses: [127.0.1.20]}}
  lb-b: {{tier: lb, address: 127.0.1.10, addresses: [127.0.1.20], admin_port: {second}}}
  lb-c: {{tier: lb, address: 127.0.1.10, addresses: [127.0.1.20], admin_port: {third}}}
  origin-1: {{tier: origin, place: iad, address: 127.1.1.20}}
pools:
  origins: {{tier: origin, health: {{kind: none}}}}
  tcp: {{tier: origin, service: tcp, health: {{kind: none}}}}
  udp: {{tier: origin, service: udp, health: {{kind: none}}}}
routes: [{{pool: origins}}]
l4:
  tcp: {{protocol: tcp, pool: tcp, port: {layer4}}}
  udp: {{protocol: udp, pool: udp, port: {layer4}}}
"""


class Apart:
    """Three balancers and an origin, each started by itself."""

    def __init__(self, directory: Path, store: str) -> None:
        base = free_base()
        self.vip = base + 1
        self.admin = dict(zip(NAMES, (base + 1021, base + 1020, base + 2), strict=True))
        self.layer4 = base + 4
        ports = {
            "tcp": base + 3,
            "layer4": self.layer4,
            "vip": self.vip,
            "second": self.admin["lb-b"],
            "third": self.admin["lb-c"],
        }
        self.file = directory / "apart.yaml"
        self.file.write_text(TOPOLOGY.format(base=base, store=store, **ports))
        self.state = directory / "state"
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.frozen: set[str] = set()

    def start(self, name: str, **env: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "cdnlab", "node", name, "--topology", str(self.file)]
        self.processes[name] = subprocess.Popen(
            [*words, "--state", str(self.state)],
            cwd=ROOT,
            env=environment(**env),
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.processes[name]

    def signal(self, name: str, number: int) -> None:
        os.kill(self.processes[name].pid, number)
        if number == signal.SIGSTOP:
            self.frozen.add(name)
        else:
            self.frozen.discard(name)

    def status(self, name: str) -> dict[str, object]:
        with urllib.request.urlopen(f"http://127.0.1.10:{self.admin[name]}/status", timeout=1) as answer:
            return dict(json.load(answer)["vips"][0])

    def state_of(self, name: str) -> str:
        """initialize, backup or active; "" from one that doesn't answer, as a frozen one needn't be asked to know."""
        try:
            return "" if name in self.frozen else str(self.status(name)["state"])
        except OSError:
            return ""

    def active(self) -> list[str]:
        """Who says that it holds the VIP, of those that answer."""
        return [name for name in NAMES if self.state_of(name) == "active"]

    def by(self) -> str:
        """Who answers a new connection; "" if it ends without an answer."""
        try:
            with closing(socket.create_connection(("127.0.0.1", self.vip), 2)) as sock:
                sock.sendall(b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = b"".join(iter(lambda: sock.recv(65536), b""))
        except OSError:
            return ""
        head = answer.decode("latin-1").lower()
        return next((name for name in NAMES if f"1.1 {name}" in head), "")

    def echoed(self) -> bool:
        """Whether a TCP flow and a datagram are answered, from new ports."""
        try:
            with closing(socket.create_connection(("127.0.0.1", self.layer4), 2)) as sock:
                told = sock.recv(4096)
            with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
                sock.settimeout(2)
                sock.sendto(b"x", ("127.0.0.1", self.layer4))
                return b"origin-1" in told and b"origin-1" in sock.recv(4096)
        except OSError:
            return False

    def all_by(self, name: str) -> bool:
        """Whether MANY connections in a row are all answered by `name`."""
        return all(self.by() == name for _ in range(MANY))


@contextmanager
def started(directory: Path, store: Valkey) -> Iterator[Apart]:
    apart = Apart(directory, store.url)
    try:
        for name in (*NAMES, "origin-1"):
            apart.start(name)
        yield apart
    finally:
        for process in apart.processes.values():
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def all_tests() -> Iterator[Apart]:
    """One for all tests."""
    with state_directory() as directory:
        store = Valkey(directory)
        try:
            store.start()
            asyncio.run(store.answering())
            with started(directory, store) as running:
                yield running
        finally:
            store.stop()


@pytest.fixture
def apart(all_tests: Apart) -> Apart:
    for name, process in all_tests.processes.items():  # whatever a test that failed has left
        all_tests.signal(name, signal.SIGCONT)
        assert process.poll() is None
    until(
        lambda: sorted(map(all_tests.state_of, NAMES)) == ["active", "backup", "backup"], "one holds the VIP"
    )
    until(all_tests.by, "the VIP answers")
    return all_tests


def test_a_frozen_holder_gets_no_connection_any_more(apart: Apart) -> None:
    first = apart.active()[0]
    assert apart.all_by(first)
    apart.signal(first, signal.SIGSTOP)
    until(lambda: [n for n in apart.active() if n != first], "another holds the VIP")
    (second,) = (name for name in apart.active() if name != first)
    assert apart.all_by(second)
    apart.signal(second, signal.SIGSTOP)  # two frozen sockets under the address now
    until(lambda: len(apart.active()) == 1, "the third holds the VIP")
    (third,) = apart.active()
    assert apart.all_by(third)
    apart.signal(first, signal.SIGCONT)  # it stops listening, and the kernel moves the others' places
    until(lambda: apart.state_of(first) == "backup", "the first knows that it is late")
    until(lambda: apart.all_by(third), "the third has steered anew")
    apart.signal(second, signal.SIGCONT)
    until(lambda: apart.state_of(second) == "backup", "the second knows that it is late")
    until(lambda: apart.all_by(third), "the third is alone again")
    assert apart.active() == [third]


def test_nor_does_it_get_flows_at_layer_4(apart: Apart) -> None:
    """Datagrams, too: of those that are bound to the address, the kernel would give a frozen one its share."""
    first = apart.active()[0]
    assert all(apart.echoed() for _ in range(5))
    apart.signal(first, signal.SIGSTOP)
    until(lambda: [n for n in apart.active() if n != first], "another holds the VIP")
    assert all(apart.echoed() for _ in range(MANY))
    apart.signal(first, signal.SIGCONT)
    until(lambda: apart.state_of(first) == "backup", "the first knows that it is late")
    until(lambda: all(apart.echoed() for _ in range(MANY)), "the other has steered anew")


def test_a_killed_holder_is_followed_and_may_come_back(apart: Apart) -> None:
    first = apart.active()[0]
    apart.signal(first, signal.SIGKILL)
    apart.processes[first].communicate()
    until(lambda: apart.by() not in ("", first), "another answers")
    (second,) = apart.active()
    apart.start(first)
    until(lambda: apart.state_of(first) == "backup", "the first is back")
    assert apart.all_by(second)


def test_each_trusts_no_one_who_merely_shares_its_address(apart: Apart) -> None:
    """A stranger's word about who it is counts from none of the addresses that are the balancers' own."""
    with closing(socket.create_connection(("127.0.0.1", apart.vip), 2, ("127.0.1.10", 0))) as sock:
        request = b"GET /echo HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n"
        sock.sendall(request)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert b"192.0.2.7" not in answer
    assert b"127.0.1.10" in answer, "the balancer says itself who asked"
