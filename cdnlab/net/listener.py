"""What all connections of one listening socket share: limits, trust, the memo of header blocks, and the counts.

It decides who is admitted, and counts; it must not know what a tier does with a request.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from cdnlab.net.clock import now
from cdnlab.net.exchange import Handler
from cdnlab.net.timers import Sweep
from cdnlab.plan.topology import Limits
from cdnlab.wire.request import RequestMemo

if TYPE_CHECKING:
    from cdnlab.net.exchange import Exchange
    from cdnlab.net.fault_gate import Gate
    from cdnlab.net.server import Connection


class Refusal(StrEnum):
    """Why a connection or a request was refused by its listener, before any tier saw it."""

    MALFORMED = "malformed"
    TOO_MANY = "connections"
    TOO_MANY_FROM_CLIENT = "connections_per_client"
    TOO_FAST = "connection_rate"
    HEADER_TIMEOUT = "header_timeout"
    BODY_TIMEOUT = "body_rate"
    BODY_TOO_LARGE = "body_bytes"
    WRITE_TIMEOUT = "write_timeout"
    NOT_HOLDER = "not_holder"
    PROXY_HEADER = "proxy_header"
    FAULT = "fault"

    @property
    def sentence(self) -> str:
        """What a person is told."""
        return _SENTENCES[self]


_SENTENCES = {
    Refusal.MALFORMED: "the request is malformed",
    Refusal.TOO_MANY: "this node has as many connections as it may have",
    Refusal.TOO_MANY_FROM_CLIENT: "this client has as many connections as it may have",
    Refusal.TOO_FAST: "this client opens connections faster than it may",
    Refusal.HEADER_TIMEOUT: "the request head did not arrive in time",
    Refusal.BODY_TIMEOUT: "the request body arrives too slowly",
    Refusal.BODY_TOO_LARGE: "the request body is larger than allowed",
    Refusal.WRITE_TIMEOUT: "the client does not read its response",
    Refusal.NOT_HOLDER: "this balancer does not hold the address",
    Refusal.PROXY_HEADER: "a PROXY header is missing, malformed or from a stranger",
    Refusal.FAULT: "a fault was set at this node",
}


class Holder(Protocol):
    """Who may answer on an address, and until when."""

    deadline: float
    """BOOTTIME until which this process holds the address."""


class Always:
    """An address that nobody else can hold: a single node's, or an edge's own."""

    deadline = math.inf


Pace = Callable[[str], float]
"""Counts one more connection of a client and returns 0.0, or the seconds after which it may come."""

#: How often a drain looks whether connections are left.
LOOK = 0.05


class Listener:
    """Shared state of the connections of one listening address."""

    def __init__(
        self,
        handler: Handler,
        *,
        name: str,
        limits: Limits,
        sweep: Sweep,
        place_of: Callable[[str], str],
        trusted: frozenset[str] = frozenset(),
        memo: RequestMemo | None = None,
        scheme: bytes = b"http",
        holder: Holder | None = None,
        proxy_protocol: bool = False,
        alive: Callable[[], tuple[int, bytes, bytes]] | None = None,
        explain: Callable[[Exchange], bool] | None = None,
        accept_rtt: Callable[[str], float] | None = None,
        window: int = 262144,
        pacer: Callable[[Limits], Pace | None] | None = None,
    ) -> None:
        """`place_of` maps an address to a place; `alive` answers the health path to trusted peers; `explain` checks
        a mark; `accept_rtt(peer)` gives the round trip in seconds to apply to a client that asks directly; `pacer`
        makes what holds clients to the rate of connections that the limits allow."""
        self.handler = handler
        self.name = name
        self.limits = limits
        self.pacer = pacer
        self.pace = pacer(limits) if pacer is not None else None
        self.idle_timeout = limits.idle_timeout
        self.most_requests = limits.requests_per_connection
        self.sweep = sweep
        self.place_of = place_of
        self.trusted = trusted
        self.memo = memo or RequestMemo(
            header_bytes=limits.header_bytes,
            header_count=limits.header_count,
            target_bytes=limits.target_bytes,
        )
        self.lines = self.memo.lines
        self.handle = handler.handle
        self.scheme = scheme
        self.holder: Holder = holder or Always()
        self.leased = holder is not None
        """Whether `holder` may lose the address: then every answer, too, looks at the clock first."""
        self.proxy_protocol = proxy_protocol
        self.alive = alive
        self.explain = explain
        self.accept_rtt = accept_rtt
        self.window = window
        self.connections: set[Connection] = set()
        self.per_client: dict[str, int] = {}
        self.accepted = 0
        self.refusals: dict[Refusal, int] = dict.fromkeys(Refusal, 0)
        self.codes: dict[str, int] = {}
        """Malformed requests by the code that wire gave them."""
        self.on_refusal: Callable[[str, int, str], None] | None = None
        """Called with (peer, status, text), for the request log."""
        self.retry_after = 1
        """Whole seconds after which the client that was refused last as too fast may come again."""
        self.draining = False
        self.gate: Gate | None = None
        """The faults that requests meet now."""

    def __call__(self) -> asyncio.BaseProtocol:
        """The protocol factory: a connection, behind a link where the client asks directly from afar."""
        from cdnlab.net.server import Connection

        connection = Connection(self)
        if self.accept_rtt is None:
            return connection
        from cdnlab.net.link import AcceptedLink

        return AcceptedLink(connection, self)

    def admit(self, peer: str) -> Refusal | None:
        """Count a new connection from `peer`, or say why it may not stay."""
        self.accepted += 1
        if len(self.connections) >= self.limits.connections:
            return Refusal.TOO_MANY
        return self.admit_client(peer)

    def admit_client(self, peer: str) -> Refusal | None:
        """Count a connection under its client's address, which a PROXY header may give later than the connection."""
        count = self.per_client.get(peer, 0)
        if count >= self.limits.connections_per_client and peer not in self.trusted:
            return Refusal.TOO_MANY_FROM_CLIENT
        if self.pace is not None and peer not in self.trusted:
            wait = self.pace(peer)
            if wait:
                self.retry_after = math.ceil(wait)
                return Refusal.TOO_FAST
        self.per_client[peer] = count + 1
        return None

    def leave(self, peer: str) -> None:
        """An admitted connection has gone."""
        count = self.per_client.get(peer, 0) - 1
        if count > 0:
            self.per_client[peer] = count
        else:
            self.per_client.pop(peer, None)

    def refused(self, why: Refusal, peer: str, status: int, code: str = "", text: str = "") -> None:
        """Count a refusal, and pass it on to the request log."""
        self.refusals[why] += 1
        if code:
            self.codes[code] = self.codes.get(code, 0) + 1
        if self.on_refusal is not None and status:
            self.on_refusal(peer, status, text or why.sentence)

    def take_up(self, limits: Limits) -> None:
        """Other limits hold from the next request on, and nothing is remembered of what requests meant before."""
        if self.pacer is not None and _rate(limits) != _rate(self.limits):
            self.pace = self.pacer(limits)
        self.limits = limits
        self.idle_timeout = limits.idle_timeout
        self.most_requests = limits.requests_per_connection
        self.memo.forget(
            header_bytes=limits.header_bytes,
            header_count=limits.header_count,
            target_bytes=limits.target_bytes,
        )
        for connection in self.connections:
            connection.forget()

    def drain(self) -> None:
        """Close idle connections, and each busy one after the response it is at."""
        self.draining = True
        for connection in list(self.connections):
            connection.close_when_idle()

    def abort_all(self, reason: str) -> int:
        """Break every connection; how many there were."""
        victims = list(self.connections)
        for connection in victims:
            connection.abort(reason)
        return len(victims)


def _rate(limits: Limits) -> tuple[float | None, int]:
    return limits.connection_rate, limits.connection_burst


async def quiet(listeners: Iterable[Listener], deadline: float) -> None:
    """Return when none of `listeners` has a connection left, or at `deadline` (BOOTTIME)."""
    listeners = list(listeners)
    # a drain is rare; an event for each connection that ends would cost all the others
    while any(each.connections for each in listeners) and now() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(LOOK)
