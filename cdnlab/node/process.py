"""What a process of ours is: one node, one event loop, from start to the end of its drain.

`run` is a node's whole life. It decides the order of things and the exit code; what the node does is its
App's. SIGTERM or SIGINT once: stop accepting, finish what runs, exit 0. Twice: exit at once.

    starting ──start() done, admin listening──▶ ready ◀──undrain── draining (by the admin API: still serving)
                                                  └──SIGTERM──▶ draining ──all done or time up──▶ exit 0
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from cdnlab.net import tasks
from cdnlab.net.clock import now
from cdnlab.node.health_answer import NodeState
from cdnlab.node.log import Events, configure
from cdnlab.node.node import App, Node, our_version
from cdnlab.node.secrets import SecretsError, load
from cdnlab.node.versions import Versions, listen
from cdnlab.plan.errors import PlanError

if TYPE_CHECKING:
    from cdnlab.plan.topology import Topology

__all__ = ["App", "Node", "StartError", "binding", "run", "warm"]

DRAIN = 30.0  # seconds that a drain may take; Kubernetes and systemd wait as long or longer
LAST_WORDS = 2.0  # seconds for stop() once the drain is over
SAMPLE = 1.0  # seconds between samples of the tallies and flushes of the access log
TIDY = 60  # samples between explicit garbage collections

DONE, FAILED, MISCONFIGURED = 0, 1, 2

log = logging.getLogger("cdnlab.node")


class StartError(Exception):
    """The node cannot start as it is configured: str() is one line that names the thing and the remedy."""


def run(
    topology: Topology,
    name: str,
    build: Callable[[Node], App],
    *,
    state: Path | None = None,
    inherited: Mapping[str, int] | None = None,
    ready_fd: int | None = None,
    store_url: str | None = None,
    drain: float = DRAIN,
) -> int:
    """Be the node `name` until it is told to end; the exit code: 0 done, 1 failed, 2 misconfigured.

    Works in a fresh process and in a forked one whose parent had no loop. `ready_fd` is written one line and
    closed: "ready", or "failed: " and one line that names the thing and the remedy; without it the latter
    goes to standard error. `drain` is in seconds.
    """
    configure(name)
    tasks.forget_inherited()
    report = Report(name, ready_fd)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        store = store_url or topology.store.url
        return loop.run_until_complete(
            _live(topology, name, build, state, inherited, store, drain, report),
        )
    except (StartError, PlanError, SecretsError) as error:
        report.failed(str(error))
        return MISCONFIGURED
    except OSError as error:
        if error.errno not in _BINDING:
            log.exception("the node failed")
            report.failed(f"{name} failed: {error}")
            return FAILED
        report.failed(f"{name}: {error.strerror}; {_BINDING[error.errno]}")
        return MISCONFIGURED
    except Exception as error:
        log.exception("the node failed")
        report.failed(f"{name} failed: {type(error).__name__}: {error}")
        return FAILED
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def warm() -> None:
    """Import what run() imports late, for a process that will fork nodes."""
    import cdnlab.node.admin
    import cdnlab.node.store  # noqa: F401

    our_version()


@contextmanager
def binding(host: str, port: int, remedy: str = "") -> Iterator[None]:
    """Around the opening of a listener: what the system refuses becomes a StartError that names the address.

    `remedy` says where the address is set, such as "--listen" or "ports.base in the topology".
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _BINDING:
            raise
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        elsewhere = f"; it is set by {remedy}" if remedy else ""
        what = f"cannot listen on {shown}: {os.strerror(error.errno or 0).lower()}"
        raise StartError(f"{what}; {_BINDING[error.errno]}{elsewhere}") from error


_BINDING: Mapping[int | None, str] = {
    errno.EADDRINUSE: "stop the program that listens there, or choose another port",
    errno.EADDRNOTAVAIL: "this machine has no such address; choose one it has",
    errno.EACCES: "ports below 1024 need privileges; choose a higher one",
}


