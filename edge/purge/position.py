"""How far an edge has followed the purges, and how long its word about that is good.

Theory. The store carries the purges as a stream of numbered entries. A *generation* is a random name that the stream
gets when it is made; within it entries are numbered 1, 2, 3 without a gap, and each bears a random *link* and the link
of its predecessor. So an edge that has applied entry n with link l can tell, from what it reads next, each way in which
a store may lose something:

    the stream was made anew (FLUSHALL, an empty store)       another generation
    an older copy came back (failover, a restored snapshot)   a last number below n, or a predecessor that is not l
    entries were trimmed before they were read                the first one is not n + 1, or nothing comes although the
                                                              last number is above n

After each of them everything stored before is stale, for nobody knows which purges were missed.

What an edge knows is good for `purge_lag_max` seconds from the moment at which it *asked* (not: was answered):

    confirmed   a read of the store less than that ago was answered, and everything in it has been applied
    behind      it was longer ago, and no read has ended since: a process that was frozen, or is just starting. It is
                not ready, and what it is asked anyway is revalidated before it is used
    blind       a read has failed: the store is away. It is ready and serves (or revalidates, as `purge_when_blind`
                says); purges that are posted to it directly apply

The standing is judged against the clock whenever it is used. A timer would not do: in a process that thaws, requests
that wait in its sockets are served before any timer. A read is due every quarter of `purge_lag_max` (a fortieth early)
and has failed when it is unanswered for the other three, so a process that runs goes from confirmed to blind without
being behind in between, even if its loop is late by a fortieth.

Must not know the store, nor rules. Pure.
"""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import NamedTuple

QUARTER = 0.25
EARLY = 0.025  # of purge_lag_max, by which a read is begun before it is due


class State(StrEnum):
    """What an edge's word about purges is worth. The value is the metric's label and what status prints."""

    ALONE = "alone"
    CONFIRMED = "confirmed"
    BEHIND = "behind"
    BLIND = "blind"

    @property
    def sentence(self) -> str:
        """The state in words."""
        return _SENTENCES[self]


_SENTENCES = {
    State.ALONE: "there is no store: purges are those posted to this edge",
    State.CONFIRMED: "has applied every purge that the store carries",
    State.BEHIND: "may have missed purges while it stood still: revalidates before it answers",
    State.BLIND: "the store is away: serves without hearing of purges, but for those posted to it directly",
}


class Heard(StrEnum):
    """What changes a state."""

    CURRENT = "current"  # a read was answered, and all of it is applied
    FAILED = "failed"  # a read was not answered in its time
    LAPSED = "lapsed"  # the clock has passed what the last read was good for


TABLE: dict[tuple[State, Heard], State] = {
    (State.CONFIRMED, Heard.CURRENT): State.CONFIRMED,
    (State.CONFIRMED, Heard.FAILED): State.BLIND,
    (State.CONFIRMED, Heard.LAPSED): State.BEHIND,
    (State.BEHIND, Heard.CURRENT): State.CONFIRMED,
    (State.BEHIND, Heard.FAILED): State.BLIND,
    (State.BEHIND, Heard.LAPSED): State.BEHIND,
    (State.BLIND, Heard.CURRENT): State.CONFIRMED,
    (State.BLIND, Heard.FAILED): State.BLIND,
    (State.BLIND, Heard.LAPSED): State.BEHIND,
}
"""Who is alone hears nothing, and stays so."""


