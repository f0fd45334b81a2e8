"""One list out of many rings."""

from __future__ import annotations

from typing import Any

from cdnlab.lab.feed import KEPT, Answer, Feed


def ring(*entries: tuple[int, float]) -> dict[str, Any]:
    return {"seen": 0, "missed": 0, "entries": [{"n": n, "time": time} for n, time in entries]}


def test_entries_of_many_nodes_come_in_order_of_time_under_one_number() -> None:
    feed = Feed()
    feed.take([Answer("a", 1, ring((1, 10.0), (2, 30.0))), Answer("b", 2, ring((7, 20.0)))])
    assert feed.after(0, None, 10) == [
        {"seq": 1, "node": "a", "time": 10.0},
        {"seq": 2, "node": "b", "time": 20.0},
        {"seq": 3, "node": "a", "time": 30.0},
    ]
    assert [row["seq"] for row in feed.after(1, None, 10)] == [2, 3]
    assert [row["seq"] for row in feed.after(0, "a", 10)] == [1, 3]
    assert [row["seq"] for row in feed.after(0, None, 1)] == [3]
    assert feed.after(0, None, 0) == []
    assert (feed.cursor("a", 1), feed.cursor("b", 2), feed.cursor("c", 3)) == (2, 7, 0)


def test_a_new_process_is_asked_from_its_beginning_and_the_old_ones_words_stay() -> None:
    feed = Feed()
    feed.take([Answer("a", 1, ring((5, 10.0)))])
    assert feed.cursor("a", 99) == 0
    feed.take([Answer("a", 99, ring((1, 20.0))), Answer("b", 2, ring())])
    assert (feed.cursor("a", 99), feed.cursor("b", 2)) == (1, 0)
    assert [row["time"] for row in feed.after(0, None, 10)] == [10.0, 20.0]


def test_a_number_from_another_lab_gives_everything() -> None:
    feed = Feed()
    feed.take([Answer("a", 1, ring((1, 10.0)))])
    assert len(feed.after(400, None, 10)) == 1


def test_it_is_bounded() -> None:
    feed = Feed()
    feed.take([Answer("a", 1, ring(*((n, float(n)) for n in range(1, KEPT + 11))))])
    assert feed.seen == KEPT + 10
    assert len(feed.after(0, None, 10**9)) == KEPT


def test_the_life_that_was_asked_last_is_remembered() -> None:
    feed = Feed()
    assert feed.life("a") is None
    feed.take([Answer("a", 17.5, ring((3, 10.0)))])
    assert (feed.life("a"), feed.life("b")) == (17.5, None)
