"""Edges that ask one another: the owner of a key at its place, the shield, and the origin when those do not answer."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cdnlab.forward.explain import mark, parse_hops
from cdnlab.net.clock import wall
from cdnlab.pool.algorithms.registry import Settings
from cdnlab.pool.backend import Backend
from cdnlab.pool.health import Health
from cdnlab.pool.pool import Pool
from cdnlab.pool.reasons import Reason
from edge.parents import BRIEF, WANTED_BYTES, WANTED_MAX, Parents, Wanted
from edge.routing import Parent
from tests.edge.origin import Origin, Talk
from tests.support.edges import Network, network, until

MINUTE = "Cache-Control: max-age=60"
PAIR = {"icn-1": "icn", "icn-2": "icn"}
SHIELDED = {"icn-1": "icn", "fra-1": "fra", "iad-1": "iad"}


async def body(talk: Talk) -> None:
    """Says what it was asked, and that it may be stored."""
    await talk.answer(200, MINUTE, 'ETag: "1"', body=talk.target.encode())


def asked(net: Network) -> list[str]:
    return [talk.target for talk in net.origin.talks]


# -- which ways a request has ---------------------------------------------------------------------------------------


def forwarder(name: str, *names: str, ours: bool = True) -> Any:
    backends = [Backend(each, "h", 80, ours=ours, health=Health(fall=1)) for each in names]
    return SimpleNamespace(pool=Pool(name, backends, "ring_hash", Settings(secret=bytes(32))))


def reader(
    method: str = "GET", key: bytes = b"http://a/", *, trusted: bool = False, index: Any = (), **more: Any
) -> Any:
    line = SimpleNamespace(method=method.encode(), safe=method in ("GET", "HEAD", "OPTIONS"))
    block = SimpleNamespace(index=dict.fromkeys(index, b"x"), upgrade=more.get("upgrade"))
    facts = SimpleNamespace(bypass=more.get("bypass"), range=None)
    return SimpleNamespace(line=line, block=block, facts=facts, key=key, trusted=trusted, place="gru")


def names(ways: Any) -> list[str]:
    return [str(way.parent or "origin") for way in ways]


def parents(me: str, *, shield: bool = True) -> Parents:
    return Parents(
        me,
        forwarder("origins", "origin-1"),
        sharing=forwarder("edge.share", "icn-1", "icn-2"),
        shield=forwarder("edge.shield", "iad-1") if shield else None,
        position=lambda: b"Cdnlab-Purged: 7\r\n",
    )


def split(me: str) -> tuple[bytes, bytes]:
    """A key of `me` and one of the other's."""
    made = parents(me, shield=False)
    keys = [b"http://a/%d" % number for number in range(50)]
    own = [key for key in keys if names(made.ways(reader(key=key), 0.0)) == ["origin"]]
    assert 5 < len(own) < 45
    return own[0], next(key for key in keys if key not in own)


OWN, OTHERS = split("icn-1")
SIBLING = (b"cdnlab-sibling",)


@pytest.mark.parametrize(
    "asking,expected",
    [
        (reader(key=OWN), ["shield", "origin"]),
        (reader(key=OTHERS), ["owner", "shield", "origin"]),
        (reader("HEAD", OTHERS), ["owner", "shield", "origin"]),
        (reader(key=OTHERS, trusted=True), ["owner", "shield", "origin"]),
        (reader(key=OTHERS, trusted=True, index=SIBLING), ["shield", "origin"]),
        (reader(key=OTHERS, index=SIBLING), ["owner", "shield", "origin"]),  # a stranger's word
        (reader("POST", OTHERS), ["owner", "shield", "origin"]),  # they must learn of it
        (reader("DELETE", OWN), ["shield", "origin"]),
        (reader("PURGE", OTHERS), ["owner", "shield", "origin"]),
        (reader("OPTIONS", OTHERS), ["origin"]),
        (reader(key=OTHERS, bypass="condition"), ["origin"]),
        (reader("POST", OTHERS, upgrade=b"websocket"), ["origin"]),
    ],
)
def test_the_ways_of_a_request(asking: Any, expected: list[str]) -> None:
    assert names(parents("icn-1").ways(asking, 0.0)) == expected


