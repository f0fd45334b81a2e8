"""The retry budget: its share, its allowance for quiet times, its window; held against a plain count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdnlab.pool.budget import RetryBudget


def allowed(budget: RetryBudget, now: float, tries: int) -> int:
    return sum(budget.allow(now) for _ in range(tries))


def test_a_quiet_pool_may_still_retry() -> None:
    assert allowed(RetryBudget(share=0.2, minimum=1.0, window=10), 50.0, 100) == 10


def test_retries_are_a_share_of_the_requests() -> None:
    budget = RetryBudget(share=0.2, minimum=0.0, window=10)
    for _ in range(1000):
        budget.request(50.0)
    assert allowed(budget, 51.0, 1000) == 200
    assert budget.refused == 800


def test_what_lies_behind_the_window_no_longer_counts() -> None:
    budget = RetryBudget(share=0.5, minimum=0.0, window=10)
    for _ in range(10):
        budget.request(50.0)
    assert allowed(budget, 59.9, 100) == 5
    assert allowed(budget, 60.0, 100) == 0
    budget.request(1e9)
    budget.request(1e9)
    assert allowed(budget, 1e9, 100) == 1


def test_what_was_not_done_is_paid_back() -> None:
    budget = RetryBudget(share=0.0, minimum=0.1, window=10)
    assert budget.allow(50.0)
    assert not budget.allow(50.5)
    budget.refund()
    assert budget.allow(50.9)


def test_requests_counted_by_hand_are_put_into_their_second() -> None:
    """To within the quarter of a second in which they were counted."""
    budget = RetryBudget(share=0.5, minimum=0.0, window=2)
    budget.roll(100.0)
    for quarter in range(400, 416):
        budget.begun += 10
        budget.roll(quarter / 4 + 0.2)
    assert 35 <= allowed(budget, 103.95, 100) <= 40, "half of eighty, which came in the last two seconds"
    budget.begun += 4
    assert allowed(budget, 103.99, 100) == 2, "also those that came since"


@given(
    st.lists(st.tuples(st.sampled_from(["request", "retry"]), st.floats(0.0, 4.0)), max_size=200),
    st.integers(1, 12),
)
def test_it_counts_as_a_plain_list_would(steps: list[tuple[str, float]], window: int) -> None:
    budget = RetryBudget(share=0.3, minimum=0.2, window=window)
    now = 1000.0
    requests: list[int] = []
    retries: list[int] = []
    for step, pause in steps:
        now += pause
        if step == "request":
            budget.request(now)
            requests.append(int(now))
            continue
        since = int(now) - window
        recent = sum(second > since for second in requests)
        used = sum(second > since for second in retries)
        expected = used + 1 <= 0.3 * recent + 0.2 * window
        assert budget.allow(now) == expected
        if expected:
            retries.append(int(now))


@pytest.mark.parametrize("share,minimum,window", [(-0.1, 1, 10), (0.1, -1, 10), (0.1, 1, 0)])
def test_bad_numbers_are_refused(share: float, minimum: float, window: int) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        RetryBudget(share, minimum, window)
