"""What is lost when one of three backends is killed, frozen or drained under load: real processes, counts only.

The bench does the same at 2,000 requests a second (`python -m bench --row losses`).
"""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from bench.steady import Steady
from tests.support.labs import ROOT, RunningLab, lab, until
from tests.support.peers import free_port

pytestmark = pytest.mark.scenario

RATE = 300

TOPOLOGY = """
name: losses
distance: {{enabled: false}}
nodes:
  lb-a: {{tier: lb, address: 127.0.1.10}}
pools:
  servers:
    backends: [{backends}]
    ejection: {{time: 1}}
routes: [{{pool: servers}}]
failover: {{lease: 30, renew: 1}}
upstream: {{response_timeout: 2}}
"""


class Scene:
    """A lab with one balancer before three processes."""

    def __init__(self, running: RunningLab, ports: list[int]) -> None:
        self.lab = running
        self.ports = ports
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, number: int) -> None:
        """A backend, ready when this returns."""
        words = [sys.executable, "-m", "bench.backend", "127.0.0.1", str(self.ports[number])]
        self.processes[number:] = [
            subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL),
            *self.processes[number + 1 :],
        ]

    def signal(self, number: int, what: signal.Signals) -> None:
        """To one backend."""
        os.kill(self.processes[number].pid, what)

    def sum(self, name: str, *labels: str) -> int:
        """A metric of the balancer, over all its series with these labels."""
        with closing(http.client.HTTPConnection("127.0.1.10", self.lab.base + 1021, timeout=20)) as asking:
            asking.request("GET", "/metrics")
            lines = asking.getresponse().read().decode().splitlines()
        rows = [row for row in lines if row.startswith(name + "{") and all(each in row for each in labels)]
        assert rows, f"there is no {name}"
        return int(sum(float(row.rpartition(" ")[2]) for row in rows))

    def log(self) -> str:
        """What the balancer has written."""
        return (self.lab.directory / "logs" / "lb-a.log").read_text()

    def load(self, path: bytes = b"/", rate: int = RATE, *, post_every: int = 0) -> Steady:
        """A steady load through the VIP."""
        return Steady(self.lab.base, rate, path, post_every=post_every)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    ports = [free_port() for _ in range(3)]
    named = (f"{{name: server-{n}, address: 127.0.0.1, port: {p}}}" for n, p in enumerate(ports, 1))
    with lab(module="cdnlab", topology=TOPOLOGY.format(backends=", ".join(named))) as running:
        made = Scene(running, ports)
        try:
            for number in range(3):
                made.start(number)
            running.ready()
            usable(made)
            yield made
        finally:
            for process in made.processes:
                if process.poll() is None:
                    process.kill()
                process.wait()


def usable(scene: Scene) -> None:
    """All three have been seen to answer, and are in use."""
    up = ("cdnlab_pool_health_transitions_total", 'to="up"')
    until(lambda: scene.sum(*up) >= 3 == scene.sum("cdnlab_pool_backend_up"), "three usable backends")


async def during(*loads: Steady, seconds: float, then: object = None, after: float = 0.4) -> None:
    first, *others = loads
    await asyncio.gather(
        first.run(seconds, then, after),  # type: ignore[arg-type]
        *(each.run(seconds) for each in others),
    )


async def test_none_is_lost_while_one_is_drained_posts_included(scene: Scene) -> None:
    load = scene.load(post_every=2)
    await during(load, seconds=1.0, then=lambda: scene.lab.cdnlab("drain", "server-2"))
    assert load.outcomes == {"ok": load.sent}
    scene.lab.cdnlab("enable", "server-2")
    usable(scene)


async def test_none_is_lost_while_one_is_frozen_and_what_was_cut_is_named(scene: Scene) -> None:
    """The checks only connect, which a frozen process's kernel goes on doing: its silence gives it away."""
    moved = scene.sum("cdnlab_pool_moved_total")
    load, slow = scene.load(), scene.load(b"/slow", 20)
    try:
        await during(load, slow, seconds=2.2, then=lambda: scene.signal(1, signal.SIGSTOP))
        assert load.outcomes == {"ok": load.sent}
        assert slow.failed == 0
        assert scene.sum("cdnlab_pool_moved_total") > moved
        assert scene.sum("cdnlab_pool_ejections_total", "server-2") >= 1
        cut = scene.sum("cdnlab_pool_responses_cut_total", 'reason="timeout"')
        assert cut == slow.outcomes["cut"] > 0
        assert scene.sum("cdnlab_lb_requests_total", 'outcome="cut"') == cut
    finally:
        scene.signal(1, signal.SIGCONT)
    usable(scene)


async def test_none_is_lost_while_one_is_killed_and_what_was_cut_is_named(scene: Scene) -> None:
    before = scene.sum("cdnlab_pool_responses_cut_total")
    load, slow = scene.load(), scene.load(b"/slow", 30)
    await during(load, slow, seconds=1.2, then=lambda: scene.signal(2, signal.SIGKILL), after=0.7)
    assert load.outcomes == {"ok": load.sent}
    assert slow.failed == 0
    assert scene.sum("cdnlab_pool_responses_cut_total") - before == slow.outcomes["cut"] > 0
    assert scene.log().count("response_failed from server-3") >= slow.outcomes["cut"]
