"""Who holds a VIP: the decision, without clock, store or socket.

Decides the state of one balancer for one VIP, and until when it may answer (the *deadline*). It must not
know how the store is asked, nor what a connection is.

Theory. The words are VRRP's (RFC 9568): a balancer is in *initialize* (it takes no part), *backup* (it
waits) or *active* (it holds the VIP). The right to be active is a lease in the store: a key that expires
unless its owner renews it. Whoever finds the key absent may claim it, and gets the next number of a
counter, the fencing *token*.

The deadline says until when this balancer may answer. Everything that answers compares the clock with it
first, so a process that was frozen finds it past and answers nothing, whatever ran before. Three rules make
it safe:

1. It counts from the moment a question was *sent*, so it never lies behind the key's own expiry in the store,
   however long the answer took. A little is taken off for clocks that run apart (DRIFT, Redlock's figure).
2. Once it is past it is never extended; the machine is backup again, and starts over.
3. Nobody claims before the last holder's deadline must have passed.

Without the store nobody can claim, and a holder that let go would leave the VIP to nobody. So a holder
extends its own deadline while the store is away. That makes rule 3 harder, since the key may have expired,
or the store may have lost its memory, while a holder stayed. Hence:

4. A holder extends its own deadline only after an *outage*: tries that failed, from the end of the first to the
   beginning of the last, for GAP of a lease, no two of them further apart than STREAK.
5. A backup claims only what it has *watched* for one lease: answers never as far apart as GAP, from a store
   with one memory (the epoch, a random value that a store without one is given by the first who asks).
   So an outage that let a holder extend cannot have gone unnoticed; and from its end, one lease is as long as
   any such deadline lasts. Only a store whose creator wrote the counter as 0 (`failover_lease.seed`) needs no
   watching before the first claim: nobody can have held anything.

Rules 4 and 5 suppose that an outage hits both balancers, and that between two outages the store is there for STREAK
at least. A store that only one of them can reach is a case for hellos between the two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

LOOK = 1 / 8
"""Share of a lease: how often a backup looks."""
TRY = 1 / 16
"""Share of a lease: how long a question may take, and how soon a holder asks again after one that failed."""
GAP = 0.325
"""Share of a lease: an outage, and what a backup takes for one. It leaves a backup room for two looks that fail,
and a holder that renews at a third of its lease room to extend in time."""
STREAK = 0.25
"""Share of a lease: from one failed try's beginning to the next one's end; else they prove no one outage."""


class State(StrEnum):
    """What a balancer is for one VIP (RFC 9568 §6.4)."""

    INITIALIZE = "initialize"
    BACKUP = "backup"
    ACTIVE = "active"


class Event(StrEnum):
    """What can happen; the sentence is the reason that people are shown."""

    sentence: str

    def __new__(cls, name: str, sentence: str) -> Event:
        """Make a member whose value is its label and whose `sentence` is for people."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.sentence = sentence
        return member

    START = "start", "the node is ready to take part"
    STOP = "stop", "the node hands the VIP over, as planned"
    HELD = "held", "another balancer holds the lease"
    WATCHING = "watching", "nobody holds the lease, but it has not been watched for long enough"
    VACANT = "vacant", "nobody holds the lease, and nobody can still be inside a deadline"
    WON = "won", "the lease was granted"
    LATE = "late", "the lease was granted, but the answer took longer than it lasts"
    REFUSED = "refused", "another balancer was quicker to claim the lease"
    RENEWED = "renewed", "the lease was renewed"
    LOST = "lost", "another balancer has the lease"
    AWAY = "away", "the store did not answer"
    OUTAGE = "outage", "the store has been away for long enough to go on without it"
    UNABLE = "unable", "the sockets of the VIP could not be served"
    EXPIRED = "expired", "the deadline passed before the lease was renewed"


class Action(StrEnum):
    """What the shell has to do, in this order."""

    CLAIM = "claim"  # ask the store for the lease
    EXTEND = "extend"  # the deadline has moved: pass it on to whatever compares the clock with it
    ACCEPT = "accept"  # begin to accept under the VIP
    ABORT = "abort"  # stop accepting, abort every connection under the VIP, answer nothing
    FINISH = "finish"  # stop accepting, let what runs come to its end
    RELEASE = "release"  # give the lease back, if it is still ours


