"""Which version of its topology a node goes by, and how it takes up another one.

Two steps, so that a lab changes as one. *prepare*: read the file, look whether it may change while nodes run, and make
all that can fail; nothing is different yet. *switch*: go by it, which cannot fail. Whoever reloads a lab has every node
prepare and tells them to switch when all have; a node that could not leaves everything as it was.

SIGHUP does both at one node, from the file that it was started with. It decides nothing about what a topology means:
the tier's `prepare` returns what is to be done at the switch.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cdnlab.node.node import BadRequest
from cdnlab.plan.changes import changes, refusals
from cdnlab.plan.errors import PlanError
from cdnlab.plan.load import parse

if TYPE_CHECKING:
    from cdnlab.node.node import Node
    from cdnlab.plan.topology import Topology

log = logging.getLogger("cdnlab.node")

FILE = "version"
"""In the state directory: the number of the version with which the next node starts; without one it is the first."""

source: Callable[[], Topology] | None = None
"""Where SIGHUP finds the topology of this process's node; set by whoever starts it. None: it was made from a command
line, no file is there to be read again, and SIGHUP ends the process as it ends any whose terminal is closed."""


class Prepared(NamedTuple):
    """A version that waits for its switch."""

    number: int
    topology: Topology
    switch: Callable[[], None]
    changed: tuple[str, ...]


class Versions:
    """The version of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.number = first_number(node.state)
        self._prepared: Prepared | None = None
        self._digest = ""

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that are equal where topologies are."""
        if not self._digest:
            self._digest = digest(self._node.topology)
        return self._digest

    def status(self) -> dict[str, Any]:
        """The "configuration" of /status."""
        waiting = self._prepared.number if self._prepared else None
        return {"version": self.number, "digest": self.digest, "prepared": waiting}

    def asked(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """POST /reload: {"do": "prepare", "version": N, "topology": YAML}, {"do": "switch", "version": N} or
        {"do": "forget"}. BadRequest for what can't be done; the node goes on as it was."""
        do, number = asked.get("do"), asked.get("version")
        if do == "forget":
            self._prepared = None
            return self.status()
        if do not in ("prepare", "switch") or not isinstance(number, int) or isinstance(number, bool):
            raise BadRequest("this is neither prepare nor switch nor forget", 'send such as {"do": "forget"}')
        if do == "switch":
            self._switch(number)
            return self.status()
        text = asked.get("topology")
        if not isinstance(text, str):
            raise BadRequest("there is no topology in it", 'send its text as "topology"')
        if number <= self.number:
            raise BadRequest(f"version {number} is not above {self.number}", "take the next number")
        try:
            self.prepare(number, parse(text))
        except PlanError as error:
            raise BadRequest(f"{error.where}: {error.problem}", error.remedy or "") from None
        return self.status()

    def prepare(self, number: int, topology: Topology) -> None:
        """Have version `number` ready. PlanError for one that can't be taken up while nodes run."""
        node = self._node
        topology = topology.with_store_of(node.topology)
        found = changes(node.topology, topology)
        refused = refusals(found)
        if refused:
            first, *more = refused
            raise PlanError(first.problem, first.where, first.remedy, more)
        switch = node.prepare(topology) if node.prepare is not None else _nothing
        self._prepared = Prepared(number, topology, switch, tuple(change.path for change in found))

    def _switch(self, number: int) -> None:
        prepared = self._prepared
        if prepared is None or prepared.number != number:
            if number == self.number:
                return  # told twice
            raise BadRequest(f"version {number} was not prepared", "prepare it first")
        self._prepared = None
        node = self._node
        node.topology = prepared.topology
        prepared.switch()
        self.number, self._digest = number, ""
        what = ", ".join(prepared.changed[:6]) + (", …" if len(prepared.changed) > 6 else "")
        node.events.add("reload", node.name, f"goes by version {number}: {what or 'nothing differs'}")

    def on_signal(self) -> None:
        """SIGHUP: read the file again and go by it; a bad one changes nothing and is told in the events."""
        node = self._node
        try:
            topology = source() if source is not None else node.topology
            number = max(first_number(node.state), self.number + 1)
            self.prepare(number, topology)
        except PlanError as error:
            node.events.add("reload", node.name, f"stays at version {self.number}: {error}")
            log.warning("%s: not reloaded: %s", node.name, error)
            return
        self._switch(number)


def first_number(state: Path | None) -> int:
    """The version that a node starts with."""
    try:
        return int((state / FILE).read_text()) if state is not None else 1
    except (OSError, ValueError):
        return 1


def digest(topology: Topology) -> str:
    """Equal exactly where two topologies are, but for where the store is, which a lab tells its own nodes."""
    said = topology.model_dump_json(exclude={"store"})
    return blake2b(said.encode(), digest_size=4).hexdigest()


def listen(versions: Versions) -> None:
    """Hear SIGHUP on the running loop, where there is something to read."""
    if source is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, versions.on_signal)


def _nothing() -> None:
    """What a tier does at the switch that has nothing to change."""
