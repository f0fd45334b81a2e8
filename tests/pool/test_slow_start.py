"""How a backend that came back gains its weight."""

from __future__ import annotations

from collections import Counter

import pytest

from cdnlab.pool.backend import Backend
from cdnlab.pool.health import Health
from cdnlab.pool.pool import Pool
from cdnlab.pool.slow_start import SlowStart


def made(weight: int = 1) -> Pool:
    backends = [Backend(name, "h", 80, weight=weight, health=Health(rise=1, fall=1)) for name in "ab"]
    return Pool("p", backends, slow_start=True)


def judge(pool: Pool, ok: bool) -> Backend:
    backend = pool.backend("a")
    backend.health.result(0.0, ok)
    pool.usable_changed()
    return backend


def test_it_gains_evenly_in_tenths() -> None:
    pool = made(weight=4)
    slow = SlowStart(pool, 9.0)
    judge(pool, False)
    backend = judge(pool, True)
    assert slow.tick(100.0) == [backend], "it has begun"
    seen = [round(backend.share, 6)]
    for second in range(1, 10):
        done = slow.tick(100.0 + second)
        assert done == ([backend] if second == 9 else [])
        seen.append(round(backend.share, 6))
    assert seen == pytest.approx([0.4 * tenth for tenth in range(1, 11)])
    assert backend.share == 4
    assert slow.tick(200.0) == []


def test_requests_follow_the_share() -> None:
    pool = made()
    slow = SlowStart(pool, 9.0)
    judge(pool, False)
    judge(pool, True)
    slow.tick(0.0)
    parts = []
    for second in range(10):
        slow.tick(float(second))
        parts.append(Counter(next(pool.candidates()).name for _ in range(2200))["a"] / 2200)
    expected = [tenth / (tenth + 10) for tenth in range(1, 11)]
    assert parts == pytest.approx(expected, abs=0.02)


def test_whoever_falls_on_the_way_begins_again() -> None:
    pool = made()
    slow = SlowStart(pool, 9.0)
    judge(pool, False)
    backend = judge(pool, True)
    slow.tick(0.0)
    slow.tick(8.0)
    assert backend.share == pytest.approx(0.9)
    judge(pool, False)
    slow.tick(8.5)
    judge(pool, True)
    assert backend.share == pytest.approx(0.1)
    slow.tick(20.0)
    assert backend.share == pytest.approx(0.1)
    slow.tick(29.0)
    assert backend.share == 1


def test_nobody_ramps_at_the_start_and_a_late_tick_is_not_lost() -> None:
    pool = made()
    slow = SlowStart(pool, 9.0)
    assert slow.tick(0.0) == []
    judge(pool, False)
    backend = judge(pool, True)
    slow.tick(0.0)
    assert slow.tick(1000.0) == [backend], "after a pause of the process all of it at once"


def test_a_new_weight_is_ramped_as_far_as_the_old() -> None:
    pool = made()
    slow = SlowStart(pool, 9.0)
    judge(pool, False)
    backend = judge(pool, True)
    slow.tick(0.0)
    slow.tick(4.0)
    pool.set_weight("a", 10)
    assert backend.share == pytest.approx(5.0)
    slow.tick(9.0)
    assert backend.share == 10
