"""Source hash: slots by weight, whoever is away is missed by its own clients only, and what a new backend costs."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdnlab.pool.algorithms.registry import Settings
from cdnlab.pool.algorithms.source_hash import MOST, SourceHash
from cdnlab.pool.backend import Backend
from cdnlab.pool.pool import Pool

CLIENTS = [bytes((10, 0, number >> 8, number & 255)) for number in range(3000)]


def pool(*weights: int) -> Pool:
    backends = [Backend(chr(97 + n), "h", 80, weight=weight) for n, weight in enumerate(weights)]
    return Pool("test", backends, "source_hash", Settings(secret=bytes(range(32))))


def owners(made: Pool) -> dict[bytes, str]:
    return {client: next(made.candidates(key=client)).name for client in CLIENTS}


@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 1, 1), (1, 2, 3, 4), (300, 200, 100)])
def test_shares_are_the_weights_within_four_deviations(weights: tuple[int, ...]) -> None:
    taken, count = Counter(owners(pool(*weights)).values()), len(CLIENTS)
    for number, weight in enumerate(weights):
        share = weight / sum(weights)
        assert abs(taken[chr(97 + number)] - count * share) <= 4 * (count * share * (1 - share)) ** 0.5


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=3, max_size=6), st.sets(st.integers(0, 5), min_size=1, max_size=2)
)
def test_whoever_is_away_is_missed_by_its_own_clients_only(weights: list[int], away: set[int]) -> None:
    made = pool(*weights)
    before = owners(made)
    gone = {made.backends[number % len(weights)] for number in away}
    for backend in gone:
        backend.draining = True
    made.usable_changed()
    after, names = owners(made), {backend.name for backend in gone}
    assert all(after[client] == name for client, name in before.items() if name not in names)
    heirs = {after[client] for client, name in before.items() if name in names}
    assert heirs == {backend.name for backend in made.backends} - names  # not one neighbour alone


def test_one_more_backend_moves_most_clients() -> None:
    """The price of the plain table, and why there are rings."""
    before, after = owners(pool(1, 1, 1)), owners(pool(1, 1, 1, 1))
    moved = sum(before[client] != after[client] for client in CLIENTS) / len(CLIENTS)
    assert moved == pytest.approx(1 - 1 / 4, abs=0.05)


def test_almost_all_away() -> None:
    made = pool(*[1] * 40)
    for backend in made.backends[1:]:
        backend.draining = True
    made.backends[7].draining = False
    made.usable_changed()
    found = Counter(owners(made).values())
    assert set(found) == {"a", "h"}
    assert min(found.values()) > 1000  # also for those whom twenty hashes lead nowhere


def test_slots_are_bounded() -> None:
    made = pool(1000, *[997] * 99)
    algorithm = made.algorithm
    assert isinstance(algorithm, SourceHash)
    assert len(algorithm.slots) <= MOST
    assert set(algorithm.slots) == {backend.name for backend in made.backends}
