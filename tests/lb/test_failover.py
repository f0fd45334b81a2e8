"""Failover's table, every pair of it, and the arithmetic of its deadlines."""

from __future__ import annotations

import itertools
import math

import pytest

from lb.failover import (
    GAP,
    LOOK,
    STREAK,
    TABLE,
    TRY,
    Action,
    Event,
    Impossible,
    Machine,
    State,
    Watched,
)

VACANT = Watched(False, 0, "memory")
HELD = Watched(True, 1, "memory")


def active(now: float = 100.0) -> Machine:
    """A machine that has just won a lease by a claim sent at `now`."""
    machine = Machine()
    machine.start(now)
    assert machine.watched(now, now, VACANT) == (Action.CLAIM,)
    assert machine.claimed(now, now, 1) == (Action.EXTEND, Action.ACCEPT)
    return machine


@pytest.mark.parametrize("state,event", list(itertools.product(State, Event)))
def test_every_pair_of_state_and_event(state: State, event: Event) -> None:
    machine = Machine()
    machine.state = state
    machine.deadline = 1e9
    row = TABLE.get((state, event))
    if row is None:
        with pytest.raises(Impossible, match=f"{event.name} cannot happen in {state.name}"):
            machine._step(event, 5.0)
        assert machine.state is state
        return
    assert machine._step(event, 5.0) == row.actions
    assert machine.state is row.state
    assert (machine.deadline == 1e9) == (row.state is State.ACTIVE)
    changed = machine.transition is not None and machine.transition.after is row.state
    assert changed == (row.state is not state)


@pytest.mark.parametrize("pair", list(TABLE))
def test_rows_keep_their_promises(pair: tuple[State, Event]) -> None:
    before, row = pair[0], TABLE[pair]
    leaves = before is State.ACTIVE and row.state is not State.ACTIVE
    assert leaves == (Action.ABORT in row.actions or Action.FINISH in row.actions)
    enters = before is not State.ACTIVE and row.state is State.ACTIVE
    assert enters == (Action.ACCEPT in row.actions)
    assert (Action.EXTEND in row.actions) <= (row.state is State.ACTIVE)
    assert list(row.actions) == sorted(row.actions, key=list(Action).index)


def test_pairs_without_a_row_are_these() -> None:
    missing = {pair for pair in itertools.product(State, Event) if pair not in TABLE}
    assert missing == {
        (State.INITIALIZE, Event.OUTAGE),
        (State.INITIALIZE, Event.UNABLE),
        (State.INITIALIZE, Event.EXPIRED),
        (State.BACKUP, Event.START),
        (State.BACKUP, Event.OUTAGE),
        (State.BACKUP, Event.UNABLE),
        (State.BACKUP, Event.EXPIRED),
        (State.ACTIVE, Event.START),
        (State.ACTIVE, Event.HELD),
        (State.ACTIVE, Event.WATCHING),
        (State.ACTIVE, Event.VACANT),
        (State.ACTIVE, Event.WON),
        (State.ACTIVE, Event.LATE),
        (State.ACTIVE, Event.REFUSED),
    }


@pytest.mark.parametrize("event", list(Event))
def test_every_event_has_a_sentence(event: Event) -> None:
    assert event.sentence
    assert str(event) == event.value == event.name.lower()


def test_the_shares_leave_room() -> None:
    assert 2 * TRY < STREAK < GAP
    assert 2 * LOOK + TRY < GAP, "a backup may miss a look"
    assert 1 / 3 + TRY + GAP + 2 * TRY < 0.98, "a holder that renews at a third of a lease extends in time"


def test_the_deadline_counts_from_the_question() -> None:
    machine = active(100.0)
    assert machine.deadline == pytest.approx(100.988)
    machine.renewed(100.25, 100.9, True)
    assert machine.deadline == pytest.approx(101.238)


def test_a_deadline_that_is_past_is_never_extended() -> None:
    machine = active(100.0)
    assert machine.renewed(100.25, 101.0, True) == (Action.ABORT, Action.RELEASE)
    assert (machine.state, machine.deadline) == (State.BACKUP, -math.inf)
    machine = active(100.0)
    assert machine.away(100.9, 101.0) == (Action.ABORT,)
    assert (machine.state, machine.deadline) == (State.BACKUP, -math.inf)


