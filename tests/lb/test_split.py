"""Splits: shares of requests, spread evenly, exact in the long run."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb.split import Split
from tests.support.balancers import balancer, topology
from tests.support.peers import Origin, Wire


def test_five_of_a_hundred_are_every_twentieth() -> None:
    split = Split("main", {"canary": 0.05})
    turns = [index for index in range(1000) if split.take() == "canary"]
    assert len(turns) == 50
    assert {after - before for before, after in pairwise(turns)} == {20}
    assert dict(zip(split.pools, split.counts, strict=True)) == {"main": 950, "canary": 50}


@given(st.lists(st.integers(1, 300), min_size=1, max_size=3))
def test_nobody_is_ever_off_by_more_than_one_for_each_pool(thousandths: list[int]) -> None:
    shares = {f"p{number}": part / 1000 for number, part in enumerate(thousandths)}
    split = Split("main", shares)
    taken: Counter[str] = Counter()
    for count in range(1, 500):
        taken[split.take()] += 1
        for name, share in split.shares.items():
            assert abs(taken[name] - share * count) <= len(split.pools)


@pytest.mark.parametrize(
    "shares,pools",
    [
        ({"a": 1.0}, {"a"}),
        ({"a": 0.5, "b": 0.5}, {"a", "b"}),
        ({"main": 0.5}, {"main"}),
        ({"a": 1e-7}, {"main"}),
    ],
)
def test_who_has_no_share_gets_nothing(shares: dict[str, float], pools: set[str]) -> None:
    split = Split("main", shares)
    assert {split.take() for _ in range(100)} == pools


async def test_requests_of_one_connection_are_split() -> None:
    """One connection, one header block: what is remembered of them must not hold the pool."""

    def saying(name: bytes) -> object:
        async def script(wire: Wire) -> None:
            while True:
                await wire.request()
                await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + name)

        return script

    async with Origin(saying(b"m")) as main, Origin(saying(b"c")) as canary:  # type: ignore[arg-type]
        pools = {
            name: {
                "backends": [{"name": name, "address": "127.0.0.1", "port": each.port}],
                "health": {"kind": "none"},
            }
            for name, each in (("main", main), ("canary", canary))
        }
        plan = topology(pools=pools, routes=[{"pool": "main", "split": {"canary": 0.25}}])
        async with balancer(plan=plan) as lb, await lb.client() as client:
            bodies = [(await client.get()).body for _ in range(40)]
            assert Counter(bodies) == {b"m": 30, b"c": 10}
            assert lb.results() == ["ok"] * 40
