"""Smooth weighted turns: nginx's sequence turn by turn, what a turn costs, and what stays over a change of weights."""

from __future__ import annotations

from collections import Counter
from math import log2
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdnlab.pool.backend import Backend
from cdnlab.pool.pool import Pool
from cdnlab.pool.turns import Turns


def nginx(weights: list[int], count: int) -> list[int]:
    """As nginx does it: look at everybody at each turn."""
    credit, found = [0] * len(weights), []
    for _ in range(count):
        credit = [have + weight for have, weight in zip(credit, weights, strict=True)]
        best = credit.index(max(credit))
        credit[best] -= sum(weights)
        found.append(best)
    return found


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=12))
def test_the_sequence_is_that_of_nginx(weights: list[int]) -> None:
    turns = Turns(weights)
    assert [turns.take() for _ in range(150)] == nginx(weights, 150)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=9))
def test_nobody_is_ever_more_than_one_turn_ahead_of_its_share(weights: list[int]) -> None:
    """Nor behind by more than the number of the others: the bounds that nginx's sequence keeps."""
    turns, total, taken = Turns(weights), sum(weights), Counter[int]()
    for turn in range(1, 3 * total + 1):
        taken[turns.take()] += 1
        for index, weight in enumerate(weights):
            assert taken[index] - turn * weight / total < 1
            assert turn * weight / total - taken[index] < len(weights)


@pytest.mark.parametrize("count", [16, 256, 2048])
@pytest.mark.parametrize("kind", ["different", "few"])
def test_a_turn_costs_log_n(count: int, kind: str) -> None:
    rng = Random(count)
    weights = [rng.randint(1, 1000) if kind == "different" else rng.choice((1, 2, 5)) for _ in range(count)]
    turns = Turns(weights)
    turns.matches = 0
    for _ in range(2 * count):
        turns.take()
    assert turns.matches / (2 * count) < 3 * log2(count)  # one look at everybody would be `count`


def test_credits_stay_over_a_change() -> None:
    """Slow start changes a weight many times. Who began anew each time would favour the heaviest."""
    backends = [Backend(name, "h", 80, weight=weight) for name, weight in (("a", 5), ("b", 4), ("c", 3))]
    made = Pool("test", backends)
    taken = Counter[str]()
    for turn in range(1200):
        backends[2].weigh(3, 1.0 if turn % 2 else 0.9)
        made.usable_changed()
        taken[next(made.candidates()).name] += 1
    assert abs(taken["a"] - 1200 * 5 / 11.85) < 5
    assert abs(taken["b"] - 1200 * 4 / 11.85) < 5


def test_a_slow_start_gets_its_tenth() -> None:
    made = Pool("test", [Backend(name, "h", 80) for name in "ab"])
    made.backends[1].weigh(1, 0.1)
    made.usable_changed()
    taken = Counter(next(made.candidates()).name for _ in range(110))
    assert taken == {"a": 100, "b": 10}
