"""Circuit breaking: how much one backend is given at a time, and who waits for it. Pure.

Decides whether a backend has room, whether a request may wait, and who is next when there is room again. It must not
know connections, timers, or what a request is: an entry is whatever the caller puts in.

Theory. A backend that is given more than it can do at a time does all of it more slowly, and what its clients have
given up, too. So each backend has a bound of requests in flight, and what exceeds it waits *here*, where it costs a few
hundred bytes, can be counted, and can still go to whichever backend has room first: one queue for the whole pool, not
one per backend, so that nobody waits behind a slow backend while another one is free.

The queue is first in, first out. Last in, first out serves more of those whose clients are still there when everybody
waits for longer than clients do (Facebook's adaptive LIFO, ACM Queue 13(8), 2015); here nobody waits for longer than
`wait`, a second by default, which clients do sit out, so that order would only make some of them wait in vain while
later ones are served. The bound on the wait keeps the queue from standing full for ever (what CoDel calls a standing
queue): beyond it everybody would be served late for no gain.

Whoever is pinned to one backend waits for that one; the oldest of both kinds goes first. Each operation is O(1) but for
passing over entries that have been refused by the very backend that has room, of which there are few.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

E = TypeVar("E")


class Ticket(Generic[E]):
    """One place in the queue. `only`: the name of the one backend waited for, None for any; `never`: those that are
    not waited for, since they were asked."""

    __slots__ = ("entry", "never", "number", "only", "since")

    def __init__(self, entry: E, number: int, since: float, only: str | None, never: frozenset[str]) -> None:
        self.entry = entry
        self.number = number
        self.since = since
        self.only = only
        self.never = never


class Pending(Generic[E]):
    """The requests of one pool that wait for a backend with room, oldest first."""

    __slots__ = ("_lines", "_number", "count", "full", "late", "left", "most", "served", "wait", "waited")

    def __init__(self, most: int, wait: float) -> None:
        """`most` entries at a time, each for `wait` seconds at the longest."""
        self.most = most
        self.wait = wait
        self.count = 0
        """How many wait."""
        self._number = 0
        self._lines: dict[str | None, dict[int, Ticket[E]]] = {}
        """A line for each backend that somebody is pinned to, and one for all others; each oldest first."""
        self.full = self.late = self.left = self.served = 0
        """How many were turned away, had waited too long, left by themselves, and were served in the end."""
        self.waited = 0.0
        """Seconds that those who were served have waited."""

    def __len__(self) -> int:
        return self.count

    def join(
        self, entry: E, now: float, only: str | None = None, never: frozenset[str] = frozenset()
    ) -> Ticket[E] | None:
        """Wait from now on; None if as many wait as may."""
        if self.count >= self.most:
            self.full += 1
            return None
        self.count += 1
        self._number += 1
        ticket = Ticket(entry, self._number, now, only, never)
        self._lines.setdefault(only, {})[ticket.number] = ticket
        return ticket

    def leave(self, ticket: Ticket[E]) -> None:
        """Whoever waited has gone."""
        if self._take(ticket):
            self.left += 1

    def next_for(self, backend: str, now: float, anybody: bool = True) -> E | None:
        """The oldest that may go to `backend`, which has room; it waits no more. None if there is nobody. Without
        `anybody` only those that are pinned to it may."""
        first = self._first(None, backend) if anybody else None
        pinned = self._first(backend, backend)
        if first is None or (pinned is not None and pinned.number < first.number):
            first = pinned
        if first is None:
            return None
        self._take(first)
        self.served += 1
        self.waited += now - first.since
        return first.entry

    def overdue(self, now: float) -> list[E]:
        """Those who have waited as long as they may; they wait no more."""
        limit = now - self.wait
        late = [ticket for line in self._lines.values() for ticket in _until(line, limit)]
        for ticket in late:
            self._take(ticket)
        self.late += len(late)
        return [ticket.entry for ticket in late]

    def awaited(self) -> list[str]:
        """The backends for which alone somebody waits."""
        return [name for name in self._lines if name is not None]

    def dismiss(self, backend: str) -> list[E]:
        """Those who wait for `backend` alone, which is gone; they wait no more."""
        line = self._lines.pop(backend, {})
        self.count -= len(line)
        self.left += len(line)
        return [ticket.entry for ticket in line.values()]

    def oldest(self) -> float | None:
        """Since when the one who waits longest has waited."""
        return min((next(iter(line.values())).since for line in self._lines.values()), default=None)

    def _first(self, line: str | None, backend: str) -> Ticket[E] | None:
        for ticket in self._lines.get(line, {}).values():
            if backend not in ticket.never:
                return ticket
        return None

    def _take(self, ticket: Ticket[E]) -> bool:
        line = self._lines.get(ticket.only)
        if line is None or line.pop(ticket.number, None) is None:
            return False
        self.count -= 1
        if not line:
            del self._lines[ticket.only]
        return True


def _until(line: dict[int, Ticket[E]], limit: float) -> Iterator[Ticket[E]]:
    for ticket in line.values():
        if ticket.since > limit:
            return
        yield ticket
