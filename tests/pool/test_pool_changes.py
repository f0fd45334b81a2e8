"""What may change in a pool while requests run: members, weights, the algorithm; panic; who is told."""

from __future__ import annotations

from collections import Counter

import pytest

from cdnlab.pool.algorithms.registry import REGISTRY, Settings
from cdnlab.pool.backend import Backend
from cdnlab.pool.health import Health
from cdnlab.pool.pool import FIRST_STEP, Pool
from cdnlab.pool.reasons import Reason


def made(names: str = "abc", algorithm: str = "round_robin", **facts: object) -> Pool:
    backends = [Backend(name, "127.0.0.1", 80, health=Health(rise=1, fall=1)) for name in names]
    return Pool("p", backends, algorithm, Settings(secret=bytes(32)), **facts)  # type: ignore[arg-type]


def judge(pool: Pool, name: str, ok: bool) -> None:
    pool.backend(name).health.result(1.0, ok)
    pool.usable_changed()


def chosen(pool: Pool, times: int = 60, key: bytes = b"") -> Counter[str]:
    return Counter(next(pool.candidates(key=key)).name for _ in range(times))


@pytest.mark.parametrize("algorithm", sorted(REGISTRY))
def test_who_is_added_is_chosen_and_who_is_removed_is_not(algorithm: str) -> None:
    pool = made("ab", algorithm)
    pool.add(Backend("c", "127.0.0.1", 80))
    assert {backend.name for backend in pool.candidates(key=b"k")} == set("abc")
    gone = pool.remove("a")
    assert gone.name == "a"
    assert {backend.name for backend in pool.candidates(key=b"k")} == set("bc")
    assert [backend.name for backend in pool.backends] == ["b", "c"]
    pool.remove("b")
    pool.remove("c")
    assert not list(pool.candidates(key=b"k"))
    pool.add(Backend("a", "127.0.0.1", 80))
    assert [backend.name for backend in pool.candidates(key=b"k")] == ["a"]


@pytest.mark.parametrize("algorithm", sorted(REGISTRY))
def test_what_a_removed_backend_still_has_is_finished(algorithm: str) -> None:
    pool = made("ab", algorithm)
    backend = next(pool.candidates(key=b"k"))
    pool.acquire(backend)
    pool.remove(backend.name)
    pool.release(backend)
    assert (backend.live, backend.served) == (0, 1)
    for _ in range(4):
        other = next(pool.candidates(key=b"k"))
        assert other is not backend
        pool.acquire(other)
        pool.release(other)


def test_names_stay_unique() -> None:
    pool = made()
    with pytest.raises(ValueError, match="pool p has a backend b already"):
        pool.add(Backend("b", "127.0.0.9", 80))
    with pytest.raises(KeyError, match="pool p has no backend x"):
        pool.remove("x")
    assert len(pool.backends) == 3


def test_a_weight_changes_shares_and_0_takes_nothing_new() -> None:
    pool = made("ab")
    pool.set_weight("a", 3)
    assert chosen(pool) == {"a": 45, "b": 15}
    pool.set_weight("a", 0)
    assert chosen(pool) == {"b": 60}
    assert pool.backend("a").reason() is Reason.NO_WEIGHT
    pool.set_weight("a", 1)
    assert chosen(pool) == {"a": 30, "b": 30}


def test_drain_and_enable() -> None:
    pool = made("ab")
    pool.drain("a")
    pool.drain("a")
    assert chosen(pool) == {"b": 60}
    pool.enable("a")
    assert chosen(pool) == {"a": 30, "b": 30}
    judge(pool, "a", False)
    pool.enable("a")
    assert chosen(pool) == {"b": 60}, "a verdict of the checks is not the operator's to undo"


def test_enable_ends_an_ejection() -> None:
    pool = made("ab")
    pool.backend("a").ejected_until = 99.0
    pool.usable_changed()
    assert (chosen(pool), pool.backend("a").reason()) == ({"b": 60}, Reason.EJECTED)
    pool.enable("a")
    assert chosen(pool) == {"a": 30, "b": 30}


@pytest.mark.parametrize("before", sorted(REGISTRY))
@pytest.mark.parametrize("after", sorted(REGISTRY))
def test_any_algorithm_may_follow_any_other(before: str, after: str) -> None:
    pool = made("abc", before)
    busy = next(pool.candidates(key=b"k"))
    pool.acquire(busy)
    judge(pool, "b", False)
    pool.set_algorithm(after)
    assert pool.algorithm_name == after
    assert {backend.name for backend in pool.candidates(key=b"k")} == set("ac")
    pool.release(busy)


def test_an_unknown_algorithm_changes_nothing() -> None:
    pool = made("ab")
    old = pool.algorithm
    for name, inner in (("fastest", None), ("nearest", "fastest"), ("nearest", "nearest")):
        with pytest.raises(ValueError):
            pool.set_algorithm(name, inner)
        assert (pool.algorithm, pool.algorithm_name, pool.settings.inner) == (
            old,
            "round_robin",
            "round_robin",
        )
    pool.set_algorithm("nearest", "least_connections")
    assert pool.settings.inner == "least_connections"


