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
from cdnlab.forward.client import client_address, client_key, forwarded_for, place_of
from cdnlab.forward.exchange import Forward
from cdnlab.forward.explain import HOP_FIELD, Hop, hop_member, mark_anew
from cdnlab.forward.forwarder import Forwarder
from cdnlab.forward.key import HostRules, key_prefix, key_rules
from cdnlab.forward.messages import Failure, OutRequest
from cdnlab.forward.owner import edge_key
from cdnlab.forward.tunnel import Tunnel
from cdnlab.net.clock import now, wall
from cdnlab.node.metrics import BOUNDS, Tallies, Tally
from cdnlab.pool.reasons import Reason
from cdnlab.wire.request import OURS
from lb.heads import RequestPlan, ResponsePlan, upgrade_head, volatile_lines
from lb.mirror import Copied, Copy
from lb.stats import Outcome
from lb.trace import Ids, good_request_id, good_traceparent

if TYPE_CHECKING:
    from cdnlab.forward.sticky import Stickiness
    from cdnlab.forward.trail import Trail
    from cdnlab.net.exchange import Exchange
    from cdnlab.node.log import Ring
    from cdnlab.plan.topology import Topology
    from cdnlab.pool.sticky import Hold
    from cdnlab.wire.fields import Field
    from cdnlab.wire.request import RequestBlock, RequestLine
    from cdnlab.wire.response import ResponseBlock
    from lb.mirror import Mirror
    from lb.rate_limit import RateLimit
    from lb.rate_share import RateShare
    from lb.routes import Route, Routes
    from lb.split import Split

log = logging.getLogger("cdnlab.lb")

