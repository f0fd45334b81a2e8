"""Passive health: a backend is left out for a while because real exchanges with it fail. Pure.

Decides who is ejected, for how long, and who returns. It must not know what a request is, or how a check is made.

Theory (Envoy's outlier detection). Three signs are looked for:

    consecutive     so many failures in a row: it is broken now
    success rate    in an interval, its share of good answers lies far below the others': it is worse than they are
    silent          requests wait for it, and it does not even say that it is there (cdnlab/forward/silence.py)

The n-th ejection in a row lasts n times as long as the first, up to a longest. Each interval that a backend then gets
through takes one from n. It returns by itself, since without requests nothing can be learned of it.

The second sign compares each backend with the *others*. Among n values none lies more than sqrt(n - 1) standard
deviations from the mean of all n, so with 1.9 deviations and Envoy's mean of all, one bad backend of three or four
would never be found (Envoy asks for five backends at least). The others' deviation is 0 where all of them are perfect;
so it is taken to be no smaller than what chance does to a share that is measured on so few requests, and a rate less
than 5 percentage points off the others' is never far.

How passive ejection and active checks keep out of each other's way:

- They are two judges of two things. A check asks whether a backend can serve at all; an exchange shows how it serves
  what is really asked. A backend is usable while neither says no. Neither overrides the other's no.
- So a good check does not end an ejection: a backend whose `/health` answers while its pages fail would come and go
  with the rhythm of the checks. With one exception: checks that called it down *and then up again* have seen the
  fault, and seen it gone. That ends the ejection early (`recovered`), or a restart of two seconds would cost thirty.
- What fails at a backend that is not usable anyway is no news: stragglers, and the requests of a panic, count for
  nothing. So a verdict of one judge never makes the other's worse.
- An ejection asks for a check at once, and so does one that the ceiling forbids. If the backend is really dead, checks
  say so soon and stand by that for as long as it is true, with no ceiling; if not, the ejection ends by its own clock.
- Both together take away no more than `max_share` of the backends by *ejection*: those that are down count as out
  already. One backend may always be ejected, but never the last that is usable. So if everything fails, because
  what stands behind all of them fails, most stay.

Edges are gateways: a 504 of theirs, or silence, is mostly the fault of whoever they ask in turn. Of backends that relay
only what cannot have another cause counts: no connection, a connection that breaks, and the statuses that the operator
names for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from typing import NamedTuple

from cdnlab.plan.pools import EjectionSpec
from cdnlab.pool.backend import Backend
from cdnlab.pool.health import State, Transition
from cdnlab.pool.pool import Pool
from cdnlab.pool.reasons import Reason

Change = tuple[Backend, Transition]

LEAST_GAP = 0.05
"""A share of good answers that is less than this below the others' is no outlier."""

CONSECUTIVE, SUCCESS_RATE, SILENT = "consecutive", "success_rate", "silent"
CAUSES = (CONSECUTIVE, SUCCESS_RATE, SILENT)
"""The signs, as metrics name them."""


def _said(reason: Reason) -> str:
    """What happened, in the middle of a sentence."""
    return "it answered with a status that counts" if reason is Reason.BAD_STATUS else reason.sentence


class Rate(NamedTuple):
    """How one backend fared in an interval."""

    backend: Backend
    requests: int
    good: float
    """Share of good answers."""


