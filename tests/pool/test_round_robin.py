"""Smooth weighted round robin: nginx's own sequence, shares, order of the others."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdnlab.pool.backend import Backend
from cdnlab.pool.pool import Pool


def pool(**weights: int) -> Pool:
    return Pool("test", [Backend(name, "127.0.0.1", 80, weight=weight) for name, weight in weights.items()])


def turns(pool: Pool, count: int) -> str:
    return "".join(next(pool.candidates()).name for _ in range(count))


@pytest.mark.parametrize(
    "weights,cycle",
    [
        ({"a": 1}, "a"),
        ({"a": 7}, "a"),
        ({"a": 1, "b": 1, "c": 1}, "abc"),
        ({"a": 4, "b": 4}, "ab"),
        ({"a": 5, "b": 1, "c": 1}, "aabacaa"),  # the example in nginx's change of 2012
        ({"a": 10, "b": 2, "c": 2}, "aabacaa"),
        ({"a": 2, "b": 1}, "aba"),
    ],
)
def test_the_sequence(weights: dict[str, int], cycle: str) -> None:
    assert turns(pool(**weights), 3 * len(cycle)) == 3 * cycle


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_each_gets_its_share_in_every_round(weights: list[int]) -> None:
    made = Pool("test", [Backend(str(n), "h", 80, weight=weight) for n, weight in enumerate(weights)])
    total = sum(weights)
    for _ in range(2):
        taken = Counter(next(made.candidates()).name for _ in range(total))
        assert [taken[str(n)] for n in range(len(weights))] == weights


def test_a_heavy_one_is_not_chosen_in_bursts() -> None:
    names = turns(pool(a=3, b=3, c=2), 80)
    assert all(one != two for one, two in pairwise(names))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 20))
def test_the_others_follow_each_once(weights: list[int], before: int) -> None:
    made = Pool("test", [Backend(str(n), "h", 80, weight=weight) for n, weight in enumerate(weights)])
    for _ in range(before):
        next(made.candidates())
    names = [backend.name for backend in made.candidates()]
    assert sorted(names) == [str(n) for n in range(len(weights))]


def test_a_change_keeps_the_turn_where_weights_are_equal() -> None:
    made = pool(a=1, b=1, c=1)
    assert turns(made, 4) == "abca"
    made.backend("c").draining = True
    made.usable_changed()
    assert turns(made, 4) == "baba"
    made.backend("c").draining = False
    made.usable_changed()
    assert sorted(turns(made, 3)) == ["a", "b", "c"]


def test_without_backends_there_is_nobody() -> None:
    assert list(pool().candidates()) == []