class Row(NamedTuple):
    """What follows from an event in a state."""

    state: State
    actions: tuple[Action, ...] = ()


_I, _B, _A = State.INITIALIZE, State.BACKUP, State.ACTIVE

TABLE: Mapping[tuple[State, Event], Row] = {
    (_I, Event.START): Row(_B),
    (_I, Event.STOP): Row(_I),
    # answers to questions that were asked before the stop
    (_I, Event.HELD): Row(_I),
    (_I, Event.WATCHING): Row(_I),
    (_I, Event.VACANT): Row(_I),
    (_I, Event.REFUSED): Row(_I),
    (_I, Event.LOST): Row(_I),
    (_I, Event.AWAY): Row(_I),
    (_I, Event.WON): Row(_I, (Action.RELEASE,)),
    (_I, Event.LATE): Row(_I, (Action.RELEASE,)),
    (_I, Event.RENEWED): Row(_I, (Action.RELEASE,)),
    (_B, Event.STOP): Row(_I),
    (_B, Event.HELD): Row(_B),
    (_B, Event.WATCHING): Row(_B),
    (_B, Event.VACANT): Row(_B, (Action.CLAIM,)),
    (_B, Event.WON): Row(_A, (Action.EXTEND, Action.ACCEPT)),
    (_B, Event.REFUSED): Row(_B),
    (_B, Event.AWAY): Row(_B),
    (_B, Event.LATE): Row(_B, (Action.RELEASE,)),
    # answers to a renewal that was sent while active, and came after the deadline
    (_B, Event.RENEWED): Row(_B, (Action.RELEASE,)),
    (_B, Event.LOST): Row(_B),
    (_A, Event.STOP): Row(_I, (Action.FINISH, Action.RELEASE)),
    (_A, Event.RENEWED): Row(_A, (Action.EXTEND,)),
    (_A, Event.AWAY): Row(_A),
    (_A, Event.OUTAGE): Row(_A, (Action.EXTEND,)),
    (_A, Event.LOST): Row(_B, (Action.ABORT,)),
    (_A, Event.UNABLE): Row(_B, (Action.ABORT, Action.RELEASE)),
    (_A, Event.EXPIRED): Row(_B, (Action.ABORT,)),
}


class Impossible(Exception):
    """A pair of state and event without a row: a mistake in the program."""


class Watched(NamedTuple):
    """What the store said about a VIP: is there an owner, the counter (-1 without one), the memory's name."""

    held: bool
    token: int
    epoch: str


class Transition(NamedTuple):
    """One change of state, and the event that caused it."""

    before: State
    after: State
    event: Event
    at: float


class Watch:
    """For how long the store has been seen without a gap (rule 5)."""

    __slots__ = ("epoch", "last", "lease", "since", "token")

    def __init__(self, lease: float) -> None:
        """Begin unseen; `lease` in seconds."""
        self.lease = lease
        self.since = math.inf
        self.last = -math.inf
        self.epoch = ""
        self.token = -1

    def look(self, sent: float, now: float, seen: Watched) -> bool:
        """Take an answer to a question sent at `sent`; return whether a vacant lease may be claimed."""
        if now - self.last >= GAP * self.lease or seen.epoch != self.epoch:
            self.since = now
        never_held = seen.token == 0 and self.token <= 0
        self.last = sent
        self.epoch = seen.epoch
        self.token = max(self.token, seen.token)
        return never_held or now - self.since >= self.lease


