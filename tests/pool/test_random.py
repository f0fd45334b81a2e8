"""Random: shares within what chance allows, by weight, and an order of the others that is drawn, too."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from cdnlab.pool.backend import Backend
from cdnlab.pool.pool import Pool
from cdnlab.pool.reasons import Reason


def pool(*weights: int, seed: int = 1) -> Pool:
    backends = [Backend(chr(97 + n), "h", 80, weight=weight) for n, weight in enumerate(weights)]
    made = Pool("test", backends, "random")
    made.algorithm.rng = Random(seed)  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 1, 1), (1, 2, 3, 4), (1000, 1)])
def test_shares_are_the_weights_within_four_deviations(weights: tuple[int, ...], seed: int) -> None:
    made, count = pool(*weights, seed=seed), 6000
    taken = Counter(next(made.candidates()).name for _ in range(count))
    for backend in made.backends:
        share = backend.weight / sum(weights)
        assert abs(taken[backend.name] - count * share) <= 4 * (count * share * (1 - share)) ** 0.5 + 1


def test_a_slow_start_counts() -> None:
    made = pool(1, 1)
    made.backends[0].weigh(1, 0.1)
    made.usable_changed()
    taken = Counter(next(made.candidates()).name for _ in range(1100))
    assert 60 < taken["a"] < 140


def test_the_second_is_drawn_by_weight_too() -> None:
    made = pool(1, 1, 8)
    second: Counter[str] = Counter()
    for _ in range(4000):
        first, other, _ = [backend.name for backend in made.candidates()]
        if first == "a":
            second[other] += 1
    share = second["c"] / sum(second.values())
    assert share == pytest.approx(8 / 9, abs=0.08)


def test_the_last_one_is_drawn_and_nobody_beyond() -> None:
    class Highest(Random):
        def random(self) -> float:
            return 1.0 - 2**-53

    made = pool(1, 1, 1)
    made.algorithm.rng = Highest()  # type: ignore[attr-defined]
    for backend in made.backends:
        backend.share = 0.1  # sums that are not exact
    made.usable_changed()
    assert next(made.candidates()).name == "c"


def test_the_reason_is_chance() -> None:
    made = pool(1, 1)
    chosen = next(made.candidates())
    assert [reason for _, reason in made.explain("", chosen)] == [Reason.CHANCE]
