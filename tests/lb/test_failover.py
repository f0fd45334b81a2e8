"""Failover's table, every pair of it, and its promise: never two holders inside their deadlines."""

from __future__ import annotations

import functools
import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
        (State.INITIALIZE, Event.EXPIRED),
        (State.BACKUP, Event.START),
        (State.BACKUP, Event.OUTAGE),
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
    for eighth in range(13, 17):
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


# -- two balancers, one lease, random pauses and outages ----------------------------------------------------------


class Outage(NamedTuple):
    """What becomes of the store: `frozen` (it carries out late what it was asked), `cut off`, or `restarted`."""

    begin: float
    end: float
    kind: str = "cut off"


Freeze = tuple[float, float]
"""SIGSTOP, SIGCONT."""
Wait = Iterator[float]


@dataclass
class ModelStore:
    """What the scripts do, over model time; `there` must be asked first, with times in order."""

    outages: list[Outage]
    token: int = -1
    owner: str = ""
    expires: float = -1.0
    epoch: str = ""
    epochs: Iterator[int] = field(default_factory=itertools.count)

    def there(self, at: float) -> bool:
        """Whether it answers at `at`."""
        while self.outages and self.outages[0].end <= at:
            if self.outages.pop(0).kind == "restarted":
                self.owner, self.token, self.epoch = "", -1, ""
        if at >= self.expires:
            self.owner = ""
        return not self.outages or at < self.outages[0].begin

    def watch(self, at: float) -> Watched:
        self.epoch = self.epoch or f"memory {next(self.epochs)}"
        return Watched(bool(self.owner), self.token, self.epoch)

    def claim(self, at: float, owner: str, seen: Watched, highest: int) -> int | None:
        if self.owner or (self.token, self.epoch) != (seen.token, seen.epoch):
            return None
        self.token = max(self.token, highest, 0) + 1
        self.owner, self.expires = owner, at + 1.0
        return self.token

    def renew(self, at: float, owner: str, token: int) -> bool:
        if (self.owner and self.owner != owner) or self.token > token:
            return False
        self.token, self.owner, self.expires = token, owner, at + 1.0
        return True


class Play:
    """Two machines against one store. Each step takes the next of `delays`; a step inside one of its machine's
    `freezes` (begin, end) is taken at its end."""

    def __init__(
        self,
        outages: list[Outage],
        delays: Iterator[float],
        *,
        seeded: bool,
        freezes: tuple[list[Freeze], list[Freeze]] = ([], []),
    ) -> None:
        self.store = ModelStore(list(outages), token=0 if seeded else -1)
        self.delays = delays
        self.machines = [Machine(), Machine()]
        self.order = itertools.count()
        self.queue: list[tuple[float, int, Wait, list[Freeze]]] = []
        self.now = 0.0
        self.terms = 0
        self.killed: Machine | None = None
        for number, machine in enumerate(self.machines):
            self.spawn(number * 0.01, self.balancer(machine, f"lb-{number}"), freezes[number])

    def spawn(self, when: float, process: Wait, freezes: list[Freeze]) -> None:
        when = next((end for begin, end in freezes if begin <= when < end), when)
        heapq.heappush(self.queue, (when, next(self.order), process, freezes))

    def run(self, until: float) -> None:
        """Play, and look at both deadlines after every step."""
        while self.queue[0][0] < until:
            self.now, _, process, freezes = heapq.heappop(self.queue)
            for when in process:
                self.spawn(max(when, self.now), process, freezes)
                break
            assert len(self.holders()) < 2, f"two holders at {self.now}"

    def holders(self) -> list[Machine]:
        return [machine for machine in self.machines if machine.deadline > self.now]

    def delay(self) -> float:
        return next(self.delays)

    def balancer(self, machine: Machine, name: str) -> Wait:
        """What the shell does, with a pause wherever a process can be frozen."""
        machine.start(self.now)
        owner = ""
        for number in itertools.count():
            if machine is self.killed:
                return
            machine.wake(self.now)
            if machine.state is State.ACTIVE:
                yield from self.renew(machine, owner)
            else:
                owner = f"{name}/{number}"
                yield from self.look(machine, owner)
            yield self.now + self.delay()
            yield machine.next_ask()

    def renew(self, machine: Machine, owner: str) -> Wait:
        token = machine.token
        yield from self.ask(machine, machine.renewed, lambda at: self.store.renew(at, owner, token))

    def look(self, machine: Machine, owner: str) -> Wait:
        answers: list[tuple[float, float, Watched]] = []
        yield from self.ask(machine, lambda *answer: answers.append(answer), self.store.watch)
        if not answers or Action.CLAIM not in machine.watched(*answers[0]):
            return
        seen, highest = answers[0][2], machine.watch.token
        claim = functools.partial(self.store.claim, owner=owner, seen=seen, highest=highest)
        yield from self.ask(machine, machine.claimed, claim)
        self.terms += machine.state is State.ACTIVE

    def ask(
        self, machine: Machine, answered: Callable[..., object], question: Callable[[float], object]
    ) -> Wait:
        """One question: sent now, carried out a delay later, answered another delay later; or away."""
        machine.asked = sent = self.now
        yield sent + self.delay()
        if self.store.there(self.now):
            answer = question(self.now)
            yield self.now + self.delay()
            answered(sent, self.now, answer)
            return
        if self.store.outages[0].kind == "frozen":
            self.spawn(self.store.outages[0].end, self.late(question), [])
        yield max(self.now, sent + machine.patience()) + self.delay()
        machine.away(sent, self.now)

    def late(self, question: Callable[[float], object]) -> Wait:
        """A question that a frozen store had in its buffer is carried out when it thaws."""
        if self.store.there(self.now):
            question(self.now)
        yield from ()