class Ejector:
    """The passive judge of one pool. `failed` is called for every failed exchange, `tick` every now and then."""

    __slots__ = (
        "_counted",
        "_levels",
        "_next",
        "causes",
        "on_refused",
        "on_transition",
        "pool",
        "refused",
        "relays",
        "spec",
    )

    def __init__(self, pool: Pool, spec: EjectionSpec, *, relays: bool = False) -> None:
        """Judge the backends of `pool` as `spec` says. `relays`: they ask somebody else in turn."""
        self.pool = pool
        self.spec = spec
        self.relays = relays
        self.on_transition: Callable[[Backend, Transition], None] | None = None
        """Called after the pool has taken note of an ejection or of its end."""
        self.on_refused: Callable[[Backend], None] | None = None
        """Called when an ejection was due and the ceiling did not allow it."""
        self.causes: dict[tuple[str, str], int] = {}
        """Ejections by backend and sign."""
        self.refused = 0
        """Ejections that the ceiling did not allow."""
        self._levels: dict[Backend, int] = {}
        self._counted: dict[Backend, tuple[int, int]] = {}
        self._next = 0.0

    # -- what is learned ----------------------------------------------------------------------------------------------

    def counts(self, status: int) -> bool:
        """Whether an answer with `status` is a failure of the backend."""
        return any(low <= status <= high for low, high in self.statuses)

    @property
    def statuses(self) -> tuple[tuple[int, int], ...]:
        """The statuses that are failures, as ranges."""
        return () if self.relays and "statuses" not in self.spec.model_fields_set else self.spec.statuses

    def failed(self, backend: Backend, reason: Reason, now: float) -> Transition | None:
        """An exchange with `backend` failed; returns its ejection if that was one too many."""
        if self.relays and reason is Reason.TIMED_OUT:
            return None
        backend.faults += 1
        backend.streak += 1
        most = self.spec.consecutive
        if not most or backend.streak % most or not backend.usable:
            return None
        detail = f"{backend.streak} requests failed in a row, the last because {_said(reason)}"
        return self._eject(backend, now, CONSECUTIVE, detail)

    def silent(self, backend: Backend, now: float, detail: str) -> Transition | None:
        """`backend` says nothing at all any more, and `detail` how that is known: all who wait for it wait for the
        same, so this weighs as much as any number of failures."""
        if not self.spec.consecutive or not backend.usable:
            return None
        return self._eject(backend, now, SILENT, detail)

    def recovered(self, backend: Backend, now: float) -> Transition | None:
        """Its checks, having called it down, call it up again: they saw the fault and its end."""
        backend.streak = 0
        if not backend.ejected_until:
            return None
        change = self._let_in(backend, now, "its checks saw it fail and recover")
        self._tell([(backend, change)])
        return change

    def tick(self, now: float) -> list[Transition]:
        """End the ejections that are over, and compare success rates where an interval is."""
        over = [each for each in self.pool.backends if each.ejected_until and now >= each.ejected_until]
        changes = [
            (backend, self._let_in(backend, now, f"left out for its time, ejection {backend.ejections}"))
            for backend in over
        ]
        if now >= self._next:
            if self._next and self.spec.success_rate:
                changes += self._compare(now)
            self._next = now + self.spec.interval
            self._begin_interval()
        self._tell(changes)
        return [change for _, change in changes]

    # -- success rates ------------------------------------------------------------------------------------------------

    def _compare(self, now: float) -> list[Change]:
        rates = self._rates()
        if len(rates) < self.spec.minimum_backends:
            return []
        total = sum(each.good for each in rates)
        squares = sum(each.good * each.good for each in rates)
        changes = []
        for rate in sorted(rates, key=lambda each: each.good):
            others = len(rates) - 1
            mean = (total - rate.good) / others
            variance = max(0.0, (squares - rate.good * rate.good) / others - mean * mean)
            floor = self._floor(rate, mean, sqrt(variance), total / len(rates))
            if rate.good >= floor:
                continue  # one that is better, but of more requests, may still be far off
            detail = (
                f"{rate.good:.1%} of {rate.requests} answers were good, below {floor:.1%}; "
                f"the others' mean is {mean:.1%}"
            )
            change = self._take_out(rate.backend, now, SUCCESS_RATE, detail)
            changes += [(rate.backend, change)] if change else []
        return changes

    def _rates(self) -> list[Rate]:
        rates = []
        for backend in self.pool.backends:
            served, faults = self._counted.get(backend, (backend.served, backend.faults))
            requests = backend.served - served
            if requests >= self.spec.minimum_requests and backend.usable:
                bad = min(requests, backend.faults - faults)
                rates.append(Rate(backend, requests, 1 - bad / requests))
        return rates

    def _floor(self, rate: Rate, mean: float, deviation: float, everyone: float) -> float:
        """The share of good answers below which `rate` is an outlier. `mean` and `deviation` are the others',
        `everyone` the mean of all."""
        chance = sqrt(max(0.0, everyone * (1 - everyone)) / rate.requests)
        return mean - max(LEAST_GAP, self.spec.deviations * max(deviation, chance))

    def _begin_interval(self) -> None:
        """Count anew; who got through an interval is forgiven one ejection."""
        backends = self.pool.backends
        self._counted = {backend: (backend.served, backend.faults) for backend in backends}
        self._levels = {
            backend: level if backend.ejected_until else level - 1
            for backend, level in self._levels.items()
            if backend in self._counted and (level > 1 or backend.ejected_until)
        }

    # -- out and in ---------------------------------------------------------------------------------------------------

    def _eject(self, backend: Backend, now: float, cause: str, detail: str) -> Transition | None:
        change = self._take_out(backend, now, cause, detail)
        if change is not None:
            self._tell([(backend, change)])
        return change

    def _take_out(self, backend: Backend, now: float, cause: str, detail: str) -> Transition | None:
        """Note the ejection, if it may be; the pool has to be told."""
        if backend not in self.pool.backends:
            return None
        if not self._may_go():
            self.refused += 1
            if self.on_refused is not None:
                self.on_refused(backend)
            return None
        spec = self.spec
        level = self._levels[backend] = self._levels.get(backend, 0) + 1
        seconds = min(spec.time * level, max(spec.time, spec.time_max))
        before = backend.health.state
        why = f"{detail}; left out for {seconds:g} s"
        backend.ejected_at, backend.ejected_until, backend.ejected_why = now, now + seconds, why
        backend.ejections += 1
        key = (backend.name, cause)
        self.causes[key] = self.causes.get(key, 0) + 1
        return Transition(before, State.EJECTED, now, why)

    def _may_go(self) -> bool:
        """Whether one more may be ejected: not the last usable one, and beyond the first not more than the ceiling."""
        wanted = [backend for backend in self.pool.backends if backend.wanted]
        out = [backend for backend in wanted if not backend.usable]
        if len(wanted) - len(out) < 2:
            return False
        ejected = any(backend.ejected_until for backend in out)
        return not ejected or len(out) + 1 <= self.spec.max_share * len(wanted)

    def _let_in(self, backend: Backend, now: float, detail: str) -> Transition:
        """Note the end of an ejection; the pool has to be told."""
        backend.ejected_until = 0.0
        backend.streak = 0
        self._counted[backend] = (backend.served, backend.faults)
        return Transition(State.EJECTED, backend.health.state, now, detail)

    def _tell(self, changes: Sequence[Change]) -> None:
        """The pool once, since it takes a while if it is large; then whoever listens, of each."""
        if not changes:
            return
        self.pool.usable_changed()
        if self.on_transition is not None:
            for backend, transition in changes:
                self.on_transition(backend, transition)