def test_what_other_edges_are_told() -> None:
    to_owner, to_shield, to_origin = parents("icn-1").ways(reader(key=OTHERS), 0.0)
    assert to_owner.lines == b"Cdnlab-Place: gru\r\nCdnlab-Purged: 7\r\nCdnlab-Sibling: icn-1\r\n"
    assert (to_owner.ours, to_owner.store, to_owner.only.name) == (True, False, "icn-2")  # type: ignore[union-attr]
    assert (to_shield.lines, to_shield.ours, to_shield.store) == (
        b"Cdnlab-Place: gru\r\nCdnlab-Purged: 7\r\n", True, True,
    )  # fmt: skip
    assert (to_origin.lines, to_origin.ours, to_origin.store) == (b"", False, True)


def test_a_foreign_cache_may_be_a_shield_and_is_told_nothing() -> None:
    made = Parents("a", forwarder("origins", "o"), shield=forwarder("edge.shield", "far", ours=False))
    way = made.ways(reader(), 0.0)[0]
    assert (way.parent, way.lines, way.ours) == (Parent.SHIELD, b"", False)


def test_who_is_down_is_left_out_and_said_so() -> None:
    made = parents("icn-1")
    assert made.sharing is not None
    assert made.shield is not None
    for each, name in ((made.sharing, "icn-2"), (made.shield, "iad-1")):
        each.pool.backend(name).health.result(0.0, False)
        each.pool.usable_changed()
    ways = made.ways(reader(key=OTHERS), 0.0)
    assert names(ways) == ["origin"]
    assert ways[0].passed == [("iad-1", Reason.DOWN)]
    assert made.skipped == 1


def test_only_the_owner_is_asked_for_what_must_come_from_a_cache() -> None:
    way = parents("icn-1").neighbour(reader(key=OTHERS), 0.0)
    assert way is not None
    assert way.parent is Parent.OWNER
    assert parents("icn-1").neighbour(reader(key=OWN), 0.0) is None
    assert (
        Parents("a", forwarder("origins", "o"), shield=forwarder("s", "far")).neighbour(reader(), 0.0) is None
    )


def test_what_is_asked_for_twice_within_a_second_is_kept_for_a_second() -> None:
    made = parents("icn-1")
    again = [made.ways(reader(key=OTHERS), at)[0] for at in (10.0, 10.5)]
    assert [(way.store, way.brief) for way in again] == [(False, False), (True, True)]
    assert not made.ways(reader(key=OTHERS), 20.0)[0].store
    made.lend(cast(Any, "first"), 30.0)
    made.lend(cast(Any, "second"), 30.2)
    assert list(made.due(30.0 + BRIEF)) == ["first"]
    assert list(made.due(40.0)) == ["second"]
    assert list(made.due(50.0)) == []


@pytest.mark.parametrize("gap,expected", [(0.0, True), (0.9, True), (2.1, False), (1e6, False)])
@pytest.mark.parametrize("start", [0.0, 3.99, 100.0])
def test_how_long_a_key_counts_as_wanted(start: float, gap: float, expected: bool) -> None:
    wanted = Wanted()
    assert not wanted.again(b"other", start)
    assert not wanted.again(b"k", start)
    assert wanted.again(b"k", start + gap) is expected


def test_what_is_remembered_of_keys_is_bounded() -> None:
    wanted = Wanted()
    for number in range(10 * WANTED_MAX):
        wanted.again(b"%d" % number, 1.0)
    assert len(wanted._keys) + len(wanted._before) <= 2 * WANTED_MAX
    long = b"k" * (WANTED_BYTES + 1)
    assert not wanted.again(long, 1.0)
    assert not wanted.again(long, 1.0)


