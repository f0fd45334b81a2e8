"""What holds for every algorithm: whom it yields, what a choice costs, and what stays when somebody is away."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdnlab.plan.pools import AlgorithmName, InnerName
from cdnlab.pool.algorithms.registry import REGISTRY, Settings
from cdnlab.pool.backend import Backend
from cdnlab.pool.pool import Pool
from cdnlab.pool.reasons import Reason

SECRET = bytes(range(32))
ALGORITHMS = sorted(REGISTRY)
INNER = [name for name in ALGORITHMS if name != "nearest"]
HASHES = ["bounded_load", "maglev", "ring_hash", "source_hash"]
KEYS = [b"key %d" % number for number in range(500)]
PLACES = {"icn": ["icn", "nrt"], "nrt": ["nrt", "icn"]}


def pool(algorithm: str, weights: list[int], inner: str = "round_robin") -> Pool:
    backends = [
        Backend(f"b{number}", "h", 80, weight=weight, place=("icn", "nrt")[number % 2], priority=number % 3)
        for number, weight in enumerate(weights)
    ]
    return Pool("test", backends, algorithm, Settings(secret=SECRET, nearest=PLACES, inner=inner))


def change(made: Pool, rng: Random) -> None:
    """Let one backend go, come, weigh something else, or be removed."""
    backend = rng.choice(made.backends)
    what = rng.randrange(4)
    if what == 0:
        backend.draining = not backend.draining
    elif what == 1:
        backend.weigh(rng.randint(1, 9), rng.choice((0.1, 0.5, 1.0)))
    elif what == 2 and len(made.backends) > 1:
        made.remove(backend.name)
    else:
        made.add(Backend(f"new{rng.getrandbits(60)}", "h", 80, weight=rng.randint(1, 5), place="nrt"))
    made.usable_changed()


def test_the_plan_names_those_that_there_are() -> None:
    assert sorted(AlgorithmName.__args__) == ALGORITHMS  # type: ignore[attr-defined]
    assert sorted(InnerName.__args__) == INNER  # type: ignore[attr-defined]


@pytest.mark.parametrize("algorithm", [*ALGORITHMS, *(f"nearest {inner}" for inner in INNER)])
@settings(max_examples=8, deadline=None)
@given(weights=st.lists(st.integers(1, 6), min_size=1, max_size=7), seed=st.integers(0, 10**6))
def test_only_usable_ones_are_yielded_and_each_once(algorithm: str, weights: list[int], seed: int) -> None:
    """Over any history; also by a choice that was made before the pool changed and goes on afterwards."""
    name, _, inner = algorithm.partition(" ")
    made, rng = pool(name, weights, inner or "round_robin"), Random(seed)
    half: list[tuple[Iterator[Backend], list[Backend]]] = []
    for _ in range(20):
        change(made, rng)
        usable = {backend for backend in made.backends if backend.usable}
        found = list(made.candidates("icn", key=b"%d" % rng.randrange(9)))
        assert len(found) == len(usable)
        assert set(found) == usable
        for order, had in half:
            backend = next(order, None)
            if name not in ("nearest", "first", "random", "least_connections", "power_of_two") and backend:
                assert backend in usable  # those others made their list when they were asked for a second one
            assert backend not in had
        order = made.candidates("nrt", key=b"%d" % rng.randrange(9))
        half = [(order, [backend])] if (backend := next(order, None)) else []
        if backend is not None:
            made.acquire(backend)
            if rng.random() < 0.6:
                made.release(backend)
            made.algorithm.observed(backend, rng.random(), rng.random() * 100)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nobody_and_one_alone(algorithm: str) -> None:
    assert list(pool(algorithm, []).candidates("icn", key=b"k")) == []
    made = pool(algorithm, [3])
    assert [backend.name for backend in made.candidates("icn", key=b"k")] == ["b0"]
    made.backends[0].draining = True
    made.usable_changed()
    assert list(made.candidates("icn", key=b"k")) == []


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_other_one_has_a_reason(algorithm: str) -> None:
    made = pool(algorithm, [1, 1, 1, 1])
    chosen = next(made.candidates("icn", key=b"k"))
    reasons = dict(made.explain("icn", chosen, b"k"))
    assert sorted([*reasons, chosen.name]) == ["b0", "b1", "b2", "b3"]
    assert Reason.USABLE not in reasons.values()


# -- what a choice costs: lines of code that run, for 8 backends and for 1,024 -------------------------------------


@contextmanager
def counting() -> Iterator[Callable[[], int]]:
    """Count the lines that run in cdnlab."""
    lines = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        if "cdnlab" not in frame.f_code.co_filename:
            return None
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lambda: lines
    finally:
        sys.settrace(before)


def cost(algorithm: str, count: int, weights: Callable[[int], int], choices: int = 200) -> float:
    """Lines per choice, with the exchanges of the last twenty in flight."""
    made = pool(algorithm, [weights(number) for number in range(count)])
    under_way: list[Backend] = []
    with counting() as lines:
        for number in range(choices):
            backend = next(made.candidates("icn", key=KEYS[number % 50]))
            made.acquire(backend)
            under_way.append(backend)
            if len(under_way) > 20:
                made.release(under_way.pop(0))
                made.algorithm.observed(backend, 0.1, float(number))
        return lines() / choices


WEIGHTS = {"equal": lambda number: 1, "all different": lambda number: number + 1}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("algorithm", [*HASHES, "power_of_two", "random"])
def test_a_choice_costs_the_same_among_any_number(algorithm: str, weights: str) -> None:
    few, many = (cost(algorithm, count, WEIGHTS[weights]) for count in (8, 1024))
    assert many < 1.3 * few + 5


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("algorithm", ["round_robin", "least_connections", "first", "nearest"])
def test_a_choice_costs_at_most_log_n(algorithm: str, weights: str) -> None:
    """From 8 to 1,024 the logarithm grows from 3 to 10; the number of backends 128 times."""
    few, many = (cost(algorithm, count, WEIGHTS[weights]) for count in (8, 1024))
    assert many < 5 * few


# -- disruption ---------------------------------------------------------------------------------------------------


def owners(made: Pool) -> dict[bytes, str]:
    return {key: next(made.candidates("icn", key=key)).name for key in KEYS}


@pytest.mark.parametrize("algorithm", HASHES)
@settings(max_examples=8, deadline=None)
@given(weights=st.lists(st.integers(1, 6), min_size=2, max_size=8), gone=st.integers(0, 7))
def test_whoever_is_away_has_its_keys_back_when_it_returns(
    algorithm: str, weights: list[int], gone: int
) -> None:
    made = pool(algorithm, weights)
    before = owners(made)
    backend = made.backends[gone % len(weights)]
    backend.draining = True
    made.usable_changed()
    without = owners(made)
    assert backend.name not in without.values()
    if algorithm != "maglev":
        assert all(without[key] == name for key, name in before.items() if name != backend.name)
    backend.draining = False
    made.usable_changed()
    assert owners(made) == before


@pytest.mark.parametrize("algorithm", HASHES)
def test_slow_start_moves_no_key(algorithm: str) -> None:
    made = pool(algorithm, [2, 3, 4])
    before = owners(made)
    made.backends[1].weigh(3, 0.1)
    made.usable_changed()
    assert owners(made) == before


@pytest.mark.parametrize("algorithm", HASHES)
def test_whoever_was_removed_leaves_no_trace(algorithm: str) -> None:
    made = pool(algorithm, [1, 1, 1])
    for number in range(12):
        made.add(Backend(f"guest{number}", "h", 80, weight=900))
        made.remove(f"guest{number}")
    assert owners(made) == owners(pool(algorithm, [1, 1, 1]))


@pytest.mark.parametrize("algorithm", HASHES)
def test_another_secret_is_another_choice(algorithm: str) -> None:
    backends = [Backend(name, "h", 80) for name in "abc"]
    one, other = (Pool("test", backends, algorithm, Settings(secret=bytes([n]) * 32)) for n in (1, 2))
    assert owners(one) != owners(other)


@pytest.mark.parametrize("algorithm", HASHES)
def test_source_is_hashed_where_that_is_asked_for(algorithm: str) -> None:
    backends = [Backend(name, "h", 80, place="icn") for name in "abc"]
    for by_source in (False, True):
        made = Pool("test", backends, algorithm, Settings(by_source=by_source))
        assert made.keyed
        assert made.by_source is (by_source or algorithm == "source_hash")
        near = Pool(
            "test", backends, "nearest", Settings(inner=algorithm, nearest=PLACES, by_source=by_source)
        )
        assert (near.keyed, near.by_source) == (made.keyed, made.by_source)
