"""What a node believes about one backend, and when it asks again.

Decides: the state after each check (counting `rise` and `fall`) and the time of the next check. It must not
know how a check is made, nor who else has checked: each node judges for itself.

Theory. A backend starts *unknown*, which is usable: refusing to send to what nobody has looked at would
turn every start into an outage. The first success makes it *up* (nothing is known against it); `fall`
failures in a row make it *down*, from unknown and from up alike, so that a node that is still starting is
not marked down by one early check. From down, `rise` successes in a row make it up.

    unknown      --ok-->                         up
    unknown, up  --`fall` failures in a row-->   down
    down         --`rise` successes in a row-->  up

While the last check failed or the state is down, the next check comes sooner (HAProxy's fastinter and downinter in
one): what is about to change should be known soon, and what is well need not be asked often.
"""

from __future__ import annotations

from enum import StrEnum
from random import Random
from typing import NamedTuple


class State(StrEnum):
    """What is believed about a backend."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"
    EJECTED = "ejected"
    """No verdict of the checks, but of the watch over real exchanges: see ejection.py."""


class Transition(NamedTuple):
    """One change of state: `at` in seconds of the caller's clock, `detail` a sentence for people."""

    before: State
    after: State
    at: float
    detail: str


class Health:
    """The state of one backend, and what led to it."""

    __slots__ = (
        "answered",
        "checks",
        "detail",
        "downs",
        "failed",
        "fall",
        "last_ok",
        "rise",
        "since",
        "state",
        "streak",
        "ups",
    )

    def __init__(self, *, rise: int = 2, fall: int = 2, now: float = 0.0) -> None:
        """Begin as unknown. `rise` and `fall` count checks in a row (HAProxy's words), at least 1."""
        if rise < 1 or fall < 1:
            raise ValueError("rise and fall count checks in a row: at least 1 each")
        self.state = State.UNKNOWN
        self.since = now
        self.detail = "not checked yet"
        self.checks = self.failed = 0
        """Checks made, and those of them that failed."""
        self.rise = rise
        self.fall = fall
        self.last_ok: bool | None = None
        self.answered = False
        """Whether the last check was answered at all, well or badly."""
        self.streak = 0
        self.ups = self.downs = 0
        """How often the state became up, and down."""

    @property
    def usable(self) -> bool:
        """Whether a request may be sent: everything but *down*."""
        return self.state is not State.DOWN

    @property
    def uncertain(self) -> bool:
        """Whether the next check is wanted sooner: it is down, or the last check failed."""
        return self.state is State.DOWN or self.last_ok is False

    def result(self, now: float, ok: bool, detail: str = "") -> Transition | None:
        """Take the outcome of one check; return the change of state it caused, or None."""
        self.checks += 1
        self.failed += not ok
        self.streak = self.streak + 1 if ok is self.last_ok else 1
        self.last_ok = ok
        self.detail = detail or ("check passed" if ok else "check failed")
        after = self._verdict(ok)
        return None if after is self.state else self._move(after, now)

    def adopt(self, state: State, now: float, detail: str) -> Transition | None:
        """Start from a verdict that somebody else came to, or that stood before a reload; the own checks go on from
        there. ValueError for a state that checks do not come to."""
        if state is State.EJECTED:
            raise ValueError("ejected is no verdict of checks")
        self.detail = detail
        return None if state is self.state else self._move(state, now)

    def _verdict(self, ok: bool) -> State:
        if ok:
            needed = self.rise if self.state is State.DOWN else 1
            return State.UP if self.streak >= needed else self.state
        return State.DOWN if self.streak >= self.fall else self.state

    def _move(self, after: State, now: float) -> Transition:
        transition = Transition(self.state, after, now, self.detail)
        self.state = after
        self.since = now
        self.ups += after is State.UP
        self.downs += after is State.DOWN
        return transition


class Schedule:
    """When one backend is checked: every `interval` seconds give or take `jitter`, and every `interval_down` seconds
    while it is uncertain.

    `jitter` is a share of the interval (0.1: ten percent either way). Without it, nodes that were started
    together would check together for ever.
    """

    FIRST = 1.0
    """Seconds after which the first check is made at the latest."""

    __slots__ = ("due", "interval", "interval_down", "jitter")

    def __init__(self, interval: float, jitter: float, interval_down: float | None = None) -> None:
        """Check every `interval` seconds (> 0), spread by the share `jitter` (0 to 1). `interval_down`: by default the
        smaller of `interval` and 1 s."""
        down = min(interval, 1.0) if interval_down is None else interval_down
        if interval <= 0 or down <= 0 or not 0 <= jitter <= 1:
            raise ValueError("interval must be above 0 s and jitter a share between 0 and 1")
        self.interval = interval
        self.interval_down = down
        self.jitter = jitter
        self.due: float | None = None

    def next_probe(self, now: float, rng: Random, uncertain: bool = False) -> float:
        """Return when the next check is due, on the clock of `now`.

        The first is due within `jitter` of an interval, and soon however long that is. Later ones keep their
        rhythm whatever a check took, but never lie in the past: after a long pause there is one check, not all
        that were missed.
        """
        interval = self.interval_down if uncertain else self.interval
        spread = interval * self.jitter
        if self.due is None:
            self.due = now + rng.random() * min(spread, self.FIRST)
        else:
            self.due = max(now, self.due + interval + rng.uniform(-spread, spread))
        return self.due


class Starts:
    """When first checks begin, so that a pool of a thousand is not asked all at once: one each `GAP`, or as fast as it
    takes to have asked everyone within an interval."""

    GAP = 0.05
    """Seconds. A pool of ten is known in half a second, and nobody opens more than twenty connections in one."""

    __slots__ = ("interval", "last")

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self.last: float | None = None

    def take(self, now: float, members: int) -> float:
        """The instant for one more of `members` backends."""
        gap = min(self.GAP, self.interval / max(1, members))
        self.last = now if self.last is None else max(now, self.last + gap)
        return self.last
