"""One request on its way through the balancer: what its connection's requests have in common, and its two ends.

Decides what a client is told of its response, and how a request ended. It must not know how a pool was found for it or
what its head became (`lb/http_proxy.py`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from cdnlab.forward.answers import own_answer
from cdnlab.forward.exchange import Forward
from cdnlab.forward.explain import HOP_FIELD, Hop, hop_member
from cdnlab.forward.forwarder import Forwarder
from cdnlab.forward.key import HostRules
from cdnlab.forward.messages import Failure
from cdnlab.forward.tunnel import Tunnel
from cdnlab.net.clock import now, wall
from cdnlab.node.metrics import Tally
from cdnlab.pool.reasons import Reason
from lb.heads import ResponsePlan, upgrade_head
from lb.stats import Outcome

if TYPE_CHECKING:
    from cdnlab.net.exchange import Exchange
    from cdnlab.pool.sticky import Hold
    from cdnlab.wire.fields import Field
    from cdnlab.wire.request import RequestBlock
    from cdnlab.wire.response import ResponseBlock
    from lb.http_proxy import HttpProxy

log = logging.getLogger("cdnlab.lb")

#: A tunnel without a byte for this long is closed (HAProxy's guide: `timeout tunnel 1h`).
TUNNEL_IDLE = 3600.0

_OK, _SERVER_ERROR = Outcome.OK, Outcome.SERVER_ERROR  # reading them from the class is a Python call in 3.11
_BY_STATUS = {502: Outcome.UNREACHABLE, 503: Outcome.NO_BACKEND, 504: Outcome.TIMEOUT}


class Standing:
    """What one connection's requests from one place have in common.

    Clients repeat themselves: while a connection's requests bear the same block and the same volatile fields, `rest` is
    all of the outgoing head between the request line and the ids. It holds this client's own fields, so it lives and
    dies with its connection.
    """

    __slots__ = (
        "block",
        "forwarder",
        "hold",
        "lines",
        "peer_line",
        "place",
        "place_line",
        "prefix",
        "request_id",
        "rest",
        "rules",
        "source",
        "tallies",
        "traceparent",
        "volatile",
    )

    def __init__(self, peer: str, place: str, tallies: list[Tally], forwarder: Forwarder) -> None:
        self.place = place
        self.tallies = tallies
        self.forwarder = forwarder
        self.place_line = b"Cdnlab-Place: %b\r\n" % place.encode()
        self.peer_line = b"X-Forwarded-For: %b\r\n" % peer.encode()
        self.lines = self.peer_line + self.place_line
        self.rules: HostRules | None = None
        self.prefix: bytes | None = None
        """What the edge's key begins with, where the pool chooses by a key; None where it does not."""
        self.source = b""
        """The client's key, where the pool chooses by that."""
        self.block: RequestBlock | None = None
        """The block for which `rest` holds; None: for this one request only."""
        self.volatile: tuple[Field, ...] | None = None
        self.rest = b""
        self.request_id = self.traceparent = b""
        """Those that the client gave, if they are good."""
        self.hold: Hold | None = None
        """Where the client is pinned to, if its pool keeps clients."""


