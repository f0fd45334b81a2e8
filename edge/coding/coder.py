"""Makes the compressed forms of stored objects, in a thread, and picks among those that are ready.

Acts on what codable.py and negotiation.py decide. The loop waits for nothing: until a form is ready the client gets
the best one that is, or identity. Each form is made once: a mark in `forms` says that it is being made. An object
that was not worth it costs its hits nothing any more, and its Vary says what the origin said.

    forms                what it says
    None                 this object is never coded: it may not be, or it was tried and hardly got smaller
    NOTHING              it may be coded, and nobody has asked for it yet (one dict, shared by all such objects)
    {br: form}           ready
    {br: None}           being made, or not worth it where another form is

A form's bytes are added to its parent's size, so they are evicted, purged and replaced with it, and with nothing else.
They are in memory only: an object that comes back from disk has its forms made anew.

One thread, since compressing lets the loop run beside it but takes a core all the same; it has a lower priority
where the system can give threads one. Waiting bodies are bounded in number and bytes. The thread is a daemon and not an
executor's: those are waited for at the end of a process, and the last form of a large body would hold it up.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from math import inf
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from cdnlab.net.clock import now
from cdnlab.wire.fields import make_index, parse_lines
from edge.coding import digests
from edge.coding.codable import NotCoded, refusal, useful
from edge.coding.codecs import CODECS
from edge.coding.forms import aged_with, bare, form_of, renewed, with_vary
from edge.coding.negotiation import BARE, wanted
from edge.object import StoredObject, Variants

if TYPE_CHECKING:
    from edge.coding.rules import Rules
    from edge.response import ResponseFacts

NOTHING: dict[bytes, StoredObject | None] = {}
"""Of an object that may be coded and has not been. Never written to."""
NICE = 10  # of the thread: the loop goes first when both want the same core

log = logging.getLogger("cdnlab.edge.coding")


class Room(Protocol):
    """What the coder needs of the storage."""

    def find(self, key: bytes) -> StoredObject | Variants | None:
        """What lies under a key."""

    def resize(self, stored: StoredObject, by: int) -> None:
        """An object that lies here takes `by` bytes more."""


class Tally:
    """What was done in one coding: forms made, bytes before and after, the thread's seconds, answers sent in it."""

    __slots__ = ("after", "answers", "before", "made", "seconds")

    def __init__(self) -> None:
        self.made = self.before = self.after = self.answers = 0
        self.seconds = 0.0


class Job:
    """A form to be made. Its parent may be replaced by the same body under a newer head while it waits."""

    __slots__ = ("body", "coding", "parent", "promises")

    def __init__(
        self, parent: StoredObject, coding: bytes, promises: Mapping[bytes, Mapping[str, bytes]]
    ) -> None:
        self.parent = parent
        self.coding = coding
        self.body = parent.body
        self.promises = promises


class Made:
    """What the thread brings: the coded body, or why there is none."""

    __slots__ = ("body", "digests", "reason", "seconds")

    def __init__(
        self, seconds: float, body: bytes, digests: Mapping[bytes, bytes], reason: NotCoded | None
    ) -> None:
        self.seconds = seconds
        self.body = body
        self.digests = digests
        self.reason = reason


