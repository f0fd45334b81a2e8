"""What the nodes say of themselves, asked of their admin APIs and put beside what the supervisor sees.

`status` is asked anew at most a few times a second, however many watch. A node that is frozen or dead is not asked; one
that does not answer costs the others nothing. It changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp

from cdnlab.lab import embedded_store
from cdnlab.lab.feed import Answer, Feed
from cdnlab.lab.supervisor import Child, Supervisor
from cdnlab.plan.topology import Topology

#: Seconds a node may take to answer for itself; its loop does so in a millisecond unless it hangs.
ANSWER = 0.8
#: Seconds for which one look at everything serves all who ask.
FRESH = 0.3

#: The name under which the supervisor's own events are asked for.
LAB = "lab"

ERRORS = (aiohttp.ClientError, OSError, TimeoutError, ValueError)
"""Every way in which a node fails to answer; ValueError is an answer that is no JSON."""

Json = dict[str, Any]


class Gather:
    """Asks the nodes of one lab. Made inside the running loop; `close` it there."""

    def __init__(self, supervisor: Supervisor, topology: Topology, facts: Json, store: str) -> None:
        """`facts` are /lab's that never change; `store` is its URL without a password."""
        self._supervisor = supervisor
        self._topology = topology
        self._facts = facts
        self._url = store
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER))
        self._feeds = {"requests": Feed(), "events": Feed()}
        self._pulling = asyncio.Lock()
        self._looking = asyncio.Lock()
        self._looked = -FRESH
        self._status: Json = {}

    async def close(self) -> None:
        """Close the connections to the nodes."""
        await self._session.close()

    def lab(self) -> Json:
        """The lab itself: where it is, its VIPs, its nodes as the supervisor sees them, its store."""
        nodes = [self._node(child) for child in self._nodes()]
        return {**self._facts, "nodes": nodes, "store": self._store()}

    async def status(self) -> Json:
        """{"lab": …, "nodes": [each node's /status, with what the supervisor sees above it]}."""
        async with self._looking:
            if time.monotonic() - self._looked >= FRESH:
                nodes = await asyncio.gather(*(self._look(child) for child in self._nodes()))
                self._status = {"lab": self.lab(), "nodes": nodes}
                self._looked = time.monotonic()
        return self._status

    async def feed(self, kind: str, after: int, node: str | None, limit: int) -> Json:
        """{kind: the newest `limit` entries after number `after`, oldest first, "next": the number to ask from then}.

        `kind` is requests or events; the supervisor's own events are those of node "lab". Each entry has its "node".
        """
        feed = self._feeds[kind]
        async with self._pulling:
            asked = [child for child in self._nodes() if child.ready and not child.paused]
            answers = await asyncio.gather(*(self._pull(feed, kind, child) for child in asked))
            own = (
                [Answer(LAB, None, self._supervisor.events.after(feed.cursor(LAB, None)))]
                if kind == "events"
                else []
            )
            feed.take([answer for answer in (*answers, *own) if answer is not None])
        return {kind: feed.after(after, node, limit), "next": feed.seen}

    async def _pull(self, feed: Feed, kind: str, child: Child) -> Answer | None:
        pid = child.pid
        try:
            ring = await self._ask(child, f"/{kind}?after={feed.cursor(child.name, pid)}")
        except ERRORS:
            return None
        return Answer(child.name, pid, ring)

    def _nodes(self) -> list[Child]:
        return [c for c in self._supervisor.children.values() if c.name != embedded_store.NAME]

    def _node(self, child: Child) -> Json:
        spec = self._topology.node(child.name)
        return {
            "name": child.name,
            "tier": spec.tier,
            "place": spec.place,
            "data": _address(self._topology.data_address(child.name)),
            "admin": _address(self._topology.admin_address(child.name)),
            **child.describe(),
        }

    def _store(self) -> Json:
        child = self._supervisor.children.get(embedded_store.NAME)
        if child is None:
            return {"kind": "external", "url": self._url}
        state = "paused" if child.paused else "up" if child.running else "dead"
        return {"kind": "embedded", "url": self._url, "state": state, **child.describe()}

    async def _look(self, child: Child) -> Json:
        seen = self._node(child)
        if child.paused or not child.running:
            return {**seen, "node": child.name, "state": "paused" if child.paused else "dead"}
        if seen["admin"] is None:
            return {**seen, "node": child.name, "state": "ready" if child.ready else "starting"}
        try:
            said = await self._ask(child, "/status")
        except ERRORS as error:
            said = {"reason": f"does not answer on its admin address: {_name(error)}"}
        return {**seen, **said, "pid": child.pid, "place": seen["place"], "tier": seen["tier"]}

    async def _ask(self, child: Child, path: str) -> Json:
        address = _address(self._topology.admin_address(child.name))
        if address is None:
            raise ValueError("its admin API is off")
        async with self._session.get(f"http://{address}{path}") as response:
            response.raise_for_status()
            answer: Json = await response.json()
            return answer


def _name(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _address(address: tuple[str, int] | None) -> str | None:
    """host:port, IPv6 in brackets; None where there is none."""
    if address is None:
        return None
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