# -- the owner of a key ---------------------------------------------------------------------------------------------


async def test_who_does_not_own_a_key_asks_the_owner_and_keeps_nothing() -> None:
    async with network(PAIR, body) as net:
        target = net.owned_by("icn-2", seen_from="icn-1")
        assert net.owner("icn-2", target) == "icn-2"
        first = await net.ask("icn-1", target)
        assert (first.status, first.body) == (200, target.encode())
        owner, asker = first.caches
        assert owner.startswith("icn-2; fwd=uri-miss; fwd-status=200; ttl=")
        assert owner.endswith("; stored")
        assert asker == "icn-1; fwd=uri-miss; fwd-status=200; detail=elsewhere"
        assert first.fields["via"] == "1.1 icn-2, 1.1 icn-1"
        assert (net.stored("icn-1"), net.stored("icn-2")) == (0, 1)

        second = await net.ask("icn-2", target)
        assert [each.partition(";")[0] for each in second.caches] == ["icn-2"]
        assert "; hit" in second.caches[0]
        assert asked(net) == [target]
        assert net.origin.talks[0].fields.keys().isdisjoint({"cdnlab-sibling", "cdnlab-place"})
        assert net.metric("icn-1", 'cdnlab_edge_parent_fetches_total{parent="owner",answer="2xx"}') == 1
        assert net.metric("icn-1", 'cdnlab_edge_parent_bytes_total{parent="owner"}') == len(target)
        assert net.metric("icn-1", 'cdnlab_edge_origin_fetches_total{answer="2xx"}') == 0


async def test_a_further_edge_adds_memory_and_not_copies() -> None:
    targets = [f"/{number}" for number in range(40)]
    async with network({**PAIR, "icn-3": "icn"}, body) as net:
        for name in net.apps:
            for target in targets:
                assert (await net.ask(name, target)).body == target.encode()
        assert sorted(asked(net)) == sorted(targets)
        held = [net.stored(name) for name in net.apps]
        assert sum(held) == len(targets)
        assert min(held) > 5


async def test_edges_that_do_not_share_keep_copies() -> None:
    async with network(PAIR, body, edge={"share": False}) as net:
        for name in net.apps:
            for target in ("/a", "/b", "/c"):
                await net.ask(name, target)
        assert [net.stored(name) for name in net.apps] == [3, 3]


async def test_edges_at_other_places_are_no_siblings() -> None:
    async with network({"icn-1": "icn", "fra-1": "fra"}, body) as net:
        for name in net.apps:
            assert len((await net.ask(name, "/a")).caches) == 1
        assert len(asked(net)) == 2


async def test_what_is_hot_is_kept_for_a_moment_by_who_does_not_own_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edge.parents.BRIEF", 60.0)  # a slow machine's second
    async with network(PAIR, body) as net:
        target = net.owned_by("icn-2", seen_from="icn-1")
        members = [(await net.ask("icn-1", target)).caches for _ in range(3)]
        assert [len(each) for each in members] == [2, 2, 2]  # the third was stored with its way
        assert members[0][-1].endswith("detail=elsewhere")
        assert members[1][-1].endswith("; stored")
        assert "; hit" in members[2][-1]
        assert net.metric("icn-1", 'cdnlab_edge_parent_fetches_total{parent="owner",answer="2xx"}') == 2
        assert net.stored("icn-1") == 1
        lent = net.apps["icn-1"].cache.parents._lent  # type: ignore[union-attr]
        lent[0] = (0.0, lent[0][1])
        await until(lambda: net.stored("icn-1") == 0, "the end of the copy")
        assert net.stored("icn-2") == 1


