"""Policies and shadows in a real edge on real sockets: what clients count is what is told, and a policy is changed
while requests come."""

from __future__ import annotations

import random
from pathlib import Path
from typing import get_args

import pytest

from cdnlab.node.metrics import problems, undocumented
from cdnlab.node.node import BadRequest
from cdnlab.plan.settings import PolicyName
from edge import upkeep
from edge.eviction.registry import names
from tests.edge.eviction_models import zipf
from tests.edge.origin import Talk
from tests.support.edges import Network, network, until


async def _script(talk: Talk) -> None:
    await talk.answer(200, "Cache-Control: max-age=600", body=b"x" * (int(talk.target[1:]) * 7 % 900))


async def _browse(net: Network, requests: list[int]) -> int:
    hits = 0
    for number in requests:
        answer = await net.ask("edge-icn", f"/{number}")
        assert answer.status == 200
        assert len(answer.body) == number * 7 % 900
        hits += "; hit" in answer.caches[-1]
    return hits


async def test_what_clients_count_is_what_is_told_of_the_real_policy_and_its_shadow() -> None:
    settings = {"memory": 60_000, "policy": "sieve", "shadows": ["sieve", "fifo"]}
    async with network({"edge-icn": "icn"}, _script, edge=settings) as net:
        hits = await _browse(net, zipf(random.Random(4), 120, 500, 0.9))
        app = net.apps["edge-icn"]
        assert app.cache is not None
        storage = app.cache.storage
        await until(lambda: not storage.touched, "the last tick")
        told = app.status()["storage"]
        assert told["policy"] == "sieve"
        real, shadow = told["policies"]["real"], told["policies"]["shadows"][0]
        assert 100 < hits < 450
        assert real["hit_ratio"] == hits / 500
        assert shadow == {**real, "policy": "sieve"}
        assert real["evictions"] == told["evictions"] > 50
        other = told["policies"]["shadows"][1]
        assert other["policy"] == "fifo"
        assert other["requests"] == 500
        assert net.metric("edge-icn", 'cdnlab_edge_shadow_requests_total{policy="real",result="hit"}') == hits
        assert (
            net.metric("edge-icn", 'cdnlab_edge_shadow_requests_total{policy="sieve",result="hit"}') == hits
        )
        assert net.metric("edge-icn", 'cdnlab_edge_policy{policy="sieve"}') == 1
        assert net.metric("edge-icn", 'cdnlab_edge_policy{policy="lru"}') == 0
        assert net.metric("edge-icn", "cdnlab_edge_shadow_sample") == 1


async def test_a_policy_is_changed_while_requests_come() -> None:
    async with network({"edge-icn": "icn"}, _script, edge={"memory": 100_000, "shadows": ["lru"]}) as net:
        app = net.apps["edge-icn"]
        assert app.cache is not None
        assert app.node.policy is not None
        storage = app.cache.storage
        rng, before = random.Random(5), "lru"
        for name in (*names(), "lru"):
            await _browse(net, zipf(rng, 200, 60, 0.8))
            held = set(storage)
            assert app.node.policy({"policy": name}) == {"policy": name, "before": before}
            assert app.status()["storage"]["policy"] == name
            assert set(storage) == held
            await until(lambda: not storage.changing, "the end of the change")
            assert net.metric("edge-icn", f'cdnlab_edge_policy{{policy="{name}"}}') == 1
            before = name
        assert storage.used <= 100_000
        assert storage.evictions > 0


async def test_what_was_validated_keeps_its_place_and_counts_as_no_hit() -> None:
    async def script(talk: Talk) -> None:
        known = talk.fields.get("if-none-match") == '"1"'
        await talk.answer(304 if known else 200, "Cache-Control: no-cache", 'ETag: "1"', body=b"x")

    settings = {"memory": 100_000, "policy": "sieve", "shadows": ["sieve"]}
    async with network({"edge-icn": "icn"}, script, edge=settings) as net:
        app = net.apps["edge-icn"]
        assert app.cache is not None
        for number in (1, 2, 1, 1, 3):
            assert (await net.ask("edge-icn", f"/{number}")).status == 200
        told = app.status()["storage"]["policies"]
        assert told["real"] == told["shadows"][0]
        assert (told["real"]["requests"], told["real"]["hit_ratio"], told["real"]["objects"]) == (5, 0.0, 3)
        policy = app.cache.storage.policy
        going = [policy.victim().key[-2:] for _ in range(3)]
        assert going == [b"/2", b"/3", b"/1"], "the first was asked for again"


@pytest.mark.parametrize("asked", [{}, {"policy": "mru"}, {"policy": 7}, {"policy": None}])
async def test_a_policy_that_there_is_not_is_refused_with_those_that_there_are(
    asked: dict[str, object],
) -> None:
    async with network({"edge-icn": "icn"}, _script, edge={"memory": 100_000}) as net:
        change = net.apps["edge-icn"].node.policy
        assert change is not None
        with pytest.raises(BadRequest) as refused:
            change(asked)
        assert "wtinylfu" in refused.value.remedy
        assert net.apps["edge-icn"].status()["storage"]["policy"] == "lru"


async def test_without_shadows_there_is_nothing_to_tell() -> None:
    async with network({"edge-icn": "icn"}, _script, edge={"memory": 100_000, "shadows": []}) as net:
        await _browse(net, [1, 1])
        assert net.apps["edge-icn"].status()["storage"]["policies"] is None
        assert net.metric("edge-icn", 'cdnlab_edge_policy{policy="lru"}') == 1


async def test_an_edge_without_memory_stores_nothing() -> None:
    async with network({"edge-icn": "icn"}, _script, edge={"memory": 0, "policy": "wtinylfu"}) as net:
        assert await _browse(net, [1, 1, 1]) == 0
        assert net.stored("edge-icn") == 0


def test_the_topology_knows_every_policy_and_the_documents_every_metric() -> None:
    assert sorted(get_args(PolicyName)) == list(names())
    assert problems(upkeep.TABLE) == []
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert undocumented(upkeep.TABLE, page.read_text()) == []
