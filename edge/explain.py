"""POST /explain: what this edge would do with a request now, without asking anybody.

Two ways were open: to write the order of the cache's questions down a second time, or to run the cache itself with its
hands tied. The second can't drift, so a Rehearsal *is* the cache, with the storage, the fetches under way and the
rules of the real one, but with books of its own, so that nothing is counted or logged; with a storage that takes
nothing in and gives nothing up; and with `_start`, the one step out, writing down whom it would have asked. What it
answers is what a client would have been answered. Comparing an object with purge rules that it has not met yet is noted
in the object: that is true whoever asked.

It needs the admin token like what changes state: it shows what is stored, heads of private answers included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from cdnlab.net.clock import now
from cdnlab.node.log import Ring
from cdnlab.node.node import BadRequest
from cdnlab.wire.errors import Malformed
from cdnlab.wire.request import RequestMemo
from edge.cache import Cache
from edge.decision import NotReused, Stale
from edge.object import Variants
from edge.partial import Partial
from edge.replies import Replies
from edge.results import Result, new_tallies

if TYPE_CHECKING:
    from cdnlab.net.exchange import Exchange, Source
    from edge.fetch import Fetch
    from edge.object import StoredObject
    from edge.reader import Reader
    from edge.request import RequestFacts
    from edge.routing import Way

EXAMPLE = 'send such as {"url": "http://127.0.0.1:8080/", "headers": {"Accept-Language": "ko"}}'
HEADERS = 100
"""Fields that may be asked with; the listener's own limit stands in the topology."""


class Question:
    """A request that nobody sent. Stands where an exchange stands, and keeps what it is answered."""

    scheme = b"http"
    tag: Any = None

    def __init__(
        self, method: str, target: str, host: str, fields: list[tuple[str, str]], place: str, *, trusted: bool
    ) -> None:
        """Malformed where no listener would take it."""
        memo = RequestMemo()
        named = any(name.lower() == "host" for name, _ in fields)
        lines = fields if named else [("Host", host), *fields]
        raw = "".join(f"\r\n{name}: {value}" for name, value in lines).encode("utf-8", "surrogateescape")
        self.line = memo.line(f"{method} {target} HTTP/1.1".encode("utf-8", "surrogateescape"))
        self.block, self.volatile = memo.block(raw, self.line.version)
        self.host = self.line.target.authority or self.block.host
        self.peer = ""
        self.trusted = trusted
        self.place = place
        self.started = now()
        self.body = self.block.length
        self.explain = False
        self.source: Source | None = None
        self.status = self.sent = 0
        self.head = b""

    def field(self, name: bytes) -> bytes | None:
        """A field of the request."""
        value = self.block.index.get(name)
        if value is None:
            found = [said for known, said in self.volatile if known == name]
            value = (b"; " if name == b"cookie" else b", ").join(found) if found else None
        return value

    def answer(self, status: int, head: bytes, body: bytes | memoryview = b"") -> None:
        """Kept, but for the body."""
        self.status, self.head = status, head


class Onlooker:
    """A storage, or a table of fetches, that can be looked at: whatever would change it does nothing."""

    _CHANGES = frozenset(
        ("begin", "close", "discard", "doom", "end", "fetch_alone", "flush", "put", "release", "remove", "reserve",
         "share_again")
    )  # fmt: skip

    def __init__(self, real: object) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return _nothing if name in self._CHANGES else getattr(self._real, name)


def _nothing(*args: object, **more: object) -> None:
    """Not done."""


class Flight:
    """A fetch under way that may be joined, but is not."""

    def __init__(self, real: Fetch, seen: Seen) -> None:
        self._real = real
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def join(self, reader: Reader) -> bool:
        """Whether it would take the request."""
        self._seen.joins = self._real.takes(reader)
        return self._seen.joins


class Flights(Onlooker):
    """The fetches under way."""

    def __init__(self, real: object, seen: Seen) -> None:
        super().__init__(real)
        self._seen = seen

    def leader(self, key: bytes) -> Any:
        """The fetch that may be joined under a collapse key."""
        found = self._real.leader(key)  # type: ignore[attr-defined]
        return None if found is None else Flight(found, self._seen)


