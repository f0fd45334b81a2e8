"""Purges against whole edges: real sockets, an origin that a test holds up, a real store between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cdnlab.net import tasks
from cdnlab.node.health_answer import NodeState
from cdnlab.node.log import Events
from cdnlab.node.metrics import problems, undocumented
from cdnlab.node.node import BadRequest, Node
from cdnlab.node.store import Store
from cdnlab.plan.single import single_edge
from cdnlab.plan.topology import Topology
from edge.app import Edge
from edge.decision import NotReused
from edge.eviction.lru import Lru
from edge.purge import position_file, stats
from edge.purge.office import Office
from edge.purge.position import Standing
from edge.purge.purges import Purges
from edge.purge.rules import Kind, Rule
from edge.purge.sweep import Sweep
from edge.purging import Verdict
from edge.storable import NotStored
from edge.storage_memory import MemoryStorage
from tests.edge.origin import Origin, Talk
from tests.edge.purge.test_purges import stored
from tests.edge.purge.test_stream import until
from tests.edge.test_sockets import Client
from tests.node.conftest import Valkey
from tests.support.labs import ROOT

Answer = tuple[int, dict[str, str], bytes]
HOST = "http://shop.example"
MINUTE = "Cache-Control: max-age=60"


class Site:
    """An origin that numbers its answers, and holds up those whose path is in `held`."""

    def __init__(self) -> None:
        self.origin = Origin(self._answer)
        self.asked: list[str] = []
        self.fields: dict[str, tuple[str, ...]] = {}
        self.held: dict[str, asyncio.Event] = {}

    async def _answer(self, talk: Talk) -> None:
        if "content-length" in talk.fields:
            await talk.body()
        self.asked.append(f"{talk.method} {talk.target}")
        number = len(self.asked)
        path = talk.target.partition("?")[0]
        if path in self.held:
            await self.held[path].wait()
        fields = (MINUTE, f'ETag: "{path}"', *self.fields.get(path, ()))
        if talk.fields.get("if-none-match") == f'"{path}"':
            await talk.answer(304, *fields)
        else:
            await talk.answer(200, *fields, body=b"answer %d" % number)


class Running:
    """One edge, and what is asked of it."""

    def __init__(self, app: Edge) -> None:
        self.app = app
        assert app.address is not None
        self.port = app.address[1]
        self.clients: list[Client] = []

    async def client(self) -> Client:
        made = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(made)
        return made

    async def get(self, target: str, *fields: str, method: str = "GET") -> Answer:
        return await (await self.client()).ask(target, *fields, method=method)

    async def how(self, target: str, *fields: str) -> str:
        """What our own member of Cache-Status says."""
        return (await self.get(target, *fields))[1]["cache-status"]

    async def purge(self, **asked: Any) -> str:
        """Post a purge, and wait until it is applied here."""
        assert self.app.node.purge is not None
        assert self.app.node.purges is not None
        answer = await self.app.node.purge(asked)
        await until(lambda: self.looked(answer["id"])["applied"])
        return str(answer["id"])

    def looked(self, purge: str) -> dict[str, Any]:
        assert self.app.node.purges is not None
        return dict(self.app.node.purges(purge))


Starter = Callable[..., Awaitable[Running]]


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    yield made
    await made.origin.stop()


@pytest.fixture
async def start(site: Site) -> AsyncIterator[Starter]:
    """Starts edges before one origin."""
    url = await site.origin.start()
    running: list[Running] = []
    stores: list[Store] = []

    async def make(store: str | None = None, **sections: Any) -> Running:
        plain = single_edge("127.0.0.1:0", [url], admin="off").model_dump(exclude_unset=True)
        edge = {**plain.get("edge", {}), **sections.pop("edge", {})}
        topology = Topology.build({**plain, **sections, "edge": edge})
        events = Events("edge")
        client = Store(store, events) if store else None
        if client is not None:
            await client.start()
            stores.append(client)
        app = Edge(Node(topology, "edge", store=client, events=events))
        await app.start()
        app.node.change(NodeState.READY, "serving")
        running.append(Running(app))
        return running[-1]

    yield make
    for each in running:
        for client in each.clients:
            client.close()
        await each.app.stop()
        await until(lambda app=each.app: not (app.listener and app.listener.connections))
    await tasks.cancel_all()
    for one in stores:
        await one.stop()


# -- one edge --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        {"url": HOST + "/a?x=1"},
        {"url": "HTTP://SHOP.example/%61?x=1#top"},
        {"tags": ["blue"]},
        {"tags": ["t2"]},
        {"prefixes": [HOST + "/a"]},
        {"groups": [HOST + " g"]},
        {"all": True},
    ],
)
async def test_each_kind_of_purge(start: Starter, site: Site, asked: dict[str, Any]) -> None:
    site.fields["/a"] = (
        "Surrogate-Key: red blue",
        "Cache-Tag: t1, t2",
        'Cache-Groups: "g"',
        "Vary: Accept-Language",
    )
    edge = await start()
    for _ in range(2):
        for language in ("en", "ko"):
            await edge.get("/a?x=1", f"Accept-Language: {language}")
        await edge.get("/b")
    assert len(site.asked) == 3
    purge = await edge.purge(**asked)
    assert edge.looked(purge)["state"] == "alone"
    for language in ("en", "ko"):
        assert "uri-miss" in await edge.how("/a?x=1", f"Accept-Language: {language}") or language == "ko"
    assert ("hit" in await edge.how("/b")) is (asked != {"all": True})
    assert site.asked.count("GET /a?x=1") == 4, "all variants go"
    assert not edge.app.node.behind(), "an edge without a store never is"


async def test_a_soft_purge_keeps_the_body_and_asks(start: Starter, site: Site) -> None:
    edge = await start()
    await edge.get("/a")
    await edge.purge(tags=["other"], soft=True)
    assert "hit" in await edge.how("/a")
    await edge.purge(url=HOST + "/a", soft=True)
    _, fields, body = await edge.get("/a")
    assert (body, fields["cache-status"].startswith("edge; fwd=stale; fwd-status=304")) == (b"answer 1", True)
    assert fields["cache-status"].endswith(f"detail={NotReused.PURGED}")
    assert "hit" in await edge.how("/a")


async def test_what_cannot_be_purged_is_refused(start: Starter) -> None:
    edge = await start()
    assert edge.app.node.purge is not None
    for asked in ({}, {"url": "/a"}, {"urls": 7}, {"all": "yes"}):
        with pytest.raises(BadRequest):
            await edge.app.node.purge(asked)


async def test_an_answer_that_was_on_its_way_is_not_stored(start: Starter, site: Site) -> None:
    """Its tags come with it, so no key could have told."""
    site.fields["/a"] = ("Surrogate-Key: red",)
    site.held["/a"] = asyncio.Event()
    edge = await start()
    first = asyncio.ensure_future(edge.get("/a"))
    await until(lambda: site.asked)
    await edge.purge(tags=["red"])
    site.held.pop("/a").set()
    assert (await first)[2] == b"answer 1", "who asked before is answered"
    assert (await edge.get("/a"))[2] == b"answer 2"
    assert edge.app.cache is not None
    assert edge.app.cache.not_stored[NotStored.PURGED] == 1


@pytest.mark.parametrize("kind", ["url", "tag", "soft"])
async def test_who_comes_after_a_purge_joins_no_fetch_from_before_and_those_after_share_one(
    start: Starter, site: Site, kind: str
) -> None:
    site.fields["/a"] = ("Surrogate-Key: red",)
    held = site.held["/a"] = asyncio.Event()
    edge = await start()
    before = [asyncio.ensure_future(edge.get("/a")) for _ in range(2)]
    await until(lambda: site.asked and edge.app.cache and any(f.waiters for f in edge.app.cache.flights))
    await edge.purge(**({"tag": "red"} if kind == "tag" else {"url": HOST + "/a", "soft": kind == "soft"}))
    after = [asyncio.ensure_future(edge.get("/a")) for _ in range(3)]
    await until(lambda: len(site.asked) == 2)
    held.set()
    assert {body for _, _, body in await asyncio.gather(*before)} == {b"answer 1"}
    assert {body for _, _, body in await asyncio.gather(*after)} == {b"answer 2"}
    assert len(site.asked) == 2
    assert (await edge.get("/a"))[2] == b"answer 2"


async def test_a_fetch_that_ends_after_its_successor_does_not_replace_it(start: Starter, site: Site) -> None:
    held = site.held["/a"] = asyncio.Event()
    edge = await start()
    slow = asyncio.ensure_future(edge.get("/a"))
    await until(lambda: site.asked)
    await edge.purge(url=HOST + "/a")
    del site.held["/a"]
    assert (await edge.get("/a"))[2] == b"answer 2"
    held.set()
    assert (await slow)[2] == b"answer 1"
    assert (await edge.get("/a"))[2] == b"answer 2"


async def test_a_purge_during_a_revalidation_is_not_undone_by_its_304(start: Starter, site: Site) -> None:
    edge = await start()
    await edge.get("/a")
    site.held["/a"] = asyncio.Event()
    validating = asyncio.ensure_future(edge.get("/a", "Cache-Control: no-cache"))
    await until(lambda: len(site.asked) == 2)
    await edge.purge(url=HOST + "/a")
    site.held.pop("/a").set()
    assert (await validating)[2] == b"answer 1"
    assert "fwd=uri-miss" in await edge.how("/a")
    assert site.asked == ["GET /a"] * 3


async def test_a_soft_purge_during_a_revalidation_asks_again(start: Starter, site: Site) -> None:
    edge = await start()
    await edge.get("/a")
    site.held["/a"] = asyncio.Event()
    validating = asyncio.ensure_future(edge.get("/a", "Cache-Control: no-cache"))
    await until(lambda: len(site.asked) == 2)
    await edge.purge(url=HOST + "/a", soft=True)
    site.held.pop("/a").set()
    await validating
    assert f"detail={NotReused.PURGED}" in await edge.how("/a")
    assert "hit" in await edge.how("/a")


async def test_the_query_rules_of_a_route_hold_for_purges(start: Starter, site: Site) -> None:
    route = {"path": "/", "pool": "origins", "query": {"sort": True, "drop": ["utm_*"]}}
    edge = await start(routes=[route])
    await edge.get("/a?b=1&a=2&utm_source=x")
    await edge.purge(url=HOST + "/a?a=2&b=1&utm_medium=y")
    assert "uri-miss" in await edge.how("/a?a=2&b=1")


async def test_who_purges_what_no_vary_search_makes_equal_means_both(start: Starter, site: Site) -> None:
    site.fields["/a"] = ('No-Vary-Search: params=("utm")',)
    edge = await start()
    await edge.get("/a?utm=1")
    assert "hit" in await edge.how("/a?utm=2")
    await edge.purge(url=HOST + "/a?utm=2")
    assert (await edge.get("/a?utm=2"))[2] == b"answer 2"
    assert (await edge.get("/a?utm=1"))[2] == b"answer 2"


# -- groups (RFC 9875) -----------------------------------------------------------------------------------------------


async def test_a_response_to_an_unsafe_method_invalidates_groups_of_its_origin(
    start: Starter, site: Site
) -> None:
    for path in ("/a", "/b"):
        site.fields[path] = (f'Cache-Groups: "{path[1:]}", "all"',)
    site.fields["/change"] = ('Cache-Group-Invalidation: "a";x=1',)
    edge = await start()

    async def fill() -> None:
        for path in ("/a", "/b"):
            await edge.get(path)
            await edge.get(path, "X: 1", method="GET")
        await (await edge.client()).ask("/a", method="GET")

    await fill()
    other = await edge.client()
    other.writer.write(b"GET /a HTTP/1.1\r\nHost: other.example\r\n\r\n")
    await other.receive()
    asked = len(site.asked)
    await edge.get("/change")
    assert "hit" in await edge.how("/a"), "a safe method's must be ignored"
    await edge.get("/change", "Content-Length: 0", method="POST")
    assert "uri-miss" in await edge.how("/a")
    assert "hit" in await edge.how("/b")
    other.writer.write(b"GET /a HTTP/1.1\r\nHost: other.example\r\n\r\n")
    assert "hit" in (await other.receive())[1]["cache-status"], "another origin's group"
    assert len(site.asked) == asked + 3


async def test_what_an_unsafe_method_changes_takes_its_groups_along_and_no_more(
    start: Starter, site: Site
) -> None:
    site.fields["/a"] = ('Cache-Groups: "one"',)
    site.fields["/b"] = ('Cache-Groups: "one", "two"',)
    site.fields["/c"] = ('Cache-Groups: "two"',)
    edge = await start()
    for path in ("/a", "/b", "/c"):
        await edge.get(path)
    await edge.get("/a", "Content-Length: 0", method="DELETE")
    assert "uri-miss" in await edge.how("/b")
    assert "hit" in await edge.how("/c"), "it does not cascade (RFC 9875 §2.2.1)"


async def test_the_answer_that_reports_a_change_is_itself_newer(start: Starter, site: Site) -> None:
    site.fields["/a"] = ('Cache-Groups: "g"', 'Cache-Group-Invalidation: "g"', f"Content-Location: {HOST}/a")
    edge = await start()
    await edge.get("/a", "Content-Length: 0", method="POST")
    assert "hit" in await edge.how("/a"), "POST may be answered into the cache (RFC 9110 §9.3.3)"


# -- several edges, and parents --------------------------------------------------------------------------------------


async def test_edges_with_a_store_purge_together(start: Starter, site: Site, valkey: Valkey) -> None:
    valkey.start()
    await valkey.answering()
    a, b = await start(valkey.url), await start(valkey.url)
    site.fields["/a"] = ('Cache-Groups: "g"',)
    site.fields["/change"] = ('Cache-Group-Invalidation: "g"',)
    for edge in (a, b):
        await edge.get("/a")
        assert "hit" in await edge.how("/a")
    purge = await a.purge(url=HOST + "/a")
    await until(lambda: b.looked(purge)["applied"])
    assert "uri-miss" in await b.how("/a")
    assert "uri-miss" in await a.how("/a")
    await a.get("/change", "Content-Length: 0", method="POST")
    assert "uri-miss" in await a.how("/a")
    await until(lambda: b.app.office.purges.by_kind["group", "hard"] == 1)
    assert "uri-miss" in await b.how("/a")
    assert "hit" in await a.how("/a")


async def test_without_its_store_an_edge_serves_and_takes_purges_for_itself(
    start: Starter, site: Site, valkey: Valkey
) -> None:
    valkey.start()
    await valkey.answering()
    edge = await start(valkey.url, edge={"purge_lag_max": 0.4})
    await edge.get("/a")
    valkey.stop()
    await until(lambda: edge.app.office.status()["state"] == "blind")
    assert "hit" in await edge.how("/a")
    assert edge.app.node.ready
    answer = await edge.app.node.purge({"url": HOST + "/a"})  # type: ignore[misc]
    assert (answer["reach"], bool(answer["why"])) == ("edge", True)
    assert "uri-miss" in await edge.how("/a")
    valkey.start()
    await valkey.answering()
    await until(lambda: edge.app.office.status()["state"] == "confirmed")
    assert f"detail={NotReused.PURGED}" in await edge.how("/a"), (
        "the store has another memory: nobody knows what was missed"
    )


async def test_a_blind_edge_may_be_told_to_revalidate(start: Starter, site: Site, valkey: Valkey) -> None:
    valkey.start()
    await valkey.answering()
    edge = await start(valkey.url, edge={"purge_lag_max": 0.4, "purge_when_blind": "revalidate"})
    await edge.get("/a")
    assert "hit" in await edge.how("/a")
    valkey.stop()
    await until(lambda: edge.app.office.status()["state"] == "blind")
    assert "fwd-status=304" in await edge.how("/a")
    assert edge.app.node.ready


async def test_a_parent_that_is_behind_its_child_validates(
    start: Starter, site: Site, valkey: Valkey
) -> None:
    valkey.start()
    await valkey.answering()
    parent = await start(valkey.url, clients={"trusted": ["127.0.0.1"]})
    await parent.get("/a")
    place = parent.app.office.purges.place
    assert place is not None
    here, ahead = place.id, f"{place.generation}-{place.sequence + 1}"
    assert "hit" in await parent.how("/a", f"Cdnlab-Purged: {here}")
    for said in (ahead, "another-0", f"{here};local", "nonsense"):
        assert f"detail={NotReused.UNPROVED}" in await parent.how("/a", f"Cdnlab-Purged: {said}")
    await parent.purge(tag="x")
    assert "hit" in await parent.how("/a", f"Cdnlab-Purged: {ahead}")
    stranger = await start(valkey.url)
    await stranger.get("/a")
    assert "hit" in await stranger.how("/a", f"Cdnlab-Purged: {ahead}99"), "its word counts nothing"


async def test_a_parent_that_is_behind_shares_no_fetch_with_its_child(
    start: Starter, site: Site, valkey: Valkey
) -> None:
    valkey.start()
    await valkey.answering()
    parent = await start(valkey.url, clients={"trusted": ["127.0.0.1"]})
    held = site.held["/a"] = asyncio.Event()
    before = asyncio.ensure_future(parent.get("/a"))
    await until(lambda: site.asked)
    after = asyncio.ensure_future(parent.get("/a", "Cdnlab-Purged: another-1"))
    await until(lambda: len(site.asked) == 2)
    held.set()
    assert ((await before)[2], (await after)[2]) == (b"answer 1", b"answer 2")


# -- size ------------------------------------------------------------------------------------------------------------


async def test_a_purge_of_a_hundred_thousand_objects_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processor time of the loop's thread between two of its turns, so that other processes do not count."""
    monkeypatch.setattr("edge.purge.sweep.PAUSE", 0.0)
    purges = Purges(Standing(alone=True), b"life....", 0)
    storage = MemoryStorage(1 << 30, Lru())
    names = (b"red",)
    for number in range(100_000):
        storage.put(stored(purges.mark(), key=b"http://h/%d" % number, tags=names), ())
    last = stored(purges.mark(), key=b"http://h/kept")
    storage.put(last, ())
    sweep = Sweep(purges, storage, storage.discard, rest=0.0)
    sweep.start()
    worst, before = 0.0, time.thread_time()
    purges.apply([Rule(Kind.TAG, b"red")])
    while storage.objects > 1:
        await asyncio.sleep(0)
        spent = time.thread_time()
        worst, before = max(worst, spent - before), spent
    assert worst < 0.005
    assert storage.find(b"http://h/kept") is last
    assert purges.judge(last).name == "KEEP"
    await tasks.cancel_all()