class Machine:
    """One balancer's part for one VIP. Its methods take `now`, and return the actions to be done in order."""

    __slots__ = (
        "asked",
        "deadline",
        "event",
        "failed",
        "failing",
        "lease",
        "renew",
        "since",
        "state",
        "token",
        "transition",
        "watch",
    )

    def __init__(self, *, lease: float = 1.0, renew: float = 0.25) -> None:
        """`lease` and `renew` in seconds; ValueError if a holder could not renew three times in a lease."""
        if not 0 < renew <= lease / 3 + 1e-9:
            raise ValueError(
                f"renew ({renew:g} s) must be above 0 and at most a third of lease ({lease:g} s)"
            )
        self.lease = lease
        self.renew = renew
        self.state = State.INITIALIZE
        self.since = 0.0
        self.event = Event.STOP
        self.transition: Transition | None = None
        self.deadline = -math.inf
        self.token = 0
        self.asked = -math.inf
        self.watch = Watch(lease)
        self.failing = math.inf
        self.failed = -math.inf

    def start(self, now: float) -> tuple[Action, ...]:
        """Take part from now on."""
        return self._step(Event.START, now)

    def stop(self, now: float) -> tuple[Action, ...]:
        """Take part no longer; a holder finishes what runs."""
        expired = self.wake(now)
        return expired + self._step(Event.STOP, now)

    def wake(self, now: float) -> tuple[Action, ...]:
        """Look at the deadline; to be called before anything is asked or answered."""
        if self.state is State.ACTIVE and now >= self.deadline:
            return self._step(Event.EXPIRED, now)
        return ()

    def next_ask(self) -> float:
        """When the store is to be asked again, after the question sent at `asked`."""
        if self.state is not State.ACTIVE:
            return self.asked + LOOK * self.lease
        return self.asked + (self.renew if self.failing == math.inf else TRY * self.lease)

    def patience(self) -> float:
        """Seconds that one question may take."""
        return TRY * self.lease

    def watched(self, sent: float, now: float, seen: Watched) -> tuple[Action, ...]:
        """The store answered a look that was sent at `sent`."""
        self.asked = sent
        may_claim = self.watch.look(sent, now, seen)
        if seen.held:
            return self._step(Event.HELD, now)
        return self._step(Event.VACANT if may_claim else Event.WATCHING, now)

    def claimed(self, sent: float, now: float, token: int | None) -> tuple[Action, ...]:
        """The store granted a claim that was sent at `sent` with this token, or refused it (None)."""
        self.asked = sent
        if token is None:
            return self._step(Event.REFUSED, now)
        until = self._until(sent)
        if self.state is State.BACKUP and now < until:
            self.deadline = until
            self.token = token
            self._forget_failures()
            return self._step(Event.WON, now)
        return self._step(Event.LATE, now)

    def renewed(self, sent: float, now: float, kept: bool) -> tuple[Action, ...]:
        """The store renewed the lease by a question sent at `sent`, or said that it is another's."""
        expired = self.wake(now)
        self.asked = sent
        self._forget_failures()
        if kept and self.state is State.ACTIVE:
            self.deadline = self._until(sent)
        return expired + self._step(Event.RENEWED if kept else Event.LOST, now)

    def away(self, sent: float, now: float) -> tuple[Action, ...]:
        """A question sent at `sent` had no answer."""
        expired = self.wake(now)
        self.asked = sent
        if now - self.failed > STREAK * self.lease:
            self.failing = now
        self.failed = sent
        if self.state is not State.ACTIVE or sent - self.failing < GAP * self.lease:
            return expired + self._step(Event.AWAY, now)
        self.deadline = self._until(sent)
        return self._step(Event.OUTAGE, now)

    def unable(self, now: float) -> tuple[Action, ...]:
        """The shell could not accept (no descriptors left, say): let another try."""
        return self._step(Event.UNABLE, now)

    def _until(self, sent: float) -> float:
        """The deadline that a question sent at `sent` supports: DRIFT (1 % and 2 ms) short of a lease."""
        return sent + self.lease - (0.01 * self.lease + 0.002)

    def _forget_failures(self) -> None:
        self.failing = math.inf
        self.failed = -math.inf

    def _step(self, event: Event, now: float) -> tuple[Action, ...]:
        try:
            row = TABLE[self.state, event]
        except KeyError:
            raise Impossible(f"{event.name} cannot happen in {self.state.name}") from None
        if row.state is not self.state:
            self.transition = Transition(self.state, row.state, event, now)
            self.since, self.event = now, event
        self.state = row.state
        if row.state is not State.ACTIVE:
            self.deadline = -math.inf
        return row.actions