def test_a_grant_that_comes_too_late_is_given_back() -> None:
    machine = Machine()
    machine.start(0.0)
    machine.watched(0.0, 0.0, VACANT)
    assert machine.claimed(0.0, 1.0, 7) == (Action.RELEASE,)
    assert machine.state is State.BACKUP


def test_a_grant_after_the_stop_is_given_back() -> None:
    machine = Machine()
    machine.start(0.0)
    machine.watched(0.0, 0.0, VACANT)
    machine.stop(0.1)
    assert machine.claimed(0.1, 0.2, 7) == (Action.RELEASE,)
    assert (machine.state, machine.deadline) == (State.INITIALIZE, -math.inf)


def test_the_holder_stays_while_the_store_is_away() -> None:
    machine = active(0.0)
    now = 0.25
    for _ in range(800):
        assert machine.wake(now) == ()
        machine.away(now, now + 0.07)
        now = max(now + 0.07, machine.next_ask())
    assert machine.state is State.ACTIVE
    assert now > 50
    assert machine.renewed(now, now, True) == (Action.EXTEND,)


def test_one_failed_try_extends_nothing() -> None:
    machine = active(0.0)
    assert machine.away(0.25, 0.3) == ()
    assert machine.deadline == pytest.approx(0.988)
    assert machine.next_ask() == pytest.approx(0.3125), "and the next one follows sooner than a renewal"


def test_an_outage_lasts_from_the_end_of_the_first_try_to_the_beginning_of_the_last() -> None:
    machine = active(0.0)
    machine.away(0.25, 0.31)
    machine.away(0.45, 0.47)
    assert machine.away(0.62, 0.68) == (), "0.31 s, though the tries took 0.43 s"
    assert machine.away(0.64, 0.69) == (Action.EXTEND,)
    assert machine.deadline == pytest.approx(1.628)


def test_tries_far_apart_prove_no_outage() -> None:
    machine = active(0.0)
    machine.away(0.25, 0.3)
    assert machine.away(0.65, 0.7) == ()
    assert machine.away(0.9, 0.91) == ()
    assert machine.deadline == pytest.approx(0.988)


def test_a_vacant_lease_is_watched_before_it_is_claimed() -> None:
    machine = Machine()
    machine.start(0.0)
    seen = Watched(False, 3, "memory")
    now = 0.0
    while machine.watched(now, now, seen) != (Action.CLAIM,):
        now = machine.next_ask()
    assert now == 1.0


def test_a_gap_or_another_memory_begins_the_watch_anew() -> None:
    machine = Machine()
    machine.start(0.0)
    for eighth in range(8):
        assert machine.watched(eighth / 8, eighth / 8, HELD) == ()
    assert machine.watched(1.2, 1.25, Watched(False, 1, "memory")) == (), "no answer between 0.875 and 1.25"
    assert machine.watched(1.5, 1.5, Watched(False, 1, "memory")) == ()
    assert machine.watch.since == 1.25
    machine.watched(1.51, 1.6, HELD)
    machine.watched(1.7, 1.84, HELD)
    assert machine.watch.since == 1.84, "an answer is as old as its question: 0.33 s"
    for eighth in range(15, 17):
        machine.watched(eighth / 8, eighth / 8, HELD)
    assert machine.watched(2.25, 2.25, Watched(False, 1, "other")) == ()
    assert machine.watched(2.5, 2.5, Watched(False, 1, "other")) == ()


def test_a_lease_that_runs_out_under_watch_is_claimed_at_once() -> None:
    machine = Machine()
    machine.start(0.0)
    for eighth in range(16):
        machine.watched(eighth / 8, eighth / 8, HELD)
    assert machine.watched(2.0, 2.0, Watched(False, 1, "memory")) == (Action.CLAIM,)


def test_a_planned_stop_finishes_what_runs() -> None:
    machine = active(0.0)
    assert machine.stop(0.5) == (Action.FINISH, Action.RELEASE)
    assert machine.renewed(0.4, 0.6, True) == (Action.RELEASE,), "a renewal may have been under way"
    assert active(0.0).stop(5.0) == (Action.ABORT,), "too late to plan anything"


@pytest.mark.parametrize("lease,renew", [(1.0, 0.34), (1.0, 0.0), (0.3, 0.25)])
def test_a_renewal_interval_without_room_is_refused(lease: float, renew: float) -> None:
    with pytest.raises(ValueError, match="at most a third"):
        Machine(lease=lease, renew=renew)
