"""What /explain says of the ways out, where edges share the keys of their place; and that to ask makes no key hot."""

from __future__ import annotations

from typing import Any

import pytest

from edge.explain import explain
from tests.edge.origin import Talk
from tests.support.edges import Network, network

PAIR = {"icn-1": "icn", "icn-2": "icn"}


async def body(talk: Talk) -> None:
    await talk.answer(200, "Cache-Control: max-age=60", body=talk.target.encode())


async def said(net: Network, name: str, target: str, **headers: str) -> dict[str, Any]:
    cache = net.apps[name].cache
    assert cache is not None
    return await explain(cache, {"url": f"http://shop.example{target}", "headers": headers})


async def test_the_owner_first_then_the_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.parents.BRIEF", 60.0)
    async with network(PAIR, body) as net:
        target = net.owned_by("icn-2", seen_from="icn-1")
        for _ in range(3):  # however often one asks
            told = await said(net, "icn-1", target)
            ways = [(way["parent"], way["first"], way["stores"]) for way in told["asks"]]
            assert ways == [("owner", "icn-2", False), (None, "origin-1", True)]
            assert told["not_stored"] == "elsewhere"
        got = await net.ask("icn-1", target)
        assert got.caches[-1] == "icn-1; fwd=uri-miss; fwd-status=200; detail=elsewhere"
        told = await said(net, "icn-1", target)
        assert told["asks"][0]["briefly"] is True
        assert (await net.ask("icn-1", target)).caches[-1].endswith("; stored")
        assert (await said(net, "icn-1", target))["result"] == "hit"
        assert (await said(net, "icn-2", target))["result"] == "hit"


async def test_the_owner_asks_the_origin_itself() -> None:
    async with network(PAIR, body) as net:
        target = net.owned_by("icn-1", seen_from="icn-1")
        told = await said(net, "icn-1", target)
        assert [(way["parent"], way["stores"]) for way in told["asks"]] == [(None, True)]


async def test_only_if_cached_goes_no_further_than_the_owner() -> None:
    async with network(PAIR, body) as net:
        target = net.owned_by("icn-2", seen_from="icn-1")
        told = await said(net, "icn-1", target, **{"Cache-Control": "only-if-cached"})
        assert [way["parent"] for way in told["asks"]] == ["owner"]
        told = await said(net, "icn-2", target, **{"Cache-Control": "only-if-cached"})
        assert (told["result"], told["status"], told["asks"]) == ("refused", 504, [])