def test_keyed_follows_members_and_algorithm_and_is_told() -> None:
    pool = made("a", "ring_hash")
    told: list[tuple[bool, int]] = []
    pool.watch(lambda: told.append((pool.keyed, len(pool.backends))))
    assert not pool.keyed
    pool.add(Backend("b", "127.0.0.1", 80))
    assert pool.keyed
    assert told[-1] == (True, 2)
    judge(pool, "b", False)
    assert pool.keyed, "it comes back, and connections remember whether there is a key to make"
    pool.set_algorithm("round_robin")
    assert not pool.keyed
    assert told[-1] == (False, 2)
    before = len(told)
    judge(pool, "b", True)
    assert len(told) == before, "an ordinary verdict concerns no watcher"


# -- panic --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "below,down,panics",
    [
        (0.0, "abcd", False),
        (0.5, "a", False),
        (0.5, "ab", False),  # a half is not below a half
        (0.5, "abc", True),
        (0.5, "abcd", True),
        (1.0, "a", True),
        (1.0, "", False),
    ],
)
def test_when_a_pool_panics(below: float, down: str, panics: bool) -> None:
    pool = made("abcd", panic_below=below)
    for name in down:
        judge(pool, name, False)
    assert pool.panic == panics
    expected = "abcd" if panics else sorted(set("abcd") - set(down))
    assert [backend.name for backend in pool.on_offer] == list(expected)
    assert sorted(backend.name for backend in pool.candidates()) == list(expected)


def test_panic_uses_the_ejected_but_nobody_whom_the_operator_took_out() -> None:
    pool = made("abcd", panic_below=0.6)
    pool.drain("a")
    pool.set_weight("b", 0)
    assert not pool.panic, "two of the two that are wanted are usable"
    pool.backend("c").ejected_until = 99.0
    pool.usable_changed()
    assert pool.panic
    assert chosen(pool) == {"c": 30, "d": 30}
    assert dict(pool.explain("", pool.backend("d")))["a"] is Reason.DRAINING
    assert dict(pool.explain("", pool.backend("d")))["c"] is Reason.TURN


def test_the_beginning_and_the_end_of_a_panic_are_told_once() -> None:
    pool = made("ab", panic_below=0.6)
    told: list[bool] = []
    pool.watch(lambda: told.append(pool.panic))
    judge(pool, "a", False)
    pool.usable_changed()
    judge(pool, "b", False)
    judge(pool, "b", True)
    judge(pool, "a", True)
    assert told == [True, False]


def test_a_pool_without_members_does_not_panic() -> None:
    pool = made("a", panic_below=1.0)
    pool.remove("a")
    assert not pool.panic


# -- slow start ---------------------------------------------------------------------------------------------------


def test_who_comes_back_begins_low_and_who_was_there_from_the_start_does_not() -> None:
    pool = made("ab", slow_start=True)
    assert [backend.share for backend in pool.backends] == [1.0, 1.0]
    judge(pool, "a", False)
    judge(pool, "a", True)
    assert pool.backend("a").share == FIRST_STEP
    pool.add(Backend("c", "127.0.0.1", 80, weight=5))
    assert pool.backend("c").share == 5 * FIRST_STEP
    pool.set_weight("c", 10)
    assert pool.backend("c").share == 10 * FIRST_STEP, "a new weight is no new start"
    pool.drain("b")
    pool.enable("b")
    assert pool.backend("b").share == FIRST_STEP


def test_without_slow_start_a_returned_backend_has_all_its_weight() -> None:
    pool = made("ab")
    judge(pool, "a", False)
    judge(pool, "a", True)
    assert [backend.share for backend in pool.backends] == [1.0, 1.0]


def test_another_version_keeps_the_backends_that_stay() -> None:
    pool = made("abc")
    a, c = pool.backend("a"), pool.backend("c")
    pool.drain("a")
    judge(pool, "c", False)
    told: list[int] = []
    pool.watch(lambda: told.append(len(pool.backends)))
    new = Backend("d", "127.0.0.9", 80)
    pool.reshape([a, c, new], "random", Settings(), panic_below=0.0, slow_start=False)
    assert told == [3]
    assert pool.backends == (a, c, new)
    assert chosen(pool) == {"d": 60}, "a is drained still, and c is down"
    with pytest.raises(ValueError, match="robin"):
        pool.reshape([new], "robin", Settings(), panic_below=0.0, slow_start=False)
    assert (pool.algorithm_name, len(pool.backends)) == ("random", 3)


@pytest.mark.parametrize("algorithm", sorted(REGISTRY))
def test_whoever_chooses_by_the_former_version_goes_on(algorithm: str) -> None:
    """A request whose first attempt failed asks for the next one of a list that has been begun."""
    pool = made("abc", algorithm)
    begun = pool.candidates(key=b"k")
    next(begun)
    for backend in pool.backends[:2]:
        backend.weigh(0)
    pool.reshape(pool.backends, algorithm, Settings(secret=bytes(32)), panic_below=0.0, slow_start=False)
    assert len(list(begun)) <= 2
