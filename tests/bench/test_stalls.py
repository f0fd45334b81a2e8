"""The longest stall between two readings of an edge's metrics, from the text that an edge gives."""

from __future__ import annotations

import pytest

from bench.alone import STALL, Stalls, parse_stalls
from bench.programs import NotStarted
from cdnlab.node.stalls import StallMeter


def reading(*stalls: float, waited: float = 0.0) -> Stalls:
    """What an edge says after these stalls."""
    meter = StallMeter()
    for seconds in stalls:
        meter.histogram.observe(seconds)
    return parse_stalls("cdnlab_node_ready 1\n" + meter.histogram.family().text(), waited)


@pytest.mark.parametrize("before", [(), (0.3,), (0.007, 0.02)])
@pytest.mark.parametrize("since", [(), (0.006,), (0.012, 0.008), (0.006, 0.006, 0.4), (12.0, 11.0)])
def test_it_is_never_less_than_the_longest_and_not_much_more(
    before: tuple[float, ...], since: tuple[float, ...]
) -> None:
    longest = reading(*before, *since).longest_since(reading(*before))
    assert longest >= max(since, default=STALL) - 1e-9
    assert longest <= max(STALL, sum(since)) + 1e-9


def test_the_bound_of_its_bucket_is_said_where_others_add_up_to_more() -> None:
    assert reading(*[0.006] * 100).longest_since(reading()) == 0.01


def test_a_stall_while_others_had_the_core_is_doubted() -> None:
    assert "120 ms" in (reading(0.1, waited=0.15).complaint_since(reading(waited=0.03)) or "")
    assert reading(0.1, waited=0.031).complaint_since(reading(waited=0.03)) is None
    assert reading(waited=0.15).complaint_since(reading(waited=0.03)) is None


def test_metrics_without_the_histogram_are_refused() -> None:
    with pytest.raises(NotStarted, match="cdnlab_loop_stall_seconds_count"):
        parse_stalls("cdnlab_node_ready 1\n", 0.0)
