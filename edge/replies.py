"""What clients are told in this node's own words, and what is written down about each request.

Sends stored objects, whole, in part or as a 304; sends this node's own refusals and failures; counts and logs. Decides
nothing about storing or fetching.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cdnlab.forward.answers import own_answer
from cdnlab.forward.client import client_address
from cdnlab.forward.explain import Hop, hop_member
from cdnlab.forward.tunnel import Tunnel
from cdnlab.net.clock import now, wall
from cdnlab.net.exchange import UNCOPIED
from edge import answer, cache_status, conditional, cookies
from edge.coding.forms import aged_with
from edge.coding.negotiation import BARE
from edge.decision import NotReused, Stale
from edge.disk.found import Remote
from edge.partial import Partial
from edge.ranges import Unsatisfiable, single
from edge.response import response_facts
from edge.results import POSITION, Result
from edge.routing import POOLS

if TYPE_CHECKING:
    from cdnlab.forward.exchange import Forward
    from cdnlab.forward.messages import Failure
    from cdnlab.forward.trail import Trail
    from cdnlab.node.log import Ring
    from cdnlab.node.metrics import Tallies
    from cdnlab.wire.response import ResponseBlock
    from edge.admission import Admission
    from edge.coding.coder import Coder
    from edge.disk.shelf import Shelf
    from edge.object import StoredObject
    from edge.reader import Reader
    from edge.request import RequestFacts
    from edge.response import ResponseFacts
    from edge.settings import Settings
    from edge.storable import NotStored

TUNNEL_IDLE = 3600.0  # seconds; HAProxy's documentation suggests an hour for `timeout tunnel`

ON_DISK = "disk"
"""What Cache-Status and the log say of a hit that was read from disk."""

log = logging.getLogger("cdnlab.edge")


class Replies:
    """Answers from the store and of this node's own, and the record of all answers."""

    __slots__ = (
        "_by_place", "_other", "coder", "ring", "settings", "shelf", "stale_sent", "tallies", "trail", "wall_offset",
    )  # fmt: skip

    def __init__(
        self, settings: Settings, trail: Trail, tallies: Tallies, ring: Ring, coder: Coder | None = None
    ) -> None:
        self.coder = coder
        self.shelf: Shelf | None = None
        self.settings = settings
        self.trail = trail
        self.stale_sent: dict[Stale, int] = dict.fromkeys(Stale, 0)
        self.tallies = tallies
        self.ring = ring
        self._by_place = tallies.by_place
        self._other = tallies.of("")
        self.wall_offset = wall() - now()
        """What the calendar says beyond the clock: looked at a few times a second, added to each request's start."""

    def from_store(self, reader: Reader, found: StoredObject, instant: float) -> None:
        """A fresh object, for a request that asks something of the cache, or wants to be explained."""
        ttl = found.ttl(instant)
        where = ON_DISK if reader.from_disk else ""
        line = b"Cache-Status: %b%b\r\n" % (found.chain, cache_status.hit(self.trail.node, ttl, where))
        said = f"{_FRESH}: age {instant - found.born:.1f} s, {ttl} s left, by {found.source}"
        if reader.explain:
            if found.key != reader.key:
                said += (
                    f"; stored for {found.key.decode('latin-1')}, whose No-Vary-Search calls the two equal"
                )
            said += cookies.spelt(cookies.warnings(found.start, cookie=False, vary=()))
        said += "; read from disk" if where else ""
        line += self.hop(reader, said, None, None, None)
        self._deliver(reader, found, instant, line, reason=where)

    def stale(
        self,
        reader: Reader,
        found: StoredObject,
        why: Stale,
        instant: float,
        status: int | None = None,
        backend: str = "",
    ) -> None:
        """A stale object: `status` is what the origin said where it was asked, None where it was not or said nothing.
        RFC 9211 §2.1: a response for which a request went forward is no hit."""
        reader.fetch = None
        reader.x.source = None
        reader.result = Result.STALE
        self.stale_sent[why] += 1
        if why in (Stale.WHILE_REVALIDATE, Stale.MAX_STALE):
            member = cache_status.hit(self.trail.node, found.ttl(instant), str(why))
        else:
            member = cache_status.forwarded(
                self.trail.node, reader.fwd, status=status, ttl=found.ttl(instant), detail=str(why)
            )
        line = b"Cache-Status: %b%b\r\n" % (found.chain, member)
        said = (
            f"{why.sentence}; age {instant - found.born:.1f} s, stale for {instant - found.fresh_until:.1f} s"
        )
        line += self.hop(reader, said, None, None, None)
        self._deliver(reader, found, instant, line, backend, str(why))

    def has_part(self, reader: Reader, found: Partial) -> bool:
        """Does the part that is asked for lie here whole?"""
        return self._stored_part(reader.facts, found) is not None and reader.line.method == b"GET"

    def _stored_part(self, facts: RequestFacts, found: Partial) -> tuple[int, int, bytes] | None:
        date = found.date(wall())
        if facts.range is None or not conditional.range_applies(
            facts.if_range, etag=found.etag, last_modified=found.last_modified, date=date, wall=wall()
        ):
            return None
        try:
            wanted = single(facts.range, found.parts.size)
        except Unsatisfiable:
            return None
        body = found.parts.slice(*wanted) if wanted is not None else None
        return (*wanted, body) if wanted is not None and body is not None else None

    def confirmed(self, reader: Reader, fresh: StoredObject, instant: float, forward: Forward | None) -> None:
        """A stored object that the origin has just said is still good."""
        reader.fetch = None
        reader.x.source = None
        member = cache_status.forwarded(
            self.trail.node,
            reader.fwd,
            status=304,
            collapsed=reader.result is Result.COLLAPSED,
            ttl=fresh.ttl(instant),
            detail=_detail(reader.why, None),
        )
        line = b"Cache-Status: %b%b\r\n" % (fresh.chain, member)
        why = reader.why.sentence if reader.why is not None else "was stale"
        line += self.hop(reader, f"{why}; the origin confirmed it (304)", None, forward, None)
        self._deliver(reader, fresh, instant, line, backend_of(forward), str(reader.why or ""))

    def _deliver(
        self,
        reader: Reader,
        stored: StoredObject,
        instant: float,
        status_line: bytes,
        backend: str = "",
        reason: str = "",
    ) -> None:
        facts, x = reader.facts, reader.x
        status = stored.status
        shown = self._form(reader, stored)
        body: bytes | memoryview = shown.body
        head = answer.from_store(shown, instant, status_line)
        if 200 <= status < 300 and reader.conditional and self._unchanged(reader, stored):
            status, head, body = 304, answer.not_modified(head), b""  # before any range: RFC 9110 §13.2.2
        elif isinstance(stored, Partial):
            found = self._stored_part(facts, stored)
            assert found is not None, "has_part was asked before"
            start, end, body = found
            head = answer.partial(head, start, end, stored.parts.size, brief=facts.if_range is not None)
        elif isinstance(stored, Remote):
            self._pour(reader, stored, head, status_line, backend, reason)
            return
        elif status == 200 and reader.line.method == b"GET" and shown.body is stored.body:
            status, head, body = self._part(facts, stored, head, status_line)
        reader.sent = 0 if reader.line.method == b"HEAD" else len(body)
        self.record(reader, status, reader.result, reason, backend)
        x.answer(status, head, body)

    def _pour(
        self, reader: Reader, stored: Remote, head: bytes, status_line: bytes, backend: str, reason: str
    ) -> None:
        """Answer with a body that stays on disk, or with a part of it."""
        status, wanted, facts = stored.status, (0, stored.length), reader.facts
        got = reader.line.method == b"GET"
        if status == 200 and got and facts.range is not None and self._range_applies(facts, stored):
            try:
                part = single(facts.range, stored.length)
            except Unsatisfiable:
                self._beyond(reader, stored.length, status_line, backend, reason)
                return
            if part is not None:
                brief = facts.if_range is not None
                status, wanted, head = 206, part, answer.partial(head, *part, stored.length, brief=brief)
        if got and self.shelf is not None:
            self.shelf.pour(reader, stored, status, head, wanted, backend, reason)
        else:
            self.record(reader, status, reader.result, reason, backend)
            reader.x.answer(status, head)

    def _beyond(self, reader: Reader, size: int, status_line: bytes, backend: str, reason: str) -> None:
        """A range that begins behind the end (RFC 9110 §15.5.17)."""
        said = b"Content-Range: bytes */%d\r\n%b" % (size, status_line)
        whole = own_answer(self.settings.node, 416, f"the body has {size} bytes", wall(), extra=said)
        reader.sent = len(whole[2])
        self.record(reader, 416, reader.result, reason, backend)
        reader.x.answer(*whole)

    def _form(self, reader: Reader, stored: StoredObject) -> StoredObject:
        """What is sent of a stored object: the form that the client likes best and that is ready. A part is one of the
        object itself (edge/coding/forms.py says why)."""
        facts, coder = reader.facts, self.coder
        if stored.forms is None or coder is None or not facts.codings:
            return stored
        ranged = facts.one_range and reader.line.method == b"GET" and stored.status == 200
        if ranged and facts.codings != (BARE,) and self._range_applies(facts, stored):
            return stored
        return aged_with(coder.select(stored, facts.codings), stored)

    def _range_applies(self, facts: RequestFacts, stored: StoredObject) -> bool:
        """RFC 9110 §13.1.5. Last-Modified is a weak validator of what has several forms (§8.8.1)."""
        return conditional.range_applies(
            facts.if_range,
            etag=stored.etag,
            last_modified=stored.last_modified if stored.forms is None else None,
            date=stored.date(wall()),
            wall=wall(),
        )

    def _unchanged(self, reader: Reader, stored: StoredObject) -> bool:
        return conditional.not_modified(
            reader.facts.if_none_match,
            reader.facts.if_modified_since,
            etag=stored.etag,
            last_modified=stored.last_modified,
            date=stored.date(wall()),
            wall=wall(),
        )

    def holds(self, reader: Reader, facts: ResponseFacts, admission: Admission) -> bool:
        """Does the client hold the very response that is just arriving?"""
        return conditional.not_modified(
            reader.facts.if_none_match,
            reader.facts.if_modified_since,
            etag=facts.etag,
            last_modified=facts.last_modified,
            date=admission.date_value,
            wall=wall(),
        )

    def _part(
        self, facts: RequestFacts, stored: StoredObject, head: bytes, status_line: bytes
    ) -> tuple[int, bytes, bytes | memoryview]:
        """(status, head, body) for a request with Range on a complete 200."""
        size = len(stored.body)
        if facts.range is None or not self._range_applies(facts, stored):
            return 200, head, stored.body
        try:
            part = single(facts.range, size)
        except Unsatisfiable:
            said = b"Content-Range: bytes */%d\r\n%b" % (size, status_line)
            return own_answer(self.settings.node, 416, f"the body has {size} bytes", wall(), extra=said)
        if part is None:
            return 200, head, stored.body
        start, end = part
        # a view: readers that dawdle over large parts must not each hold a copy of theirs
        body = stored.body[start:end] if end - start < UNCOPIED else memoryview(stored.body)[start:end]
        return 206, answer.partial(head, start, end, size, brief=facts.if_range is not None), body

    def fetched(
        self,
        reader: Reader,
        facts: ResponseFacts,
        admission: Admission,
        length: int | None,
        reason: NotStored | None,
        forward: Forward | None,
    ) -> bytes:
        """The head of a response that is arriving, for one of its readers; stored if there is no `reason` not to."""
        instant = now()
        member = cache_status.forwarded(
            self.trail.node,
            reader.fwd,
            status=facts.status,
            stored=reason is None,
            collapsed=reader.result is Result.COLLAPSED,
            ttl=int(admission.born + admission.lifetime - instant) if reason is None else None,
            detail=_detail(reader.why, reason),
        )
        status_line = cache_status.line(facts.cache_status, member)
        why = f"{reader.why.sentence}; what came: " if reader.why is not None else ""
        hop = self.hop(reader, why + admission.arithmetic(instant), reason, forward, facts)
        age, shared = admission.age, reader.result is Result.COLLAPSED
        if shared:
            age = max(0, int(instant - admission.born))
        head = answer.forwarded(facts, admission, age, length, self.trail, status_line, hop, shared=shared)
        if reason is None and self.coder is not None:
            head = self.coder.announced(head, facts, length, reader.facts.codings)
        return head

    def tunnel(self, reader: Reader, block: ResponseBlock, forward: Forward) -> None:
        """Pass a 101 on and join the two connections; logged when they part."""
        facts = response_facts(block)
        if reader.facts.cookies(reader.line.target.path) is cookies.Cookies.STRIP:
            facts = cookies.without_set_cookie(facts)
        upgrade = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % block.index.get(b"upgrade", b"")
        trail = self.trail.response_line(facts.index, facts.version)
        backend = backend_of(forward)

        def over(tunnel: Tunnel, reason: str) -> None:
            reader.sent = tunnel.sent
            self.record(reader, 101, reader.result, "tunnel", backend)

        Tunnel(reader.x, forward, TUNNEL_IDLE, over).join(facts.start + facts.lines + upgrade + trail)

    def refuse(self, reader: Reader, status: int, why: str, extra: bytes = b"") -> None:
        """A request that this node does not serve."""
        extra += self.hop(reader, why, None, None, None)
        self._own(reader, status, why, Result.REFUSED, "", extra)

    def failed(self, reader: Reader, failure: Failure, stale: StoredObject | None) -> None:
        """The origin gave no response: say so, without saying where it is. `stale`: what is stored, and may not be sent
        so; where it says itself that it may not, the status is 504 (RFC 9111 §5.2.2.2). There is no Cache-Status in
        what comes from no cache (RFC 9211 §2)."""
        reader.fetch = None
        reader.x.source = None
        status = 504 if stale is not None and stale.control.forbids_stale else failure.status
        extra = b"Retry-After: 1\r\n" if status == 503 else b""
        extra += self.hop(reader, failure.reason.sentence, None, None, None)
        why = f"{failure.reason.sentence} (pool {self.settings.pool})"
        if failure.detail:
            log.warning("%s from %s: %s", failure.reason, failure.backend or "-", failure.detail)
        self._own(reader, status, why, Result.ERROR, failure.backend, extra, str(failure.reason))

    def _own(
        self,
        reader: Reader,
        status: int,
        why: str,
        result: Result,
        backend: str,
        extra: bytes,
        reason: str = "",
    ) -> None:
        request_id = (reader.field(b"x-request-id") or b"").decode("latin-1")[:128]
        whole = own_answer(self.settings.node, status, why, wall(), request_id=request_id, extra=extra)
        reader.sent = len(whole[2])
        self.record(reader, status, result, reason or why, backend)
        reader.x.answer(*whole)

    def hop(
        self,
        reader: Reader,
        said: str,
        reason: NotStored | None,
        forward: Forward | None,
        facts: ResponseFacts | None,
    ) -> bytes:
        """The Cdnlab-Hop line, where the request bears a valid mark; else nothing."""
        if not reader.explain:
            return b""
        backend = forward.backend if forward is not None else None
        parent = POOLS.get(forward.owner.pool.name) if forward is not None else None
        if parent is not None:
            said = f"{said}; asked {parent.sentence}"
        member = hop_member(
            Hop(
                node=self.settings.node,
                tier="edge",
                place=self.settings.place,
                client_place=reader.place,
                total=round((now() - reader.started) * 1e6),
                upstream=round(forward.seconds_upstream * 1e6) if forward is not None else 0,
                choice=backend.name if backend is not None else "",
                passed=_passed(forward),
                result=str(reader.result),
                cache=f"{said}; not stored: {reason.sentence}" if reason is not None else said,
            )
        )
        before = (
            facts.index.get(b"cdnlab-hop")
            if facts is not None and backend is not None and backend.ours
            else None
        )
        return b"Cdnlab-Hop: " + cache_status.chain(before) + member + b"\r\n"

    def record(self, reader: Reader, status: int, result: Result, reason: str, backend: str) -> None:
        """Count a request that is over, and put it into the ring."""
        if reader.absent:
            return
        seconds = now() - reader.started
        tally = (self._by_place.get(reader.place) or self._other)[POSITION[result]]
        tally.add(seconds, reader.sent)
        if status >= 500 and result is not Result.ERROR:
            self.tallies.failed += 1
        peer = reader.peer
        if reader.trusted:
            peer = client_address(peer, True, reader.field(b"x-forwarded-for"), self.settings.trusted)
        ring = self.ring
        ring.seen += 1
        ring.entries.append(
            (
                reader.started + self.wall_offset, reader.line.method, reader.facts.claims.host,
                reader.line.target.canonical, status, result, reader.place, seconds, backend, reader.sent, reason,
                reader.field(b"x-request-id") or b"", peer,
            )
        )  # fmt: skip


_FRESH = "its current age is below its freshness lifetime"
_IMPLIED = frozenset({NotReused.NOTHING_STORED, NotReused.NO_VARIANT, NotReused.STALE})
"""What `fwd` says already."""


def _detail(why: NotReused | None, reason: NotStored | None) -> str:
    """Why what is stored was not used, and why what came was not stored: one sf-token (RFC 9211 §2.8)."""
    said = [str(why)] if why is not None and why not in _IMPLIED else []
    return "/".join(said + ([str(reason)] if reason is not None else []))


def backend_of(forward: Forward | None) -> str:
    """The name of the backend that was asked."""
    return forward.backend.name if forward is not None and forward.backend is not None else ""


def _passed(forward: Forward | None) -> list[tuple[str, str]]:
    if forward is None:
        return []
    tried = list(forward.passed or ())
    seen = {name for name, _ in tried}
    tried += [(name, reason) for name, reason in forward.others() if name not in seen]
    return [(name, str(reason)) for name, reason in tried]
