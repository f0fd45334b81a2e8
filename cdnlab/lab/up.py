"""`cdnlab up`: from the command line to a running lab, and back to nothing.

The order matters. First all that can be refused, before anything runs: system, topology, state directory, origins,
addresses. Then the imports every node shares; then the nursery, forked while this process has neither a thread nor a
loop; then the loop, under which the store starts, and all nodes at once. However it ends, the children end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from socket import socket
from typing import Any
from urllib.parse import quote

from cdnlab.lab import addresses, daemon, embedded_store, monitor, nursery, programs, prometheus
from cdnlab.lab.choices import Choices, choose, keep
from cdnlab.lab.errors import FAILED, MISUSED, LabError
from cdnlab.lab.state import StateDirectory, unwritable
from cdnlab.lab.welcome import command, page_url, tell, welcome
from cdnlab.plan.errors import PlanError
from cdnlab.plan.topology import Topology


def up(choices: Choices, tiers: programs.Tiers = programs.REAL) -> int:
    """Run a lab until it is ended; its exit code. LabError or PlanError where it cannot be started."""
    started = time.monotonic()
    if not sys.platform.startswith("linux"):
        raise LabError(
            f"the lab needs Linux, this is {sys.platform}: it needs all of 127.0.0.0/8, and prctl(2)",
            "run it in containers: docker compose up   (`cdnlab edge` and `cdnlab lb`, the single nodes, run here too)",
        )
    front = daemon.fork_supervisor() if choices.detach else None
    topology = choose(choices)
    state = StateDirectory(choices.state)
    lock = state.claim()
    try:
        return _up(choices, topology, state, lock, front, started, tiers)
    finally:
        state.sweep()
        os.close(lock)


def _up(
    choices: Choices,
    topology: Topology,
    state: StateDirectory,
    lock: int,
    front: daemon.Front | None,
    started: float,
    tiers: programs.Tiers,
) -> int:
    beside = _beside(choices, topology, state)
    if choices.origins:
        from cdnlab.lab.reach import check_origins

        check_origins(topology.backends(topology.edge.pool), choices.origins)
    if topology.store.url is not None:
        from cdnlab.lab.reach import check_store

        check_store(topology.store.url)
    addresses.check_free(_needed(topology, beside))  # the VIPs' own follow, and stay open
    addresses.check_free(_needed_for_udp(topology), udp=True)
    vips = addresses.open_vips(topology)
    _save(choices, topology, state)
    embedded = embedded_store.NAME in beside
    tell(f"Starting {len(topology.nodes)} nodes{' and a store' if embedded else ''} …")
    programs.warm(tiers.modules)
    lab = Lab(topology, state, front, started)
    sockets = {name: vip.fileno() for name, vip in vips.items()}
    told = topology.with_store(store_url(state)) if embedded else topology
    children = programs.Programs(told, state, sockets, lock, beside, tiers)
    pid, channel = nursery.fork_nursery(children, state.log, (lock, *sockets.values()))
    for vip in vips.values():
        vip.close()
    try:
        return asyncio.run(lab.live(children.names, channel))
    finally:
        channel.close()
        nursery.reap(pid)


def _beside(choices: Choices, topology: Topology, state: StateDirectory) -> dict[str, programs.Beside]:
    """The programs beside the nodes, each found. LabError where one is not installed."""
    found: dict[str, programs.Beside] = {}
    if topology.store.url is None:
        words = embedded_store.arguments(state.store_socket, state.path)
        found[embedded_store.NAME] = programs.Beside(embedded_store.find_binary(), words)
    if choices.prometheus:
        program, (_, port) = prometheus.find_program(), prometheus.address(topology)
        found[prometheus.NAME] = programs.Beside(program, prometheus.arguments(state.prometheus, port))
    for name in found.keys() & topology.nodes.keys():
        raise LabError(f"a node is called {name}, which is what the lab calls its own", "rename it", MISUSED)
    return found


def _needed(
    topology: Topology, beside: Mapping[str, programs.Beside]
) -> Iterator[tuple[addresses.Address, str]]:
    """Every address that will be listened on but the VIPs', with its purpose."""
    yield ("127.0.0.1", topology.ports.page), "the page"
    if prometheus.NAME in beside:
        yield prometheus.address(topology), "Prometheus"
    for name in topology.nodes:
        yield topology.data_address(name), name
        admin = topology.admin_address(name)
        if admin is not None:
            yield admin, f"{name}'s admin API"
    yield from _served(topology, "tcp")


def _needed_for_udp(topology: Topology) -> Iterator[tuple[addresses.Address, str]]:
    yield from _served(topology, "udp")
    if topology.origin.dns is not None:
        for name in topology.tier("origin"):
            yield (topology.data_address(name)[0], topology.origin.dns), f"{name}'s DNS"


def _served(topology: Topology, service: str) -> Iterator[tuple[addresses.Address, str]]:
    """What origins serve besides HTTP, where a pool wants it of them."""
    if any(pool.tier == "origin" and pool.service == service for pool in topology.pools.values()):
        for name in topology.tier("origin"):
            host, _ = topology.data_address(name)
            yield (host, topology.service_port(name, service)), f"{name}'s echo over {service.upper()}"


