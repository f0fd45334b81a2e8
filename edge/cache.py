"""The edge's handler: what becomes of each request.

Decides which of the few ways a request goes, by asking the policy files; acts through exchanges and fetches.

    a fresh object, nothing asked of the cache   answered at once: `handle`, written out for speed
    GET and HEAD otherwise                       `lookup`: the store, a 304, a part, a stale one, a fetch that others
                                                 share
    what never comes from the store              `_pass`: unsafe methods, bodies, upgrades, If-Match
    what this node does not serve                `_refuse`: CONNECT, TRACE, loops
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from cdnlab.forward.client import client_address, place_of
from cdnlab.net.clock import now, wall
from cdnlab.node.metrics import BOUNDS
from cdnlab.wire.fields import Field
from cdnlab.wire.request import VOLATILE
from edge import cache_status, conditional, cookies, pinned
from edge.cache_status import Fwd
from edge.collapse import Flights
from edge.cookies import Cookies, CookieWarning, bears_cookie, without_cookie
from edge.decision import NotReused, Stale, judge
from edge.fetch import Fetch
from edge.no_vary_search import Searches, variation_of
from edge.object import StoredObject, Variants
from edge.outgoing import max_forwards
from edge.parents import Parents
from edge.partial import Partial
from edge.purging import NoPurges, Purges, Verdict
from edge.reader import Reader
from edge.replies import Replies
from edge.request import RequestFacts
from edge.results import POSITION, Result
from edge.routing import Way
from edge.settings import Settings
from edge.storable import NotStored
from edge.storage_memory import SHARDS, MemoryStorage
from edge.vary import variant_key

if TYPE_CHECKING:
    from cdnlab.forward.forwarder import Forwarder
    from cdnlab.forward.key import HostRules
    from cdnlab.forward.sticky import Stickiness
    from cdnlab.forward.trail import Trail
    from cdnlab.net.exchange import Exchange
    from cdnlab.node.log import Ring
    from cdnlab.node.metrics import Tallies
    from edge.coding.coder import Coder
    from edge.disk.shelf import Read, Shelf

_HIT = POSITION[Result.HIT]
_HIT_RESULT = Result.HIT  # reading a member of an enumeration from its class is a Python call in 3.11
_MASK = SHARDS - 1


_Known = tuple[bytes, bytes, dict[bytes, StoredObject | Variants]]
"""(prefix, key, the shard it lies in) of a request line."""
_Client = tuple[tuple[Field, ...], bool, bytes, str, tuple[Field, ...], tuple[bytes, ...]]
"""(the lines themselves, whether Authorization is among them, X-Request-Id, the client's address, the lines as they
came with a pin's cookie, that cookie) of a connection."""


class Cache:
    """The handler of an edge's listeners."""

    __slots__ = (
        "_by_place", "_member", "_other", "_shards", "_touch", "coder", "fetched_bytes", "fetches", "flights",
        "forwarder", "in_background", "not_reused", "not_stored", "parents", "purges", "replies", "ring",
        "searches", "settings", "shelf", "sticky", "storage", "tallies", "trail", "warnings",
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
        purges: Purges | None = None,
        coder: Coder | None = None,
        parents: Parents | None = None,
    ) -> None:
        """`coder` makes compressed forms; None where nothing is compressed. `parents` knows the ways out; None where
        the origin is the only one."""
        self.parents = parents
        self.coder = coder
        self.purges: Purges = purges or NoPurges()
        self.settings = settings
        self.storage = storage
        self.flights = flights
        self.forwarder = forwarder
        self.trail = trail
        self.tallies = tallies
        self.ring = ring
        self.fetches: dict[int, int] = dict.fromkeys((100, 200, 300, 304, 400, 500, 0), 0)
        """Answers of the origin by class; 304 by itself, and 0 for none."""
        self.fetched_bytes = 0
        """Body bytes that came from the origin, whatever became of them."""
        self.not_stored: dict[NotStored, int] = dict.fromkeys(NotStored, 0)
        self.not_reused: dict[NotReused, int] = dict.fromkeys(NotReused, 0)
        """Requests for which the origin was asked, by why what is stored did not do."""
        self.warnings: dict[CookieWarning, int] = dict.fromkeys(CookieWarning, 0)
        """Responses that were stored with something to be said about it, by what."""
        self.shelf: Shelf | None = None
        """The disk, where there is one."""
        self.sticky: Stickiness | None = None
        """Who keeps clients with their origin by a cookie of ours, where somebody does."""
        self.searches = Searches()
        self.in_background = 0
        """Fetches under way that renew what is stored, and for which nobody waits."""
        self._member = cache_status.name(trail.node)
        self._shards = storage.shards
        self._touch = storage.touched.append
        self._by_place = tallies.by_place
        self._other = tallies.of("")
        self.replies = Replies(settings, trail, tallies, ring, coder)

    def tick(self) -> None:
        """A few times a second: waiters that have waited too long, and what the calendar says of the clock."""
        instant = now()
        self.replies.wall_offset = wall() - instant
        self.storage.flush()
        for flight in self.flights.under_way():  # some wait also where nobody may join any more
            flight.release_overdue(instant)
        if self.parents is not None:
            for stored in self.parents.due(instant):
                self.storage.discard(stored)

    # -- the path of a hit ------------------------------------------------------------------------------------------

    def handle(self, x: Exchange) -> None:
        """A request head is complete. A fresh hit is answered here, without a call that can be spared: an object's
        head stays true for up to a second, and the first hit after that renews it."""
        if self.sticky is not None and x.volatile:
            self._hide(x, self.sticky)
        line = x.line
        facts: RequestFacts | None = x.block.derived  # type: ignore[assignment]
        if facts is None or line.target.authority is not None:
            facts = self._facts(x)
        if facts.claims.chosen or x.trusted:
            x.place = place_of(facts.claims, x.place, x.trusted)
        if facts.plain and line.gets and not x.explain:
            prefix = facts.peer_prefix if x.trusted else facts.prefix
            known: _Known | None = line.derived  # type: ignore[assignment]
            if known is None or known[0] is not prefix or facts.cookie_rules is not None:
                known = self._know(x, facts, prefix)
            entry = known[2].get(known[1])
            found = _variant(entry, x, facts) if isinstance(entry, Variants) else entry
            if found is not None:
                started = x.started
                if (started < found.head_until and found.checked == self.purges.position) or (
                    started < found.fresh_until and self._renew(found, started)
                ):
                    client: _Client | None = x.tag
                    if client is None or client[0] is not x.volatile:
                        client = self._client(x)
                    if found.open or not client[1]:
                        self._hit(x, facts, found, client)
                        return
        self._slow(x, facts)

    def _know(self, x: Exchange, facts: RequestFacts, prefix: bytes) -> _Known:
        """What a request line means under a prefix, remembered with the line: lines are as few as targets, and bytes
        that are kept need not be hashed again. Not where a route looks at cookies, which are the client's own."""
        line, rules = x.line, facts.cookie_rules
        target = facts.target(line.target.canonical) if rules is None else _ruled(x, rules)
        key = prefix + target
        known = (prefix, key, self._shards[hash(key) & _MASK])
        if rules is None:
            line.derived = known
        return known

    def _hide(self, x: Exchange, sticky: Stickiness) -> None:
        """Take the pin's cookie out; what is left of a connection's lines is remembered as long as it repeats them."""
        client: _Client | None = x.tag
        if client is not None and client[4] is x.volatile:
            x.volatile = client[0]
            return
        raw = x.volatile
        x.volatile, pins = pinned.split(raw, sticky)
        if pins:
            x.tag = (*self._client(x)[:4], raw, pins)

    def _client(self, x: Exchange) -> _Client:
        """What a connection's own lines say, remembered with the connection for as long as it repeats them."""
        volatile, peer, request_id = x.volatile, x.peer, b""
        for name, value in volatile:
            if name == b"x-request-id":
                request_id = value
            elif name == b"x-forwarded-for" and x.trusted:
                peer = client_address(peer, True, value, self.settings.trusted)
        x.tag = client = (volatile, _authorized(volatile), request_id, peer, volatile, ())
        return client

    def _renew(self, found: StoredObject, instant: float) -> bool:
        """Make an object's head anew, if nothing but its freshness had to be asked."""
        purges = self.purges
        if found.status == 206 or found.soft or instant >= purges.confirmed_until:
            return False
        if found.checked != purges.position and purges.judge(found) is not Verdict.KEEP:
            return False
        found.renew_head(instant, self._member, purges.confirmed_until)
        return True

    def _hit(self, x: Exchange, facts: RequestFacts, found: StoredObject, client: _Client) -> None:
        """Send an object with its own head, and count. The exchange may be at its next request when `answer`
        returns, so everything is read before."""
        line, started, place, status = x.line, x.started, x.place, found.status
        self._touch(found)
        if found.forms is not None and self.coder is not None and facts.codings:
            found = self.coder.pick(found, facts.codings, started)
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
                _HIT_RESULT, place, seconds, "", size, "", client[2], client[3],
            )
        )  # fmt: skip

    # -- every other way --------------------------------------------------------------------------------------------

    def _facts(self, x: Exchange) -> RequestFacts:
        settings = self.settings
        facts = RequestFacts(
            x.block, x.host, x.scheme, settings.places, settings.may_choose_place, settings.rules
        )
        if self.coder is not None:
            facts.codings = self.coder.wanted(x.block.index)
        if x.line.target.authority is None:
            x.block.derived = facts
        return facts

    def _slow(self, x: Exchange, facts: RequestFacts) -> None:
        method = x.line.method
        cookie = None if facts.cookie_rules is None else _cookie(x, facts.cookie_rules)
        bypass = facts.bypass or cookie
        if method in (b"GET", b"HEAD") and bypass is None:
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
            reason = (got and bypass) or NotStored.METHOD
            reader = self._reader(x, facts, Fwd.BYPASS if got else Fwd.METHOD, Result.PASS)
            # an answer to POST may say that it is one to GET as well: its head decides
            self._pass(reader, None if method == b"POST" else reason, None)

    def _reader(self, x: Exchange, facts: RequestFacts, fwd: Fwd, result: Result) -> Reader:
        prefix = facts.peer_prefix if x.trusted else facts.prefix
        return Reader(x, facts, prefix + facts.target(x.line.target.canonical), fwd, result)

    def lookup(self, x: Exchange, facts: RequestFacts, alone: bool = False, read: Read | None = None) -> None:
        """Answer a GET or HEAD from the store, or get it; `alone` without waiting for another's fetch; `read`: what
        lies on disk, where that has been asked."""
        reader = self._reader(x, facts, Fwd.BYPASS, Result.HIT)
        control, instant, key = facts.control, now(), reader.key
        entry = self.storage.find(key)
        found, why = self._stored(reader, key, entry, instant)
        if found is None and self.shelf is not None:
            if read is None and self.shelf.ask(reader, facts, alone):
                return
            if read is not None and read.stored is not None:
                found, why = self._usable(reader, read.stored, instant)
        reader.from_disk = read is not None and found is not None and found is read.stored
        if entry is None and found is None and self.searches:
            found, why = self._equal(reader, instant)
        if found is not None and why is None:
            if not reader.from_disk:
                self._touch(found)
            self.replies.from_store(reader, found, instant)
            return
        if found is not None and isinstance(why, Stale):
            if not reader.from_disk:
                self._touch(found)
            reader.result = Result.STALE
            renew = Reader(x, facts, key, Fwd.STALE, Result.STALE) if why is Stale.WHILE_REVALIDATE else None
            self.replies.stale(reader, found, why, instant)
            if renew is not None:
                whole = not isinstance(found, Partial)
                self._renew_behind(renew.in_background(whole), found, self._shared(renew, entry))
            return
        assert isinstance(why, NotReused)
        self.not_reused[why] += 1
        reader.why, reader.fwd, reader.result = why, _FWD.get(why, Fwd.REQUEST), Result.MISS
        if control is not None and control.only_if_cached:
            self._only_if_cached(reader)
        elif (reason := _passes(x, facts)) is not None:
            reader.result = Result.PASS
            self._pass(reader, reason, found)
        else:
            usable = None if why is NotReused.AUTHORIZATION else found
            self._get(
                reader, usable, self._shared(reader, entry),
                alone=alone or reader.authorized or facts.range is not None or reader.fwd is Fwd.REQUEST
                or self._overtaken(reader),
            )  # fmt: skip

    def _only_if_cached(self, reader: Reader) -> None:
        """Only the owner of the key is asked, who is in the same house: the caches of one place are as one to their
        clients (RFC 9111 §5.2.1.7 asks for a stored response or 504)."""
        way = self.parents.neighbour(reader, now()) if self.parents is not None else None
        if way is None:
            why = "nothing stored can be used, and the request says only-if-cached"
            self._refuse(reader.x, reader.facts, 504, why)
            return
        fetch = Fetch(self, reader, reason=NotStored.ELSEWHERE, shared_key=reader.key, joinable=False)
        self._send(reader, fetch, None, True, [way])

    def _equal(self, reader: Reader, instant: float) -> tuple[StoredObject | None, NotReused | None]:
        """What is stored under another query that means the same (No-Vary-Search), if it can be used as it is and no
        purge has named the one that is asked for."""
        place = self.searches.find(reader.key)
        if place is None:
            return None, NotReused.NOTHING_STORED
        found, why = self._stored(reader, place.key, self.storage.find(place.key), instant)
        if found is None or why is not None or variation_of(found.start) != place.variation:
            return None, NotReused.NOTHING_STORED
        purged = self.purges.may_concern(reader.key, found.mark, instant)
        return (None, NotReused.NOTHING_STORED) if purged else (found, None)

    def _stored(
        self, reader: Reader, key: bytes, entry: StoredObject | Variants | None, instant: float
    ) -> tuple[StoredObject | None, NotReused | Stale | None]:
        """What is stored under a key for a request, and why it can't be used as it is."""
        if entry is None:
            return None, NotReused.NOTHING_STORED
        found = self.storage.select(key, reader.field)
        if found is None:
            return None, NotReused.NO_VARIANT
        return self._usable(reader, found, instant)

    def _usable(
        self, reader: Reader, found: StoredObject, instant: float
    ) -> tuple[StoredObject | None, NotReused | Stale | None]:
        """Whether an object may be used for a request as it is, and why not."""
        purges = self.purges
        if found.checked != purges.position:
            verdict = purges.judge(found)
            if verdict is Verdict.GONE:
                self.discard(found)
                return None, NotReused.NOTHING_STORED
            found.soft = found.soft or verdict is Verdict.SOFT
        why = judge(found, reader.facts.control, authorized=reader.authorized, now=instant)
        if why is None or isinstance(why, Stale):
            if instant >= purges.confirmed_until or self._overtaken(reader):
                return found, NotReused.UNPROVED
            if isinstance(found, Partial) and not self.replies.has_part(reader, found):
                return found, NotReused.NOT_IN_PART
        return found, why

    def _overtaken(self, reader: Reader) -> bool:
        """Does the request come from an edge that has applied purges which have not arrived here?"""
        purged = reader.facts.purged
        return purged is not None and reader.trusted and not self.purges.reached(purged)

    def _shared(self, reader: Reader, entry: StoredObject | Variants | None) -> bytes:
        """The collapse key: the key, and the variant where responses are known to vary."""
        if isinstance(entry, Variants):
            return reader.key + b"\n" + variant_key(entry.names, reader.field)
        return reader.key

    def _get(self, reader: Reader, found: StoredObject | None, shared: bytes, *, alone: bool) -> None:
        """Join the fetch that is under way, or begin one."""
        if self.trail.loops(reader.block.index):  # before it waits for the very fetch that has come round
            self._drop(reader, 508, _LOOP)
            return
        flights = self.flights
        known = flights.alone(shared, reader.started)
        if not alone:
            flight = flights.leader(shared)
            if flight is not None and flight.headed and flight.names and shared == reader.key:
                shared += b"\n" + variant_key(flight.names, reader.field)
                flight = flights.leader(shared) or flight
            if flight is not None and self.purges.may_concern(flight.key, flight.mark, now()):
                flights.close(flight)  # who comes after a purge must not get what was asked for before it
                flight = None
            if flight is not None and not known:
                if flight.join(reader):
                    return
                alone = flight.collapse_key == shared
        checked = _validated(found)
        fetch = Fetch(
            self, reader, reason=None, shared_key=shared, joinable=not alone and not known,
            checked=checked, stale=None if isinstance(found, Partial) else found,
        )  # fmt: skip
        self._send(reader, fetch, checked, known and checked is None)

    def _renew_behind(self, reader: Reader, found: StoredObject, shared: bytes) -> None:
        """Validate in the background what was just sent stale (RFC 5861 §3), unless that is under way, or enough is."""
        if self.in_background >= self.settings.background_max or self.flights.leader(shared) is not None:
            return
        self.in_background += 1
        checked = _validated(found)
        fetch = Fetch(
            self, reader, reason=None, shared_key=shared, joinable=reader.whole, checked=checked, stale=found
        )  # nobody who asks for the whole may read a part along
        self._send(reader, fetch, checked, False)

    def _pass(self, reader: Reader, reason: NotStored | None, found: StoredObject | None) -> None:
        """To the origin and back, past the store."""
        stale = None if isinstance(found, Partial) else found
        fetch = Fetch(self, reader, reason=reason, shared_key=reader.key, joinable=False, stale=stale)
        self._send(reader, fetch, None, True)

    def _send(
        self,
        reader: Reader,
        fetch: Fetch,
        checked: StoredObject | None,
        keep_conditions: bool,
        ways: list[Way] | None = None,
    ) -> None:
        if self.trail.loops(reader.block.index):
            self._drop(reader, 508, _LOOP)
        elif not (self.settings.origin_host or reader.facts.claims.host):
            self._drop(reader, 400, "the request names no host")
        else:
            extra = conditional.validators(checked.etag, checked.last_modified) if checked else b""
            self._start(fetch, ways or self._ways(reader), extra, keep_conditions)

    def _start(self, fetch: Fetch, ways: list[Way], extra: bytes, keep_conditions: bool) -> None:
        """The one step out of this cache: whoever rehearses a request (explain.py) stops here."""
        fetch.start(ways, extra, keep_conditions)

    def _ways(self, reader: Reader) -> list[Way]:
        """Whom to ask, in order of preference."""
        return [Way(self.forwarder)] if self.parents is None else self.parents.ways(reader, now())

    def _drop(self, reader: Reader, status: int, why: str) -> None:
        reader.fetch = None
        if reader.absent:
            self.in_background -= 1
        else:
            self._refuse(reader.x, reader.facts, status, why)

    def _refuse(self, x: Exchange, facts: RequestFacts, status: int, why: str, extra: bytes = b"") -> None:
        self.replies.refuse(self._reader(x, facts, Fwd.BYPASS, Result.REFUSED), status, why, extra)

    # -- what is not to be used any more ------------------------------------------------------------------------------

    def discard(self, stored: StoredObject) -> None:
        """An object is not to be used any more, wherever it lies."""
        self.storage.discard(stored)
        if self.shelf is not None:
            self.shelf.disk.discard(stored)


