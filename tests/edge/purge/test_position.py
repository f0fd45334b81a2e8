"""The table of states, and what a look at the store shows to be lost."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.purge.position import (
    EARLY,
    TABLE,
    Entry,
    Heard,
    Look,
    Lost,
    Position,
    Standing,
    State,
    compare,
    goes_on,
    reached,
)  # fmt: skip

LAG = 2.0


def confirmed(asked: float = 100.0) -> Standing:
    standing = Standing(alone=False, lag_max=LAG)
    standing.current(asked, asked)
    return standing


def test_every_pair_of_state_and_event_has_its_row() -> None:
    states = [state for state in State if state is not State.ALONE]
    assert set(TABLE) == set(product(states, Heard))
    for (_, heard), after in TABLE.items():
        assert after is {
            Heard.CURRENT: State.CONFIRMED, Heard.FAILED: State.BLIND, Heard.LAPSED: State.BEHIND
        }[heard]  # fmt: skip


def test_who_starts_is_behind_and_who_is_alone_never_is() -> None:
    assert Standing(alone=False).at(0.0) is State.BEHIND
    alone = Standing(alone=True)
    alone.failed(1.0)
    assert alone.at(1e12) is State.ALONE
    assert alone.usable_until > 1e12


def test_a_word_is_good_from_when_it_was_asked_for() -> None:
    standing = Standing(alone=False, lag_max=LAG)
    assert standing.current(asked=100.0, now=101.5) is State.CONFIRMED
    assert standing.at(101.999) is State.CONFIRMED
    assert standing.at(102.0) is State.BEHIND
    assert standing.usable_until < 102.0


def test_an_answer_that_lay_unread_confirms_nothing() -> None:
    """A process was frozen between question and answer."""
    standing = confirmed()
    assert standing.at(110.0) is State.BEHIND
    assert standing.current(asked=100.5, now=110.0) is State.BEHIND
    assert standing.current(asked=110.0, now=110.1) is State.CONFIRMED


def test_a_running_edge_goes_from_confirmed_straight_to_blind() -> None:
    """The read is begun a quarter after the last one and fails three quarters later, before the word has run out, even
    in a loop that is late by almost a fortieth."""
    standing = confirmed(asked=100.0)
    begun = 100.0 + standing.pause
    failed = begun + standing.patience + 0.99 * EARLY * LAG
    assert standing.at(failed) is State.CONFIRMED
    assert standing.failed(failed) is State.BLIND
    again = failed + standing.pause + standing.patience
    assert standing.at(again) is State.BLIND, "and stays so from one failed read to the next"


def test_a_blind_edge_that_was_frozen_is_behind_too() -> None:
    standing = confirmed()
    standing.failed(101.0)
    assert standing.usable_until == 103.0
    assert standing.at(103.0) is State.BEHIND


def test_a_blind_edge_may_be_told_to_revalidate() -> None:
    standing = Standing(alone=False, lag_max=LAG, revalidates=True)
    standing.current(100.0, 100.0)
    assert standing.usable_until == 102.0
    standing.failed(101.0)
    assert standing.at(101.0) is State.BLIND
    assert standing.usable_until < 0


@given(st.lists(st.tuples(st.sampled_from(["current", "failed", "at"]), st.floats(0, 3), st.floats(0, 3))))
def test_nothing_older_than_the_lag_is_ever_usable_but_for_the_blind(
    steps: list[tuple[str, float, float]],
) -> None:
    standing, now, asked_last = Standing(alone=False, lag_max=LAG), 100.0, -1000.0
    for what, later, ago in steps:
        now += later
        if what == "current":
            standing.current(now - ago, now)
            asked_last = max(asked_last, now - ago) if standing.state is State.CONFIRMED else asked_last
        elif what == "failed":
            standing.failed(now)
        if standing.at(now) is State.CONFIRMED:
            assert now < asked_last + LAG
        if standing.state is State.BEHIND:
            assert standing.usable_until < now


# -- looks -------------------------------------------------------------------------------------------------------------

HERE = Position("g", 5, 3, "l3")


def entry(number: int, generation: str = "g", before: str | None = None) -> Entry:
    return Entry(generation, number, before or f"l{number - 1}", f"l{number}", b"")


def look(last: int, *entries: Entry, generation: str = "g", link: str | None = None) -> Look:
    return Look(generation, 5, last, link or f"l{last}", entries)


@pytest.mark.parametrize(
    ("seen", "lost"),
    [
        (look(3), None),
        (look(5, entry(4), entry(5)), None),
        (look(9, entry(4)), None),
        (look(3, generation="h"), Lost.GENERATION),
        (look(4, entry(4, "h"), generation="h"), Lost.GENERATION),
        (look(2), Lost.ROLLED_BACK),
        (look(0), Lost.ROLLED_BACK),
        (look(3, link="other"), Lost.ROLLED_BACK),
        (look(4, entry(4, before="other")), Lost.ROLLED_BACK),
        (look(5, entry(4), entry(5, before="other")), Lost.ROLLED_BACK),
        (look(9), Lost.GAP),
        (look(9, entry(5)), Lost.GAP),
        (look(9, entry(4), entry(6)), Lost.GAP),
    ],
)
def test_what_a_look_shows(seen: Look, lost: Lost | None) -> None:
    assert compare(HERE, seen) is lost


def test_entries_that_go_on() -> None:
    assert goes_on(3, "l3", ()) is None
    assert goes_on(3, "l3", (entry(4), entry(5))) is None
    assert goes_on(4, "l4", (entry(4),)) is Lost.GAP


@pytest.mark.parametrize(
    ("said", "there"),
    [
        (b"g-3", True),
        (b"g-0", True),
        (b"g-4", False),
        (b"h-3", False),
        (b"g-3;local", False),
        (b"g-", False),
        (b"g--1", False),
        (b"-3", False),
        (b"", False),
        (b"g-" + b"9" * 5000, False),
        ("g-٣".encode(), False),
    ],
)
def test_whether_a_parent_has_reached_a_childs_position(said: bytes, there: bool) -> None:
    assert reached(said, HERE) is there
    assert not reached(said, None)
