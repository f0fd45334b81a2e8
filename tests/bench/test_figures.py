"""A figure's parts: base units in, units out, judged by the median, doubted where something spoilt it."""

from __future__ import annotations

from bench.figures import Part

STALL = Part("fill", "longest stall", "ms", 1e3, 5)


def test_the_median_is_judged_in_the_units_of_the_goal() -> None:
    assert STALL.line([0.002, 0.005, 0.9]) == "longest stall: 5.00 ms (2.00-900.00); goal: at most 5 ms: met"
    assert STALL.line([0.0051]) == "longest stall: 5.10 ms; goal: at most 5 ms: NOT met"


def test_a_complaint_stands_with_the_verdict() -> None:
    assert STALL.line([0.005], ["it waited"]).endswith("met, but not proved: see the complaints (!)")
    assert STALL.as_json("objects", [0.005], ["it waited"])["complaints"] == ["it waited"]


def test_without_a_goal_nothing_is_judged() -> None:
    part = Part("lru", "lru", "", 1.0, None)
    assert part.line([1.2]) == "lru: 1.20"
    assert "met" not in part.as_json("objects", [1.2])