# -- what is kept on disk ---------------------------------------------------------------------------------------------


async def test_a_purge_that_no_stream_carries_is_on_disk_before_it_is_acknowledged(
    start: Starter, tmp_path: Path
) -> None:
    edge = await start()
    first = Office(edge.app.node, tmp_path)
    assert edge.app.cache is not None
    await first.start(edge.app.cache)
    packed = first.purges.pack(stored(first.purges.mark()))
    answer = await edge.app.node.purge({"url": "http://h/a"})  # type: ignore[misc]
    assert answer["reach"] == "edge"
    kept = position_file.read(tmp_path)
    assert kept is not None
    assert (kept.local, kept.rules) == (1, (Rule(Kind.URL, b"http://h/a"),))
    second = Office(edge.app.node, tmp_path)
    assert second.purges.judge(stored(second.purges.unpack(packed))) is Verdict.GONE
    spared = stored(second.purges.unpack(packed), key=b"http://h/b")
    assert second.purges.judge(spared) is Verdict.KEEP


async def test_a_restart_reads_again_what_came_meanwhile(
    start: Starter, site: Site, valkey: Valkey, tmp_path: Path
) -> None:
    valkey.start()
    await valkey.answering()
    edge, other = await start(valkey.url), await start(valkey.url)
    assert edge.app.cache is not None
    first = Office(edge.app.node, tmp_path)
    await first.start(edge.app.cache)
    packed = first.purges.pack(stored(first.purges.mark()))
    place = first.purges.place
    await tasks.cancel_all()  # the process has ended
    await other.app.node.purge({"url": "http://h/a"})  # type: ignore[misc]
    second = Office(edge.app.node, tmp_path)
    assert second.purges.place == place
    assert second.purges.behind(0.0)
    await second.start(edge.app.cache)
    assert second.purges.judge(stored(second.purges.unpack(packed))) is Verdict.GONE
    await tasks.cancel_all()
    await other.app.node.store.call("FLUSHALL")  # type: ignore[union-attr]
    third = Office(edge.app.node, tmp_path)
    await third.start(edge.app.cache)
    spared = stored(third.purges.unpack(packed), key=b"http://h/b")
    assert third.purges.judge(spared) is Verdict.SOFT, "another generation: nobody knows"


