"""The admin API on a real socket: what it answers, and to whom."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from cdnlab.node.admin import Admin, host_name, is_address
from cdnlab.node.health_answer import NodeState
from cdnlab.node.log import KEPT
from cdnlab.node.metrics import Family, MetricSpec, Tallies
from cdnlab.node.node import BadRequest, Node
from cdnlab.plan.single import single_edge

DURATION = MetricSpec("cdnlab_test_duration_seconds", "histogram", ("result", "client_place"), "How long.")


class App:
    """What a tier gives a node, the least of it."""

    def __init__(self, node: Node) -> None:
        self.tallies = node.tallies = Tallies(("hit", "miss"), ["icn"], hits=["hit"])

    async def start(self) -> None: ...

    async def drain(self, deadline: float) -> None: ...

    async def stop(self) -> None: ...

    def status(self) -> Mapping[str, Any]:
        return {"backends": [{"name": "origin-1"}]}

    def metrics(self) -> Iterator[Family]:
        return self.tallies.families(DURATION)


class Client:
    """Asks one node's admin API."""

    def __init__(self, node: Node, session: aiohttp.ClientSession, base: str) -> None:
        self.node = node
        self.session = session
        self.base = base

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with self.session.get(self.base + path, headers=headers) as response:
            return response.status, await response.text()

    async def post(
        self, path: str, body: bytes | io.BytesIO = b"", **headers: str
    ) -> tuple[int, dict[str, Any]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("Authorization", f"Bearer {self.node.secrets.admin_token}")
        async with self.session.post(self.base + path, data=body, headers=named) as response:
            return response.status, await response.json()


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    node = Node(single_edge("127.0.0.1:8080", ["http://127.0.0.1:9001"]), "edge")
    node.serve(App(node))
    node.change(NodeState.READY, "serving")
    admin = Admin(node)
    await admin.start("127.0.0.1", 0)
    assert admin.address is not None
    async with aiohttp.ClientSession() as session:
        yield Client(node, session, f"http://127.0.0.1:{admin.address[1]}")
    await admin.stop()


async def test_status_is_the_node_s_and_the_tier_s(client: Client) -> None:
    assert client.node.tallies is not None
    client.node.tallies.of("icn")[0].add(0.001)
    status, text = await client.get("/status")
    answer = json.loads(text)
    assert status == 200
    assert (answer["node"], answer["tier"], answer["state"], answer["reason"]) == (
        "edge",
        "edge",
        "ready",
        "serving",
    )
    assert (answer["requests"]["total"], answer["requests"]["hit_ratio"]) == (1, 1.0)
    assert answer["backends"] == [{"name": "origin-1"}]
    assert client.node.secrets.admin_token not in text


async def test_metrics(client: Client) -> None:
    status, text = await client.get("/metrics")
    assert status == 200
    assert 'cdnlab_test_duration_seconds_bucket{result="hit",client_place="other",le="+Inf"} 0' in text
    assert "cdnlab_node_ready 1\n" in text
    assert "process_cpu_seconds_total" in text


async def test_health_and_readiness_are_two_things(client: Client) -> None:
    client.node.change(NodeState.BEHIND, "missed purges")
    assert await client.get("/healthz") == (200, "alive\n")
    assert await client.get("/readyz") == (503, "behind: missed purges\n")


async def test_being_behind_is_asked_for_at_every_look(client: Client) -> None:
    behind = True
    client.node.behind = lambda: behind
    client.node.change(NodeState.READY, "serving")
    status, text = await client.get("/readyz")
    assert (status, text.partition(":")[0]) == (503, "behind")
    assert not client.node.ready
    behind = False
    assert await client.get("/readyz") == (200, "ready: serving\n")
    assert client.node.status()["state"] == "ready"
    behind = True
    client.node.change(NodeState.DRAINING, "told to drain")
    assert await client.get("/readyz") == (503, "draining: told to drain\n")


async def test_requests_and_events_can_be_followed(client: Client) -> None:
    ring = client.node.ring
    for number in range(3):
        ring.seen += 1
        ring.entries.append((float(number), *[""] * 12))
    _, text = await client.get("/requests?after=1&limit=1")
    answer = json.loads(text)
    assert (answer["node"], answer["seen"], [entry["n"] for entry in answer["entries"]]) == ("edge", 3, [2])
    _, text = await client.get("/events")
    assert [event["text"] for event in json.loads(text)["entries"]] == ["ready: serving"]
    assert json.loads((await client.get(f"/events?limit={KEPT * 100}"))[1])["seen"] == 1


@pytest.mark.parametrize("query", ["after=x", "after=-1", "limit=1e3", "after=" + "9" * 30, "after=²"])
async def test_numbers_must_be_numbers(client: Client, query: str) -> None:
    status, text = await client.get(f"/requests?{query}")
    assert status == 400
    assert "after=N" in text or "limit=N" in text


async def test_draining_and_back(client: Client) -> None:
    status, answer = await client.post("/drain")
    assert (status, answer["state"], answer["reason"]) == (200, "draining", "told to drain")
    assert (await client.get("/readyz"))[0] == 503
    assert (await client.post("/undrain"))[1]["state"] == "ready"
    client.node.ending = True
    client.node.change(NodeState.DRAINING, "told to end")
    assert (await client.post("/undrain"))[0] == 409
    assert client.node.draining


async def test_a_starting_node_does_not_drain(client: Client) -> None:
    client.node.health = NodeState.STARTING
    assert (await client.post("/drain"))[0] == 409


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic eDp5", "Bearer \udcff"])
async def test_changes_need_the_token(client: Client, token: str) -> None:
    status, answer = await client.post("/drain", Authorization=token)
    assert (status, client.node.draining) == (401, False)
    assert "secrets/admin_token" in answer["remedy"]


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [
        ("/status", "localhost", 200),
        ("/status", "LOCALHOST:9101", 200),
        ("/status", "edge:9101", 200),
        ("/status", "127.82.1.10:9101", 200),
        ("/status", "[::1]:9101", 200),
        ("/status", "rebound.example", 421),
        ("/requests", "rebound.example:9101", 421),
        ("/events", "127.0.0.1.rebound.example", 421),
        ("/metrics", "prometheus-sees-me-as.example", 200),
        ("/healthz", "anything.example", 200),
        ("/readyz", "anything.example", 200),
    ],
)
async def test_a_rebound_name_reads_nothing_private(
    client: Client, path: str, host: str, status: int
) -> None:
    assert (await client.get(path, Host=host))[0] == status


