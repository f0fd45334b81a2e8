"""First: who is active, who stands by, and how those of one number share."""

from __future__ import annotations

from collections import Counter

import pytest

from cdnlab.pool.backend import Backend
from cdnlab.pool.pool import Passed, Pool
from cdnlab.pool.reasons import Reason


def pool(*numbers: int, weights: tuple[int, ...] = ()) -> Pool:
    backends = [
        Backend(chr(97 + n), "h", 80, priority=priority, weight=weights[n] if weights else 1)
        for n, priority in enumerate(numbers)
    ]
    return Pool("test", backends, "first")


def away(made: Pool, names: str) -> None:
    for backend in made.backends:
        backend.draining = backend.name in names
    made.usable_changed()


def first(made: Pool, count: int = 6) -> str:
    return "".join(next(made.candidates()).name for _ in range(count))


@pytest.mark.parametrize(
    "numbers,gone,chosen",
    [
        ((0, 1), "", "aaaaaa"),
        ((1, 0), "", "bbbbbb"),
        ((0, 1), "a", "bbbbbb"),
        ((0, 0, 1), "", "ababab"),
        ((0, 0, 1), "a", "bbbbbb"),
        ((0, 0, 1), "ab", "cccccc"),
        ((0, 0, 0), "", "aaaaaa"),  # numbers that say nothing: the declared order
        ((7, 7, 7), "a", "bbbbbb"),
        ((0, 0, 5), "c", "ababab"),  # they still say something while the standby is away
        ((3, 1, 1, 2), "bc", "dddddd"),
        ((3, 1, 1, 2), "bcd", "aaaaaa"),
    ],
)
def test_who_is_chosen(numbers: tuple[int, ...], gone: str, chosen: str) -> None:
    made = pool(*numbers)
    away(made, gone)
    assert first(made) == chosen


def test_the_active_one_is_back_as_soon_as_it_is_usable() -> None:
    made = pool(0, 1)
    away(made, "a")
    assert first(made, 2) == "bb"
    away(made, "")
    assert first(made, 2) == "aa"


def test_actives_share_by_weight() -> None:
    made = pool(0, 0, 1, weights=(2, 1, 9))
    assert Counter(first(made, 30)) == {"a": 20, "b": 10}


def test_the_standbys_follow_in_their_order() -> None:
    made = pool(2, 0, 1, 0)
    order = [backend.name for backend in made.candidates()]
    assert order[2:] == ["c", "a"]
    assert set(order[:2]) == {"b", "d"}


def test_the_reasons() -> None:
    made = pool(0, 0, 1, 2)
    away(made, "d")
    passed: Passed = []
    chosen = next(made.candidates("", passed))
    reasons = dict(made.explain("", chosen))
    assert reasons.pop("c") is Reason.STANDBY
    assert reasons.pop("d") is Reason.DRAINING
    assert list(reasons.values()) == [Reason.TURN]