async def test_a_sibling_is_asked_once_and_asks_no_further() -> None:
    """Their views may differ for a moment: whoever is asked as the owner takes it to the origin itself."""
    async with network(PAIR, body) as net:
        target = net.owned_by("icn-1", seen_from="icn-2")
        marked = await net.ask("icn-2", target, "Cdnlab-Sibling: icn-1", trusted=True)
        assert [each.partition(";")[0] for each in marked.caches] == ["icn-2"]
        assert marked.caches[0].endswith("; stored")
        stranger = await net.ask("icn-2", target + "?x", "Cdnlab-Sibling: icn-1")
        wanted = ["icn-2"] if net.owner("icn-2", target + "?x") == "icn-2" else ["icn-1", "icn-2"]
        assert [each.partition(";")[0] for each in stranger.caches] == wanted
        assert all("cdnlab-sibling" not in talk.fields for talk in net.origin.talks)


async def test_an_owner_that_is_gone_is_stood_in_for_at_once_and_then_left_out() -> None:
    async with network(PAIR, body) as net:
        target = net.owned_by("icn-2", seen_from="icn-1")
        await net.stop("icn-2")
        answer = await net.ask("icn-1", target)
        assert answer.status == 200
        assert [each.partition(";")[0] for each in answer.caches] == ["icn-1"]
        assert answer.caches[0].endswith("; stored")
        await until(lambda: net.owner("icn-1", target) == "icn-1", "the verdict of the checks")
        assert (await net.ask("icn-1", target + "?other")).status == 200
        await net.start("icn-2")
        await until(lambda: net.owner("icn-1", target) == "icn-2", "its return")


async def test_a_body_is_sent_to_the_next_when_the_owner_is_gone() -> None:
    async def script(talk: Talk) -> None:
        await talk.answer(200, body=await talk.body())

    async with network(PAIR, script) as net:
        target = net.owned_by("icn-2", seen_from="icn-1")
        await net.stop("icn-2")
        answer = await net.ask("icn-1", target, method="POST", body=b"x" * 5000)
        assert (answer.status, len(answer.body)) == (200, 5000)


async def test_what_a_post_changes_goes_from_the_owner_too() -> None:
    content = [b"old"]

    async def script(talk: Talk) -> None:
        if talk.method == "POST":
            content[0] = await talk.body()
        await talk.answer(200, MINUTE, body=content[0])

    async with network(SHIELDED | PAIR, script, edge={"shield": "iad-1"}) as net:
        target = net.owned_by("icn-2", seen_from="icn-1")
        assert (await net.ask("icn-2", target)).body == b"old"
        assert (await net.ask("icn-1", target, method="POST", body=b"new")).status == 200
        for name in ("icn-2", "icn-1"):
            assert (await net.ask(name, target)).body == b"new"


async def test_a_client_that_holds_it_gets_the_owners_304() -> None:
    async with network(PAIR, body) as net:
        target = net.owned_by("icn-2", seen_from="icn-1")
        await net.ask("icn-2", target)
        answer = await net.ask("icn-1", target, 'If-None-Match: "1"')
        assert (answer.status, answer.body) == (304, b"")
        assert net.metric("icn-1", 'cdnlab_edge_parent_fetches_total{parent="owner",answer="304"}') == 1
        assert asked(net) == [target]


async def test_only_if_cached_is_for_the_caches_of_one_place() -> None:
    async with network(PAIR | SHIELDED, body, edge={"shield": "iad-1"}) as net:
        target = net.owned_by("icn-2", seen_from="icn-1")
        asks = ("Cache-Control: only-if-cached",)
        assert (await net.ask("icn-1", target, *asks)).status == 504
        assert asked(net) == []
        await net.ask("icn-2", target)
        assert (await net.ask("icn-1", target, *asks)).body == target.encode()
        assert len(asked(net)) == 1
        await net.stop("icn-2")
        assert (await net.ask("icn-1", target, *asks)).status == 504
        assert len(asked(net)) == 1


