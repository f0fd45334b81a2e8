"""The balancer's handler: route, choose, forward, answer.

Decides what a request becomes on its way to a pool and what is told when there is no way. It must not know sockets,
failover or how a pool chooses. With an idle connection at hand everything below runs synchronously inside the client
connection's `data_received`, so the work per request is what is written here: what depends only on a block is
computed once and remembered with it (`heads`), what depends on the connection lies in the exchange's `tag`.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from typing import TYPE_CHECKING, cast

from cdnlab.forward.answers import own_answer
from cdnlab.forward.client import client_address, forwarded_for, place_of
from cdnlab.forward.exchange import Failure, Forward, Forwarder, OutRequest
from cdnlab.forward.explain import HOP_FIELD, Hop, hop_member
from cdnlab.forward.tunnel import Tunnel
from cdnlab.net.clock import now, wall
from cdnlab.node.metrics import BOUNDS, Tallies, Tally
from cdnlab.pool.reasons import Reason
from cdnlab.wire.dates import format_date
from lb.heads import RequestPlan, ResponsePlan, upgrade_head, volatile_lines
from lb.stats import INDEX, Outcome
from lb.trace import Ids, good_request_id, good_traceparent

if TYPE_CHECKING:
    from cdnlab.forward.trail import Trail
    from cdnlab.net.exchange import Exchange
    from cdnlab.node.log import Ring
    from cdnlab.plan.topology import Topology
    from cdnlab.wire.fields import Field
    from cdnlab.wire.request import RequestBlock
    from cdnlab.wire.response import ResponseBlock
    from lb.routes import Routes

log = logging.getLogger("cdnlab.lb")

ALLOW = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"

#: A tunnel without a byte for this long is closed (HAProxy's guide: `timeout tunnel 1h`).
TUNNEL_IDLE = 3600.0

_BY_STATUS = {502: Outcome.UNREACHABLE, 503: Outcome.NO_BACKEND, 504: Outcome.TIMEOUT}


class Standing:
    """What one connection's requests from one place have in common."""

    __slots__ = ("lines", "peer_line", "place", "place_line", "tallies")

    def __init__(self, peer: str, place: str, tallies: list[Tally]) -> None:
        self.place = place
        self.tallies = tallies
        self.place_line = b"Cdnlab-Place: %b\r\n" % place.encode()
        self.peer_line = b"X-Forwarded-For: %b\r\n" % peer.encode()
        self.lines = self.peer_line + self.place_line


