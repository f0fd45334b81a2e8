"""GCRA: held against a token bucket, its bound over any history, how honest its waits are, and its table's size."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdnlab.pool.gcra import Gcra

RATES = st.floats(0.01, 1000)
BURSTS = st.integers(1, 50)
GAPS = st.lists(st.floats(0, 5), min_size=1, max_size=200)


@pytest.mark.parametrize(
    "rate,burst,times,waits",
    [
        (1, 1, [0, 0, 0.5, 1, 1], [0, 1, 0.5, 0, 1]),
        (1, 3, [0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 0, 1]),
        (10, 2, [5, 5, 5, 5.1, 5.1], [0, 0, 0.1, 0, 0.1]),
        (0.5, 1, [0, 1.5, 2, 3], [0, 0.5, 0, 1]),
        (1, 2, [0, 100, 100, 100], [0, 0, 0, 1]),
    ],
)
def test_who_waits_how_long(rate: float, burst: int, times: list[float], waits: list[float]) -> None:
    gcra = Gcra(rate, burst)
    assert [gcra.wait(b"a", now) for now in times] == pytest.approx(waits)


@given(RATES, BURSTS, GAPS)
def test_it_admits_what_a_token_bucket_admits(rate: float, burst: int, gaps: list[float]) -> None:
    """The two are one, seen from its two ends."""
    gcra, tokens, now, last = Gcra(rate, burst), float(burst), 0.0, 0.0
    for gap in gaps:
        now += gap / rate
        tokens, last = min(burst, tokens + (now - last) * rate), now
        admitted = gcra.wait(b"a", now) == 0.0
        if abs(tokens - 1) > 1e-6:  # rounding decides there
            assert admitted is (tokens >= 1)
        if admitted:
            tokens -= 1


@given(RATES, BURSTS, GAPS)
def test_no_stretch_of_time_has_more_than_the_burst_and_the_rate(
    rate: float, burst: int, gaps: list[float]
) -> None:
    gcra, now, admitted = Gcra(rate, burst), 0.0, []
    for gap in gaps:
        now += gap / rate / 3
        if not gcra.wait(b"a", now):
            admitted.append(now)
    for first in range(len(admitted)):
        count = len(admitted) - first
        assert count <= burst + (admitted[-1] - admitted[first]) * rate + 1e-6


@given(RATES, BURSTS, GAPS)
def test_whoever_waits_as_long_as_it_says_is_let_in_and_no_earlier(
    rate: float, burst: int, gaps: list[float]
) -> None:
    gcra, now = Gcra(rate, burst), 0.0
    for gap in gaps:
        now += gap / rate / 5
        wait = gcra.wait(b"a", now)
        if wait:
            assert gcra.wait(b"a", now + wait * 0.99) > 0
            now += wait * (1 + 1e-9) + 1e-9
            assert gcra.wait(b"a", now) == 0


def test_clients_do_not_touch_each_other() -> None:
    gcra = Gcra(1, 1)
    assert [gcra.wait(key, 0.0) for key in (b"a", b"b", b"a", b"b")] == [0, 0, 1, 1]


@pytest.mark.parametrize("rate,burst", [(1, 1), (10, 100), (0.1, 5), (1000, 1)])
def test_the_turn_of_the_tables_changes_no_verdict(rate: float, burst: int) -> None:
    """Against one that never drops anything."""
    gcra, rng, now = Gcra(rate, burst), Random(1), 0.0
    arrivals: dict[bytes, float] = {}
    for _ in range(5000):
        now += rng.expovariate(20 * rate)
        key = b"%d" % rng.randrange(15)
        arrival = max(arrivals.get(key, 0.0), now)
        conforms = arrival - now <= gcra.tolerance
        if abs(arrival - now - gcra.tolerance) < 1e-6:
            continue
        assert (gcra.wait(key, now) == 0) is conforms
        if conforms:
            arrivals[key] = arrival + gcra.interval


def test_the_table_empties_itself() -> None:
    gcra = Gcra(10, 10)
    for number in range(1000):
        gcra.wait(b"%d" % number, 0.0)
    assert len(gcra) == 1000
    gcra.wait(b"a", 1.5)
    gcra.wait(b"a", 3.0)
    assert len(gcra) <= 2
    assert gcra.forgotten == 0


def test_the_table_is_bounded_and_says_what_it_forgot() -> None:
    gcra = Gcra(0.001, 1, limit=100)
    for number in range(1000):
        assert gcra.wait(b"%d" % number, 0.0) == 0
        assert len(gcra) <= 100
    assert gcra.forgotten >= 800
    assert gcra.wait(b"999", 0.0) > 0  # the newest are known


def test_what_others_know_counts_where_it_is_more() -> None:
    gcra = Gcra(1, 5)
    gcra.at_least(b"a", 5.0, 10.0)
    assert gcra.wait(b"a", 10.0) == pytest.approx(1.0)
    gcra.at_least(b"a", 2.0, 10.0)
    assert gcra.ahead(b"a", 10.0) == pytest.approx(5.0)
    assert gcra.ahead(b"a", 20.0) == 0.0
    assert gcra.ahead(b"unknown", 20.0) == 0.0


@pytest.mark.parametrize("rate,burst,limit", [(0, 1, 10), (-1, 1, 10), (1, 0, 10), (1, 1, 1)])
def test_what_makes_no_sense_is_refused(rate: float, burst: int, limit: int) -> None:
    with pytest.raises(ValueError):
        Gcra(rate, burst, limit)
