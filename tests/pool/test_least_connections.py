"""Least connections: held against a plain minimum over any history of exchanges that begin and end."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cdnlab.pool.backend import Backend
from cdnlab.pool.pool import Pool


def pool(*weights: int) -> Pool:
    backends = [Backend(chr(97 + n), "127.0.0.1", 80, weight=weight) for n, weight in enumerate(weights)]
    return Pool("test", backends, "least_connections")


def load(backend: Backend) -> float:
    return (backend.live + 1) / backend.weight


@given(
    weights=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    steps=st.lists(
        st.tuples(st.sampled_from(["begin", "begin", "end", "inline", "drain"]), st.integers(0, 99))
    ),
)
def test_the_first_has_the_least_load(weights: list[int], steps: list[tuple[str, int]]) -> None:
    made = pool(*weights)
    under_way: list[Backend] = []
    for step, number in steps:
        if step == "end":
            if under_way:
                made.release(under_way.pop(number % len(under_way)))
        elif step == "drain":
            backend = made.backends[number % len(made.backends)]
            backend.draining = not backend.draining
            made.usable_changed()
        else:
            usable = [backend for backend in made.backends if backend.usable]
            order = list(made.candidates()) if step == "begin" else [*made.candidates()][:1]
            if not usable:
                assert not order
                continue
            assert load(order[0]) == min(map(load, usable))
            if step == "begin":
                assert sorted(map(id, order)) == sorted(map(id, usable))
            order[0].live += 1
            under_way.append(order[0])


def test_idle_backends_take_turns() -> None:
    made = pool(1, 1, 1)
    names = []
    for _ in range(6):
        backend = next(made.candidates())
        made.acquire(backend)
        made.release(backend)
        names.append(backend.name)
    assert names == ["a", "b", "c", "a", "b", "c"]


def test_a_slow_one_gets_less() -> None:
    made = pool(1, 1)
    slow = made.backend("a")
    for _ in range(10):
        made.acquire(slow)
    assert [next(made.candidates()).name for _ in range(5)] == ["b"] * 5


def test_weight_sets_the_share() -> None:
    made = pool(3, 1)
    for _ in range(40):
        made.acquire(next(made.candidates()))
    assert Counter({backend.name: backend.live for backend in made.backends}) == {"a": 30, "b": 10}


def test_entries_that_nobody_meets_do_not_pile_up() -> None:
    made = pool(1, 1, 1)
    for backend in made.backends:
        backend.live = 1000
    for _ in range(3):
        next(made.candidates())
    for _ in range(999):
        made.release(made.backends[0])
    assert len(made.algorithm.heap) <= 4 * 3 + 65  # type: ignore[attr-defined]
    assert next(made.candidates()) is made.backends[0]
