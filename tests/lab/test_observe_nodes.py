"""What an observer makes of answers: scripted nodes on real sockets, restarts with one pid, strangers at an address."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from cdnlab.lab import observe_nodes
from cdnlab.lab.gather import Gather
from cdnlab.lab.node_api import LARGEST, NoAnswer, NodeApi
from cdnlab.lab.observe_nodes import Observer
from cdnlab.lab.observe_orders import COMPOSE
from cdnlab.plan.topology import Topology

Json = dict[str, Any]


class ScriptedNode:
    """An admin API that answers what it is told: one node, several lives."""

    def __init__(self) -> None:
        self.started = 1000.5
        self.requests: list[Json] = []
        self.raw: bytes | None = None
        """The whole answer instead; empty: closes without one."""
        self.frozen = asyncio.Event()
        self.frozen.set()
        self.asked: list[str] = []
        self.port = 0
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()

    def restart(self, *targets: str) -> None:
        """Another life, which saw these requests; it has the same pid."""
        self.started += 60
        self.requests = []
        self.see(*targets)

    def see(self, *targets: str) -> None:
        for target in targets:
            number = len(self.requests) + 1
            self.requests.append({"n": number, "time": self.started + number, "target": target})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.split()[1].decode())
            await self.frozen.wait()
            writer.write(self._answer(self.asked[-1]) if self.raw is None else self.raw)
            await writer.drain()
        writer.close()

    def _answer(self, path: str) -> bytes:
        who = {"node": "edge-icn", "started": self.started}
        if path.startswith("/status"):
            return reply({**who, "state": "ready", "reason": "serving", "pid": 7})
        after = int(path.partition("after=")[2])
        entries = [one for one in self.requests if one["n"] > after]
        if after > len(self.requests):  # as a ring answers a number of another life
            entries = self.requests
        return reply({**who, "seen": len(self.requests), "missed": 0, "entries": entries})


def reply(body: Json | str, status: str = "200 OK") -> bytes:
    text = body if isinstance(body, str) else json.dumps(body)
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
    return f"{head}Connection: close\r\n\r\n{text}".encode()


def redirect(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


def topology(port: int, **more: Any) -> Topology:
    edge = {"tier": "edge", "place": "icn", "address": "127.0.0.1", "admin_port": port, "data_port": 1} | more
    pools = {"origins": {"backends": [{"name": "o", "address": "127.0.0.1", "port": 9}]}}
    return Topology.build({"nodes": {"edge-icn": edge}, "pools": pools, "vips": []})


@pytest.fixture
async def node() -> AsyncIterator[ScriptedNode]:
    made = ScriptedNode()
    await made.open()
    yield made
    made.frozen.set()
    await made.close()


@asynccontextmanager
async def observing(node: ScriptedNode) -> AsyncIterator[Observer]:
    plan = topology(node.port)
    api = NodeApi(plan)
    observer = Observer(plan, api, COMPOSE)
    task = asyncio.create_task(observer.run())
    try:
        yield observer
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await api.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions in quick succession; how long a node may take is not what is tested."""
    monkeypatch.setattr(observe_nodes, "PERIOD", 0.02)
    monkeypatch.setattr(observe_nodes, "SILENT", 0.3)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the observer says nothing when it changes its mind
            await asyncio.sleep(0.01)


def texts(observer: Observer) -> list[str]:
    return [e["text"] for e in observer.events.after(0)["entries"] if e["subject"] == "edge-icn"]


@pytest.mark.usefixtures("quick")
async def test_a_restart_is_noticed_although_the_pid_is_the_same(node: ScriptedNode) -> None:
    async with observing(node) as observer:
        await until(lambda: observer.child("edge-icn").ready)
        node.restart()
        await until(lambda: len(texts(observer)) > 1)
        assert texts(observer) == [
            "answers: ready, process 7",
            "was started anew: ready, process 7",
        ]


@pytest.mark.usefixtures("quick")
async def test_silence_is_one_event_and_one_open_question(node: ScriptedNode) -> None:
    async with observing(node) as observer:
        await until(lambda: observer.child("edge-icn").ready)
        node.frozen.clear()
        await until(lambda: observer.child("edge-icn").verdict == "silent")
        asked = len(node.asked)
        await asyncio.sleep(
            10 * observe_nodes.PERIOD
        )  # nothing more may come, so there is nothing to wait for
        assert len(node.asked) == asked, "each question more would wait in a frozen node's queue"
        assert not observer.child("edge-icn").ready
        assert observer.child("edge-icn").describe()["running"] is True
        node.frozen.set()
        await until(lambda: observer.child("edge-icn").ready)
        assert [text.split(" on ")[0] for text in texts(observer)[1:]] == [
            "does not answer",
            "answers again, still process 7",
        ]


@pytest.mark.usefixtures("quick")
async def test_what_answers_in_a_nodes_place_is_named(node: ScriptedNode) -> None:
    async with observing(node) as observer:
        await until(lambda: observer.child("edge-icn").ready)
        node.raw = reply({"node": "edge-gru"})
        await until(lambda: observer.child("edge-icn").verdict == "dead")
        assert texts(observer)[-1].endswith(": edge-gru listens there instead")
        await node.close()
        node.raw = None
        await until(lambda: "connection refused" in observer.child("edge-icn").reason)
        assert len(texts(observer)) == 2, "still dead is no event"
        await node.open()
        await until(lambda: observer.child("edge-icn").ready)