async def test_a_directory_that_cannot_be_written_harms_nothing(
    start: Starter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edge = await start()
    office = Office(edge.app.node, tmp_path / "absent")
    assert edge.app.cache is not None
    await office.start(edge.app.cache)
    answer = await edge.app.node.purge({"all": True})  # type: ignore[misc]
    assert answer["reach"] == "edge"
    assert "purges.json" in caplog.text


# -- what is documented ----------------------------------------------------------------------------------------------


async def test_the_metrics_are_there_and_documented(start: Starter) -> None:
    assert problems(stats.TABLE) == []
    assert undocumented(stats.TABLE, (ROOT / "docs" / "metrics.md").read_text()) == []
    edge = await start()
    await edge.get("/a")
    await edge.purge(url=HOST + "/a", tags=["x"], soft=True)
    await edge.how("/a")
    found = {family.spec.name: family for family in edge.app.metrics()}
    assert {spec.name for spec in stats.TABLE} <= set(found)
    counts = {tuple(dict(s.labels).values()): s.value for s in found[stats.PURGES.name].samples}
    assert counts["url", "soft"] == counts["tag", "soft"] == 1
    assert sum(counts.values()) == 2
    states = {dict(s.labels)["state"]: s.value for s in found[stats.STATE.name].samples}
    assert states == {"alone": 1, "confirmed": 0, "behind": 0, "blind": 0}
    assert {dict(s.labels)["verdict"]: s.value for s in found[stats.PURGED.name].samples} == {
        "soft": 1,
        "gone": 0,
    }