async def test_many_at_once_for_what_another_owns_are_one_fetch() -> None:
    gate = asyncio.Event()

    async def script(talk: Talk) -> None:
        await gate.wait()
        await body(talk)

    async with network(PAIR, script) as net:
        target = net.owned_by("icn-2", seen_from="icn-1")
        asking = [asyncio.ensure_future(net.ask("icn-1", target)) for _ in range(20)]
        await until(lambda: net.origin.talks, "the first")
        gate.set()
        assert {each.body for each in await asyncio.gather(*asking)} == {target.encode()}
        assert asked(net) == [target]


# -- the shield -------------------------------------------------------------------------------------------------------


async def test_one_fetch_serves_all_places() -> None:
    async with network(SHIELDED, body, edge={"shield": "iad"}) as net:
        answers = [await net.ask(name, "/a") for name in ("icn-1", "fra-1", "iad-1")]
        assert asked(net) == ["/a"]
        first, second, third = (answer.caches for answer in answers)
        assert re.fullmatch(r"iad-1; fwd=uri-miss; fwd-status=200; ttl=\d+; stored", first[0])
        assert re.fullmatch(r"icn-1; fwd=uri-miss; fwd-status=200; ttl=\d+; stored", first[1])
        assert [re.sub(r"ttl=\d+", "ttl=", each) for each in second] == [
            "iad-1; hit; ttl=", "fra-1; fwd=uri-miss; fwd-status=200; ttl=; stored",
        ]  # fmt: skip
        assert [each.partition(";")[0] for each in third] == ["iad-1"]
        again = (await net.ask("fra-1", "/a")).caches
        assert [each.partition(";")[0] for each in again] == ["iad-1", "fra-1"]
        assert net.metric("icn-1", 'cdnlab_edge_parent_fetches_total{parent="shield",answer="2xx"}') == 1
        await net.ask("icn-1", "/b", "Cdnlab-Place: gru", trusted=True)
        tally = net.apps["iad-1"].tallies.of("gru")
        assert sum(each.count for each in tally) == 1, "the shield knows where the client stands"


async def test_age_is_counted_once_across_both() -> None:
    """RFC 9111 §4.2.3: what the shield says is its whole age; what has passed since is added, and nothing else."""

    async def script(talk: Talk) -> None:
        await talk.answer(200, "Cache-Control: max-age=1000", "Age: 100", body=b"x")

    async with network(SHIELDED, script, edge={"shield": "iad-1"}) as net:
        ages = {}
        for name in ("icn-1", "icn-1", "fra-1", "fra-1", "iad-1"):
            answer = await net.ask(name, "/a")
            ages.setdefault(name, []).append(int(answer.fields["age"]))
            ttl = re.search(r"ttl=(\d+)", answer.caches[-1])
            assert ttl is not None
            assert 1000 - 100 - 20 < int(ttl[1]) <= 900
        assert all(100 <= age < 120 for each in ages.values() for age in each)
        for each in ages.values():
            assert each == sorted(each)


async def test_what_the_shield_had_for_some_time_is_as_old_at_the_edge() -> None:
    async def script(talk: Talk) -> None:
        await talk.answer(200, "Cache-Control: max-age=1000", body=b"x")

    async with network(SHIELDED, script, edge={"shield": "iad-1"}) as net:
        await net.ask("iad-1", "/a")
        storage = net.apps["iad-1"].cache.storage  # type: ignore[union-attr]
        stored = storage.find(b"http://shop.example/a")
        stored.born -= 300  # five minutes later
        stored.fresh_until -= 300
        stored.head_until = 0.0
        ages = [int((await net.ask("icn-1", "/a")).fields["age"]) for _ in range(2)]
        assert all(300 <= age < 320 for age in ages)


async def test_a_shield_that_is_gone_is_bypassed_within_the_request_and_then_left_out() -> None:
    async with network(SHIELDED, body, edge={"shield": "iad-1"}) as net:
        assert (await net.ask("icn-1", "/a")).status == 200
        await net.stop("iad-1")
        answer = await net.ask("icn-1", "/b")
        assert (answer.status, len(answer.caches)) == (200, 1)
        series = "cdnlab_edge_shield_bypassed_total"
        await until(lambda: not _usable(net, "icn-1", "iad-1"), "the verdict of the checks")
        before = net.metric("icn-1", series)
        assert (await net.ask("icn-1", "/c")).status == 200
        assert net.metric("icn-1", series) == before + 1
        await net.start("iad-1")
        await until(lambda: _usable(net, "icn-1", "iad-1"), "its return")
        assert len((await net.ask("icn-1", "/d")).caches) == 2