@pytest.mark.parametrize("first,second", [(3, 1), (3, 3), (2, 5), (0, 2)])
async def test_two_lives_are_never_mixed(node: ScriptedNode, first: int, second: int) -> None:
    old, new = [f"/old-{n}" for n in range(first)], [f"/new-{n}" for n in range(second)]
    async with observing(node) as observer:
        await until(lambda: observer.child("edge-icn").ready)
        gather = Gather(observer, topology(node.port), {}, "")
        try:
            node.see(*old)
            found = await gather.feed("requests", 0, None, 100)
            assert [row["target"] for row in found["requests"]] == old
            node.restart(*new)
            found = await gather.feed("requests", found["next"], None, 100)
            assert [row["target"] for row in found["requests"]] == new
            assert (await gather.feed("requests", found["next"], None, 100))["requests"] == []
        finally:
            await gather.close()


@pytest.mark.parametrize(
    "raw,why,gone",
    [
        (reply("{}", "404 Not Found"), "what listens there answers 404", True),
        (reply("<html>"), "what listens there is no node of a lab", True),
        (reply("[1]"), "what listens there is no node of a lab", True),
        (reply({"error": "x"}), "what listens there is no node of a lab", True),
        (reply({"node": "lb-z" * 99}), f"{('lb-z' * 99)[:60]} listens there instead", True),
        (reply({"node": "\x1b[2J"}), "?[2J listens there instead", True),
        (reply("[" * 100_000), "what listens there is no node of a lab", True),
        (
            reply(" " * (LARGEST + 1)),
            "what listens there is no node of a lab: it does not stop talking",
            True,
        ),
        (redirect("/status"), "what listens there answers 302", True),
        (b"SSH-2.0-OpenSSH_9\r\n", "what listens there does not speak HTTP", True),
        (b"", "the connection was closed without an answer", False),
    ],
)
async def test_why_there_is_no_answer(node: ScriptedNode, raw: bytes, why: str, gone: bool) -> None:
    node.raw = raw
    api = NodeApi(topology(node.port))
    try:
        with pytest.raises(NoAnswer) as told:
            await api.ask("edge-icn", "/status")
        assert (str(told.value), told.value.gone) == (why, gone)
    finally:
        await api.close()


async def test_an_answer_does_not_unfold_in_memory(node: ScriptedNode) -> None:
    folded = gzip.compress(json.dumps({"node": "edge-icn"}).encode())
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(folded)}\r\n\r\n"
    node.raw = head.encode() + folded
    api = NodeApi(topology(node.port))
    try:
        with pytest.raises(NoAnswer, match="no node of a lab"):
            await api.ask("edge-icn", "/status")
    finally:
        await api.close()


@pytest.mark.usefixtures("quick")
async def test_a_closed_connection_is_not_called_a_freeze(node: ScriptedNode) -> None:
    async with observing(node) as observer:
        await until(lambda: observer.child("edge-icn").ready)
        node.raw = b""
        await until(lambda: observer.child("edge-icn").verdict == "silent")
        assert observer.child("edge-icn").reason.endswith(": the connection was closed without an answer")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "more",
    [{}, {"entries": 1}, {"entries": [1]}, {"entries": [{"n": 1}]}, {"entries": [{"n": 1, "time": None}]}],
    ids=str,
)
async def test_an_ill_formed_answer_costs_the_others_nothing(node: ScriptedNode, more: Json) -> None:
    async with observing(node) as observer:
        said = {"node": "edge-icn", "started": 1, "state": "ready", "pid": 7}
        node.raw = reply(said | more)
        await until(lambda: observer.child("edge-icn").ready)
        gather = Gather(observer, topology(node.port), {}, "")
        try:
            assert (await gather.feed("requests", 0, None, 9))["requests"] == []
            events = (await gather.feed("events", 0, None, 9))["events"]
            assert "edge-icn" in [event["subject"] for event in events]
        finally:
            await gather.close()


async def test_an_ill_formed_word_about_the_store_is_no_word(node: ScriptedNode) -> None:
    built = topology(node.port).with_store("redis://127.0.0.1:1/0")
    api = NodeApi(built)
    try:
        observer = Observer(built, api, COMPOSE)
        child = observer.child("edge-icn")
        child.verdict, child.said = None, {"store": {"state": []}}
        assert observer.store() == {"kind": "external", "state": "away"}
    finally:
        await api.close()


async def test_a_node_called_prometheus_is_a_node() -> None:
    spec = {"tier": "edge", "place": "icn", "address": "127.0.0.1"}
    pools = {"origins": {"backends": [{"name": "o", "address": "127.0.0.1", "port": 9}]}}
    built = Topology.build({"nodes": {"prometheus": spec}, "pools": pools, "vips": []})
    api = NodeApi(built)
    gather = Gather(Observer(built, api, COMPOSE), built, {}, "")
    try:
        lab = gather.lab()
        assert (lab["prometheus"], [one["name"] for one in lab["nodes"]]) == (None, ["prometheus"])
    finally:
        await gather.close()
        await api.close()


async def test_nobody_there_and_nobody_answering_differ(node: ScriptedNode) -> None:
    api = NodeApi(topology(node.port))
    try:
        node.frozen.clear()
        with pytest.raises(NoAnswer) as told:
            await api.ask("edge-icn", "/status", 0.1)
        assert (str(told.value), told.value.gone) == ("no answer within 0.1 s", False)
        await node.close()
        with pytest.raises(NoAnswer) as told:
            await api.ask("edge-icn", "/status")
        assert (str(told.value), told.value.gone) == ("connection refused", True)
    finally:
        await api.close()


async def test_a_node_whose_admin_api_is_off_is_not_asked() -> None:
    built = topology(0, admin_address="off")
    api = NodeApi(built)
    try:
        child = Observer(built, api, COMPOSE).child("edge-icn")
        assert (child.verdict, child.reason) == ("unknown", "its admin API is off")
        with pytest.raises(NoAnswer, match="admin API is off"):
            await api.ask("edge-icn", "/status")
    finally:
        await api.close()