class Standing:
    """The machine: a state, and the instant until which it is good. All instants are boot time seconds."""

    __slots__ = ("lag_max", "revalidates", "state", "until")

    def __init__(self, *, alone: bool, lag_max: float = 2.0, revalidates: bool = False) -> None:
        """`revalidates`: whether a blind edge revalidates what it holds instead of serving it."""
        self.lag_max = lag_max
        self.revalidates = revalidates
        self.state = State.ALONE if alone else State.BEHIND
        self.until = inf if alone else -inf

    def current(self, asked: float, now: float) -> State:
        """A read that was sent at `asked` has been answered and applied. An answer that lay unread for too long (in a
        frozen process) confirms nothing: the next one will."""
        if asked + self.lag_max > now:
            self._go(Heard.CURRENT, asked + self.lag_max)
        return self.state

    def failed(self, now: float) -> State:
        """A read was not answered in its time."""
        self._go(Heard.FAILED, now + self.lag_max)
        return self.state

    def at(self, now: float) -> State:
        """The state at an instant."""
        if now >= self.until and self.state is not State.BEHIND:
            self._go(Heard.LAPSED, -inf)
        return self.state

    def _go(self, heard: Heard, until: float) -> None:
        if self.state is not State.ALONE:
            self.state, self.until = TABLE[self.state, heard], until

    @property
    def usable_until(self) -> float:
        """Until when a stored response may be used without asking anybody."""
        if self.state is State.BEHIND or (self.state is State.BLIND and self.revalidates):
            return -inf
        return self.until

    @property
    def pause(self) -> float:
        """Seconds from one read to the next."""
        return self.lag_max * (QUARTER - EARLY)

    @property
    def patience(self) -> float:
        """Seconds in which a read must be answered."""
        return self.lag_max * (1 - QUARTER)


class Position(NamedTuple):
    """What has been applied: entry `sequence` of `generation`, whose link is `link`. `epoch` is the first half of the
    entries' ids in the stream."""

    generation: str
    epoch: int
    sequence: int
    link: str

    @property
    def id(self) -> str:
        """As people and other nodes see it."""
        return f"{self.generation}-{self.sequence}"


class Entry(NamedTuple):
    """One purge as the stream carries it. `raw` is what it says."""

    generation: str
    sequence: int
    before: str
    link: str
    raw: bytes


class Look(NamedTuple):
    """One answer of the store: the stream's generation, its last number and link, and entries that come after what was
    asked for."""

    generation: str
    epoch: int
    last: int
    link: str
    entries: tuple[Entry, ...]


class Lost(StrEnum):
    """Why everything stored before is stale."""

    GENERATION = "generation"
    ROLLED_BACK = "rolled_back"
    GAP = "gap"
    UNREADABLE = "unreadable"
    FLOOD = "flood"

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return _LOST[self]


_LOST = {
    Lost.GENERATION: "the store carries another stream than the one that was followed",
    Lost.ROLLED_BACK: "the store has gone back to an older copy of the stream",
    Lost.GAP: "purges were trimmed from the stream before this edge had read them",
    Lost.UNREADABLE: "the stream carries a purge that this edge does not understand",
    Lost.FLOOD: "more purges came than are kept",
}


def compare(asked: Position, look: Look) -> Lost | None:
    """What a look, asked for from position `asked` on, shows to be lost; None if it goes on from there."""
    if look.generation != asked.generation:
        return Lost.GENERATION
    if look.last < asked.sequence:
        return Lost.ROLLED_BACK
    if look.last == asked.sequence:
        return None if look.link == asked.link else Lost.ROLLED_BACK
    if not look.entries:
        return Lost.GAP
    return goes_on(asked.sequence, asked.link, look.entries)


def goes_on(sequence: int, link: str, entries: tuple[Entry, ...]) -> Lost | None:
    """Whether entries follow on number `sequence` with this link, and each on the one before."""
    for entry in entries:
        if entry.sequence != sequence + 1:
            return Lost.GAP
        if entry.before != link:
            return Lost.ROLLED_BACK
        sequence, link = entry.sequence, entry.link
    return None


def reached(said: bytes, position: Position | None) -> bool:
    """Has a node at `position` applied all that another one had when it `said` where it stood?

    The other's word is `generation-sequence`, with `;local` after it where it has applied purges that no stream
    carries. Whoever can't compare has not reached it.
    """
    generation, _, number = said.partition(b";")[0].rpartition(b"-")
    if position is None or b";" in said or not number.isdigit() or len(number) > 18:
        return False
    return generation == position.generation.encode() and int(number) <= position.sequence
