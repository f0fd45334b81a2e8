"""A request that nobody sent, and a cache that answers it with its hands tied.

Two ways were open to say what a cache would do: to write the order of its questions down a second time, or to run the
cache itself. The second can't drift, so a Rehearsal *is* the cache, with the storage, the fetches under way, the ways
out and the rules of the real one, but with books of its own, so that nothing is counted or logged; with a storage that
takes nothing in and gives nothing up; and with `_start`, the one step out, writing down whom it would have asked. What
it answers is what a client would have been answered. Comparing an object with purge rules that it has not met yet is
noted in the object: that is true whoever asked.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, cast

from cdnlab.net.clock import now
from cdnlab.node.log import Ring
from cdnlab.wire.request import RequestMemo
from edge.cache import Cache
from edge.coding.coder import Coder, Tally
from edge.coding.forms import bare
from edge.decision import NotReused, Stale
from edge.parents import Parents
from edge.replies import Replies
from edge.results import Result, new_tallies

if TYPE_CHECKING:
    from cdnlab.net.exchange import Exchange, Source
    from edge.disk.found import Found, Remote
    from edge.disk.shelf import Shelf
    from edge.fetch import Fetch
    from edge.object import StoredObject, Variants
    from edge.reader import Reader
    from edge.request import RequestFacts
    from edge.routing import Way


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


class Peek:
    """The disk: what lies there is named, and read by whoever rehearses; nothing is written, nobody waits."""

    def __init__(self, real: Shelf, seen: Seen) -> None:
        self._real = real
        self._seen = seen
        self.disk = Onlooker(real.disk)

    def ask(self, reader: Reader, facts: RequestFacts, alone: bool) -> bool:
        """Does the disk have something for this request?"""
        found = self._real.disk.select(reader.key, reader.field)
        if found is not None:
            self._seen.on_disk = (found, facts, alone)
        return found is not None

    def pour(self, reader: Reader, stored: Remote, status: int, head: bytes, *more: object) -> None:
        """A body that stays on disk: its head says enough."""
        self._seen.reader, self._seen.result = reader, reader.result
        reader.x.answer(status, head)


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
        self.on_disk: tuple[Found, RequestFacts, bool] | None = None

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


class Forms(Coder):
    """The compressed forms that are there; none is ordered, and none that is sent is counted."""

    __slots__ = ()

    def __init__(self, real: Coder) -> None:
        _like(self, real, Coder)
        self.tallies = {coding: Tally() for coding in real.tallies}
        self.not_coded = dict(real.not_coded)

    def order(self, stored: StoredObject, coding: bytes) -> None:
        """Not made."""

    def _bare(self, stored: StoredObject) -> StoredObject:
        return bare(stored)


class Kin(Parents):
    """The ways out as they are now; that a key was asked for is not noted."""

    __slots__ = ()

    def __init__(self, real: Parents) -> None:
        _like(self, real, Parents)
        self._wanted = copy(real._wanted)
        self._wanted._keys = set(real._wanted._keys)


def _like(one: object, real: object, kind: type) -> None:
    """Give `one` everything that a `real` one of `kind` has."""
    for name in kind.__slots__:  # type: ignore[attr-defined]
        setattr(one, name, getattr(real, name))


class Rehearsal(Cache):
    """See above."""

    __slots__ = ("seen",)
    seen: Seen

    def __init__(self, real: Cache) -> None:
        _like(self, real, Cache)
        self.seen = Seen()
        self.coder = None if real.coder is None else Forms(real.coder)
        self.parents = None if real.parents is None else Kin(real.parents)
        self.tallies = new_tallies(())
        self.ring = Ring()
        self.replies = books = Books(real.settings, real.trail, self.tallies, self.ring, self.coder)
        books.seen = self.seen
        self.shelf = None if real.shelf is None else cast(Any, Peek(real.shelf, self.seen))
        books.shelf = self.shelf
        self._by_place, self._other = self.tallies.by_place, self.tallies.of("")
        self.storage = cast(Any, Onlooker(real.storage))
        self.flights = cast(Any, Flights(real.flights, self.seen))
        self._touch = _nothing
        self.not_reused = dict(real.not_reused)
        self.not_stored = dict(real.not_stored)
        self.warnings = dict(real.warnings)

    def forget(self) -> None:
        """Let go of what would otherwise keep each other for ever: no cycle is collected on a loop that serves."""
        if self.seen.fetch is not None:
            self.seen.fetch.leader.fetch = None
            self.seen.fetch = None
        self.seen.reader = None

    def key(self, x: Exchange) -> bytes:
        """The primary key of a request."""
        facts = cast("RequestFacts", x.block.derived or self._facts(x))
        prefix = facts.peer_prefix if x.trusted else facts.prefix
        return prefix + facts.target(x.line.target.canonical)

    def discard(self, stored: StoredObject) -> None:
        """Not done."""

    def _remove(self, key: bytes) -> None:
        """Not done."""

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
