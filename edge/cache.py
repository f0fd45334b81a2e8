"""The edge's handler: what becomes of each request.

Decides which of the few ways a request goes, by asking the policy files; acts through exchanges and fetches.

    a fresh object, nothing asked of the cache   answered at once: `handle`, written out for speed
    GET and HEAD otherwise                       `lookup`: the store, a 304, a part, a fetch that others share
    what never comes from the store              `_pass`: unsafe methods, bodies, upgrades, If-Match
    what this node does not serve                `_refuse`: CONNECT, TRACE, loops
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from cdnlab.forward.client import client_address, forwarded_for, place_of
from cdnlab.forward.exchange import OutRequest
from cdnlab.forward.explain import MARK_FIELD
from cdnlab.net.clock import now, wall
from cdnlab.node.metrics import BOUNDS
from cdnlab.wire.request import VOLATILE
from edge import cache_status, conditional
from edge.cache_status import Fwd
from edge.collapse import Flights
from edge.fetch import Fetch
from edge.freshness import Verdict, judge
from edge.invalidation import named_keys
from edge.object import StoredObject, Variants
from edge.outgoing import max_forwards, request_head
from edge.reader import Reader
from edge.replies import Replies
from edge.request import RequestFacts
from edge.results import POSITION, Result
from edge.settings import Settings
from edge.storable import NotStored
from edge.storage_memory import SHARDS, MemoryStorage
from edge.vary import variant_key

if TYPE_CHECKING:
    from cdnlab.forward.exchange import Forwarder
    from cdnlab.forward.trail import Trail
    from cdnlab.net.exchange import Exchange
    from cdnlab.node.log import Ring
    from cdnlab.node.metrics import Tallies
    from cdnlab.wire.fields import Field
    from edge.response import ResponseFacts

_HIT = POSITION[Result.HIT]
_HIT_RESULT = Result.HIT  # reading a member of an enumeration from its class is a Python call in 3.11
_MASK = SHARDS - 1


class Cache:
    """The handler of an edge's listeners."""

    __slots__ = (
        "_by_place", "_member", "_other", "_shards", "fetched_bytes", "fetches", "flights", "forwarder", "not_stored",
        "ours", "replies", "ring", "settings", "storage", "tallies", "trail",
    )  # fmt: skip

    def __init__(
        self,
        settings: Settings,
        storage: MemoryStorage,
        flights: Flights[Fetch],
        forwarder: Forwarder,
        trail: Trail,
        tallies: Tallies,
        ring: Ring,
    ) -> None:
        self.settings = settings
        self.storage = storage
        self.flights = flights
        self.forwarder = forwarder
        self.trail = trail
        self.tallies = tallies
        self.ring = ring
        self.ours = all(backend.ours for backend in forwarder.pool.backends)
        """Whether the pool holds our own nodes only, which alone may see the mark of an explanation."""
        self.fetches: dict[int, int] = dict.fromkeys((100, 200, 300, 304, 400, 500, 0), 0)
        """Answers of the origin by class; 304 by itself, and 0 for none."""
        self.fetched_bytes = 0
        """Body bytes that came from the origin, whatever became of them."""
        self.not_stored: dict[NotStored, int] = dict.fromkeys(NotStored, 0)
        self._member = cache_status.name(trail.node)
        self._shards = storage.shards
        self._by_place = tallies.by_place
        self._other = tallies.of("")
        self.replies = Replies(settings, trail, tallies, ring)

    def tick(self) -> None:
        """A few times a second: waiters that have waited too long, and what the calendar says of the clock."""
        instant = now()
        self.replies.wall_offset = wall() - instant
        for flight in self.flights:
            flight.release_overdue(instant)

    # -- the path of a hit ------------------------------------------------------------------------------------------

    def handle(self, x: Exchange) -> None:
        """A request head is complete. A fresh hit is answered here, without a call that can be spared: an object's
        head stays true for up to a second, and the first hit after that renews it and tells the eviction policy,
        which is often enough for it."""
        line = x.line
        facts: RequestFacts | None = x.block.derived  # type: ignore[assignment]
        if facts is None or line.target.authority is not None:
            facts = self._facts(x)
        if facts.claims.chosen or x.trusted:
            x.place = place_of(facts.claims, x.place, x.trusted)
        method = line.method
        if facts.plain and (method == b"GET" or method == b"HEAD") and not x.explain:
            key = (facts.peer_prefix if x.trusted else facts.prefix) + line.target.canonical
            entry = self._shards[hash(key) & _MASK].get(key)
            found = _variant(entry, x, facts) if isinstance(entry, Variants) else entry
            if found is not None:
                started = x.started
                if started < found.head_until or (
                    started < found.fresh_until and self._renew(found, started)
                ):
                    volatile = x.volatile
                    if found.open or not _authorized(volatile):
                        self._hit(x, facts, found, volatile)
                        return
        self._slow(x, facts)

    def _renew(self, found: StoredObject, instant: float) -> bool:
        found.renew_head(instant, self._member)
        self.storage.touch(found)
        return True

    def _hit(
        self, x: Exchange, facts: RequestFacts, found: StoredObject, volatile: tuple[Field, ...]
    ) -> None:
        """Send an object with its own head, and count. The exchange may be at its next request when `answer`
        returns, so everything is read before."""
        line, started, place, peer, status = x.line, x.started, x.place, x.peer, found.status
        request_id = b""
        for name, value in volatile:
            if name == b"x-request-id":
                request_id = value
            elif name == b"x-forwarded-for" and x.trusted:
                peer = client_address(peer, True, value, self.settings.trusted)
        body = found.body
        size = len(body) if line.method == b"GET" else 0
        x.answer(status, found.head, body)
        seconds = now() - started
        tally = (self._by_place.get(place) or self._other)[_HIT]
        tally.count += 1
        tally.bytes += size
        tally.seconds += seconds
        tally.buckets[bisect_left(BOUNDS, seconds)] += 1
        ring = self.ring
        ring.seen += 1
        ring.entries.append(
            (
                started + self.replies.wall_offset, line.method, facts.claims.host, line.target.canonical, status,
                _HIT_RESULT, place, seconds, "", size, "", request_id, peer,
            )
        )  # fmt: skip

    # -- every other way --------------------------------------------------------------------------------------------

    def _facts(self, x: Exchange) -> RequestFacts:
        settings = self.settings
        facts = RequestFacts(x.block, x.host, x.scheme, settings.places, settings.may_choose_place)
        if x.line.target.authority is None:
            x.block.derived = facts
        return facts

    def _slow(self, x: Exchange, facts: RequestFacts) -> None:
        method = x.line.method
        if method in (b"GET", b"HEAD") and facts.bypass is None:
            self.lookup(x, facts)
        elif method == b"CONNECT":
            self._refuse(x, facts, 501, "CONNECT is for forward proxies; this is a gateway")
        elif method == b"TRACE":
            self._refuse(
                x, facts, 405, "TRACE would show a stranger the fields that were added on the way", _ALLOW
            )
        elif method == b"OPTIONS" and max_forwards(x.block.index) == 0:
            x.answer(204, b"HTTP/1.1 204 No Content\r\n" + _ALLOW)
            reader = self._reader(x, facts, Fwd.METHOD, Result.REFUSED)
            self.replies.record(reader, 204, Result.REFUSED, "max-forwards", "")
        else:
            got = method in (b"GET", b"HEAD")
            self._pass(
                x, facts, Fwd.BYPASS if got else Fwd.METHOD, (got and facts.bypass) or NotStored.METHOD
            )

    def _reader(self, x: Exchange, facts: RequestFacts, fwd: Fwd, result: Result) -> Reader:
        prefix = facts.peer_prefix if x.trusted else facts.prefix
        return Reader(x, facts, prefix + x.line.target.canonical, fwd, result)

    def lookup(self, x: Exchange, facts: RequestFacts, alone: bool = False) -> None:
        """Answer a GET or HEAD from the store, or get it; `alone` without waiting for another's fetch."""
        key = (facts.peer_prefix if x.trusted else facts.prefix) + x.line.target.canonical
        control, instant = facts.control, now()
        entry = self.storage.find(key)
        found = self.storage.select(key, x.field)
        fwd = Fwd.URI_MISS if entry is None else Fwd.VARY_MISS
        authorized = _authorized(x.volatile)
        if found is not None and authorized and not found.open:
            found, fwd = None, Fwd.REQUEST
        if found is not None:
            verdict = judge(found.born, found.fresh_until, control, instant)
            if verdict is Verdict.FRESH:
                self.storage.touch(found)
                self.replies.from_store(self._reader(x, facts, Fwd.BYPASS, Result.HIT), found, instant)
                return
            fwd = Fwd.STALE if verdict is Verdict.STALE else Fwd.REQUEST
        if control is not None and control.only_if_cached:
            self._refuse(x, facts, 504, "nothing stored can be used, and the request says only-if-cached")
        elif (reason := _passes(x, facts)) is not None:
            self._pass(x, facts, fwd, reason)
        else:
            shared = key
            if isinstance(entry, Variants):
                shared = key + b"\n" + variant_key(entry.names, x.field)
            reader = Reader(x, facts, key, fwd, Result.MISS)
            self._get(reader, found, shared, alone=alone or authorized or fwd is Fwd.REQUEST)

    def _get(self, reader: Reader, found: StoredObject | None, shared: bytes, *, alone: bool) -> None:
        """Join the fetch that is under way, or begin one."""
        flights = self.flights
        known = flights.alone(shared, reader.started)
        if not alone:
            flight = flights.leader(shared)
            if flight is not None and flight.headed and flight.names and shared == reader.key:
                shared += b"\n" + variant_key(flight.names, reader.field)
                flight = flights.leader(shared) or flight
            if flight is not None and not known:
                if flight.join(reader):
                    return
                alone = flight.collapse_key == shared
        etag, modified = (found.etag, found.last_modified) if found is not None else (None, None)
        checked = found if etag is not None or modified is not None else None
        fetch = Fetch(
            self, reader, reason=None, shared_key=shared, joinable=not alone and not known, checked=checked
        )
        self._send(reader, fetch, conditional.validators(etag, modified), known and checked is None)

    def _pass(self, x: Exchange, facts: RequestFacts, fwd: Fwd, reason: NotStored) -> None:
        """To the origin and back, past the store."""
        reader = self._reader(x, facts, fwd, Result.PASS)
        fetch = Fetch(self, reader, reason=reason, shared_key=reader.key, joinable=False)
        self._send(reader, fetch, b"", True)

    def _send(self, reader: Reader, fetch: Fetch, extra: bytes, keep_conditions: bool) -> None:
        x, facts, line, settings = reader.x, reader.facts, reader.line, self.settings
        if self.trail.loops(x.block.index):
            self._refuse(x, facts, 508, "the request has come back to this node: the origin leads here")
            return
        host = settings.origin_host or facts.claims.host
        if not host:
            self._refuse(x, facts, 400, "the request names no host")
            return
        if x.explain and self.ours:
            extra += b"".join(
                [b"Cdnlab-Explain: %b\r\n" % value for name, value in x.volatile if name == MARK_FIELD]
            )
        outgoing = facts.outgoing(x.block)
        scheme = facts.forwarded_proto if x.trusted else x.scheme
        head = request_head(
            x.block,
            line,
            lines=outgoing.kept if keep_conditions else outgoing.plain,
            volatile=x.volatile,
            host=host,
            trail=self.trail,
            forwarded_for=forwarded_for(x.peer, x.trusted, x.volatile),
            forwarded_proto=settings.forwarded_proto or scheme,
            forwarded_host=facts.claims.host if host != facts.claims.host else None,
            extra=extra,
        )
        fetch.start(
            OutRequest(
                line.method,
                head,
                place=settings.place,
                idempotent=line.idempotent,
                body=x.body,
                expect=x.block.expect,
            )
        )

    def _refuse(self, x: Exchange, facts: RequestFacts, status: int, why: str, extra: bytes = b"") -> None:
        self.replies.refuse(self._reader(x, facts, Fwd.BYPASS, Result.REFUSED), status, why, extra)

    # -- what a fetch reports -----------------------------------------------------------------------------------------

    def received(self, fetch: Fetch, facts: ResponseFacts, *, stale_goes: bool) -> None:
        """A head has come from the origin: count it, and drop what it makes untrue (RFC 9111 §4.3.3, §4.4)."""
        status = facts.status
        self.fetches[status if status == 304 else min(status // 100, 5) * 100] += 1
        if fetch.checked is not None and stale_goes and status < 500:
            self.storage.discard(fetch.checked)
        if not fetch.leader.line.safe and 200 <= status < 400:
            self.invalidate(fetch.key)
            target = fetch.leader.line.target
            prefix = fetch.key[: len(fetch.key) - len(target.canonical)]
            for key in named_keys(facts.index, prefix, target.path):
                self.invalidate(key)

    def invalidate(self, key: bytes) -> None:
        """What lies under a key is no longer true, and what is being fetched may not be."""
        self.storage.remove(key)
        self.flights.doom(key)


_ALLOW = b"Allow: GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE\r\n"


def _variant(record: Variants, x: Exchange, facts: RequestFacts) -> StoredObject | None:
    """The variant for a request. Its key is remembered with the block, unless the fields that choose aren't there."""
    names = record.names
    if facts.variant_names != names:
        key = variant_key(names, x.field)
        if not VOLATILE.isdisjoint(names):
            return record.objects.get(key)
        facts.variant_names, facts.variant_key = names, key
    return record.objects.get(facts.variant_key)


def _authorized(volatile: tuple[Field, ...]) -> bool:
    for name, _ in volatile:  # noqa: SIM110 - any() with a generator costs three times as much
        if name == b"authorization":
            return True
    return False


def _passes(x: Exchange, facts: RequestFacts) -> NotStored | None:
    """Why a GET or HEAD that the store can't answer is not worth a place in it."""
    if x.line.method == b"HEAD":
        return NotStored.METHOD
    if facts.range is not None:
        return NotStored.RANGE
    if facts.control is not None and facts.control.no_store:
        return NotStored.REQUEST_NO_STORE
    return None