class HttpProxy:
    """The handler of a balancer's HTTP listeners."""

    def __init__(
        self,
        topology: Topology,
        name: str,
        routes: Routes,
        forwarders: dict[str, Forwarder],
        trail: Trail,
        tallies: Tallies,
        ring: Ring,
        trusted: frozenset[str],
    ) -> None:
        self.name = name
        self.routes = routes
        self.forwarders = forwarders
        self.trail = trail
        self.tallies = tallies
        self.ring = ring
        self.trusted = trusted
        self.ids = Ids()
        self._wall_offset = 0.0
        self._offset_until = 0.0
        """Wall time is read once a second, not once a request: the difference of the clocks hardly changes."""
        self._places = frozenset(topology.place_codes())
        self._may_choose = topology.clients.may_choose_place
        self._tell_place = topology.clients.may_choose_place
        self._hosts = {
            name: pool.origin_host.encode() for name, pool in topology.pools.items() if pool.origin_host
        }
        self._protos = {
            name: pool.forwarded_proto.encode()
            for name, pool in topology.pools.items()
            if pool.forwarded_proto
        }
        self._ours = frozenset(
            name
            for name, forwarder in forwarders.items()
            if all(backend.ours for backend in forwarder.pool.backends)
        )
        self._one_pool = len(forwarders) == 1
        """Whether what a block becomes depends on nothing but the block, so that it can be remembered with it."""
        self._only = routes.only
        """The pool of every request, where one route takes all."""

    # -- requests -------------------------------------------------------------------------------------------------

    def handle(self, exchange: Exchange) -> None:
        """A request head is complete."""
        line, block = exchange.line, exchange.block
        target = line.target
        host = exchange.host
        plan: RequestPlan | None = None
        pool = None
        if self._one_pool and target.authority is None:
            plan = block.derived  # type: ignore[assignment]
            pool = self._only
        if plan is None or pool is None:
            pool = self.routes.pool(host, target.path)
            if pool is None:
                self._refuse(exchange, 404, "no route is for this host and path")
                return
            plan = self._plan(block, host, line.version, exchange.scheme, pool)
            if self._one_pool and target.authority is None:
                block.derived = plan
        if plan.loops:
            self._refuse(exchange, 508, "the request has been here before, or at too many nodes of ours")
            return
        if line.method == b"CONNECT" or line.method == b"TRACE":
            self._refuse(exchange, 405, f"{line.method.decode()} is not for a gateway", ALLOW)
            return
        self._forward(exchange, plan, self.forwarders[pool])

    def _plan(self, block: RequestBlock, host: bytes, version: int, scheme: bytes, pool: str) -> RequestPlan:
        return RequestPlan(
            block,
            host,
            version,
            self.trail,
            self._places,
            self._may_choose,
            self._hosts.get(pool),
            self._protos.get(pool, scheme),
            pool in self._ours,
        )

    def _standing(self, exchange: Exchange, place: str) -> Standing:
        peer = exchange.peer
        standing = exchange.tag = Standing(peer, place, self.tallies.of(place))
        return standing

    def _forward(self, exchange: Exchange, plan: RequestPlan, forwarder: Forwarder) -> None:
        line, volatile = exchange.line, exchange.volatile
        claim = plan.claims
        place = exchange.place
        if claim.chosen or exchange.trusted:
            place = place_of(claim, place, exchange.trusted)
        standing = exchange.tag
        if standing is None or standing.place != place:
            standing = self._standing(exchange, place)
        lines = standing.lines if plan.ours else standing.peer_line
        request_id = traceparent = b""
        others = b""
        if volatile:
            for name, value in volatile:
                if name == b"x-request-id":
                    if good_request_id(value):
                        request_id = value
                elif name == b"traceparent":
                    if good_traceparent(value):
                        traceparent = value
                elif name == b"x-forwarded-for" and exchange.trusted:
                    chain = forwarded_for(exchange.peer, True, volatile)
                    lines = b"X-Forwarded-For: %b\r\n" % chain
                    if plan.ours:
                        lines += standing.place_line
            others = volatile_lines(volatile)
        ids = self.ids
        request_id = request_id or ids.request_id()
        head = b"".join(
            (
                line.method,
                b" ",
                line.target.canonical,
                b" HTTP/1.1\r\n",
                plan.middle,
                plan.chain,
                lines,
                b"X-Request-Id: ",
                request_id,
                b"\r\ntraceparent: ",
                traceparent or ids.traceparent(),
                b"\r\n",
                others,
                _mark_line(volatile) if exchange.explain and plan.ours else b"",
                b"\r\n",
            )
        )
        proxied = Proxied(self, exchange, standing, request_id)
        request = OutRequest(
            line.method,
            head,
            place=place,
            idempotent=line.idempotent,
            body=exchange.body,
            expect=exchange.block.expect,
        )
        forward = Forward(
            forwarder,
            request,
            proxied,
            exchange if exchange.body else None,
            exchange.explain,
            exchange.started,
        )
        exchange.source = proxied
        proxied.forward = forward
        forward.begin()

    # -- answers of our own ---------------------------------------------------------------------------------------

    def _refuse(self, exchange: Exchange, status: int, why: str, extra: bytes = b"") -> None:
        exchange.answer(*own_answer(self.name, status, why, wall(), extra=extra))
        tallies = self.tallies.of(exchange.place)
        self.record(exchange, tallies, Outcome.REFUSED, exchange.place, "", why, b"")

    def record(
        self,
        exchange: Exchange,
        tallies: list[Tally],
        outcome: Outcome,
        place: str,
        backend: str,
        reason: str,
        request_id: bytes,
    ) -> None:
        """Count a request that is over and put it into the ring."""
        instant = now()
        started = exchange.started
        seconds = instant - started
        if instant > self._offset_until:
            self._wall_offset = wall() - instant
            self._offset_until = instant + 1.0
        tally = tallies[INDEX[outcome]]
        size = exchange.sent
        tally.count += 1
        tally.bytes += size
        tally.seconds += seconds
        tally.buckets[bisect_left(BOUNDS, seconds)] += 1
        ring = self.ring
        ring.seen += 1
        line = exchange.line
        peer = exchange.peer
        if exchange.trusted:
            peer = client_address(peer, True, exchange.field(b"x-forwarded-for"), self.trusted)
        ring.entries.append(
            (
                started + self._wall_offset,
                line.method,
                exchange.host,
                line.target.canonical,
                exchange.status,
                outcome,
                place,
                seconds,
                backend,
                size,
                reason,
                request_id,
                peer,
            )
        )


def _mark_line(volatile: tuple[Field, ...]) -> bytes:
    return b"".join(
        b"Cdnlab-Explain: %b\r\n" % value for name, value in volatile if name == b"cdnlab-explain"
    )


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
        pieces = [plan.head]
        dated = False
        for name, value in volatile:
            if name == b"date":
                dated = True
                pieces.append(b"Date: " + value + b"\r\n")
            else:
                pieces.append(b"Age: " + value + b"\r\n")
        if not dated:  # RFC 9110 §6.6.1: who forwards a response without one adds it
            pieces.append(b"Date: " + format_date(int(wall())) + b"\r\n")
        if proxy._tell_place:
            pieces.append(self.standing.place_line)
        if exchange.explain:
            pieces.append(self._hops(block))
        head = b"".join(pieces)
        status = block.status
        if whole is not None:
            exchange.answer(status, head, whole)
            self._finished(Outcome.OK if status < 500 else Outcome.SERVER_ERROR)
        else:
            exchange.respond(status, head, length if length >= 0 else None)

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
        if forward.backend is not None:
            explained = forward.owner.pool.explain(forward.request.place, forward.backend)
            tried += [(name, reason) for name, reason in explained if name not in seen]
        return tried

    def forward_data(self, data: bytes) -> None:
        """Pass body bytes on."""
        self.exchange.write(data)

    def forward_end(self, trailers: tuple[Field, ...]) -> None:
        """The response is complete."""
        exchange = self.exchange
        status = exchange.status
        exchange.finish(trailers)
        self._finished(Outcome.OK if status < 500 else Outcome.SERVER_ERROR)

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
        Tunnel(self.exchange, forward, TUNNEL_IDLE, self._tunnel_over).join(
            upgrade_head(block, self.proxy.trail)
        )

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