def _usable(net: Network, edge: str, shield: str) -> bool:
    return net.apps[edge]._forwarders["edge.shield"].pool.backend(shield).usable


@asynccontextmanager
async def silent(address: str = "127.0.0.1") -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that is as a frozen one: its kernel accepts, and nobody answers. Its port, and what it was sent."""
    heard: list[bytes] = []
    writers = []

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        heard.append(await reader.read(100))

    server = await asyncio.start_server(accepted, address, 0)
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def test_what_waits_for_a_frozen_shield_goes_on_when_the_checks_say_so() -> None:
    async with silent() as (port, heard):
        frozen = {"name": "frozen", "address": "127.0.0.1", "port": port}
        checks = {"kind": "http", "interval": 0.2, "timeout": 0.2, "fall": 2}
        pools = {"shields": {"backends": [frozen], "health": checks}}
        async with network({"icn-1": "icn"}, body, pools=pools, edge={"shield": "shields"}) as net:
            answer = await net.ask("icn-1", "/a")
            assert (answer.status, len(answer.caches)) == (200, 1)
            assert any(each.startswith(b"GET /a ") for each in heard), "it was asked first"
            assert net.metric("icn-1", 'cdnlab_edge_parent_fetches_total{parent="shield",answer="none"}') == 1
            heard.clear()
            assert (await net.ask("icn-1", "/b")).status == 200
            assert not any(each.startswith(b"GET /b ") for each in heard)


async def test_shields_share_the_keys_of_their_place() -> None:
    places = {"icn-1": "icn", "iad-1": "iad", "iad-2": "iad"}
    targets = [f"/{number}" for number in range(30)]
    async with network(places, body, edge={"shield": "iad"}) as net:
        for target in targets:
            members = (await net.ask("icn-1", target)).caches
            assert [each.partition(";")[0] for each in members] == [net.owner("iad-1", target), "icn-1"]
        assert sorted(asked(net)) == sorted(targets)
        assert net.stored("iad-1") + net.stored("iad-2") == len(targets)


async def test_one_of_two_edges_of_a_place_may_be_the_shield() -> None:
    """Sharing the keys as well would send a request back and forth between the two."""
    async with network({"icn-1": "icn", "icn-2": "icn"}, body, edge={"shield": "icn-1"}) as net:
        for number in range(10):
            for name, count in (("icn-2", 2), ("icn-1", 1)):
                assert len((await net.ask(name, f"/{name}/{number}")).caches) == count


async def test_a_shield_that_leads_back_is_a_loop() -> None:
    async with network(PAIR, body, start=False, edge={"share": False, "shield": "icn-2"}) as net:
        await net.start("icn-1")
        back = {
            "name": "back",
            "address": net.topology.data_address("icn-1")[0],
            "port": net.topology.data_address("icn-1")[1],
        }
        data = net.topology.model_dump(mode="json", exclude_unset=True)
        data["pools"]["origins"]["backends"] = [back]
        forth = net.topology
        net.topology = type(forth).build(data)
        await net.start("icn-2")
        answer = await net.ask("icn-1", "/a")
        assert answer.status == 508
        assert [each.partition(";")[0] for each in answer.caches] == ["icn-2", "icn-1"]
        assert asked(net) == []


async def test_both_say_why() -> None:
    async with network(SHIELDED, body, edge={"shield": "iad-1"}) as net:
        value = mark(net.secrets.explain_key, b"GET", b"/a", int(wall()) + 30).decode()
        answer = await net.ask("icn-1", "/a", f"Cdnlab-Explain: {value}")
        shield, edge = parse_hops(answer.fields["cdnlab-hop"].encode())
        assert (shield.node, shield.choice, shield.result, shield.client_place) == (
            "iad-1",
            "origin-1",
            "miss",
            "icn",
        )
        assert (edge.node, edge.choice, edge.result) == ("icn-1", "iad-1", "miss")
        assert "cdnlab-explain" not in net.origin.talks[0].fields
        await net.stop("iad-1")
        value = mark(net.secrets.explain_key, b"GET", b"/b", int(wall()) + 30).decode()
        answer = await net.ask("icn-1", "/b", f"Cdnlab-Explain: {value}")
        (edge,) = parse_hops(answer.fields["cdnlab-hop"].encode())
        assert edge.choice == "origin-1"
        assert edge.passed[0][0] == "iad-1"
        assert edge.passed[0][1] in (Reason.CONNECT_FAILED, Reason.RESPONSE_FAILED, Reason.DOWN)


async def test_parents_know_the_key_by_the_clients_scheme_and_host() -> None:
    """What the origin is told of scheme and host is for the origin; another edge keys by what the client asked."""
    origins = {"origin_host": "app.example", "forwarded_proto": "https"}
    async with network(SHIELDED, body, start=False, edge={"shield": "iad-1"}) as net:
        data = net.topology.model_dump(mode="json", exclude_unset=True)
        data["pools"]["origins"].update(origins)
        net.topology = type(net.topology).build(data)
        for name in SHIELDED:
            await net.start(name)
        await net.ask("icn-1", "/a")
        assert "; hit" in (await net.ask("iad-1", "/a")).caches[0]
        fields = net.origin.talks[0].fields
        assert (fields["host"], fields["x-forwarded-proto"]) == ("app.example", "https")
        assert fields["x-forwarded-host"] == "shop.example"


async def test_an_interrupted_body_of_the_shield_is_not_begun_anew() -> None:
    async def script(talk: Talk) -> None:
        await talk.say("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegun")
        talk.writer.close()

    shield = Origin(script)
    url = await shield.start()
    try:
        backend = {"name": "far", "address": "127.0.0.1", "port": int(url.rpartition(":")[2])}
        pools = {"shields": {"backends": [backend], "health": {"kind": "none"}}}
        async with network({"icn-1": "icn"}, body, pools=pools, edge={"shield": "shields"}) as net:
            answer = await net.ask("icn-1", "/a")
            assert answer.body == b"begun"
            assert asked(net) == []
            assert net.stored("icn-1") == 0
    finally:
        await shield.stop()


async def test_those_who_come_while_an_owner_is_found_gone_share_the_fetch_that_goes_on() -> None:
    """Until the checks say so, each request would go to the origin by itself."""
    gate = asyncio.Event()

    async def script(talk: Talk) -> None:
        await gate.wait()
        await body(talk)

    slow = {"edges": {"tier": "edge", "health": {"kind": "alive", "interval": 60, "timeout": 10, "fall": 3}}}
    async with network(PAIR, script, pools=slow) as net:
        target = net.owned_by("icn-2", seen_from="icn-1")
        await net.stop("icn-2")
        first = asyncio.ensure_future(net.ask("icn-1", target))
        await until(lambda: net.origin.talks, "the first")
        others = [asyncio.ensure_future(net.ask("icn-1", target)) for _ in range(10)]
        flights = net.apps["icn-1"].cache.flights  # type: ignore[union-attr]
        await until(lambda: sum(len(each.waiters) for each in flights.under_way()) == 10, "the others")
        gate.set()
        assert {each.body for each in await asyncio.gather(first, *others)} == {target.encode()}
        assert asked(net) == [target]


async def test_an_edge_may_choose_its_origin_by_key() -> None:
    async def script(talk: Talk) -> None:
        await talk.answer(200, "Cache-Control: no-store", body=talk.target.encode())

    second = Origin(script)
    url = await second.start()
    try:
        async with network({"icn-1": "icn"}, script, start=False) as net:
            data = net.topology.model_dump(mode="json", exclude_unset=True)
            backends = data["pools"]["origins"]["backends"]
            backends.append({**backends[0], "name": "origin-2", "port": int(url.rpartition(":")[2])})
            data["pools"]["origins"]["algorithm"] = "bounded_load"
            net.topology = type(net.topology).build(data)
            await net.start("icn-1")
            for _ in range(3):
                for number in range(12):
                    await net.ask("icn-1", f"/{number}")
            one, other = ({talk.target for talk in each.talks} for each in (net.origin, second))
            assert one
            assert other
            assert not one & other
    finally:
        await second.stop()


async def test_an_edge_may_choose_its_origin_by_who_asks() -> None:
    """The client is whom the balancer names, not the balancer: else all would come to one origin."""

    async def script(talk: Talk) -> None:
        await talk.answer(200, "Cache-Control: no-store", body=talk.target.encode())

    second = Origin(script)
    url = await second.start()
    try:
        async with network({"icn-1": "icn"}, script, start=False) as net:
            data = net.topology.model_dump(mode="json", exclude_unset=True)
            backends = data["pools"]["origins"]["backends"]
            backends.append({**backends[0], "name": "origin-2", "port": int(url.rpartition(":")[2])})
            data["pools"]["origins"]["algorithm"] = "source_hash"
            net.topology = type(net.topology).build(data)
            await net.start("icn-1")
            for number in range(24):
                client = number % 12
                await net.ask(
                    "icn-1", f"/{client}?{number}", f"X-Forwarded-For: 203.0.113.{client}", trusted=True
                )
            one, other = (
                {talk.target.partition("?")[0] for talk in each.talks} for each in (net.origin, second)
            )
            assert one
            assert other
            assert not one & other
    finally:
        await second.stop()


async def test_a_shield_that_takes_no_connection_is_waited_for_as_long_as_is_set() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        waiting = []
        for _ in range(
            4
        ):  # the queue of those who knock is full: the kernel drops what comes now, as a lost host does
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(server.getsockname())
        backend = {"name": "far", "address": "127.0.0.1", "port": server.getsockname()[1]}
        pools = {"shields": {"backends": [backend], "health": {"kind": "none"}}}
        edge = {"shield": "shields", "parent_connect_timeout": 0.3}
        async with network(
            {"icn-1": "icn"}, body, pools=pools, edge=edge, upstream={"connect_timeout": 300}
        ) as net:
            answer = await net.ask("icn-1", "/a")
            assert (answer.status, len(answer.caches)) == (200, 1)
            value = mark(net.secrets.explain_key, b"GET", b"/b", int(wall()) + 30).decode()
            answer = await net.ask("icn-1", "/b", f"Cdnlab-Explain: {value}")
            (edge_hop,) = parse_hops(answer.fields["cdnlab-hop"].encode())
            assert edge_hop.passed[0] == ("far", Reason.TIMED_OUT)
        for each in waiting:
            each.close()


async def test_a_post_that_waits_for_the_clients_go_ahead_reaches_the_next() -> None:
    async def script(talk: Talk) -> None:
        await talk.say("HTTP/1.1 100 Continue\r\n\r\n")
        await talk.answer(200, body=await talk.body())

    async with network(PAIR, script) as net:
        target = net.owned_by("icn-2", seen_from="icn-1")
        await net.stop("icn-2")
        reader, writer = await asyncio.open_connection(*net.topology.data_address("icn-1"))
        head = (
            f"POST {target} HTTP/1.1\r\nHost: shop.example\r\nExpect: 100-continue\r\nContent-Length: 4\r\n"
        )
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        first = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 15)
        assert first.startswith(b"HTTP/1.1 100 ")
        writer.write(b"body")
        answer = await asyncio.wait_for(reader.read(), 15)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\nbody")
