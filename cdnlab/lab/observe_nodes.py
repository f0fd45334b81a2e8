"""The observer: what can be known of nodes that somebody else started, by asking each about once a second.

It decides which nodes are waited for, heard, silent or dead, and says each change once, with its reason. It starts and
ends nothing: an order is answered with the command that would carry it out.

    waiting ──answers──▶ heard ──no answer in time──▶ silent ──answers──▶ heard
                           └──────nobody is there──▶ dead ◀──nobody is there── silent;  dead ──answers──▶ heard

Silence proves nothing: a frozen process accepts connections in the kernel's queue, and answers once it runs on. So the
question stays open while it waits, and only what proves that nobody is there makes a node dead.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from cdnlab.lab.errors import LabError, unknown_node
from cdnlab.lab.node_api import NoAnswer, NodeApi
from cdnlab.lab.observe_orders import Orchestrator
from cdnlab.node.log import Events
from cdnlab.plan.topology import Topology

#: Seconds between two questions to a node.
PERIOD = 1.0
#: Seconds after which a node that has not answered is called silent; a busy machine may stand still for one.
SILENT = 1.5
#: Seconds for which one question stays open. Each one abandoned waits in a frozen node's queue, so they are few.
PATIENCE = 30.0

Json = dict[str, Any]


class Observed:
    """One node, as far as it has been heard."""

    __slots__ = ("admin", "heard", "log", "name", "reason", "said", "since", "verdict")

    def __init__(self, name: str, admin: str | None, log: str) -> None:
        self.name = name
        self.admin = admin
        self.log = log
        self.said: Json = {}
        """Its last /status."""
        self.heard = False
        """Whether it ever answered."""
        self.verdict: str | None = "waiting" if admin else "unknown"
        self.reason = f"waits for its first answer from {admin}" if admin else "its admin API is off"
        self.since = time.time()

    @property
    def paused(self) -> bool:
        """A freeze cannot be told from other silence."""
        return False

    @property
    def ready(self) -> bool:
        """Whether it answers, and has begun its work."""
        return self.verdict is None and self.said.get("state") in ("ready", "draining")

    def describe(self) -> Json:
        """See watch.Watched; `running` is None where nobody knows."""
        said = self.said if self.verdict is None else {}
        return {
            "pid": said.get("pid"),
            "running": {None: True, "silent": True, "dead": False}.get(self.verdict),
            "ready": self.ready,
            "paused": False,
            "exit": None,
            "reason": said.get("reason") or self.reason,
            "since": said.get("since") or self.since,
            "log": self.log,
        }


class Observer:
    """All nodes of a topology; `run` it on the loop that `api` was made on."""

    def __init__(self, topology: Topology, api: NodeApi, orders: Orchestrator) -> None:
        self.children = {
            name: Observed(name, api.address(name), orders.log_of(name)) for name in topology.nodes
        }
        self.events = Events("lab")
        self._complete = False
        self._api = api
        self._orders = orders
        self._url = topology.store.url

    async def run(self) -> None:
        """Ask every node, each on its own, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for child in self.children.values():
                if child.admin is not None:
                    group.create_task(self._follow(child))

    def child(self, name: str) -> Observed:
        """The node called `name`; LabError names the nearest ones."""
        try:
            return self.children[name]
        except KeyError:
            raise unknown_node(name, self.children) from None

    def store(self) -> Json:
        """The store by the words of those that use it: up where one of them reaches it."""
        if self._url is None:
            return {"kind": "none"}
        words = [child.said.get("store") for child in self.children.values() if child.verdict is None]
        states = [word.get("state") for word in words if isinstance(word, dict)]
        if not states:
            return {"kind": "external", "state": "unknown"}
        return {"kind": "external", "state": "up" if "up" in states else "away"}

    # Orders: whoever runs the nodes carries them out.

    async def kill(self, name: str) -> None:
        """LabError names the command for it; so do the others."""
        raise self._refusal("kill", name)

    async def pause(self, name: str) -> None:
        """See kill."""
        raise self._refusal("pause", name)

    async def resume(self, name: str) -> None:
        """See kill."""
        raise self._refusal("resume", name)

    async def start(self, name: str) -> None:
        """See kill."""
        raise self._refusal("start", name)

    def down(self) -> None:
        """See kill."""
        raise self._refusal("down")

    def _refusal(self, verb: str, name: str = "") -> LabError:
        if name and name not in self._orders.services:
            self.child(name)
        return self._orders.refusal(verb, name)

    # What is heard.

    async def _follow(self, child: Observed) -> None:
        loop = asyncio.get_running_loop()
        while True:
            asked = loop.time()
            late = loop.call_later(SILENT, self._late, child)
            try:
                said = await self._api.ask(child.name, "/status", PATIENCE)
            except NoAnswer as error:
                self._missed(child, error)
            else:
                self._hear(child, said)
            finally:
                late.cancel()
            await asyncio.sleep(max(0.0, asked + PERIOD - loop.time()))

    def _hear(self, child: Observed, said: Json) -> None:
        before, child.said = child.said, said
        process = f"process {said.get('pid')}"
        restarted = before.get("started") != said.get("started")
        if not child.heard:
            self._change(child, "start", f"answers: {said.get('state')}, {process}", None)
        elif restarted:
            self._change(child, "start", f"was started anew: {said.get('state')}, {process}", None)
        elif child.verdict is not None:
            self._change(child, "state", f"answers again, still {process}", None)
        child.heard = True
        if not self._complete and all(one.ready for one in self.children.values() if one.admin):
            self._complete = True
            known = sum(one.admin is not None for one in self.children.values())
            self.events.add("start", "lab", f"all {known} nodes are ready")

    def _missed(self, child: Observed, error: NoAnswer) -> None:
        if child.verdict == "waiting":
            child.reason = f"no answer yet from {child.admin}: {error}"
        elif child.verdict == "dead":
            child.reason = f"does not answer on {child.admin}: {error}" if error.gone else child.reason
        elif error.gone:
            self._change(child, "stop", f"does not answer on {child.admin}: {error}", "dead")
        else:
            self._fall_silent(child, str(error))

    def _late(self, child: Observed) -> None:
        if child.verdict == "waiting":
            child.reason = f"no answer yet from {child.admin}"
        else:
            self._fall_silent(child, "frozen, hung, or its host is away")

    def _fall_silent(self, child: Observed, why: str) -> None:
        if child.verdict is None:
            self._change(child, "state", f"does not answer on {child.admin}: {why}", "silent")

    def _change(self, child: Observed, kind: str, reason: str, verdict: str | None) -> None:
        child.verdict, child.reason, child.since = verdict, reason, time.time()
        self.events.add(kind, child.name, reason)