def _save(choices: Choices, topology: Topology, state: StateDirectory) -> None:
    """Write the topology as started, the secrets, and what a Prometheus needs to know."""
    from cdnlab.node import secrets

    try:
        state.topology.write_text(topology.dump(), encoding="utf-8")
        keep(choices, state.choices)
        secrets.make(state.secrets)
        monitor.write(topology, state.prometheus)
    except OSError as error:
        raise unwritable(state.topology, error) from error
    except secrets.SecretsError as error:
        raise LabError(str(error)) from error


class Lab:
    """The loop of the supervisor's process: start, wait, end."""

    def __init__(
        self, topology: Topology, state: StateDirectory, front: daemon.Front | None, started: float
    ) -> None:
        self._topology = topology
        self._state = state
        self._front = front
        self._started = started

    async def live(self, names: tuple[str, ...], channel: socket) -> int:
        """Run until it is ended; the exit code. LabError where the start fails; everything has ended then too."""
        from cdnlab.lab.control import Control
        from cdnlab.lab.facts import facts
        from cdnlab.lab.gather import Gather
        from cdnlab.lab.supervisor import Supervisor

        supervisor = Supervisor(names, self._state, channel)
        hurry = asyncio.Event()
        ends = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            ends.append(signal.SIGHUP)
        for number in ends:
            asyncio.get_running_loop().add_signal_handler(number, self._interrupt, supervisor, hurry, number)
        told = facts(self._topology, self._state, page_url(self._topology), command(self._state, ""))
        gather = Gather(supervisor, self._topology, told, self._store_url())
        control = Control(supervisor, gather)
        try:
            await self._start(supervisor, control)
            await supervisor.ended.wait()
            supervisor.events.listeners.clear()
            tell(f"Ending: {supervisor.why_ended}", failed=supervisor.failed)
        finally:
            await supervisor.end(hurry)
            await control.close()
            await gather.close()
        return FAILED if supervisor.failed else 0

    async def _start(self, supervisor: Any, control: Any) -> None:
        from cdnlab.net import tasks
        from lb.failover_lease import seed

        nodes = [name for name in supervisor.children if name in self._topology.nodes]
        embedded = embedded_store.NAME in supervisor.children
        if embedded:
            supervisor.begin(embedded_store.NAME)
        try:
            await control.open(self._state.socket, self._topology.ports.page)
        except OSError as error:
            raise LabError(
                f"the page or the control socket cannot be opened: {error}", "use other ports: --port BASE"
            ) from error
        if embedded:
            await supervisor.until_answers(embedded_store.NAME)
            # this store is new, so nobody has ever held a VIP and nobody need wait for an old holder's deadline
            embedded_store.write(
                self._state.store_socket, [seed(self._topology.name, vip.name) for vip in self._topology.vips]
            )
        # what clients reach goes last: a request that waits in the VIP's queue is better served than one refused
        balancers = self._topology.tier("lb")
        for together in ([name for name in nodes if name not in balancers], [*balancers]):
            for name in together:
                supervisor.begin(name)
            await supervisor.until_ready(together)
        seconds = time.monotonic() - self._started
        watched = prometheus.url(self._topology) if prometheus.NAME in supervisor.children else None
        detached = self._front is not None
        tell(welcome(self._topology, self._state, seconds, detached=detached, prometheus=watched))
        supervisor.events.listeners.append(_print_event)
        if watched:
            _, port = prometheus.address(self._topology)
            supervisor.probes[prometheus.NAME] = lambda: prometheus.answers(port)
            supervisor.begin(prometheus.NAME)
            tasks.spawn(_until_prometheus_answers(supervisor), "prometheus")
        if self._front is not None:
            self._front.let_go(self._state.log("lab"))

    def _interrupt(self, supervisor: Any, hurry: asyncio.Event, number: signal.Signals) -> None:
        if supervisor.ended.is_set():
            hurry.set()
        supervisor.stop({signal.SIGINT: "Ctrl-C"}.get(number, signal.Signals(number).name))

    def _store_url(self) -> str:
        from cdnlab.node.store import redacted

        return redacted(self._topology.store.url or store_url(self._state))


def store_url(state: StateDirectory) -> str:
    """The embedded store's URL."""
    return f"unix://{quote(str(state.store_socket))}"


async def _until_prometheus_answers(supervisor: Any) -> None:
    """Nobody waits for it; but who asked for one is told if it does not come."""
    try:
        await supervisor.until_answers(prometheus.NAME, look=0.05)
    except LabError as error:
        if not supervisor.ended.is_set():
            tell(f"cdnlab: {error}", failed=True)


def _print_event(event: dict[str, Any]) -> None:
    tell(f"{time.strftime('%H:%M:%S', time.localtime(event['time']))} {event['subject']}: {event['text']}")


def refuse(error: LabError | PlanError) -> int:
    """Say why not, on standard error; the exit code."""
    print(f"cdnlab: {error}", file=sys.stderr)
    return error.code if isinstance(error, LabError) else MISUSED
