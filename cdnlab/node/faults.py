"""The faults of one node: what was asked for, since when, until when, and how often each was met.

It takes POST /faults, tells listeners and the store's client, and ends what has an end. What a fault does to a request
is fault_gate.py's; what faults mean together is faults.py's in cdnlab/net.

The store is no node, and has no admin API: its faults are met in each node's client. So that nodes which start later
meet them, too, they lie in a file of the state directory that every node reads when it starts. Another design was to
let the supervisor tell each node that becomes ready: it would have been served by the store for a while, and nodes that
are started apart have no supervisor.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdnlab.net.clock import wall
from cdnlab.net.fault_gate import Gate, shut
from cdnlab.net.faults import BadFaults, Fault, Faults, parse
from cdnlab.net.listener import Listener
from cdnlab.net.tasks import spawn
from cdnlab.node.metrics import Family, MetricSpec, family

if TYPE_CHECKING:
    from cdnlab.node.node import Node

log = logging.getLogger("cdnlab.node")

SET = MetricSpec("cdnlab_node_fault", "gauge", ("fault",), "1 while this fault is set at the node.")
DONE = MetricSpec(
    "cdnlab_node_faults_total",
    "counter",
    ("fault",),
    "Requests that met this fault; of refuse, connections that were accepted and reset.",
)
STORE_SET = MetricSpec(
    "cdnlab_store_fault", "gauge", ("fault",), "1 while this fault of the store is set at the node."
)
STORE_DONE = MetricSpec(
    "cdnlab_store_faults_total", "counter", ("fault",), "Commands to the store that met this fault."
)
FAULT_METRICS = (SET, DONE, STORE_SET, STORE_DONE)

FILE = "store_faults.json"
AGAIN = 0.5  # seconds until an address is tried again that could not be opened after a fault

Turn = Callable[[bool], Awaitable[None]]
"""Closes a listening address (True) or opens it again (False); OSError where that is not possible."""


class Setting:
    """One set of faults with its time."""

    __slots__ = ("faults", "since", "until")

    def __init__(self, faults: Faults, seconds: float | None) -> None:
        self.faults = faults
        self.since = wall()
        self.until = None if seconds is None else self.since + seconds

    def status(self) -> dict[str, Any]:
        """As /status shows it; wall seconds."""
        return {**self.faults.as_json(), "words": self.faults.words, "since": self.since, "until": self.until}


class FaultDesk:
    """One node's. Made without a loop; told on one."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._setting: Setting | None = None
        self._store_setting: Setting | None = None
        self._gate: Gate | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._store_timer: asyncio.TimerHandle | None = None
        self._listeners: list[Listener] = []
        self._turning: asyncio.Task[None] | None = None
        self.turns: list[Turn] = []
        """Addresses that really close when connections are to be refused; a shared one can't, and resets instead."""
        self.changed: list[Callable[[Faults | None], None]] = []
        """Told when the faults change: of listeners that are none of ours."""
        self.done = dict.fromkeys(Fault, 0)
        self.store_done = dict.fromkeys(Fault, 0)

    def attach(self, listener: Listener) -> None:
        """A listener whose requests meet this node's faults."""
        self._listeners.append(listener)
        listener.gate = self._gate

    # -- asked ---------------------------------------------------------------------------------------------------------

    def order(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """POST /faults: faults with `for` seconds, or `clear`; with `store` true they are the store's. What is then
        set. BadFaults."""
        asked = dict(asked)
        store, clear = (_flag(asked, name) for name in ("store", "clear"))
        if store and self._node.store is None and not clear:
            raise BadFaults("this node has no store", "set faults of nodes that have one")
        if clear and asked:
            raise BadFaults(f'"clear" stands with "{min(asked)}"', "send either")
        faults, seconds = (None, None) if clear else parse(asked, store=store)
        setting = None if faults is None else Setting(faults, seconds)
        if store:
            self.set_store(setting)
        else:
            self.set(setting)
        return self.status()

    def set(self, setting: Setting | None, why: str = "") -> None:
        """Let the node's listeners do as `setting` says; None ends what is set. `why`: for the event."""
        before, self._setting = self._setting, setting
        self._timer = _renewed(self._timer, setting, lambda: self.set(None, "their time is up"))
        old, self._gate = self._gate, Gate(setting.faults, self.done) if setting else None
        self._node.faults = setting.faults if setting else None
        for listener in self._listeners:
            listener.gate = self._gate
            if self._gate is not None and self._gate.refuses:
                shut(listener.connections)
        if old is not None:
            old.end()
        for tell in self.changed:
            tell(self._node.faults)
        if self._turning is None and self.turns and (setting or before):
            self._turning = spawn(self._turn(before is not None and before.faults.refuse), "fault refuse")
        self._tell(self._node.name, before, setting, why)

    async def _turn(self, shut_now: bool) -> None:
        """Close or open the addresses until they are as the faults say, which may change meanwhile."""
        try:
            while (
                shut_now is not (wanted := bool(self._gate and self._gate.refuses)) and not self._node.ending
            ):
                for turn in self.turns:
                    await self._turn_one(turn, wanted)
                shut_now = wanted
        finally:
            self._turning = None

    async def _turn_one(self, turn: Turn, wanted: bool) -> None:
        while not self._node.ending:
            try:
                return await turn(wanted)
            except OSError as error:
                log.error("the address cannot be opened again after a fault: %s", error)
                await asyncio.sleep(AGAIN)

    def set_store(self, setting: Setting | None, why: str = "") -> None:
        """Let the store's client do as `setting` says; None ends what is set."""
        store = self._node.store
        if store is None:
            return
        before, self._store_setting = self._store_setting, setting
        self._store_timer = _renewed(
            self._store_timer, setting, lambda: self.set_store(None, "their time is up")
        )
        store.meet(setting.faults if setting else None, self.store_done)
        self._tell("store", before, setting, why)

    def begin(self) -> None:
        """At the node's start: the store's faults that were set before."""
        left = read(self._node.state) if self._node.state else None
        if left is not None:
            self.set_store(left)

    def _tell(self, subject: str, before: Setting | None, setting: Setting | None, why: str) -> None:
        if setting is not None:
            seconds = "" if setting.until is None else f" for {setting.until - setting.since:g} s"
            text = f"faults set: {setting.faults.words}{seconds}"
        elif before is not None:
            text = f"faults cleared: {why or 'as ordered'}; they were {before.faults.words}"
        else:
            return
        kinds = [str(kind) for kind in setting.faults.kinds] if setting else []
        self._node.events.add("fault", subject, text, faults=kinds)

    # -- shown ---------------------------------------------------------------------------------------------------------

    @property
    def words(self) -> str:
        """What is set at this node, "" for nothing."""
        return self._setting.faults.words if self._setting else ""

    def status(self) -> dict[str, Any]:
        """{"faults": what is set or None, "store_faults": the same of the store}."""
        return {
            "faults": self._setting.status() if self._setting else None,
            "store_faults": self._store_setting.status() if self._store_setting else None,
        }

    def families(self) -> Iterator[Family]:
        """The rows of FAULT_METRICS; those of the store where there is one."""
        yield _gauge(SET, self._setting)
        yield family(DONE, [((str(kind),), count) for kind, count in self.done.items()])
        if self._node.store is not None:
            yield _gauge(STORE_SET, self._store_setting)
            yield family(STORE_DONE, [((str(kind),), count) for kind, count in self.store_done.items()])


def _gauge(spec: MetricSpec, setting: Setting | None) -> Family:
    kinds = setting.faults.kinds if setting else ()
    return family(spec, [((str(kind),), int(kind in kinds)) for kind in Fault])


def _flag(asked: dict[str, Any], name: str) -> bool:
    """Take a flag out of what was asked."""
    value = asked.pop(name, False)
    if not isinstance(value, bool):
        raise BadFaults(f'"{name}" is {value!r:.60}', "write true or false")
    return value


def _renewed(
    timer: asyncio.TimerHandle | None, setting: Setting | None, end: Callable[[], None]
) -> asyncio.TimerHandle | None:
    """The timer of a setting in the place of that of the one before."""
    if timer is not None:
        timer.cancel()
    if setting is None or setting.until is None:
        return None
    return asyncio.get_running_loop().call_later(max(0.0, setting.until - wall()), end)


# -- the file of the store's faults ------------------------------------------------------------------------------------


def read(state: Path) -> Setting | None:
    """The store's faults that still hold, from the state directory; None for none, or none that can be read."""
    try:
        said = json.loads((state / FILE).read_bytes())
        faults, _ = parse(said["faults"], store=True)
        until = None if said["until"] is None else float(said["until"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if until is not None and until <= wall():
        return None
    return Setting(faults, None if until is None else until - wall())


def write(state: Path, faults: Faults | None, seconds: float | None) -> None:
    """Remember the store's faults for nodes that start later, None to forget them. OSError."""
    path = state / FILE
    if faults is None:
        path.unlink(missing_ok=True)
        return
    new = path.with_name(f"{FILE}.new")
    until = None if seconds is None else wall() + seconds
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump({"faults": faults.as_json(), "until": until}, file)
    os.replace(new, path)