class Seen:
    """What a rehearsal came to."""

    def __init__(self) -> None:
        self.reader: Reader | None = None
        self.found: StoredObject | None = None
        self.why: NotReused | Stale | None = None
        self.result: Result = Result.HIT
        self.fetch: Fetch | None = None
        self.ways: list[Way] = []
        self.conditional = False
        self.joins = False
        self.said = ""

    @property
    def nothing(self) -> bool:
        """Whether there is nothing for the request, whatever else was looked at."""
        why = self.reader.why if self.reader is not None else None
        return why in (NotReused.NOTHING_STORED, NotReused.NO_VARIANT)


class Books(Replies):
    """Answers as the real ones do, and writes down from what."""

    __slots__ = ("seen",)
    seen: Seen

    def from_store(self, reader: Reader, found: StoredObject, instant: float) -> None:
        """A fresh object."""
        self.seen.found, self.seen.why = found, None
        super().from_store(reader, found, instant)

    def stale(
        self,
        reader: Reader,
        found: StoredObject,
        why: Stale,
        instant: float,
        status: int | None = None,
        backend: str = "",
    ) -> None:
        """A stale object."""
        self.seen.found, self.seen.why = found, why
        super().stale(reader, found, why, instant, status, backend)

    def refuse(self, reader: Reader, status: int, why: str, extra: bytes = b"") -> None:
        """A request that this node does not serve."""
        self.seen.said = why
        super().refuse(reader, status, why, extra)

    def record(self, reader: Reader, status: int, result: Result, reason: str, backend: str) -> None:
        """What would have been counted."""
        self.seen.reader, self.seen.result = reader, result


class Rehearsal(Cache):
    """See above."""

    __slots__ = ("seen",)
    seen: Seen

    def __init__(self, real: Cache) -> None:
        for name in Cache.__slots__:
            setattr(self, name, getattr(real, name))
        self.seen = Seen()
        self.tallies = new_tallies(())
        self.ring = Ring()
        self.replies = books = Books(real.settings, real.trail, self.tallies, self.ring)
        books.seen = self.seen
        self._by_place, self._other = self.tallies.by_place, self.tallies.of("")
        self.storage = cast(Any, Onlooker(real.storage))
        self.flights = cast(Any, Flights(real.flights, self.seen))
        self._touch = _nothing
        self.not_reused = dict(real.not_reused)
        self.not_stored = dict(real.not_stored)
        self.fetches = dict(real.fetches)

    def _hit(self, x: Exchange, facts: RequestFacts, found: StoredObject, *more: Any) -> None:
        self.seen.found = found
        super()._hit(x, facts, found, *more)

    def _stored(
        self, reader: Reader, key: bytes, entry: StoredObject | Variants | None, instant: float
    ) -> tuple[StoredObject | None, NotReused | Stale | None]:
        self.seen.reader = reader
        self.seen.found, self.seen.why = super()._stored(reader, key, entry, instant)
        return self.seen.found, self.seen.why

    def _start(self, fetch: Fetch, ways: list[Way], extra: bytes, keep_conditions: bool) -> None:
        seen, leader = self.seen, fetch.leader
        seen.fetch, seen.ways, seen.conditional = fetch, ways, bool(extra)
        if not leader.absent:
            seen.reader, seen.result, seen.why = leader, leader.result, leader.why


