"""One client on a fetch: what it asked, and how much of the body it has been given.

It is the source of its client's response: the connection tells it to pause, to resume, and that nobody reads
any more. Decides nothing; the fetch does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.cache_status import Fwd
from edge.request import RequestFacts
from edge.results import Result

if TYPE_CHECKING:
    from cdnlab.net.exchange import Exchange
    from edge.fetch import Fetch


class Reader:
    """What is kept of a request while it waits for the origin. The exchange may be at its next request by the time
    this one is logged, so whatever the log needs is kept here."""

    __slots__ = (
        "block", "explain", "facts", "fetch", "fwd", "key", "line", "next", "paused", "peer", "place", "result",
        "sent", "started", "status", "trusted", "volatile", "x",
    )  # fmt: skip

    def __init__(self, x: Exchange, facts: RequestFacts, key: bytes, fwd: Fwd, result: Result) -> None:
        self.x = x
        self.facts = facts
        self.key = key
        self.fwd = fwd
        self.result = result
        self.line = x.line
        self.block = x.block
        self.volatile = x.volatile
        self.peer = x.peer
        self.trusted = x.trusted
        self.place = x.place
        self.started = x.started
        self.explain = x.explain
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
