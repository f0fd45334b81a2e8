"""One direction of a link: when pieces arrive, in which order, and what may be on its way. The clock is a number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdnlab.world.schedule import END, WINDOW, Schedule

KIB = 1024


def test_nothing_is_due_before_its_time() -> None:
    link = Schedule()
    assert link.next_due is None
    link.push(10.0, b"hello", 0.05)
    assert link.next_due == pytest.approx(10.05)
    assert link.due(10.049) == []
    assert link.due(10.051) == [b"hello"]
    assert link.due(10.051) == []
    assert link.next_due is None


def test_the_end_of_the_stream_arrives_like_any_piece() -> None:
    link = Schedule()
    link.push(0.0, b"last", 0.1)
    link.push(0.0, END, 0.1)
    assert link.due(0.05) == []
    assert link.due(0.1) == [b"last", END]


def test_the_end_alone_takes_the_same_time() -> None:
    link = Schedule()
    link.push(0.0, END, 0.1)
    assert link.next_due == pytest.approx(0.1)
    assert (link.queued, link.in_flight) == (0, 0)
    assert link.due(0.1) == [END]


def test_bytes_stay_in_order_when_the_delay_shrinks() -> None:
    link = Schedule()
    link.push(0.0, b"slow", 0.2)
    link.push(0.01, b"fast", 0.0)
    assert link.due(0.1) == []
    assert link.due(0.2) == [b"slow", b"fast"]


def test_queued_until_arrival_in_flight_until_heard_of() -> None:
    link = Schedule()
    link.push(0.0, b"x" * 100, 0.1)
    assert (link.queued, link.in_flight) == (100, 100)
    link.due(0.1)
    assert (link.queued, link.in_flight) == (0, 100)
    link.due(0.2)
    assert (link.queued, link.in_flight) == (0, 0)


def test_stops_at_the_window_and_goes_on_at_half_of_it() -> None:
    link = Schedule(window=1000)
    link.push(0.0, b"x" * 400, 0.1)
    assert (link.above, link.below) == (False, True)
    link.push(0.01, b"x" * 400, 0.1)
    assert (link.above, link.below) == (False, False)
    link.push(0.02, b"x" * 200, 0.1)
    assert (link.above, link.below) == (True, False)
    link.due(0.2)
    assert (link.above, link.below) == (False, False)
    link.due(0.211)
    assert (link.above, link.below) == (False, True)


def test_a_stopped_sender_is_woken_although_nothing_else_arrives() -> None:
    """Between the last arrival and the news of it, due() has to be called once more."""
    link = Schedule(window=1000)
    link.push(0.0, b"x" * 1000, 0.1)
    assert link.due(0.1)
    assert link.above
    assert link.next_due == pytest.approx(0.2)
    assert link.due(0.2) == []
    assert link.below
    assert link.next_due is None


def test_an_idle_link_asks_for_no_timer() -> None:
    link = Schedule(window=1000)
    link.push(0.0, b"x" * 100, 0.1)
    link.due(0.1)
    assert link.next_due is None
    link.push(5.0, b"x", 0.1)
    link.due(5.1)
    assert link.in_flight == 1, "what was heard of meanwhile no longer counts"


def transfer(size: int, window: int, delay: float, piece: int) -> float:
    """Seconds until `size` bytes have arrived when the sender always has more, and stops as it is told."""
    link = Schedule(window)
    now, sent, arrived, paused, most = 0.0, 0, 0, False, 0
    while arrived < size:
        while sent < size and not paused:
            link.push(now, bytes(min(piece, size - sent)), delay)
            sent += piece
            paused = link.above
            most = max(most, link.queued)
        due = link.next_due
        assert due is not None, "a sender that waits is always woken"
        now = max(now, due)
        arrived += sum(len(data) for data in link.due(now) if data)
        paused = paused and not link.below
    assert most <= window + piece
    return now


@pytest.mark.parametrize("delay", [0.005, 0.0375, 0.1])
@pytest.mark.parametrize("piece", [1460, 16 * KIB, 64 * KIB, 192 * KIB, 256 * KIB, 3000 * KIB])
def test_throughput_is_window_over_round_trip(delay: float, piece: int) -> None:
    size = 50 * WINDOW
    seconds = transfer(size, WINDOW, delay, piece)
    assert seconds == pytest.approx(size / WINDOW * 2 * delay, rel=0.1)


def test_a_piece_larger_than_the_window_takes_a_round_trip_for_each() -> None:
    assert transfer(10_000, 1000, 0.1, 5000) == pytest.approx(1.9)


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.binary(max_size=20), st.floats(0, 0.5), st.floats(0, 1)), max_size=40
    )
)
def test_everything_arrives_once_in_order_and_not_early(
    steps: list[tuple[float, bytes, float, float]],
) -> None:
    link, now, out = Schedule(window=50), 0.0, []
    earliest = 0.0
    for wait, data, delay, later in steps:
        now += wait
        link.push(now, data, delay)
        earliest = max(earliest, now + delay)
        now += later
        out += link.due(now)
        assert link.queued >= 0
        assert link.in_flight >= link.queued
    link.push(now, END, 0.0)
    out += link.due(max(now, earliest))
    assert out[-1] is END
    assert b"".join(piece for piece in out if piece) == b"".join(data for _, data, _, _ in steps)
    link.due(now + 10)
    assert (link.queued, link.in_flight, link.next_due) == (0, 0, None)