@dataclass
class World:
    """What happens to a play: how often a step is slow, for how long at most, and how the store behaves.

    Hypothesis chooses these few numbers, and shrinks them; the seed spreads them over the steps.
    """

    seed: int
    often: float
    longest: float
    away: float
    kind: str
    seeded: bool

    def play(self, mayhem: float) -> Play:
        """A play in which things happen for `mayhem` seconds of model time."""
        rng = random.Random(self.seed)
        outages = list(self._outages(rng, mayhem))
        freezes = [self._freezes(rng, outages) for _ in range(2)]
        return Play(outages, self._delays(rng), seeded=self.seeded, freezes=(freezes[0], freezes[1]))

    def _outages(self, rng: random.Random, mayhem: float) -> Iterator[Outage]:
        end = rng.uniform(0.5, 3.0)
        while end < mayhem:
            begin = end + rng.choice([STREAK, rng.uniform(STREAK, 3.0)])
            end = begin + rng.uniform(0.01, self.away)
            yield Outage(begin, end, self.kind or rng.choice(["frozen", "cut off", "restarted"]))

    def _freezes(self, rng: random.Random, outages: list[Outage]) -> list[Freeze]:
        """Where they hurt: from the middle or the end of an outage, or across a whole one."""
        end, made = 0.0, []
        for from_, until, _ in outages:
            begin = rng.choice([from_ - 0.1, rng.uniform(from_, until + 0.3), from_ - rng.uniform(0.2, 1.0)])
            if begin > end and rng.random() < 0.7:
                end = max(begin, until) + rng.uniform(0.0, self.longest)
                made.append((begin, end))
        return made

    def _delays(self, rng: random.Random) -> Iterator[float]:
        while True:
            frozen = rng.random() < self.often
            yield rng.uniform(0.0, self.longest) if frozen else rng.choice([0.0, 0.001, 0.02])


worlds = st.builds(
    World,
    seed=st.integers(0, 2**32),
    often=st.sampled_from([0.0, 0.01, 0.03, 0.1]),
    longest=st.sampled_from([0.2, 0.5, 1.0, 2.0]),
    away=st.sampled_from([0.1, 0.5, 1.0, 3.0]),
    kind=st.sampled_from(["", "frozen", "cut off", "restarted"]),
    seeded=st.booleans(),
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(world=worlds)
def test_never_two_holders(world: World) -> None:
    play = world.play(20.0)
    play.run(25.0)
    play.delays = itertools.repeat(0.001)
    play.run(30.0)
    assert play.holders(), "and one of them holds it when nothing happens any more"


def test_a_killed_holder_is_followed_within_a_lease_and_a_look() -> None:
    play = Play([], itertools.repeat(0.001), seeded=True)
    play.run(3.0)
    (holder,) = play.holders()
    play.killed = holder
    play.run(3.0 + 1.0 + LOOK + 0.05)
    (successor,) = play.holders()
    assert successor is not holder


def test_the_store_away_for_a_minute_changes_no_holder() -> None:
    play = Play([Outage(3.0, 63.0, "restarted")], itertools.repeat(0.001), seeded=True)
    play.run(2.9)
    before = play.holders()
    play.run(62.9)
    assert play.holders() == before
    play.run(70.0)
    assert play.holders() == before
    assert play.terms == 1