ALLOW = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"

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
        explain_key: bytes = b"",
    ) -> None:
        """`explain_key` signs the marks of requests for whose route another target is sent on."""
        self.name = name
        self.trail = trail
        self.tallies = tallies
        self.ring = ring
        self.trusted = trusted
        self._explain_key = explain_key
        self.ids = Ids()
        self._wall_offset = 0.0
        self._offset_until = 0.0
        """Wall time is read once a second, not once a request: the difference of the clocks hardly changes."""
        self.rate_share: RateShare | None = None
        """Who tells the other balancers what clients have spent."""
        self.configure(topology, routes, forwarders)

    def configure(self, topology: Topology, routes: Routes, forwarders: dict[str, Forwarder]) -> None:
        """Go by another topology from the next request on. What clients' connections and blocks remember of the old one
        has to be forgotten by whoever calls this."""
        self.routes = routes
        self.forwarders = forwarders
        if self.rate_share is not None:
            self.rate_share.serve(routes.limits())
        self._rules = key_rules(topology.routes)
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

    def stop(self) -> None:
        """Nothing is told or copied any more."""
        if self.rate_share is not None:
            self.rate_share.stop()
        for mirror in self.routes.mirrors():
            mirror.stop()

    # -- requests -------------------------------------------------------------------------------------------------

    def handle(self, exchange: Exchange) -> None:
        """A request head is complete."""
        line, block = exchange.line, exchange.block
        standing: Standing | None = exchange.tag
        if (
            standing is not None
            and standing.block is block
            and standing.volatile is exchange.volatile
            and line.ordinary
            and not exchange.explain
        ):
            self._send(exchange, standing)
            return
        if line.target.path.startswith(OURS):
            # one node asks another there, directly; passed on it would be our own word to a stranger
            self._refuse(exchange, 404, "this path is between nodes")
            return
        route = self.routes.route(exchange.host, line.target.path)
        if route is None:
            self._refuse(exchange, 404, "no route is for this host and path")
            return
        pool = route.pool
        if route.special:
            if route.limit is not None and self._limited(exchange, route.limit):
                return
            if route.split is not None:
                pool = self._kept(exchange, route, route.split) or route.split.take()
        plan: RequestPlan | None = None
        if self._one_pool and line.ordinary:
            plan = block.derived  # type: ignore[assignment]
        if plan is None:
            plan = self._plan(block, exchange.host, line.version, exchange.scheme, pool)
            if self._one_pool and line.ordinary:
                block.derived = plan
        if plan.loops:
            self._refuse(exchange, 508, "the request has been here before, or at too many nodes of ours")
        elif line.method == b"CONNECT" or line.method == b"TRACE":
            self._refuse(exchange, 405, f"{line.method.decode()} is not for a gateway", ALLOW)
        else:
            standing = self._stand(exchange, plan, self.forwarders[pool])
            if standing.forwarder.pool.by_source:
                standing.prefix, standing.source = b"", client_key(self._client(exchange))
            elif standing.forwarder.pool.keyed:
                standing.prefix = self._prefix(exchange.scheme, plan.claims.host, pool)
            if standing.forwarder.sticky is not None:
                standing.hold = self._find(exchange, route, standing.forwarder.sticky)
            copy = self._copy(exchange, standing, route.mirror) if route.mirror is not None else None
            self._send(exchange, standing, copy)
            if self._only is not None and line.ordinary and not exchange.explain:
                standing.block, standing.volatile = block, exchange.volatile

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

    def _stand(self, exchange: Exchange, plan: RequestPlan, forwarder: Forwarder) -> Standing:
        """What the connection's next requests can have in common with this one."""
        volatile = exchange.volatile
        place = exchange.place
        if plan.claims.chosen or exchange.trusted:
            place = place_of(plan.claims, place, exchange.trusted)
        standing = exchange.tag = Standing(exchange.peer, place, self.tallies.of(place), forwarder)
        if self._rules is not None:
            standing.rules = self._rules.host(plan.claims.host)
        for name, value in volatile:
            if name == b"x-request-id":
                if good_request_id(value):
                    standing.request_id = value
            elif name == b"traceparent" and good_traceparent(value):
                standing.traceparent = value
        mark = self._mark_line(exchange, standing.rules) if exchange.explain and plan.ours else b""
        standing.rest = self._rest(exchange, plan, standing) + mark
        return standing

    def _rest(self, exchange: Exchange, plan: RequestPlan, standing: Standing) -> bytes:
        """The outgoing head between the request line and the ids."""
        volatile, sticky = exchange.volatile, standing.forwarder.sticky
        if sticky is not None:
            volatile = sticky.unpinned(volatile)
        lines = standing.lines if plan.ours else standing.peer_line
        if exchange.trusted and any(name == b"x-forwarded-for" for name, _ in volatile):
            lines = b"X-Forwarded-For: %b\r\n" % forwarded_for(exchange.peer, True, volatile)
            if plan.ours:
                lines += standing.place_line
        return b"".join((plan.middle, plan.chain, lines, volatile_lines(volatile)))

    def _mark_line(self, exchange: Exchange, rules: HostRules | None) -> bytes:
        line, marks = exchange.line, [value for name, value in exchange.volatile if name == b"cdnlab-explain"]
        target = line.target.canonical if rules is None else rules.target(line.target.canonical)
        if target != line.target.canonical:
            marks = [mark_anew(self._explain_key, marks[0], line.method, target)]
        return b"".join([b"Cdnlab-Explain: %b\r\n" % value for value in marks])

    def _prefix(self, scheme: bytes, host: bytes, pool: str) -> bytes:
        """The key's part that does not depend on the target: scheme and host as they are sent on."""
        return key_prefix(self._protos.get(pool, scheme), self._hosts.get(pool, host).lower())

    def _client(self, exchange: Exchange) -> str:
        """The client's address; behind a trusted peer that is the rightmost one in X-Forwarded-For that is not."""
        if not exchange.trusted:
            return exchange.peer
        return client_address(exchange.peer, True, exchange.field(b"x-forwarded-for"), self.trusted)

    def _limited(self, exchange: Exchange, limit: RateLimit) -> bool:
        """Whether the client has sent too many; then it has been told so."""
        seconds = limit.wait(client_key(self._client(exchange)), exchange.started)
        if seconds:
            self._refuse(exchange, 429, limit.sentence(seconds), limit.fields(seconds))
        return seconds > 0

    def _copy(self, exchange: Exchange, standing: Standing, mirror: Mirror) -> Copy | None:
        """This request for the mirror's pool, where it is its turn and can be copied."""
        if not mirror.take():
            return None
        line, block, ids = exchange.line, exchange.block, self.ids
        plan = self._plan(block, exchange.host, line.version, exchange.scheme, mirror.pool)
        if plan.upgrade:
            mirror.skip(Copied.UPGRADE)
            return None
        # made now, so that the two bear the same
        standing.request_id = standing.request_id or ids.request_id()
        standing.traceparent = standing.traceparent or ids.traceparent()
        rest = self._rest(exchange, plan, standing).replace(b"\r\nExpect: 100-continue\r\n", b"\r\n", 1)
        head = b"%b%bCdnlab-Mirrored: %b\r\nX-Request-Id: %b\r\ntraceparent: %b\r\n\r\n" % (
            line.start if standing.rules is None else _ruled(line, standing.rules),
            rest,
            self.name.encode(),
            standing.request_id,
            standing.traceparent,
        )
        return Copy(
            mirror,
            self.forwarders[mirror.pool],
            head,
            line.method,
            standing.place,
            line.idempotent,
            exchange.body,
            exchange.started,
        )

    def _send(self, exchange: Exchange, standing: Standing, copy: Copy | None = None) -> None:
        line, ids = exchange.line, self.ids
        start = line.start if standing.rules is None else _ruled(line, standing.rules)
        request_id = standing.request_id or ids.request_id()
        head = b"%b%bX-Request-Id: %b\r\ntraceparent: %b\r\n\r\n" % (
            start,
            standing.rest,
            request_id,
            standing.traceparent or ids.traceparent(),
        )
        proxied = Proxied(self, exchange, standing, request_id)
        body = exchange.body
        request = OutRequest(line.method, head, standing.place, line.idempotent, body, exchange.block.expect)
        forward = Forward(
            standing.forwarder,
            request,
            proxied,
            exchange if body else None,
            exchange.explain,
            exchange.started,
        )
        if standing.prefix is not None:
            forward.aim(standing.source or edge_key(standing.prefix, line.target.canonical, standing.rules))
        if standing.hold is not None:
            self._pin(forward, standing, exchange.started)
        exchange.source = proxied
        proxied.forward = forward
        if copy is not None and forward.upload is not None:
            forward.upload.tee = copy
        forward.begin()
        if copy is not None and not body:
            copy.send()

    # -- sticky sessions ------------------------------------------------------------------------------------------

    def _find(self, exchange: Exchange, route: Route, sticky: Stickiness) -> Hold:
        """Where a request's client is pinned to, by what it shows."""
        cookies = [value for name, value in exchange.volatile if name == b"cookie"]
        return sticky.find(cookies, self._client(exchange), route.name, route.spec.path)

    def _kept(self, exchange: Exchange, route: Route, split: Split) -> str | None:
        """Of a split route the pool that keeps the client, if one does: shares are for those who are new."""
        for pool in split.pools:
            sticky = self.forwarders[pool].sticky
            if sticky is not None and self._find(exchange, route, sticky).backend is not None:
                return pool
        return None

    @staticmethod
    def _pin(forward: Forward, standing: Standing, instant: float) -> None:
        sticky, hold = standing.forwarder.sticky, standing.hold
        if sticky is not None and hold is not None:
            backend = sticky.where(hold, standing.place, forward.key, instant)
            if backend is not None:
                forward.pin(backend)

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
        tally = tallies[outcome.position]
        size = exchange.sent
        tally.count += 1
        tally.bytes += size
        tally.seconds += seconds
        tally.buckets[bisect_left(BOUNDS, seconds)] += 1
        ring = self.ring
        ring.seen += 1
        line = exchange.line
        peer = self._client(exchange) if exchange.trusted else exchange.peer
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


def _ruled(line: RequestLine, rules: HostRules) -> bytes:
    """The request line with what the route's rule leaves of the target: what an edge keys on, and any server gets."""
    target = rules.target(line.target.canonical)
    return line.start if target == line.target.canonical else line.method + b" " + target + b" HTTP/1.1\r\n"


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
        if forward.backend is not None:
            explained = forward.owner.pool.explain(forward.request.place, forward.backend, forward.key)
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
