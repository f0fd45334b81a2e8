"""Requests lost when one of three backends is killed, frozen or drained under a steady load.

Measures through a lab's balancer (the checks only connect, which a frozen process passes) and three backends of
bench/backend.py. Two settings are not the defaults: the lease is long, since who holds the VIP is not what is measured;
and a response that stops is cut after 4 s instead of 60, so that it is cut while somebody looks. A loss is a request
whose client got no good answer although no head of one had been forwarded to it. Beside the load a few clients read
slow bodies, so that there is something to cut: those are counted, and the balancer must name every one.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.programs import ROOT, NotStarted, free_port, running, wait_for_answer
from bench.steady import Steady

RATE = 2000
#: Requests a second for a slow body, of which each takes a second: as many are cut as one backend has at a time.
SLOW_RATE = 30
BEFORE, WATCHED = 2.0, 6.0
#: While one is drained, every second request is a POST.
POSTS = 2
HOW = ("kill", "freeze", "drain")

_TOPOLOGY = """
name: losses
distance: {{enabled: false}}
ports: {{base: {base}}}
vips: [{{address: 127.0.0.1}}]
nodes:
  lb-a: {{tier: lb, address: 127.0.1.10}}
pools:
  servers:
    backends: [{backends}]
routes: [{{pool: servers}}]
failover: {{lease: 20, renew: 5}}
upstream: {{response_timeout: 4}}
"""
_CUT = re.compile(r'^cdnlab_pool_responses_cut_total\{pool="servers",reason="(\w+)"\} (\d+)', re.MULTILINE)


@dataclass
class Losses:
    """What became of one run's requests."""

    sent: int
    failed: int
    outcomes: Counter[str]
    longest: float
    """Seconds that the slowest good answer took."""
    cut: int
    """Slow bodies that broke off at their client."""
    named: dict[str, int]
    """Those that the balancer counts, by cause."""


@dataclass
class Scene:
    """A balancer before three backends."""

    base: int
    state: Path
    backends: list[subprocess.Popen[bytes]]

    def do(self, how: str) -> None:
        """To the second backend."""
        victim = self.backends[1]
        if how == "drain":
            words = [sys.executable, "-m", "cdnlab", "drain", "server-2", "--state", str(self.state)]
            subprocess.run(words, cwd=ROOT, check=True, capture_output=True, timeout=30)
        else:
            os.kill(victim.pid, signal.SIGKILL if how == "kill" else signal.SIGSTOP)

    def cut(self) -> dict[str, int]:
        """Responses that broke off, as the balancer counts them."""
        with closing(http.client.HTTPConnection("127.0.1.10", self.base + 1021, timeout=10)) as asking:
            asking.request("GET", "/metrics")
            text = asking.getresponse().read().decode()
        return {how: int(count) for how, count in _CUT.findall(text) if int(count)}


@contextmanager
def scene(directory: Path, cores: tuple[int, int]) -> Iterator[Scene]:
    """Everything up; ended, a frozen backend too, when the block is left."""
    base, ports = _free_base(), [free_port() for _ in range(3)]
    with ExitStack() as stack:
        backends = []
        for number, port in enumerate(ports, 1):
            log = directory / f"backend{number}"
            words = [sys.executable, "-m", "bench.backend", "127.0.0.1", str(port)]
            backends.append(stack.enter_context(running(words, [cores[1]], log)))
            wait_for_answer(backends[-1], port, "/", log)
        file, state, log = directory / "losses.yaml", directory / "lab", directory / "log"
        named = (
            f"{{name: server-{number}, address: 127.0.0.1, port: {port}}}"
            for number, port in enumerate(ports, 1)
        )
        file.write_text(_TOPOLOGY.format(base=base, backends=", ".join(named)))
        words = [sys.executable, "-m", "cdnlab", "up", str(file), "--state", str(state)]
        lab = stack.enter_context(running(words, [cores[0]], log))
        stack.callback(_thaw, backends)
        wait_for_answer(lab, base, "/", log)
        yield Scene(base, state, backends)


def _thaw(backends: list[subprocess.Popen[bytes]]) -> None:
    """A stopped process hears no SIGTERM."""
    for backend in backends:
        if backend.poll() is None:
            os.kill(backend.pid, signal.SIGCONT)


def _free_base() -> int:
    """A port base whose ports are free here."""
    for _ in range(100):
        base = free_port()
        if base + 1021 < 32768:
            return base
    raise NotStarted("no ports are free")


def lose(
    directory: Path, cores: tuple[int, int], how: str, *, rate: int = RATE, watched: float = WATCHED
) -> Losses:
    """Do `how` to one backend under `rate` requests a second; what was lost."""
    with scene(directory, cores) as stage:
        return uvloop.run(_load(stage, how, rate, watched))


async def _load(stage: Scene, how: str, rate: int, watched: float) -> Losses:
    load = Steady(stage.base, rate, b"/", post_every=POSTS if how == "drain" else 0)
    slow = Steady(stage.base, SLOW_RATE, b"/slow")
    do: Callable[[], object] = lambda: stage.do(how)  # noqa: E731 - a name for what happens
    await asyncio.gather(load.run(BEFORE + watched, do, BEFORE), slow.run(BEFORE + watched))
    return Losses(
        load.sent + slow.sent,
        load.failed + slow.failed,
        load.outcomes + slow.outcomes,
        load.longest,
        load.outcomes["cut"] + slow.outcomes["cut"],
        stage.cut(),
    )


def losses(directory: Path, cores: tuple[int, int], say: Callable[[str], None]) -> Mapping[str, float]:
    """The figure: for each way to go, failed requests; and cut ones that nobody named."""
    found: dict[str, float] = {}
    unnamed = 0
    for how in HOW:
        place = directory / how
        place.mkdir()
        began = time.monotonic()
        lost = lose(place, cores, how)
        found[how] = lost.failed
        found[f"{how}-wait"] = lost.longest
        unnamed += abs(lost.cut - sum(lost.named.values()))
        said = ", ".join(f"{count} {name}" for name, count in sorted(lost.outcomes.items()))
        named = ", ".join(f"{count} {name}" for name, count in lost.named.items()) or "none"
        say(
            f"  losses, {how}: {said}; cut as the balancer names them: {named} ({time.monotonic() - began:.0f} s)"
        )
    found["unnamed"] = unnamed
    return found