def explain(cache: Cache, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What `cache` would do with {"url", "method", "headers", "place"} now. BadRequest."""
    question = question_of(asked, cache.settings.place)
    rehearsal = Rehearsal(cache)
    x = cast("Exchange", question)
    rehearsal.handle(x)
    seen = rehearsal.seen
    facts = cast("RequestFacts", question.block.derived or rehearsal._facts(x))
    prefix = facts.peer_prefix if question.trusted else facts.prefix
    key = seen.reader.key if seen.reader is not None else prefix + question.line.target.canonical
    told = {
        "key": key.decode("latin-1"),
        **_variant(cache, key, question),
        "stored": None if seen.nothing else _stored(seen.found, question.started),
        **_outcome(seen, question),
        "asks": [_way(way, question.place, key) for way in seen.ways],
    }
    if seen.fetch is not None:  # or the two would keep each other
        seen.fetch.leader.fetch = None
    question.source = None
    return told


def question_of(asked: Mapping[str, Any], place: str) -> Question:
    """The request that is asked about. BadRequest names what is wrong with it."""
    url, method, headers = asked.get("url"), asked.get("method", "GET"), asked.get("headers", {})
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    sound = isinstance(pairs, list) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(word, str) for word in pair)
        for pair in pairs
    )
    if not isinstance(url, str) or not isinstance(method, str) or not sound or len(pairs) > HEADERS:
        raise BadRequest(
            'it is no question: {"url", "method", "headers"} are strings and an object of strings', EXAMPLE
        )
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise BadRequest(f"the url {url[:100]!r} is no http:// or https:// URL", EXAMPLE)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    fields = [(str(name), str(value)) for name, value in pairs]
    if parts.scheme == "https":  # TLS ends before us: a peer that we trust says so
        fields = [field for field in fields if field[0].lower() != "x-forwarded-proto"]
        fields.append(("X-Forwarded-Proto", "https"))
    if any(break_ in word for field in fields for word in field for break_ in "\r\n"):
        raise BadRequest("a header holds a line break", EXAMPLE)
    where = asked.get("place")
    try:
        return Question(
            method, target, parts.netloc, fields, where if isinstance(where, str) else place,
            trusted=parts.scheme == "https",
        )  # fmt: skip
    except (Malformed, UnicodeError) as error:
        raise BadRequest(
            f"no listener would take this request: {error}", "see docs/http.md, Refused"
        ) from None


def _variant(cache: Cache, key: bytes, question: Question) -> dict[str, Any]:
    """By which request fields what lies under the key is chosen, and what this request has in them."""
    entry = cache.storage.find(key)
    names = entry.names if isinstance(entry, Variants) else ()
    fields = {name.decode(): value for name in names if (value := question.field(name)) is not None}
    return {
        "vary": [name.decode() for name in names],
        "chosen_by": {name: value.decode("latin-1") for name, value in fields.items()},
        "variants": len(entry.objects) if isinstance(entry, Variants) else 0 if entry is None else 1,
    }


def _stored(found: StoredObject | None, instant: float) -> dict[str, Any] | None:
    if found is None:
        return None
    head = found.start.decode("latin-1").split("\r\n")
    return {
        "status": found.status,
        "age": round(instant - found.born, 3),
        "lifetime": round(found.fresh_until - found.born, 3),
        "left": round(found.fresh_until - instant, 3),
        "by": str(found.source),
        "targeted": found.control.targeted,
        "size": len(found.parts) if isinstance(found, Partial) else len(found.body),
        "partial": isinstance(found, Partial),
        "purged_softly": found.soft,
        "tags": [tag.decode("latin-1") for tag in found.tags],
        "groups": [group.decode("latin-1") for group in found.groups],
        "codings": sorted(str(coding) for coding in found.forms or ()),
        "head": [line for line in head if line],
    }


def _outcome(seen: Seen, question: Question) -> dict[str, Any]:
    reader, fetch = seen.reader, seen.fetch
    why = seen.why if fetch is None or fetch.leader.absent else fetch.leader.why
    if seen.joins and reader is not None:
        why = reader.why
    result = Result.COLLAPSED if seen.joins else seen.result
    reason = fetch.reason if fetch is not None and fetch.reason is not None and not question.status else None
    said = seen.said or (why.sentence if why is not None else FRESH)
    return {
        "result": str(result),
        "result_sentence": result.sentence,
        "fwd": str(reader.fwd) if reader is not None and (fetch is not None or seen.joins) else None,
        "reason": str(why) if why is not None else "",
        "not_stored": str(reason) if reason is not None else "",
        "sentence": reason.sentence if why is None and reason is not None else said,
        "status": question.status or None,
        "head": [line for line in question.head.decode("latin-1").split("\r\n") if line],
        "validates": seen.conditional,
        "joins": seen.joins,
        "behind": fetch is not None and fetch.leader.absent,
    }


FRESH = "its current age is below its freshness lifetime"


def _way(way: Way, place: str, key: bytes) -> dict[str, Any]:
    """One pool that would be asked; `first` where the choice depends on nothing that changes by choosing."""
    pool = way.forwarder.pool
    steady = pool.keyed or pool.algorithm_name == "nearest" or len(pool.backends) == 1
    first = next(iter(pool.candidates(place, None, key)), None) if steady else None
    return {
        "pool": pool.name,
        "algorithm": pool.algorithm_name,
        "stores": way.store,
        "first": first.name if first is not None else None,
        "backends": [
            {"name": one.name, "usable": one.usable, "why": "" if one.usable else one.reason().sentence}
            for one in pool.backends
        ],
    }
