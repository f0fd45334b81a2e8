"""The balancer's handler: route, choose, forward, answer.

Decides what a request becomes on its way to a pool and what is told when there is no way. It must not know sockets,
failover or how a pool chooses. With an idle connection at hand everything below runs synchronously inside the client
connection's `data_received`, so the work per request is what is written here: what depends only on a block is
computed once and remembered with it (`heads`), what depends on the connection lies in the exchange's `tag`.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from cdnlab.forward.answers import own_answer
from cdnlab.forward.client import client_address, client_key, forwarded_for, place_of
from cdnlab.forward.exchange import Forward
from cdnlab.forward.explain import mark_anew
from cdnlab.forward.forwarder import Forwarder
from cdnlab.forward.key import HostRules, key_prefix, key_rules
from cdnlab.forward.messages import OutRequest
from cdnlab.forward.owner import edge_key
from cdnlab.forward.pins import pins_taken_out
from cdnlab.net.clock import now, wall
from cdnlab.node.metrics import BOUNDS, Tallies, Tally
from cdnlab.pool.pin_cookie import unpinned
from cdnlab.wire.request import OURS
from lb.heads import RequestPlan, volatile_lines
from lb.mirror import Copied, Copy
from lb.proxied import Proxied, Standing
from lb.stats import Outcome
from lb.trace import Ids, good_request_id, good_traceparent

if TYPE_CHECKING:
    from cdnlab.forward.sticky import Stickiness
    from cdnlab.forward.trail import Trail
    from cdnlab.net.exchange import Exchange
    from cdnlab.node.log import Ring
    from cdnlab.plan.topology import Topology
    from cdnlab.pool.sticky import Hold
    from cdnlab.wire.request import RequestBlock, RequestLine
    from lb.mirror import Mirror
    from lb.rate_limit import RateLimit
    from lb.rate_share import RateShare
    from lb.routes import Route, Routes
    from lb.split import Split

ALLOW = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"


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
        self._pins = pins_taken_out(topology, forwarders, self._ours)
        """By pool, the cookies of pins that its backends are not to see: a client shows all that its path is for."""
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
        standing.rest = self._rest(exchange, plan, standing, forwarder.pool.name) + mark
        return standing

    def _rest(self, exchange: Exchange, plan: RequestPlan, standing: Standing, pool: str) -> bytes:
        """The outgoing head between the request line and the ids."""
        volatile = exchange.volatile
        for cookie in self._pins[pool]:
            volatile = unpinned(volatile, cookie)
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
        rest = self._rest(exchange, plan, standing, mirror.pool).replace(
            b"\r\nExpect: 100-continue\r\n", b"\r\n", 1
        )
        head = b"%b%bCdnlab-Mirrored: %b\r\nX-Request-Id: %b\r\ntraceparent: %b\r\n\r\n" % (
            line.start if standing.rules is None else _ruled(line, standing.rules),
            rest,
            self.name.encode(),
            standing.request_id,
            standing.traceparent,
        )
        forwarder, key = self.forwarders[mirror.pool], b""
        if forwarder.pool.by_source:
            key = client_key(self._client(exchange))
        elif forwarder.pool.keyed:
            prefix = self._prefix(exchange.scheme, plan.claims.host, mirror.pool)
            key = edge_key(prefix, line.target.canonical, standing.rules)
        return Copy(
            mirror,
            forwarder,
            key,
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