class Coder:
    """The forms of one edge's objects."""

    __slots__ = (
        "_busy", "_edges", "_inbox", "_jobs", "_member", "_queue", "_storage", "not_coded", "rules",
        "tallies", "waiting_bytes",
    )  # fmt: skip

    def __init__(
        self, rules: Rules, storage: Room, member: bytes, edges: frozenset[bytes] = frozenset()
    ) -> None:
        """`member` is this node's name in Cache-Status; `edges` the names of the topology's edges, in lower case."""
        self.rules = rules
        self.tallies = {coding: Tally() for coding in (*rules.codings, BARE)}
        self._edges = edges
        self.not_coded: dict[NotCoded, int] = dict.fromkeys(NotCoded, 0)
        self.waiting_bytes = 0
        self._storage = storage
        self._member = member
        self._jobs: dict[tuple[int, bytes], Job] = {}
        self._queue: deque[Job] = deque()
        self._busy = False
        self._inbox: SimpleQueue[tuple[Job, Rules] | None] | None = None

    @property
    def waiting(self) -> int:
        """Forms that are being made or wait for it."""
        return len(self._jobs)

    def wanted(self, index: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
        """What a request with these fields likes, the best first: `facts.codings`."""
        return wanted(index, self.rules.codings, self._edges)

    # -- what may be coded --------------------------------------------------------------------------------------------

    def announced(
        self, head: bytes, facts: ResponseFacts, length: int | None, codings: tuple[bytes, ...]
    ) -> bytes:
        """The head of a response that will be stored and is sent for the first time, to a client that likes `codings`:
        if it may be coded later, its Vary has to say so now. `length` is that of its body, None if unknown."""
        if codings == (BARE,) or refusal(facts.status, facts.index, length, self.rules) is not None:
            return head
        return with_vary(head)

    def adopt(self, stored: StoredObject, index: Mapping[bytes, bytes] | None = None) -> None:
        """A new object is about to be put into the storage: may it be coded? `index` are its fields, if known."""
        reason = refusal(stored.status, index or _index(stored), len(stored.body), self.rules)
        if reason is None:
            stored.forms = NOTHING
            _announce(stored)
        else:
            stored.forms = None
            self.not_coded[reason] += 1

    def renew(
        self, old: StoredObject, fresh: StoredObject, index: Mapping[bytes, bytes] | None = None
    ) -> None:
        """`fresh` is about to replace `old`: the same body under the head that a 304 has brought up to date (RFC 9111
        §4.3.4). The forms go on under heads of their own; those being made will hang on the new one."""
        forms = old.forms
        if forms is None or refusal(fresh.status, index or _index(fresh), len(fresh.body), self.rules):
            return
        _announce(fresh)
        fresh.forms = forms
        if forms is NOTHING:
            return
        fresh.forms = {}
        for coding, form in forms.items():
            again = fresh.forms[coding] = renewed(fresh, coding, form) if form is not None else None
            if again is not None:
                fresh.size += again.size
            job = self._jobs.pop((id(old), coding), None)
            if job is not None:
                job.parent = fresh
                self._jobs[id(fresh), coding] = job

    # -- which one is sent --------------------------------------------------------------------------------------------

    def pick(self, stored: StoredObject, codings: tuple[bytes, ...], instant: float) -> StoredObject:
        """What a client that likes `codings`, the best first and at least one, is sent now of an object that may be
        coded: a form with a head that is true at `instant`, or the object. Only of a fresh object. On the path of a
        hit: the usual case is written out."""
        forms = stored.forms
        form = forms.get(codings[0]) if forms is not None else None
        if form is None:
            form = self.select(stored, codings)
            if form is stored:
                return stored
        else:
            self.tallies[codings[0]].answers += 1
        if instant >= form.head_until:
            aged_with(form, stored).renew_head(instant, self._member, stored.head_until)
        return form

    def select(self, stored: StoredObject, codings: tuple[bytes, ...]) -> StoredObject:
        """The same, with a head still to be written."""
        forms = stored.forms
        if forms is None or not codings:
            return stored
        best = codings[0]
        form = forms.get(best)
        if form is None:
            if best == BARE:
                return self._bare(stored)
            if best not in forms:
                self.order(stored, best)
            best, form = _second(stored.forms or NOTHING, codings)
            if form is None:
                return stored
        self.tallies[best].answers += 1
        return form

    def begin(self, stored: StoredObject, codings: tuple[bytes, ...]) -> None:
        """An object has just been stored for a client that likes `codings`: the next one shall have a form."""
        if stored.forms is NOTHING and codings and codings[0] != BARE:
            self.order(stored, codings[0])

    def _bare(self, stored: StoredObject) -> StoredObject:
        form = bare(stored)
        stored.forms = {**(stored.forms or NOTHING), BARE: form}
        self._storage.resize(stored, form.size)
        return form

    # -- how they are made ---------------------------------------------------------------------------------------------

    def order(self, stored: StoredObject, coding: bytes) -> None:
        """Have a form made that is not there yet, if there is room for one more to wait."""
        size = len(stored.body)
        if len(self._jobs) >= self.rules.jobs_max or self.waiting_bytes + size > self.rules.waiting_max:
            self.not_coded[NotCoded.BUSY] += 1
            return
        promises = digests.promised(_index(stored))
        if promises is None:  # what lies on disk may have been adopted by other rules
            self._give_up(stored, coding)
            return
        if stored.forms is NOTHING or stored.forms is None:
            stored.forms = {}
        stored.forms[coding] = None
        job = self._jobs[id(stored), coding] = Job(stored, coding, promises)
        self.waiting_bytes += size
        self._queue.append(job)
        if not self._busy:
            self._next()

    def _next(self) -> None:
        """Give the thread the oldest job whose object is still stored."""
        while self._queue:
            job = self._queue.popleft()
            if not self._lies(job.parent):
                self._drop(job, NotCoded.GONE)
                continue
            if self._inbox is None:
                self._inbox = SimpleQueue()
                loop = asyncio.get_running_loop()
                threading.Thread(
                    target=_work, args=(self._inbox, loop, self._made), name="coding", daemon=True
                ).start()
            self._inbox.put((job, self.rules))
            self._busy = True
            return
        self._busy = False

    def _made(self, job: Job, made: Made) -> None:
        """The thread is done with a job."""
        if self._inbox is None:
            return
        self._keep(job, made)
        self._next()

    def _keep(self, job: Job, made: Made) -> None:
        parent, coding = job.parent, job.coding
        tally = self.tallies[coding]
        tally.seconds += made.seconds
        if made.reason is not None:
            self._drop(job, made.reason)
            self._give_up(parent, coding)
        elif not self._lies(parent) or parent.forms is None:
            self._drop(job, NotCoded.GONE)
        else:
            self._drop(job, None)
            form = parent.forms[coding] = form_of(parent, coding, made.body, made.digests)
            tally.made += 1
            tally.before += len(job.body)
            tally.after += len(made.body)
            self._storage.resize(parent, form.size)

    def _give_up(self, stored: StoredObject, coding: bytes) -> None:
        """It was not worth it in this coding. Unless there is a form in another, it is not coded at all."""
        forms = stored.forms
        if forms is None:
            return
        if any(form is not None for known, form in forms.items() if known != BARE):
            stored.forms = {**forms, coding: None}
            return
        plain = bare(stored)
        by = len(plain.start) - len(stored.start)
        stored.start, stored.head_until, stored.forms = plain.start, -inf, None
        self._storage.resize(stored, 2 * by - sum(form.size for form in forms.values() if form is not None))

    def _drop(self, job: Job, reason: NotCoded | None) -> None:
        """A job is over; the mark of one that came to nothing goes too, so that it may be ordered again."""
        self._jobs.pop((id(job.parent), job.coding), None)
        self.waiting_bytes -= len(job.body)
        if reason is not None:
            self.not_coded[reason] += 1
            forms = job.parent.forms
            if forms is not None and forms.get(job.coding, forms) is None:
                del forms[job.coding]

    def _lies(self, stored: StoredObject) -> bool:
        """Is it still what the storage holds?"""
        found = self._storage.find(stored.key)
        if isinstance(found, Variants):
            return stored.variant is not None and found.objects.get(stored.variant) is stored
        return found is stored

    def stop(self) -> None:
        """Make nothing more. What the thread is at is thrown away."""
        self._queue.clear()
        if self._inbox is not None:
            self._inbox.put(None)
            self._inbox = None


def _work(
    inbox: SimpleQueue[tuple[Job, Rules] | None],
    loop: asyncio.AbstractEventLoop,
    made: Callable[[Job, Made], None],
) -> None:
    """The thread: a job at a time, until there is None."""
    _yield_to_others()
    while (order := inbox.get()) is not None:
        job, rules = order
        try:
            found = make(job.coding, rules.levels[job.coding], job.body, job.promises, rules)
        except Exception as error:  # whatever it is, the job is over and the next one comes
            log.exception("no %s form of %d bytes: %s", job.coding.decode(), len(job.body), error)
            found = Made(0.0, b"", {}, NotCoded.FAILED)
        try:
            loop.call_soon_threadsafe(made, job, found)
        except RuntimeError:  # the loop has ended
            return
        del order, job, found  # else the last object would be kept until the next one comes


def make(
    coding: bytes, level: int, body: bytes, promises: Mapping[bytes, Mapping[str, bytes]], rules: Rules
) -> Made:
    """The work of the thread."""
    started = now()
    if not digests.kept(promises, body):
        return Made(now() - started, b"", {}, NotCoded.WRONG_DIGEST)
    coded = CODECS[coding](body, level)
    if not useful(len(body), len(coded), rules):
        return Made(now() - started, b"", {}, NotCoded.NOT_SMALLER)
    restated = digests.restated(promises, coded)
    return Made(now() - started, coded, restated, None)


def _second(
    forms: Mapping[bytes, StoredObject | None], codings: tuple[bytes, ...]
) -> tuple[bytes, StoredObject | None]:
    """The best of the forms that are ready."""
    for coding in codings:
        form = forms.get(coding)
        if form is not None:
            return coding, form
    return b"", None


def _announce(stored: StoredObject) -> None:
    """Let its Vary say that it may be coded."""
    start = with_vary(stored.start)
    stored.size += 2 * (len(start) - len(stored.start))
    stored.start = start


def _index(stored: StoredObject) -> dict[bytes, bytes]:
    """Its fields, from its head."""
    return make_index(parse_lines(stored.start.partition(b"\r\n")[2].removesuffix(b"\r\n"))[1])


def _yield_to_others() -> None:
    """Lower the priority of the thread that runs this. Linux gives threads one of their own; elsewhere it would be the
    whole process's."""
    if sys.platform == "linux":
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        except OSError:
            pass
