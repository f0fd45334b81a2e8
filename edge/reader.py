"""One client on a fetch: what it asked, and how much of the body it has been given.

It is the source of its client's response: the connection tells it to pause, to resume, and that nobody reads
any more. Decides nothing; the fetch does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from cdnlab.wire.request import RequestLine
from edge.cache_status import Fwd
from edge.decision import NotReused
from edge.pinned import shown
from edge.request import RequestFacts
from edge.results import Result

if TYPE_CHECKING:
    from cdnlab.net.exchange import Exchange, Source
    from cdnlab.wire.fields import Field
    from edge.fetch import Fetch


class Reader:
    """What is kept of a request while it waits for the origin. The exchange may be at its next request by the time
    this one is logged, so whatever the log needs is kept here."""

    __slots__ = (
        "absent", "authorized", "block", "explain", "facts", "fetch", "from_disk", "fwd", "key", "line", "next",
        "paused", "peer", "place", "result", "scheme", "sent", "shown", "started", "status", "target", "trusted",
        "volatile", "whole", "why", "x",
    )  # fmt: skip

    def __init__(
        self,
        x: Exchange,
        facts: RequestFacts,
        key: bytes,
        fwd: Fwd,
        result: Result,
        why: NotReused | None = None,
    ) -> None:
        self.x = x
        self.why = why  # why what is stored did not do
        self.from_disk = False  # what answers it was read from disk for it
        self.whole = False  # a Range in it does not count
        self.absent = False  # nobody waits for the answer: it renews what is stored
        self.target = facts.target(x.line.target.canonical)  # as it is keyed and sent on
        self.facts = facts
        self.key = key
        self.fwd = fwd
        self.result = result
        self.line = x.line
        self.block = x.block
        self.volatile = x.volatile
        self.shown = shown(x)  # the pin that it bore
        self.peer = x.peer
        self.trusted = x.trusted
        self.place = x.place
        self.scheme = x.scheme
        self.started = x.started
        self.explain = x.explain
        self.authorized = any(name == b"authorization" for name, _ in x.volatile)
        self.fetch: Fetch | None = None
        self.next = 0  # the piece it gets next
        self.sent = 0  # bytes of body given to its connection
        self.status = 0
        self.paused = False

    def field(self, name: bytes) -> bytes | None:
        """A field of its request, also after the exchange has gone on."""
        value = self.block.index.get(name)
        if value is None:
            found = [said for known, said in self.volatile if known == name]
            value = (b"; " if name == b"cookie" else b", ").join(found) if found else None
        return value

    @property
    def conditional(self) -> bool:
        """Does it hold a copy that it wants to keep?"""
        return self.facts.if_none_match is not None or self.facts.if_modified_since is not None

    def in_background(self, whole: bool) -> Reader:
        """The same request, asked for what is stored and for nobody: its answer goes nowhere. What is stored came with
        a GET, so that is how it is asked for (RFC 9111 §4.3.1): a HEAD would bring it no body, and a part of it must
        not take the place of the `whole`."""
        self.absent = True
        self.whole = whole
        if self.line.method != b"GET":
            self.line = RequestLine(self.line.raw, b"GET", self.line.target, self.line.version)
        self.x = cast("Exchange", Nobody(self))
        self.explain = False
        return self

    def pause(self) -> None:
        """Its client reads slowly."""
        self.paused = True
        if self.fetch is not None:
            self.fetch.pace()

    def resume(self) -> None:
        """Its client has room again."""
        self.paused = False
        if self.fetch is not None:
            self.fetch.feed(self)

    def client_gone(self, reason: str) -> None:
        """Its client is gone."""
        if self.fetch is not None:
            self.fetch.leave(self, reason)


class Nobody:
    """Stands where a client's exchange stood, once that has its answer. Whatever it is given is dropped."""

    __slots__ = ("block", "body", "line", "source", "volatile")

    def __init__(self, reader: Reader) -> None:
        self.line, self.block, self.volatile, self.body = reader.line, reader.block, reader.volatile, 0
        self.source: Source | None = None

    def answer(self, status: int, head: bytes, body: bytes | memoryview = b"") -> None:
        """Dropped."""

    def respond(self, status: int, head: bytes, length: int | None) -> None:
        """Dropped."""

    def write(self, data: bytes) -> None:
        """Dropped."""

    def finish(self, trailers: tuple[Field, ...] = ()) -> None:
        """Dropped."""

    def abort(self, reason: str) -> None:
        """Nothing to break."""

    def interim(self, raw: bytes) -> None:
        """Dropped."""
