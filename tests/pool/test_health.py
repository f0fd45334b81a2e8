"""Rise, fall and the rhythm of checks, as tables."""

from __future__ import annotations

from random import Random

import pytest

from cdnlab.pool.health import Health, Schedule, Starts, State, Transition

U, UP, DOWN = State.UNKNOWN, State.UP, State.DOWN


@pytest.mark.parametrize(
    "rise,fall,results,states",
    [
        (2, 3, "+", [UP]),  # nothing is known against it: one good check is enough
        (2, 3, "---", [U, U, DOWN]),
        (2, 3, "--+--", [U, U, UP, UP, UP]),
        (2, 1, "-", [DOWN]),
        (2, 2, "+--", [UP, UP, DOWN]),
        (2, 2, "--++", [U, DOWN, DOWN, UP]),
        (2, 2, "--+-+-++", [U, DOWN, DOWN, DOWN, DOWN, DOWN, DOWN, UP]),
        (1, 1, "+-+-", [UP, DOWN, UP, DOWN]),
        (3, 1, "-+++", [DOWN, DOWN, DOWN, UP]),
    ],
)
def test_states_after_each_check(rise: int, fall: int, results: str, states: list[State]) -> None:
    health = Health(rise=rise, fall=fall)
    seen = []
    for now, result in enumerate(results):
        before = health.state
        transition = health.result(float(now), result == "+")
        seen.append(health.state)
        assert (transition is None) == (before is health.state)
        assert health.usable == (health.state is not DOWN)
    assert seen == states
    assert health.checks == len(results)


def test_a_transition_says_what_when_and_why() -> None:
    health = Health(fall=1)
    assert health.result(7.5, False, "answered 500") == Transition(U, DOWN, 7.5, "answered 500")
    assert (health.since, health.detail) == (7.5, "answered 500")
    assert health.result(8.0, False, "connection refused") is None
    assert (health.since, health.detail) == (7.5, "connection refused")


def test_a_verdict_can_be_taken_over() -> None:
    health = Health(rise=1)
    assert health.adopt(DOWN, 3.0, "as lb-a saw it") == Transition(U, DOWN, 3.0, "as lb-a saw it")
    assert health.adopt(DOWN, 4.0, "as lb-a saw it") is None
    assert health.result(5.0, True) is not None
    assert health.state is UP


def test_ejected_is_no_verdict_of_checks() -> None:
    with pytest.raises(ValueError, match="no verdict of checks"):
        Health().adopt(State.EJECTED, 0.0, "")


@pytest.mark.parametrize(
    "results,uncertain",
    [("", False), ("+", False), ("-", True), ("---", True), ("---+", True), ("---++", False), ("+-+", False)],
)
def test_what_may_change_soon_is_checked_sooner(results: str, uncertain: bool) -> None:
    health = Health(rise=2, fall=3)
    for result in results:
        health.result(0.0, result == "+")
    assert health.uncertain == uncertain


@pytest.mark.parametrize("rise,fall", [(0, 1), (1, 0)])
def test_rise_and_fall_start_at_one(rise: int, fall: int) -> None:
    with pytest.raises(ValueError, match="at least 1 each"):
        Health(rise=rise, fall=fall)


def test_the_first_check_is_at_once_and_later_ones_keep_their_rhythm() -> None:
    rng = Random(1)
    schedule = Schedule(2.0, 0.1)
    first = schedule.next_probe(100.0, rng)
    assert 100.0 <= first <= 100.2
    due = first
    for _ in range(100):
        following = schedule.next_probe(due + 0.5, rng)  # a check that took half a second shifts nothing
        assert 1.8 <= following - due <= 2.2
        due = following


@pytest.mark.parametrize(
    "interval,down,expected", [(5.0, None, 1.0), (0.5, None, 0.5), (5.0, 0.2, 0.2), (1.0, 3.0, 3.0)]
)
def test_the_interval_while_it_is_uncertain(interval: float, down: float | None, expected: float) -> None:
    schedule = Schedule(interval, 0.0, down)
    rng = Random(1)
    first = schedule.next_probe(100.0, rng)
    second = schedule.next_probe(first, rng, uncertain=True)
    third = schedule.next_probe(second, rng)
    assert (first, second - first, third - second) == pytest.approx((100.0, expected, interval))


@pytest.mark.parametrize(
    "interval,members,last",
    [(2.0, 1, 0.0), (2.0, 3, 0.1), (2.0, 40, 1.95), (2.0, 1000, 1.998), (0.05, 10, 0.045)],
)
def test_first_checks_are_spread_out_and_all_within_an_interval(
    interval: float, members: int, last: float
) -> None:
    starts = Starts(interval)
    seen = [starts.take(50.0, members) for _ in range(members)]
    assert seen[0] == 50.0
    assert seen[-1] == pytest.approx(50.0 + last)
    assert seen == sorted(set(seen)), "no two at once"
    assert starts.take(99.0, members + 1) == 99.0, "who comes later need not wait"


def test_the_first_check_is_soon_however_long_the_interval() -> None:
    assert Schedule(3600.0, 0.5).next_probe(0.0, Random(1)) <= 1.0


def test_after_a_long_pause_there_is_one_check() -> None:
    rng = Random(1)
    schedule = Schedule(1.0, 0.0)
    assert schedule.next_probe(0.0, rng) == 0.0
    assert schedule.next_probe(500.0, rng) == 500.0
    assert schedule.next_probe(500.0, rng) == 501.0


def test_nodes_that_start_together_do_not_check_together() -> None:
    schedules = [Schedule(2.0, 0.1) for _ in range(20)]
    rngs = [Random(n) for n in range(20)]
    for _ in range(50):
        dues = [schedule.next_probe(0.0, rng) for schedule, rng in zip(schedules, rngs, strict=True)]
    assert max(dues) - min(dues) > 0.5


@pytest.mark.parametrize("interval,jitter", [(0.0, 0.1), (-1.0, 0.1), (1.0, -0.1), (1.0, 1.1)])
def test_bad_rhythms_are_refused(interval: float, jitter: float) -> None:
    with pytest.raises(ValueError, match="interval must be above 0 s"):
        Schedule(interval, jitter)
