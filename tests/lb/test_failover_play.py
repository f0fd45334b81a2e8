"""Failover's promise: two balancers with one lease, random pauses and outages, never two inside their deadlines."""

from __future__ import annotations

import functools
import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lb.failover import LOOK, STREAK, Action, Machine, State, Watched


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