@pytest.mark.parametrize("host", ["rebound.example", "10.0.0.1", ""])
async def test_changes_need_one_of_our_own_names(client: Client, host: str) -> None:
    assert (await client.post("/drain", Host=host))[0] == 421
    assert not client.node.draining


async def test_purging_is_the_tier_s(client: Client) -> None:
    assert (await client.post("/purge", b"{}"))[0] == 501

    async def purge(asked: Mapping[str, Any]) -> Mapping[str, Any]:
        if "url" not in asked:
            raise BadRequest("it names nothing", "name something")
        return {"purged": asked["url"]}

    assert (await client.get("/purges"))[0] == 501
    client.node.purges = lambda name: {"asked": name}
    assert json.loads((await client.get("/purges?id=a-1"))[1]) == {"asked": "a-1"}
    client.node.purge = purge
    assert (await client.post("/purge", b"[]"))[0] == 400
    assert (await client.post("/purge", b"{"))[0] == 400
    assert (await client.post("/purge", b"\xff"))[0] == 400
    refused = {"error": "it names nothing", "remedy": "name something"}
    assert await client.post("/purge", b"{}") == (400, refused)
    assert await client.post("/purge", b'{"url": "/x"}') == (202, {"purged": "/x"})
    assert (await client.post("/purge", io.BytesIO(b" " * (1 << 21))))[0] == 413


async def test_what_is_not_there(client: Client) -> None:
    assert (await client.post("/policy"))[0] == 501
    status, text = await client.get("/nothing")
    assert status == 404
    assert "/status" in json.loads(text)["remedy"]
    assert (await client.get("/drain"))[0] == 405


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"[" * 200_000, "application/json"),
        (b'{"a":' * 100_000, "application/json"),
        (b"{}", "application/json; charset=none"),
        (b"\xff", "text/plain"),
    ],
    ids=["brackets", "braces", "no encoding", "no text"],
)
async def test_what_is_no_json_object_is_told_so(client: Client, body: bytes, kind: str) -> None:
    named = {"Authorization": f"Bearer {client.node.secrets.admin_token}", "Content-Type": kind}
    async with client.session.post(client.base + "/faults", data=body, headers=named) as response:
        assert response.status == 400
        assert (await response.json())["error"] == "the body is not a JSON object"


@pytest.mark.parametrize(
    ("field", "host"),
    [("h:1", "h"), ("H", "h"), ("[::1]:9", "::1"), ("[::1]", "::1"), ("", ""), (":80", "")],
)
def test_the_host_in_a_host_field(field: str, host: str) -> None:
    assert host_name(field) == host


def test_addresses() -> None:
    assert is_address("127.0.0.1")
    assert is_address("::1")
    assert not is_address("127.0.0.1.example")
    assert not is_address("")