class Report:
    """Tells whoever started this process, once, whether it is ready."""

    def __init__(self, name: str, descriptor: int | None) -> None:
        self._name = name
        self._descriptor = descriptor

    def ready(self) -> None:
        """The node serves."""
        self._say("ready")

    def failed(self, message: str) -> None:
        """The node will not serve, or no longer; `message` becomes one line."""
        line = " ".join(message.split())
        log.error("%s", line) if self._descriptor is not None else print(f"cdnlab: {line}", file=sys.stderr)
        self._say(f"failed: {line}")

    def _say(self, line: str) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            os.write(descriptor, line.encode()[:4000] + b"\n")
            os.close(descriptor)
        except OSError:
            log.warning("whoever started this node no longer listens for its readiness")


class Ending:
    """Hears SIGTERM and SIGINT on the running loop: the first asks the node to end, the second ends it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.why = ""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._heard, number)

    def _heard(self, number: signal.Signals) -> None:
        if self.asked.is_set():
            log.warning("%s again: exit without waiting for what runs", number.name)
            sys.stderr.flush()
            os._exit(128 + number)
        self.why = number.name
        self.asked.set()


async def _live(
    topology: Topology,
    name: str,
    build: Callable[[Node], App],
    state: Path | None,
    inherited: Mapping[str, int] | None,
    store_url: str | None,
    drain: float,
    report: Report,
) -> int:
    ending = Ending()
    node = _node(topology, name, state, inherited, store_url)
    app = build(node)
    node.serve(app)
    versions = node.versions = Versions(node)
    listen(versions)
    try:
        await _start(node, app)
        report.ready()
        await ending.asked.wait()
        node.ending = True
        node.change(NodeState.DRAINING, f"told to end ({ending.why})")
        await _drain(app, drain)
    finally:
        await _stop(node, app)
    return DONE


def _node(
    topology: Topology,
    name: str,
    state: Path | None,
    inherited: Mapping[str, int] | None,
    store_url: str | None,
) -> Node:
    events = Events(name)
    secrets = load(state / "secrets") if state else None
    store = None
    if store_url:
        from cdnlab.node.store import BadStoreUrl, Store  # a node alone has none, and need not import it

        try:
            store = Store(store_url, events)
        except BadStoreUrl as error:
            raise StartError(str(error)) from error
    return Node(topology, name, state=state, secrets=secrets, store=store, events=events, inherited=inherited)


async def _start(node: Node, app: App) -> None:
    node.events.add("start", node.name, f"started, pid {os.getpid()}", pid=os.getpid())
    if node.store:
        node.fault_desk.begin()
        await node.store.start()
    await app.start()
    address = node.topology.admin_address(node.name)
    if address:
        from cdnlab.node.admin import Admin  # aiohttp, which a node without an admin API need not import

        node.admin = Admin(node)
        with binding(*address, f"--admin, or nodes.{node.name}.admin_port in the topology"):
            await node.admin.start(*address)
    node.stalls.start()
    tasks.spawn(_each_second(node), "node samples")
    node.change(NodeState.READY, NodeState.READY.sentence)
    node.garbage.begin()


async def _each_second(node: Node) -> None:
    count = 0
    while True:
        await asyncio.sleep(SAMPLE)
        node.sample()
        count += 1
        if count % TIDY == 0:
            node.garbage.tidy()


async def _drain(app: App, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await app.drain(now() + seconds)
    except TimeoutError:
        log.warning("not all was finished within %g s; the rest is cut off", seconds)


async def _stop(node: Node, app: App) -> None:
    """Also after a start that failed half way: each part must bear to be stopped before it was started."""
    node.stalls.stop()
    for stop in (app.stop, node.admin.stop if node.admin else None, node.store.stop if node.store else None):
        try:
            if stop:
                async with asyncio.timeout(LAST_WORDS):
                    await stop()
        except Exception:
            log.exception("while stopping")
    for alive in await tasks.cancel_all():
        log.warning("task %s did not end", alive)
    node.events.add("stop", node.name, "stopped")
    if node.access:
        node.access.flush()