_LOOP = "the request has come back to this node: the origin, or a shield, leads here"
_ALLOW = b"Allow: GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE\r\n"


def _ruled(x: Exchange, rules: HostRules) -> bytes:
    """The target as the route's rule leaves it; for what a cookie takes past the cache it is b"", under which nothing
    lies."""
    return b"" if _cookie(x, rules) is not None else rules.target(x.line.target.canonical)


def _cookie(x: Exchange, rules: HostRules) -> NotStored | None:
    """Why a cookie takes a request past the cache. A route that strips cookies does so here, before anybody looks."""
    if not bears_cookie(x.volatile):
        return None
    choice = Cookies(rules.rule(x.line.target.path).cookies)
    if choice is Cookies.STRIP:
        x.volatile = without_cookie(x.volatile)
    return cookies.refusal(choice, cookie=True, sets_cookie=False)


def _variant(record: Variants, x: Exchange, facts: RequestFacts) -> StoredObject | None:
    """The variant for a request. Its key is remembered with the block, unless the fields that choose aren't there."""
    names = record.names
    if facts.variant_names != names:
        key = variant_key(names, x.field)
        if not VOLATILE.isdisjoint(names):
            return record.objects.get(key)
        facts.variant_names, facts.variant_key = names, key
    return record.objects.get(facts.variant_key)


