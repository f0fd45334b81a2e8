"""Power of two choices: what the mean does, whom a choice prefers, and what becomes of a slow one and a new one."""

from __future__ import annotations

from collections import Counter
from math import exp
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdnlab.pool.algorithms.power_of_two import DECAY, PowerOfTwo
from cdnlab.pool.backend import Backend
from cdnlab.pool.pool import Pool


def pool(*weights: int, seed: int = 1) -> tuple[Pool, PowerOfTwo]:
    backends = [Backend(chr(97 + n), "h", 80, weight=weight) for n, weight in enumerate(weights)]
    made = Pool("test", backends, "power_of_two")
    algorithm = made.algorithm
    assert isinstance(algorithm, PowerOfTwo)
    algorithm.rng = Random(seed)
    return made, algorithm


def test_a_peak_counts_at_once_and_goes_slowly() -> None:
    made, algorithm = pool(1, 1)
    backend = made.backends[0]
    algorithm.observed(backend, 0.1, 100.0)
    assert backend.ewma == 0.1
    algorithm.observed(backend, 3.0, 101.0)
    assert backend.ewma == 3.0
    algorithm.observed(backend, 0.1, 101.0 + DECAY)
    assert backend.ewma == pytest.approx(3.0 / exp(1) + 0.1 * (1 - 1 / exp(1)))
    for step in range(2, 200):
        algorithm.observed(backend, 0.1, 101.0 + step)
    assert backend.ewma == pytest.approx(0.1, rel=1e-3)


@given(st.lists(st.tuples(st.floats(1e-4, 60), st.floats(0, 1e6)), min_size=1))
def test_the_mean_lies_among_what_was_observed(observations: list[tuple[float, float]]) -> None:
    made, algorithm = pool(1, 1)
    for seconds, now in observations:
        algorithm.observed(made.backends[0], seconds, now)
    times = [seconds for seconds, _ in observations]
    assert min(times) * 0.999 <= made.backends[0].ewma <= max(times)


def test_of_two_the_cheaper_one_is_chosen() -> None:
    made, algorithm = pool(1, 1)
    slow, quick = made.backends
    algorithm.observed(slow, 0.3, 1.0)
    algorithm.observed(quick, 0.1, 1.0)
    assert [next(made.candidates()).name for _ in range(20)] == ["b"] * 20
    quick.live = 3  # 0.1 x 4 is more than 0.3 x 1
    assert [next(made.candidates()).name for _ in range(20)] == ["a"] * 20


def test_a_new_one_gets_one_request_until_it_has_answered() -> None:
    made, algorithm = pool(1, 1, 1)
    for backend in made.backends[:2]:
        algorithm.observed(backend, 0.1, 1.0)
    new = made.backends[2]
    for _ in range(100):
        made.acquire(next(made.candidates()))
    assert new.live == 1
    algorithm.observed(new, 0.1, 2.0)
    for _ in range(100):
        made.acquire(next(made.candidates()))
    assert new.live > 30


def test_one_that_comes_back_is_new() -> None:
    made, algorithm = pool(1, 1)
    slow = made.backends[0]
    algorithm.observed(slow, 60.0, 1.0)
    slow.draining = True
    made.usable_changed()
    slow.draining = False
    made.usable_changed()
    assert slow.ewma == 0.0


def test_one_that_was_slow_is_tried_again_while_the_others_answer() -> None:
    """Its mean decays by the others' observations: else nobody would ever ask it again."""
    made, algorithm = pool(1, 1, 1)
    algorithm.observed(made.backends[0], 60.0, 0.0)
    tried = []
    for tick in range(200):
        backend = next(made.candidates())
        if backend.name == "a":
            tried.append(tick)
            break
        algorithm.observed(backend, 0.05, float(tick))
    assert tried
    assert tried[0] > DECAY  # not at once


def worst(algorithm: str, seed: int) -> int:
    """The most that anyone has in flight when 1,000 are spread over 100, nobody being quicker."""
    backends = [Backend(str(n), "h", 80) for n in range(100)]
    made = Pool("test", backends, algorithm)
    made.algorithm.rng = Random(seed)  # type: ignore[attr-defined]
    for backend in backends:
        backend.ewma, backend.ewma_at = 0.1, 0.0
    for _ in range(1000):
        made.acquire(next(made.candidates()))
    return max(backend.live for backend in backends)


@pytest.mark.parametrize("seed", range(5))
def test_the_busiest_is_close_to_the_average(seed: int) -> None:
    """m/n + O(log log n) (Berenbrink et al. 2000), where one random choice gives some sqrt(m/n log n) more."""
    assert worst("power_of_two", seed) <= 10 + 3
    assert worst("random", seed) > 10 + 5


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 8), min_size=2, max_size=2), st.integers(0, 100))
def test_weight_is_room_in_flight(weights: list[int], seed: int) -> None:
    made, algorithm = pool(*weights, seed=seed)
    for backend in made.backends:
        algorithm.observed(backend, 0.1, 1.0)
    for _ in range(90):
        made.acquire(next(made.candidates()))
    for backend in made.backends:
        assert abs(backend.live - 90 * backend.weight / sum(weights)) <= 2


def test_where_nothing_is_timed_it_goes_by_what_is_in_flight() -> None:
    """Flows at layer 4 have no response."""
    made, _ = pool(1, 3)
    for _ in range(40):
        made.acquire(next(made.candidates()))
    assert abs(made.backends[1].live - 30) <= 2


def test_the_others_follow_by_cost() -> None:
    made, algorithm = pool(1, 1, 1, 1)
    for backend, seconds in zip(made.backends, (0.4, 0.1, 0.3, 0.2), strict=True):
        algorithm.observed(backend, seconds, 1.0)
    first, *rest = [backend.name for backend in made.candidates()]
    assert rest == [name for name in "bdca" if name != first]


def test_two_different_ones_are_drawn_and_all_alike() -> None:
    made, algorithm = pool(1, 1, 1, 1, 1)
    taken = Counter(
        next(made.candidates()).name for _ in range(5000)
    )  # all cost nothing: the first one drawn
    assert all(abs(count - 1000) < 4 * 800**0.5 for count in taken.values())
    for backend in made.backends[1:]:
        algorithm.observed(backend, 0.1, 1.0)
    taken = Counter(next(made.candidates()).name for _ in range(5000))
    assert abs(taken["a"] - 2000) < 4 * 1200**0.5  # it is in two of five pairs, and cheaper in each
