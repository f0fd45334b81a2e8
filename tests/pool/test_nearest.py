"""Nearest place first, the inner algorithm inside it, and who comes last."""

from __future__ import annotations

import pytest

from cdnlab.pool.algorithms.registry import Settings
from cdnlab.pool.backend import Backend
from cdnlab.pool.pool import Pool

NEAREST = {
    "icn": ["icn", "nrt", "fra", "gru"],
    "fra": ["fra", "gru", "icn", "nrt"],
    "gru": ["gru", "fra", "nrt", "icn"],
    "sin": ["nrt", "icn", "fra", "gru"],
}


def pool(*places: str, inner: str = "round_robin") -> Pool:
    seen: dict[str, int] = {}
    backends = []
    for place in places:
        seen[place] = seen.get(place, 0) + 1
        backends.append(Backend(f"{place or 'none'}-{seen[place]}", "127.0.0.1", 80, place=place))
    return Pool("edges", backends, "nearest", Settings(nearest=NEAREST, inner=inner))


def names(pool: Pool, place: str) -> list[str]:
    return [backend.name for backend in pool.candidates(place)]


@pytest.mark.parametrize(
    "place,order",
    [
        ("icn", ["icn-1", "nrt-1", "fra-1", "gru-1"]),
        ("fra", ["fra-1", "gru-1", "icn-1", "nrt-1"]),
        ("gru", ["gru-1", "fra-1", "nrt-1", "icn-1"]),
        ("sin", ["nrt-1", "icn-1", "fra-1", "gru-1"]),
    ],
)
def test_the_order_is_that_of_distance(place: str, order: list[str]) -> None:
    assert names(pool("gru", "fra", "nrt", "icn"), place) == order


def test_inside_a_place_the_inner_algorithm_chooses() -> None:
    made = pool("icn", "icn", "nrt")
    assert [next(made.candidates("icn")).name for _ in range(4)] == ["icn-1", "icn-2", "icn-1", "icn-2"]
    busy = pool("icn", "icn", "nrt", inner="least_connections")
    first = next(busy.candidates("icn"))
    busy.acquire(first)
    assert {next(busy.candidates("icn")).name for _ in range(3)} == {"icn-1", "icn-2"} - {first.name}
    busy.release(first)
    other = next(busy.candidates("icn"))
    busy.acquire(other)
    assert next(busy.candidates("icn")) is first


def test_the_next_place_takes_over_and_gives_back() -> None:
    made = pool("icn", "nrt", "fra")
    edge = made.backend("icn-1")
    edge.draining = True
    made.usable_changed()
    assert names(made, "icn") == ["nrt-1", "fra-1"]
    edge.draining = False
    made.usable_changed()
    assert names(made, "icn") == ["icn-1", "nrt-1", "fra-1"]


def test_who_stands_nowhere_comes_last() -> None:
    assert names(pool("", "xxx", "gru", "icn"), "icn") == ["icn-1", "gru-1", "none-1", "xxx-1"]


def test_a_client_at_an_unknown_place_gets_the_declared_order() -> None:
    assert names(pool("gru", "icn"), "nowhere") == ["gru-1", "icn-1"]
    assert names(pool("gru", "icn"), "") == ["gru-1", "icn-1"]


def test_its_own_inner_algorithm_it_cannot_be() -> None:
    with pytest.raises(ValueError, match="can't be its own inner algorithm"):
        pool("icn", inner="nearest")
