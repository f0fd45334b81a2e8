"""One exchange with the origin, and the clients that read along.

Acts on what the policy files decide: stores while it streams, lets others join, keeps the pace. What a response does to
the storage is storing.py's.

Theory. A fetch waits for a head, streams a body, and is over. While the body is being stored the origin is held back
only when *every* reader is slow: memory is bounded by object_max and by the storage's reserve. While it is not, the
origin is held back when *any* reader is slow: memory is bounded by what one read brings. A body that outgrows
object_max on the way changes from the first kind to the second. A response is stored when its end has arrived, never
before. Where there is a disk, what is too large for memory is written there while it arrives, and is of the second
kind: the disk, if it is slow, counts as one more slow reader.

Where the origin fails before its head, the stored response that was not good enough may be good enough after all
(decision.after_failure): each reader for itself, since each asked its own. A fetch in the background has no reader at
all, only the request it was begun for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cdnlab.forward.client import client_address, client_key
from cdnlab.net.clock import now, wall
from cdnlab.pool.reasons import Reason
from edge import answer, changes, storing
from edge.admission import Admission, Asked
from edge.coding.forms import origins
from edge.cookies import Cookies, bears_cookie, without_set_cookie
from edge.decision import after_failure
from edge.errand import request_for
from edge.pinned import hold_of, tells
from edge.response import ResponseFacts, response_facts
from edge.results import Result
from edge.storable import NotStored
from edge.storing import Place
from edge.stream import Stream
from edge.vary import variant_key

if TYPE_CHECKING:
    from cdnlab.forward.exchange import Forward
    from cdnlab.forward.messages import Failure
    from cdnlab.forward.sticky import Stickiness
    from cdnlab.forward.upload import Upload
    from cdnlab.pool.backend import Backend
    from cdnlab.pool.pool import Passed
    from cdnlab.pool.sticky import Hold
    from cdnlab.wire.fields import Field
    from cdnlab.wire.response import ResponseBlock
    from edge.cache import Cache
    from edge.disk.incoming import Incoming
    from edge.object import StoredObject
    from edge.reader import Reader
    from edge.routing import Way

FINISH_ALONE = (
    1 << 20
)  # bytes still to come for which a fetch goes on when its last reader has left (Squid: 16 KiB)
FAILURES = frozenset({500, 502, 503, 504})  # RFC 5861 §4: what counts as an error of the origin
_PASSING = frozenset(
    {
        NotStored.METHOD, NotStored.NO_ROOM, NotStored.INVALIDATED, NotStored.PURGED, NotStored.REQUEST_NO_STORE,
        NotStored.AUTHORIZATION, NotStored.ELSEWHERE, NotStored.RANGE, NotStored.PARTIAL,
    }
)  # fmt: skip
"""Reasons that say nothing about the next request for the same key."""


class Fetch:
    """A request toward the origin on behalf of one reader, of several, or of what is stored."""

    __slots__ = (
        "_admission", "_asked", "_doomed", "_extra", "_facts", "_forward", "_giving", "_halted", "_hold", "_incoming",
        "_keep_conditions", "_length", "_over", "_reserved", "_served_by", "_storing", "_stream", "_told", "_trailers",
        "_tried", "_variant", "_way", "_ways", "cache", "checked", "collapse_key", "key", "leader", "mark",
        "names", "readers", "reason", "shared_key", "stale", "waiters",
    )  # fmt: skip

    def __init__(
        self,
        cache: Cache,
        leader: Reader,
        *,
        reason: NotStored | None,
        shared_key: bytes,
        joinable: bool,
        checked: StoredObject | None = None,
        stale: StoredObject | None = None,
    ) -> None:
        """`reason`: why the answer can't be stored whatever it is, or None. `checked`: the stored response whose
        validators are sent. `stale`: the one that may be sent if the origin fails, and that an answer to HEAD is
        compared with. `shared_key`: the collapse key, under which others may join if `joinable`."""
        self.cache = cache
        self.leader = leader
        self.key = leader.key
        self.reason = reason
        self.shared_key = shared_key
        self.collapse_key = shared_key if joinable else None
        self.checked = checked
        self.stale = stale
        self.readers: list[Reader] = [] if leader.absent else [leader]
        self.waiters: list[Reader] = []
        self.names: tuple[bytes, ...] = ()
        self._asked = Asked(
            now(), leader.line.method, leader.key, leader.facts.control, leader.authorized,
            cookie=bears_cookie(leader.volatile), cookies=leader.facts.cookies(leader.line.target.path),
        )  # fmt: skip
        self.mark = cache.purges.mark()
        """The purge position at which it begins."""
        self._ways: list[Way] = []
        self._way: Way | None = None
        """The one it is on."""
        self._tried: Passed = []
        """Whom earlier ways have asked in vain, and why they failed."""
        self._extra = b""
        self._keep_conditions = False
        self._forward: Forward | None = None
        self._hold: Hold | None = None
        """Where its client is pinned to, if the pool keeps clients."""
        self._told = b""
        """The line by which it is told."""
        self._served_by = ""
        self._facts: ResponseFacts | None = None
        self._admission: Admission | None = None
        self._variant: bytes | None = None
        self._stream = Stream()
        self._trailers: tuple[Field, ...] = ()
        self._length: int | None = None
        self._reserved = 0
        self._incoming: Incoming | None = None
        """What takes the body to disk while it arrives, if it is too large for memory."""
        self._storing = self._halted = self._doomed = self._over = self._giving = False
        leader.fetch = self

    def start(self, ways: list[Way], extra: bytes, keep_conditions: bool) -> None:
        """Send it, the first way there is. The origin may have failed before this returns."""
        self._ways, self._extra, self._keep_conditions = ways, extra, keep_conditions
        self.cache.flights.begin(self)
        if not self.leader.absent:
            self.leader.x.source = self.leader
        self._set_out()

    def _set_out(self, upload: Upload | None = None) -> None:
        """On the next way. `upload`: what the one before left of the request's body."""
        way, leader = self._ways.pop(0), self.leader
        self._way = way
        if not way.store and self.reason is None:
            self.reason = NotStored.ELSEWHERE
            self.cache.flights.close(self)  # what is not stored here can't be shared here
        out = request_for(
            leader, way, self.cache.settings, self.cache.trail, self._extra, self._keep_conditions
        )
        key = self._source() if way.forwarder.pool.by_source else self.key
        aimed = way.aimed(key, upload)
        if way.forwarder.sticky is not None:
            self._pin(way.forwarder.sticky, aimed)
        forward = way.forwarder.start(out, self, leader.x, leader.explain, **aimed)
        if way.passed or self._tried:
            known = forward.passed
            if known is None:
                known = forward.passed = []
            known[:0] = [*way.passed, *self._tried]
        if not self._over and self._way is way:
            self._forward = forward

    def _source(self) -> bytes:
        """Who asks, for pools that choose by that. Those who share an answer share the choice of the first of them."""
        leader = self.leader
        known = leader.field(b"x-forwarded-for") if leader.trusted else None
        return client_key(client_address(leader.peer, leader.trusted, known, self.cache.settings.trusted))

    def _pin(self, sticky: Stickiness, aimed: dict[str, Any]) -> None:
        """Ask first whom the leader's client is pinned to. What renews what is stored is asked for nobody."""
        if not self.leader.absent:
            settings = self.cache.settings
            hold = self._hold = hold_of(self.leader, sticky, settings)
            aimed["pin"] = sticky.where(hold, settings.place, aimed.get("key", b""), now())

    def _pinned(self, hold: Hold, block: ResponseBlock) -> bytes:
        """What the leader's client is told of its pin."""
        sticky, forward = self._way.forwarder.sticky if self._way is not None else None, self._forward
        if sticky is None or forward is None or forward.backend is None:
            return b""
        lifetime = self._admission.lifetime if self._admission is not None else 0
        told = tells(self.leader, block.status, self.reason, lifetime, self._asked.cookies)
        return sticky.answered(hold, forward.backend, block.status, block.fields, forward.passed, told)

    def _next_way(self, failure: Failure) -> bool:
        """Go on to whoever comes next, if the request may be sent a second time and somebody waits for it."""
        if not self._ways or not failure.again:
            return False
        if failure.backend:
            self._tried.append((failure.backend, failure.reason))
        self._forward = None
        if self.reason is NotStored.ELSEWHERE and not self.only_if_cached:
            self.reason = None
            self.cache.flights.reopen(self)
        self._asked.asked_at = now()  # RFC 9111 §4.2.3: the time of the request that is answered
        upload, failure.upload = failure.upload, None
        self._set_out(upload)
        return True

    def lose(self, backend: Backend) -> None:
        """Health checks call down whom this waits for: a frozen one would be waited for until the time is over."""
        forward = self._forward
        if forward is not None and forward.backend is backend and forward.request.idempotent:
            forward.give_up(Reason.TIMED_OUT, "its health checks fail")

    @property
    def only_if_cached(self) -> bool:
        """Nobody but a cache may answer it."""
        control = self.leader.facts.control
        return control is not None and control.only_if_cached

    @property
    def answers(self) -> dict[int, int]:
        """Where the answer is counted: the origin's, or another edge's."""
        parent = self._way.parent if self._way is not None else None
        return self.cache.fetches if parent is None else self.cache.parents.fetches[parent]  # type: ignore[union-attr]

    # -- who reads ------------------------------------------------------------------------------------------------

    @property
    def headed(self) -> bool:
        """The response has begun."""
        return self._facts is not None

    def doom(self) -> None:
        """What it brings must not be stored."""
        self._doomed = True

    def takes(self, reader: Reader) -> bool:
        """May another request read along, or wait for the head?"""
        if not self.headed:
            return len(self.waiters) < self.cache.flights.waiters_max
        return self._shareable(reader) and self._asked_for(reader)

    def join(self, reader: Reader) -> bool:
        """Let another request read along or wait for the head; False if it must fetch for itself."""
        if not self.takes(reader):
            return False
        if not self.headed:
            self.waiters.append(reader)
        reader.fetch = self
        reader.x.source = reader
        reader.result = Result.COLLAPSED
        if self.headed and self._begin(reader, None):
            self.readers.append(reader)
            self.feed(reader)
        return True

    def _shareable(self, reader: Reader) -> bool:
        admission = self._admission
        if not self._storing or self._doomed or admission is None or not admission.reusable(now()):
            return False
        return not self.names or variant_key(self.names, reader.field) == self._variant

    def _asked_for(self, reader: Reader) -> bool:
        """Does what has been arriving for a while do for a request that comes now (RFC 9111 §5.2.1)?"""
        control, admission = reader.facts.control, self._admission
        if control is None or admission is None:
            return True
        age = now() - admission.born
        return not (
            control.no_cache
            or (control.max_age is not None and age > control.max_age)
            or (control.min_fresh and admission.lifetime - age < control.min_fresh)
        )

    def leave(self, reader: Reader, reason: str) -> None:
        """A reader's client is gone. The fetch goes on for others, or to finish what is nearly stored."""
        reader.fetch = None
        if reader in self.waiters:
            self.waiters.remove(reader)
        elif reader in self.readers:
            self.readers.remove(reader)
        self.cache.replies.record(reader, reader.status or 499, reader.result, "client_gone", self._backend())
        if self.readers or self.waiters or self._over:
            self.pace()
            return
        if (
            self._storing
            and self._length is not None
            and self._length - self._stream.received <= FINISH_ALONE
        ):
            self.pace()
            return
        self._cancel(reason)

    def release_overdue(self, instant: float) -> None:
        """Waiters that have waited too long fetch for themselves."""
        limit = instant - self.cache.flights.wait_max
        overdue = [reader for reader in self.waiters if reader.started <= limit]
        if overdue:
            self.waiters = [reader for reader in self.waiters if reader.started > limit]
            self._send_away(overdue)

    def _send_away(self, readers: list[Reader], *, alone: bool = True) -> None:
        """They begin again; unless `alone`, those of one variant may share a fetch of theirs."""
        for reader in readers:
            reader.fetch = None
            reader.x.source = None
            self.cache.lookup(reader.x, reader.facts, alone)

    def _let_go(self) -> list[Reader]:
        """Everybody who waits or reads, who is now somebody else's."""
        everybody = self.readers + self.waiters
        self.readers, self.waiters = [], []
        return everybody

    # -- what the origin says --------------------------------------------------------------------------------------

    def forward_interim(self, raw: bytes) -> None:
        """A 1xx goes to whoever asked first, if it is still there."""
        if self.leader.fetch is self:
            self.leader.x.interim(raw)

    def forward_head(
        self, block: ResponseBlock, volatile: tuple[Field, ...], length: int, whole: bytes | None
    ) -> None:
        """The head: decide about storing, begin the responses, let go of those who can't share it."""
        facts = response_facts(block)
        if self._asked.cookies is Cookies.STRIP:
            facts = without_set_cookie(facts)
        instant = now()
        if self.checked is not None and facts.status == 304:
            self._confirmed(self.checked, facts, volatile, instant)
            return
        if self.stale is not None and facts.status in FAILURES and self._stand_in(facts.status, instant):
            return
        self._facts = facts
        known = len(whole) if whole is not None else length
        self._length = known if known >= 0 else None
        admission = self._admission = self._admit(facts, volatile, known, instant)
        self._decide(admission, instant)
        changes.received(self.cache, self, facts, stale_goes=not self._storing)
        self._compare_by_head(facts, volatile, instant)
        if self._hold is not None:
            self._told = self._pinned(self._hold, block)
        leaders, self.readers = self.readers, []
        self.readers = [reader for reader in leaders if self._begin(reader, whole)]
        self._share(instant)
        if whole is not None:
            if whole:
                self.forward_data(whole)
            self.forward_end(())
        elif self._storing or self.readers:
            self.pace()
        else:
            self._cancel("nobody reads it and it can't be stored")

    def _admit(
        self, facts: ResponseFacts, volatile: tuple[Field, ...], length: int, instant: float
    ) -> Admission:
        settings = self.cache.settings
        return Admission(
            facts, volatile, self._asked,
            length=length, object_max=self._object_max(facts), now=instant, wall=wall(), negative=settings.negative,
        )  # fmt: skip

    def _object_max(self, facts: ResponseFacts) -> int:
        """Bytes that a body may have to be stored. Parts are for memory only, and so is what is lent."""
        settings, shelf = self.cache.settings, self.cache.shelf
        if shelf is None or facts.status == 206 or (self._way is not None and self._way.brief):
            return settings.object_max
        return max(settings.object_max, shelf.large_max)

    def _take(self, size: int) -> NotStored | None:
        """Make sure of room for `size` more bytes of the body: in memory, or on disk if it is too large for that."""
        if self._incoming is not None:
            return NotStored.TOO_LARGE if self._incoming.failed else None
        facts, shelf = self._facts, self.cache.shelf
        if max(self._length or 0, self._stream.received) <= self.cache.settings.object_max:
            return None if self._reserve(size) else NotStored.NO_ROOM
        if facts is None or shelf is None or self._object_max(facts) <= self.cache.settings.object_max:
            return NotStored.TOO_LARGE
        incoming = shelf.begin(self.key, self._variant)
        if isinstance(incoming, NotStored):
            return incoming
        self._incoming = incoming
        incoming.on_room = self.pace
        for piece in self._stream.let_go():
            incoming.add(piece)
        self._unreserve()
        self.cache.flights.close(self)
        return None

    def _decide(self, admission: Admission, instant: float) -> None:
        cache, flights, facts = self.cache, self.cache.flights, self._facts
        assert facts is not None
        if self.reason is None:
            self.reason = NotStored.INVALIDATED if self._doomed else admission.reason
            self._learn(admission, instant)
        self.names = facts.vary or ()
        self._variant = variant_key(self.names, self.leader.field) if self.names else None
        if self.reason is None:
            self.reason = self._take(self._length or 0)
        self._storing = self.reason is None
        self._stream.kept = self._storing and self._incoming is None
        if self.reason is not None:
            cache.not_stored[self.reason] += 1
            flights.close(self)
            return
        if not admission.reusable(instant):
            flights.close(self)

    def _learn(self, admission: Admission, instant: float) -> None:
        """Is it worth waiting for a response under this key?"""
        if admission.reusable(instant):
            self.cache.flights.share_again(self.shared_key)
        elif admission.reason not in _PASSING and self._facts is not None and self._facts.status != 304:
            self.cache.flights.fetch_alone(self.shared_key, instant)

    def _share(self, instant: float) -> None:
        waiters, self.waiters = self.waiters, []
        away = []
        for reader in waiters:
            if not self._shareable(reader):
                away.append(reader)
            elif self._begin(reader, None):
                self.readers.append(reader)
        self._send_away(away, alone=not self._storing)

    def _place(self) -> Place:
        return Place(self.key, self.names, self._variant, self.mark)

    def _refused(self, reason: NotStored | None) -> None:
        """What became of storing it, known only at its end."""
        if reason is not None:
            self.reason = reason
            self.cache.not_stored[reason] += 1

    def _confirmed(
        self, old: StoredObject, facts: ResponseFacts, volatile: tuple[Field, ...], instant: float
    ) -> None:
        """304: the stored response is good, with the fields that the 304 brought (RFC 9111 §4.3.4)."""
        cache = self.cache
        self.answers[304] += 1
        if not storing.confirmed_by(old, facts):
            cache.discard(old)
            everybody = self._let_go()
            self._retire()
            self._send_away(everybody)
            return
        fresh, admission = self._merge(old, facts, volatile, instant)
        self._learn(admission, instant)
        upstream, variant = self._forward, self._variant
        reusable = admission.reusable(instant) and self.reason is None
        readers, waiters = self.readers, self.waiters
        self._let_go()
        self._retire()
        for reader in readers:
            reader.result = Result.REVALIDATED
            cache.replies.confirmed(reader, fresh, instant, upstream)
        away = []
        for reader in waiters:
            if reusable and (not self.names or variant_key(self.names, reader.field) == variant):
                cache.replies.confirmed(reader, fresh, instant, upstream)
            else:
                away.append(reader)
        self._send_away(away)

    def _merge(
        self, old: StoredObject, facts: ResponseFacts, volatile: tuple[Field, ...], instant: float
    ) -> tuple[StoredObject, Admission]:
        """The stored response with a 304's fields, stored again unless something forbids it."""
        varies = b"vary" in facts.index
        self._facts = facts = answer.merged(old, facts)
        admission = self._admission = self._admit(facts, volatile, old.length, instant)
        self.names = facts.vary or () if varies else origins(facts.vary or (), old.variant)
        self._variant = variant_key(self.names, self.leader.field) if self.names else None
        fresh, reason = storing.refreshed(self.cache, old, facts, admission, self._place())
        if self._doomed:
            self.cache.discard(fresh)
            reason = NotStored.INVALIDATED
        elif self.reason is NotStored.ELSEWHERE and reason is None:
            self.cache.discard(fresh)
            reason = NotStored.ELSEWHERE
        self._refused(reason)
        self._lend(fresh)
        return fresh, admission

    def _lend(self, fresh: StoredObject) -> None:
        """What another edge keeps stays here for a moment only."""
        parents = self.cache.parents
        if self.reason is None and parents is not None and self._way is not None and self._way.brief:
            parents.lend(fresh, now())
            fresh.forms = None  # it is gone before a form were of use

    def _compare_by_head(self, facts: ResponseFacts, volatile: tuple[Field, ...], instant: float) -> None:
        """The answer to a HEAD says whether what is stored for GET is still true (RFC 9111 §4.3.5)."""
        old = self.stale
        if old is None or self.leader.line.method != b"HEAD" or facts.status != 200:
            return
        if not storing.same_by_head(old, facts):
            self.cache.discard(old)
            return
        asked, self._asked = (
            self._asked,
            Asked(
                self._asked.asked_at, b"GET", self.key, self._asked.control, self._asked.authorized,
                cookie=self._asked.cookie, cookies=self._asked.cookies,
            ),
        )  # what it refreshes is the answer to a GET  # fmt: skip
        kept = (self._facts, self._admission, self.names, self._variant, self.reason)
        self._merge(old, facts, volatile, instant)
        self._facts, self._admission, self.names, self._variant, self.reason = kept
        self._asked = asked

    def forward_data(self, data: bytes) -> None:
        """Bytes of the body."""
        if self._over:
            return
        stream, size = self._stream, len(data)
        parent = self._way.parent if self._way is not None else None
        if parent is None:
            self.cache.fetched_bytes += size
        else:
            self.cache.parents.bytes[parent] += size  # type: ignore[union-attr]
        stream.received += size
        if self._storing and not self._room_for(size):
            self._stop_storing()
        stream.add(data)
        if self._incoming is not None and not self._incoming.add(data):
            self.pace()
        self._giving = (
            True  # of a thousand readers each may pause now: the pace is looked at once, when all have had it
        )
        for reader in tuple(self.readers):
            self._give(reader)
        self._giving = False
        stream.trim(self.readers)
        self.pace()

    def _room_for(self, size: int) -> bool:
        if self._length is None:
            self.reason = self._take(size)
        return self.reason is None

    def _reserve(self, size: int) -> bool:
        if not self.cache.storage.reserve(size):
            return False
        self._reserved += size
        return True

    def _unreserve(self) -> None:
        self.cache.storage.release(self._reserved)
        self._reserved = 0

    def _stop_storing(self) -> None:
        """It has outgrown what may be stored: from here on pieces are dropped once everybody has them."""
        self._storing = self._stream.kept = False
        self._unreserve()
        self._end_incoming()
        if self.reason is not None:
            self.cache.not_stored[self.reason] += 1
        self.cache.flights.close(self)
        if self.reason not in _PASSING:
            self.cache.flights.fetch_alone(self.shared_key, now())
        if self.readers:
            self.pace()
        else:
            self._cancel("nobody reads it and it can't be stored")

    def forward_end(self, trailers: tuple[Field, ...]) -> None:
        """The body is complete: store it, and let the readers finish."""
        if self._over:
            return
        self._trailers = trailers
        if self._storing:
            self._store()
        self._retire()
        for reader in tuple(self.readers):
            self._give(reader)

    def _store(self) -> None:
        facts, admission = self._facts, self._admission
        assert facts is not None
        assert admission is not None
        if self._incoming is not None:
            gone = NotStored.INVALIDATED if self._doomed else None
            kept = storing.keep_large
            self._refused(gone or kept(self.cache, facts, admission, self._incoming, self._place()))
            return
        body = self._stream.complete()
        if self._doomed:
            self._refused(NotStored.INVALIDATED)
            return
        self._unreserve()
        if facts.status == 206:
            self._refused(storing.keep_part(self.cache, facts, admission, body, self._place(), self.leader))
        else:
            fresh, reason = storing.keep(self.cache, facts, admission, body, self._place())
            self._refused(reason)
            self._lend(fresh)
            if reason is None and self.cache.coder is not None:
                self.cache.coder.begin(fresh, self.leader.facts.codings)

    def forward_failed(self, failure: Failure) -> None:
        """No response, or one cut short, which is never stored."""
        if self._over:
            return
        headed = self.headed
        if not headed:
            self.answers[0] += 1
            if self._next_way(failure):
                return
            if self.only_if_cached:
                failure.status = 504  # RFC 9111 §5.2.1.7
            if self.stale is not None and self._stand_in(None, now(), failure.backend):
                return
        readers = self._let_go()
        if self._storing:
            self.cache.not_stored[NotStored.CUT_SHORT] += 1
        self._retire()
        record = self.cache.replies.record
        for reader in readers:
            reader.fetch = None
            reader.x.source = None
            if headed:
                record(reader, reader.status, Result.ERROR, NotStored.CUT_SHORT, failure.backend)
                reader.x.abort(failure.reason.sentence)
            else:
                self.cache.replies.failed(reader, failure, self.stale)

    def _stand_in(self, status: int | None, instant: float, backend: str = "") -> bool:
        """Send what is stored in the failed origin's place, to whom that may be sent; True if nobody is left who
        wants the failure itself."""
        cache, old = self.cache, self.stale
        assert old is not None
        left = []
        for reader in self._let_go():
            why = after_failure(
                old, reader.facts.control,
                authorized=reader.authorized, answered=status is not None,
                disconnected_for=cache.settings.stale_disconnected, now=instant,
            )  # fmt: skip
            if why is None:
                left.append(reader)
            else:
                cache.replies.stale(reader, old, why, instant, status, backend or self._backend())
        if left:
            self.readers = left[:1] if left[0] is self.leader else []
            self.waiters = left[len(self.readers) :]
            return False
        if status is None:
            self._retire()
        else:
            self.answers[500] += 1
            self._cancel("what is stored was sent instead")
        return True

    def forward_upgraded(self, block: ResponseBlock, volatile: tuple[Field, ...], forward: Forward) -> None:
        """101: the two connections are joined, and the fetch is out of the way."""
        self.readers = []
        self.leader.fetch = None
        self._retire()
        self.cache.replies.tunnel(self.leader, block, forward)

    # -- what the readers get ----------------------------------------------------------------------------------------

    def _begin(self, reader: Reader, whole: bytes | None) -> bool:
        """Begin a reader's response; False if that was all of it."""
        facts, admission, replies = self._facts, self._admission, self.cache.replies
        assert facts is not None
        assert admission is not None
        is_head = reader.line.method == b"HEAD"
        length = None if facts.status in (204, 304) else facts.content_length if is_head else self._length
        head = replies.fetched(reader, facts, admission, length, self.reason, self._forward)
        if self._told and reader is self.leader:
            head += self._told
        reader.status = facts.status
        held = self._storing and facts.status == 200 and reader.conditional and reader.line.gets
        if held and replies.holds(reader, facts, admission):
            head, reader.status = answer.not_modified(head), 304
        elif whole is None or is_head:
            reader.x.respond(facts.status, head, length)
            return True
        else:
            reader.sent = len(whole)
        reader.fetch = None
        reader.x.source = None
        replies.record(reader, reader.status, reader.result, self._remark(reader), self._backend())
        reader.x.answer(reader.status, head, whole or b"")
        return False

    def feed(self, reader: Reader) -> None:
        """Give a reader what it has not had yet."""
        self._give(reader)
        self._stream.trim(self.readers)
        self.pace()

    def _give(self, reader: Reader) -> None:
        if self._stream.give(reader) and self._over and reader.fetch is self:
            self.readers.remove(reader)
            reader.fetch = None
            self.cache.replies.record(
                reader, reader.status, reader.result, self._remark(reader), self._backend()
            )
            reader.x.finish(self._trailers)

    def pace(self) -> None:
        """Hold the origin back, or let it go on."""
        forward = self._forward
        if forward is None or self._over or self._giving:
            return
        slow = (reader.paused for reader in self.readers)
        halt = bool(self.readers) and (all(slow) if self._storing and self._incoming is None else any(slow))
        halt = halt or (self._incoming is not None and self._incoming.full)
        if halt != self._halted:
            self._halted = halt
            if halt:
                forward.pause()
            else:
                forward.resume()

    def _remark(self, reader: Reader) -> str:
        """Why what is stored did not do, and why what came was not stored, or what is to be said of its being so."""
        said = [str(reader.why)] if reader.why is not None else []
        if self.reason is not None:
            said.append(str(self.reason))
        elif self._admission is not None and self._admission.warnings:
            said.append(str(self._admission.warnings[0]))
        return "/".join(said)

    # -- the end -----------------------------------------------------------------------------------------------------

    def _backend(self) -> str:
        forward = self._forward
        return (
            forward.backend.name if forward is not None and forward.backend is not None else self._served_by
        )

    def _retire(self) -> None:
        """Nothing more comes from the origin. The two let go of each other, or neither would ever be freed."""
        if self.leader.absent and not self._over:
            self.cache.in_background -= 1
            self.leader.fetch = None  # nobody else takes it from there
        self._over = True
        self._served_by = self._backend()
        self._forward = None
        self._storing = False
        self._unreserve()
        self._end_incoming()
        self.cache.flights.end(self)

    def _end_incoming(self) -> None:
        """Nothing more goes to disk; what is not complete there is given up."""
        incoming, self._incoming = self._incoming, None
        if incoming is not None and self.cache.shelf is not None:
            self.cache.shelf.end(incoming, self.key, self._variant)

    def _cancel(self, reason: str) -> None:
        forward, self._forward = self._forward, None
        self._retire()
        if forward is not None:
            forward.cancel(reason)
