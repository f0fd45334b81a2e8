"""What the nodes say of themselves, asked of their admin APIs and put beside what is seen of them from outside.

`status` is asked anew at most a few times a second, however many watch. A node that is frozen or dead is not asked; one
that does not answer costs the others nothing. It changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from cdnlab.lab import prometheus
from cdnlab.lab.addresses import show
from cdnlab.lab.feed import Answer, Feed, well_formed
from cdnlab.lab.node_api import NoAnswer, NodeApi
from cdnlab.lab.watch import Watch, Watched
from cdnlab.plan.topology import Topology

#: Seconds for which one look at everything serves all who ask.
FRESH = 0.3

#: The name under which the events of the one that watches are asked for.
LAB = "lab"

Json = dict[str, Any]


class Gather:
    """Asks the nodes of one lab. Made inside the running loop; `close` it there."""

    def __init__(self, watch: Watch, topology: Topology, facts: Json, store: str) -> None:
        """`facts` are /lab's that never change; `store` is its URL without a password."""
        self._watch = watch
        self._topology = topology
        self._facts = facts
        self._url = store
        self._api = NodeApi(topology)
        self._feeds = {"requests": Feed(), "events": Feed()}
        self._pulling = asyncio.Lock()
        self._looking = asyncio.Lock()
        self._looked = -FRESH
        self._status: Json = {}

    async def close(self) -> None:
        """Close the connections to the nodes."""
        await self._api.close()

    def lab(self) -> Json:
        """The lab itself: where it is, its VIPs, its nodes as they are seen from outside, its store."""
        nodes = [self._node(one) for one in self._nodes()]
        return {
            **self._facts,
            "nodes": nodes,
            "store": {"url": self._url, **self._watch.store()},
            "prometheus": self._prometheus(),
        }

    async def status(self) -> Json:
        """{"lab": …, "nodes": [each node's /status, with what is seen of it from outside above it]}."""
        async with self._looking:
            if time.monotonic() - self._looked >= FRESH:
                nodes = await asyncio.gather(*(self._look(one) for one in self._nodes()))
                self._status = {"lab": self.lab(), "nodes": nodes}
                self._looked = time.monotonic()
        return self._status

    async def flows(self, limit: int) -> Json:
        """{"nodes": [what each balancer that can be asked says of its flow table, with up to `limit` entries]}."""
        balancers = set(self._topology.tier("lb"))
        asked = [one for one in self._nodes() if one.name in balancers and one.ready and not one.paused]
        answers = await asyncio.gather(*(self._flows(one.name, limit) for one in asked))
        return {"nodes": [answer for answer in answers if answer is not None]}

    async def _flows(self, name: str, limit: int) -> Json | None:
        try:
            return await self._api.ask(name, f"/flows?limit={limit}")
        except NoAnswer:
            return None

    async def feed(self, kind: str, after: int, node: str | None, limit: int) -> Json:
        """{kind: the newest `limit` entries after number `after`, oldest first, "next": the number to ask from then}.

        `kind` is requests or events; what was seen from outside are events of node "lab". Each entry has its "node".
        """
        feed = self._feeds[kind]
        async with self._pulling:
            asked = [one for one in self._nodes() if one.ready and not one.paused]
            answers = await asyncio.gather(*(self._pull(feed, kind, one.name) for one in asked))
            own = (
                [Answer(LAB, None, self._watch.events.after(feed.cursor(LAB, None)))]
                if kind == "events"
                else []
            )
            feed.take([answer for answer in (*answers, *own) if answer is not None])
        return {kind: feed.after(after, node, limit), "next": feed.seen}

    async def _pull(self, feed: Feed, kind: str, name: str) -> Answer | None:
        life = feed.life(name)
        number = feed.cursor(name, life)
        try:
            ring = await self._api.ask(name, f"/{kind}?after={number}")
            if number and ring.get("started") != life:  # another process, which counts from 1 again
                ring = await self._api.ask(name, f"/{kind}?after=0")
        except NoAnswer:
            return None
        return Answer(name, ring.get("started"), ring) if well_formed(ring) else None

    def _nodes(self) -> list[Watched]:
        return [one for name, one in self._watch.children.items() if name in self._topology.nodes]

    def _node(self, one: Watched) -> Json:
        spec = self._topology.node(one.name)
        return {
            "name": one.name,
            "tier": spec.tier,
            "place": spec.place,
            "data": show(self._topology.data_address(one.name)),
            "admin": self._api.address(one.name),
            **one.describe(),
        }

    def _prometheus(self) -> Json | None:
        """The Prometheus that `up --prometheus` started beside the lab."""
        one = self._watch.children.get(prometheus.NAME)
        if one is None or one.name in self._topology.nodes:
            return None
        state = one.verdict or ("up" if one.ready else "starting")
        return {"url": prometheus.url(self._topology), "state": state, **one.describe()}

    async def _look(self, one: Watched) -> Json:
        seen = self._node(one)
        if one.verdict is not None:
            return {**seen, "node": one.name, "state": one.verdict}
        if seen["admin"] is None:
            return {**seen, "node": one.name, "state": "ready" if one.ready else "starting"}
        try:
            said = await self._api.ask(one.name, "/status")
        except NoAnswer as error:
            said = {"reason": f"does not answer on its admin address: {error}"}
        return {**seen, **said, "place": seen["place"], "tier": seen["tier"]}
