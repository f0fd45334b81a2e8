"""The supervisor: what is known of every child, and what a person may do to one.

It runs the loop of the `cdnlab up` process and orders the nursery about. It forks nothing, and it restarts nothing: a
node that dies stays dead, shown with the reason, until somebody starts it. What the nodes say of themselves it does
not know; that is asked of them (gather.py).
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from cdnlab.lab import embedded_store
from cdnlab.lab.errors import FAILED, MISUSED, LabError, unknown_node
from cdnlab.lab.log_file import last_line
from cdnlab.lab.state import StateDirectory
from cdnlab.node.log import Events

#: Seconds for everything to be ready; a loaded laptop takes two.
START = 20.0
#: Seconds a node may take to finish what runs when the lab ends; then it is killed.
DRAIN = 2.0
#: Seconds an order may take to show: kill, pause, resume.
OBEY = 3.0

Probe = Callable[[], Awaitable[bool]]
"""Whether a program answers that cannot say by itself that it is ready."""


class Child:
    """One process that the nursery starts, or has started: a node or the store."""

    __slots__ = (
        "exit",
        "failure",
        "log",
        "name",
        "paused",
        "pid",
        "ready",
        "reason",
        "since",
        "starting",
        "wanted",
    )

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self.pid: int | None = None
        self.starting = False
        self.ready = False
        self.paused = False
        self.exit: int | None = None
        self.reason = "not started yet"
        self.since = time.time()
        self.wanted = ""
        self.failure = ""

    @property
    def running(self) -> bool:
        """Whether there is a process, ready or not, paused or not, or one is about to be."""
        return self.starting or self.pid is not None

    @property
    def verdict(self) -> str | None:
        """What is to be said of it without asking it: "paused", "dead"; None where it can be asked."""
        return "paused" if self.paused else None if self.running else "dead"

    def describe(self) -> dict[str, Any]:
        """The child as the control API shows it.

        `exit` is the last process's exit code, negative for a signal (-9), None while one runs; `since` is wall time.
        """
        return {
            "pid": self.pid,
            "running": self.running,
            "ready": self.ready,
            "paused": self.paused,
            "exit": self.exit,
            "reason": self.reason,
            "since": self.since,
            "log": str(self.log),
        }


class Supervisor:
    """The children of one nursery. Made inside the running loop; `channel` is the supervisor's end."""

    def __init__(self, names: Iterable[str], state: StateDirectory, channel: socket.socket) -> None:
        self.children = {name: Child(name, state.log(name)) for name in names}
        self.events = Events("lab")
        self.ended = asyncio.Event()
        self.why_ended = ""
        self.failed = False
        self._changed = asyncio.Event()
        self._channel = channel
        self._logs = state.logs
        self.probes: dict[str, Probe] = {embedded_store.NAME: lambda: _store_answers(state.store_socket)}
        channel.setblocking(False)
        asyncio.get_running_loop().add_reader(channel.fileno(), self._hear)

    # What a person may ask for. Each raises LabError where it makes no sense or does not come true in time.

    def child(self, name: str) -> Child:
        """The child called `name`; LabError names the nearest ones."""
        try:
            return self.children[name]
        except KeyError:
            if name == embedded_store.NAME:
                raise not_ours() from None
            raise unknown_node(name, self.children) from None

    def store(self) -> dict[str, Any]:
        """The store as it is seen from here: a child, or somebody else's affair."""
        child = self.children.get(embedded_store.NAME)
        if child is None:
            return {"kind": "external"}
        return {"kind": "embedded", "state": child.verdict or "up", **child.describe()}

    def down(self) -> None:
        """Have the lab end, as `cdnlab down` asks."""
        self.stop("cdnlab down")

    async def start(self, name: str) -> None:
        """Start a child that is not running and wait until it is ready."""
        child = self.child(name)
        if child.running:
            raise LabError(
                f"{name} is already running (pid {child.pid})", f"to start it anew: cdnlab kill {name}"
            )
        self.begin(name)
        if name in self.probes:
            await self.until_answers(name)
        else:
            await self.until_ready([name])

    async def kill(self, name: str) -> None:
        """End a child by SIGKILL, as a power cut would."""
        self._running(name).wanted = "cdnlab kill"
        self._signal(name, signal.SIGKILL)
        await self._until(lambda: not self.children[name].running, f"{name} did not die")

    async def pause(self, name: str) -> None:
        """Freeze a child by SIGSTOP: it keeps its connections and answers nothing."""
        child = self._running(name)
        child.wanted = "cdnlab pause"
        self._signal(name, signal.SIGSTOP)
        await self._until(lambda: child.paused or not child.running, f"{name} did not stop")

    async def resume(self, name: str) -> None:
        """Let a frozen child run on."""
        child = self._running(name)
        self._signal(name, signal.SIGCONT)
        await self._until(lambda: not child.paused, f"{name} did not continue")

    def stop(self, why: str, *, failed: bool = False) -> None:
        """Have the lab end; `ended` is set, and the one who waits for it calls `end`. The first reason counts."""
        if not self.ended.is_set():
            self.why_ended, self.failed = why, failed
            self.ended.set()
            self._changed.set()

    # What `up` does.

    def begin(self, name: str) -> None:
        """Order a child to be started, without waiting."""
        child = self.children[name]
        child.exit, child.ready, child.paused, child.wanted, child.failure = None, False, False, "", ""
        child.starting = True
        self._order({"do": "start", "name": name})

    async def until_ready(self, names: Iterable[str], within: float = START) -> None:
        """Wait until all are ready. Raises LabError for the first that ends instead, and after `within` seconds."""
        children = [self.children[name] for name in names]
        deadline = time.monotonic() + within
        while waiting := [child for child in children if not child.ready]:
            for child in waiting:
                if child.exit is not None:
                    raise not_started(child)
            self._check_alive()
            if not await self._change(deadline):
                names_waiting = ", ".join(child.name for child in waiting)
                raise LabError(
                    f"not ready after {within:.0f} s: {names_waiting}", f"see the logs in {self._logs}"
                )

    async def until_answers(self, name: str, look: float = 0.002) -> None:
        """Wait until a program beside the nodes answers, which is all the readiness it can show. LabError as above.

        `look` is the pause between two tries, seconds.
        """
        child, deadline = self.children[name], time.monotonic() + START
        while not await self.probes[name]():
            if child.exit is not None:
                raise not_started(child)
            self._check_alive()
            if time.monotonic() > deadline:
                raise LabError(f"{name} does not answer", f"its log: {child.log}")
            await asyncio.sleep(look)
        child.ready = True
        self._change_to(child, "start", "ready")
        self._changed.set()

    def _check_alive(self) -> None:
        if self.ended.is_set():
            raise LabError(f"the lab is ending: {self.why_ended}")

    async def end(self, hurry: asyncio.Event) -> None:
        """End every child: nodes drain first and the store goes last; `hurry` cuts the draining short."""
        nodes = [name for name in self.children if name != embedded_store.NAME]
        await self._end(nodes, DRAIN, hurry)
        await self._end(list(self.children), 0.5, hurry)
        asyncio.get_running_loop().remove_reader(self._channel.fileno())
        self._channel.close()

    async def _end(self, names: list[str], grace: float, hurry: asyncio.Event) -> None:
        children = [self.children[name] for name in names]
        for child in children:
            if child.running:
                child.wanted = "the lab ends"
                self._signal(child.name, signal.SIGKILL if child.paused else signal.SIGTERM)
        await self._gone(children, grace, hurry)
        for child in children:
            if child.running:
                self._signal(child.name, signal.SIGKILL)
        await self._gone(children, 1.0, asyncio.Event())

    async def _gone(self, children: list[Child], seconds: float, hurry: asyncio.Event) -> None:
        deadline = time.monotonic() + seconds
        while any(child.running for child in children) and not hurry.is_set():
            if not await self._change(min(deadline, time.monotonic() + 0.1)) and time.monotonic() > deadline:
                return

    # Between the supervisor and the nursery.

    def _running(self, name: str) -> Child:
        child = self.child(name)
        if not child.running:
            raise LabError(f"{name} is not running ({child.reason})", f"start it: cdnlab start {name}")
        return child

    def _signal(self, name: str, number: signal.Signals) -> None:
        self._order({"do": "signal", "name": name, "signal": int(number)})

    def _order(self, order: dict[str, Any]) -> None:
        try:
            self._channel.send(json.dumps(order).encode())
        except OSError as error:
            self.stop(f"the nursery is gone ({error.strerror})", failed=True)

    def _hear(self) -> None:
        try:
            packet = self._channel.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            for child in self.children.values():
                if child.running:
                    child.exit, child.reason = -signal.SIGKILL, "ended with the nursery"
                child.pid, child.starting = None, False
            self.stop("the nursery is gone, and the nodes with it", failed=True)
        else:
            self._note(json.loads(packet))
        self._changed.set()

    def _note(self, report: dict[str, Any]) -> None:
        child, kind = self.children[report["name"]], report["is"]
        if kind == "started":
            child.pid, child.starting = report["pid"], False
            self._change_to(child, "start", f"started, process {child.pid}")
        elif kind == "ready":
            child.ready = True
            self._change_to(child, "start", "ready")
        elif kind == "failed":
            child.failure = report["why"]
        elif kind == "stopped":
            child.paused = True
            self._change_to(
                child, "state", "frozen by cdnlab pause" if child.wanted else "frozen by a signal"
            )
        elif kind == "continued":
            child.paused, child.wanted = False, ""
            self._change_to(child, "state", "runs on after a pause")
        elif kind == "refused":
            child.exit, child.starting = FAILED, False
            self._change_to(child, "start", f"not started: {report['why']}")
        else:
            self._note_exit(child, report["code"], report["signal"])

    def _note_exit(self, child: Child, code: int, number: int) -> None:
        how = f"ended by {signal.Signals(number).name}" if number else f"ended with exit code {code}"
        how = f"{how}: {child.failure}" if child.failure else how
        child.pid, child.ready, child.paused = None, False, False
        child.exit = -number or code
        self._change_to(child, "stop", f"{how} ({child.wanted})" if child.wanted else how)

    def _change_to(self, child: Child, kind: str, reason: str) -> None:
        child.reason, child.since = reason, time.time()
        self.events.add(kind, child.name, reason)

    async def _until(self, done: Callable[[], bool], problem: str) -> None:
        deadline = time.monotonic() + OBEY
        while not done():
            if not await self._change(deadline):
                raise LabError(f"{problem} within {OBEY:.0f} s", "see `cdnlab status`")

    async def _change(self, deadline: float) -> bool:
        """Wait for the next report; False at the deadline (monotonic)."""
        self._changed.clear()
        try:
            await asyncio.wait_for(self._changed.wait(), max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            return False
        return True


async def _store_answers(path: Path) -> bool:
    return embedded_store.answers(path)


def not_ours() -> LabError:
    """The error for a store that somebody else runs."""
    remedy = "do it where it runs; cdnlab fault store makes the nodes see it fail"
    return LabError("the store is not this lab's own, but the one that --store names", remedy, MISUSED)


def not_started(child: Child) -> LabError:
    """The error for a child that ended before it was ready: what it said of it, else its last words."""
    words = "" if child.failure else last_line(child.log)
    said = f": {words}" if words else ""
    return LabError(f"{child.name} did not start; it {child.reason}{said}", f"its log: {child.log}", FAILED)