_FWD = {
    NotReused.NOTHING_STORED: Fwd.URI_MISS,
    NotReused.NO_VARIANT: Fwd.VARY_MISS,
    NotReused.NOT_IN_PART: Fwd.PARTIAL,
    NotReused.STALE: Fwd.STALE,
    NotReused.NO_CACHE: Fwd.STALE,
    NotReused.MUST_REVALIDATE: Fwd.STALE,
    NotReused.PURGED: Fwd.STALE,
    NotReused.UNPROVED: Fwd.STALE,
}
"""RFC 9211 §2.2 has fewer words than we have reasons; what is left is `request`."""


def _validated(found: StoredObject | None) -> StoredObject | None:
    """The stored response if there is something in it to validate it with (RFC 9111 §4.3.1)."""
    if found is None or isinstance(found, Partial):
        return None
    return found if found.etag is not None or found.last_modified is not None else None


def _authorized(volatile: tuple[Field, ...]) -> bool:
    for name, _ in volatile:  # noqa: SIM110 - any() with a generator costs three times as much
        if name == b"authorization":
            return True
    return False


def _passes(x: Exchange, facts: RequestFacts) -> NotStored | None:
    """Why a GET or HEAD that the store can't answer is not worth a place in it."""
    if x.line.method == b"HEAD":
        return NotStored.METHOD
    if facts.control is not None and facts.control.no_store:
        return NotStored.REQUEST_NO_STORE
    return None