class Proxied:
    """One request on its way: the forward's sink and the exchange's source."""

    __slots__ = ("_done", "exchange", "forward", "proxy", "request_id", "standing")

    def __init__(self, proxy: HttpProxy, exchange: Exchange, standing: Standing, request_id: bytes) -> None:
        self.proxy = proxy
        self.exchange = exchange
        self.standing = standing
        self.request_id = request_id
        self.forward: Forward | None = None
        self._done = False

    # -- the forward's calls --------------------------------------------------------------------------------------

    def forward_interim(self, raw: bytes) -> None:
        """Pass a 1xx on."""
        self.exchange.interim(raw)

    def forward_head(
        self, block: ResponseBlock, volatile: tuple[Field, ...], length: int, whole: bytes | None
    ) -> None:
        """Pass the head on, and the body if it is all there."""
        proxy, exchange = self.proxy, self.exchange
        plan: ResponsePlan | None = block.derived  # type: ignore[assignment]
        if plan is None:
            plan = block.derived = ResponsePlan(block, proxy.trail)
        head = plan.with_date(volatile, wall)
        if proxy._tell_place:
            head += self.standing.place_line
        if exchange.explain:
            head += self._hops(block)
        if self.standing.hold is not None:
            head += self._pinned(self.standing.hold, block)
        status = block.status
        if whole is not None:
            exchange.answer(status, head, whole)
            self._finished(_OK if status < 500 else _SERVER_ERROR)
        else:
            exchange.respond(status, head, length if length >= 0 else None)

    def _pinned(self, hold: Hold, block: ResponseBlock) -> bytes:
        """What the client is told of where it is pinned to: of what it knows already, nothing."""
        forward, sticky = cast("Forward", self.forward), self.standing.forwarder.sticky
        backend = forward.backend
        if sticky is None or backend is None or (backend is hold.told and not sticky.learns):
            return b""
        return sticky.answered(hold, backend, block.status, block.fields, forward.passed)

    def _hops(self, block: ResponseBlock) -> bytes:
        exchange, forward = self.exchange, cast(Forward, self.forward)
        backend = forward.backend
        hop = Hop(
            node=self.proxy.name,
            tier="lb",
            client_place=self.standing.place,
            total=round((now() - exchange.started) * 1e6),
            upstream=round(forward.seconds_upstream * 1e6),
            choice=backend.name if backend else "",
            passed=[(name, str(reason)) for name, reason in self._passed(forward)],
            result="forwarded",
        )
        upstream = block.index.get(HOP_FIELD) if backend is not None and backend.ours else None
        member = hop_member(hop)
        return b"Cdnlab-Hop: " + (upstream + b", " + member if upstream else member) + b"\r\n"

    @staticmethod
    def _passed(forward: Forward) -> list[tuple[str, Reason]]:
        tried = list(forward.passed or ())
        seen = {name for name, _ in tried}
        return [*tried, *((name, reason) for name, reason in forward.others() if name not in seen)]

    def forward_data(self, data: bytes) -> None:
        """Pass body bytes on."""
        self.exchange.write(data)

    def forward_end(self, trailers: tuple[Field, ...]) -> None:
        """The response is complete."""
        exchange = self.exchange
        status = exchange.status
        exchange.finish(trailers)
        self._finished(_OK if status < 500 else _SERVER_ERROR)

    def forward_failed(self, failure: Failure) -> None:
        """Say so, or cut the response that has begun."""
        exchange, proxy = self.exchange, self.proxy
        forward = cast(Forward, self.forward)
        if failure.detail:
            log.warning(
                "%s: %s from %s: %s", proxy.name, failure.reason, failure.backend or "-", failure.detail
            )
        if exchange.status:
            self._finished(Outcome.CUT, str(failure.reason))
            exchange.abort("the response broke off")
            return
        why = f"{failure.reason.sentence} (pool {forward.owner.pool.name})"
        extra = b"Retry-After: 1\r\n" if failure.status == 503 else b""
        if exchange.explain:
            extra += self._failed_hop(forward)
        if proxy._tell_place:
            extra += self.standing.place_line
        status, head, body = own_answer(
            proxy.name, failure.status, why, wall(), request_id=self.request_id.decode("latin-1"), extra=extra
        )
        exchange.answer(status, head, body)
        self._finished(_BY_STATUS[failure.status], str(failure.reason))

    def _failed_hop(self, forward: Forward) -> bytes:
        hop = Hop(
            node=self.proxy.name,
            tier="lb",
            client_place=self.standing.place,
            total=round((now() - self.exchange.started) * 1e6),
            passed=[(name, str(reason)) for name, reason in forward.passed or ()],
            result="failed",
        )
        return b"Cdnlab-Hop: " + hop_member(hop) + b"\r\n"

    def forward_upgraded(self, block: ResponseBlock, volatile: tuple[Field, ...], forward: Forward) -> None:
        """101: join the two connections."""
        head = upgrade_head(block, self.proxy.trail)
        if self.standing.hold is not None:
            head += self._pinned(self.standing.hold, block)
        Tunnel(self.exchange, forward, TUNNEL_IDLE, self._tunnel_over).join(head)

    def _tunnel_over(self, tunnel: Tunnel, reason: str) -> None:
        self._finished(Outcome.TUNNEL, reason)

    # -- the client's calls ---------------------------------------------------------------------------------------

    def pause(self) -> None:
        """The client reads slowly."""
        if self.forward is not None:
            self.forward.pause()

    def resume(self) -> None:
        """There is room again."""
        if self.forward is not None:
            self.forward.resume()

    def client_gone(self, reason: str) -> None:
        """Nobody reads the rest."""
        if self.forward is not None:
            self.forward.client_gone(reason)
        self._finished(Outcome.CLIENT_GONE, reason)

    def _finished(self, outcome: Outcome, reason: str = "") -> None:
        if self._done:
            return
        self._done = True
        forward, self.forward = self.forward, None
        backend = forward.backend if forward is not None else None
        name = backend.name if backend is not None else ""
        standing = self.standing
        if not reason and forward is not None and forward.attempts > 1:
            reason = f"attempt {forward.attempts}"
        self.proxy.record(
            self.exchange, standing.tallies, outcome, standing.place, name, reason, self.request_id
        )
