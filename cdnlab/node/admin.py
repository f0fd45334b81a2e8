"""A node's admin API, on an address of its own, never on the data port.

Reading needs no token; what changes state needs `Authorization: Bearer` with the lab's admin token.
Everything but health and metrics checks Host as well: a page in a browser can make a name of its own resolve
to 127.0.0.1, but cannot make it one of ours (DNS rebinding). What the answers contain is the node's.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from aiohttp import web

from cdnlab.net.faults import BadFaults
from cdnlab.node.exposition import CONTENT_TYPE, Exposition
from cdnlab.node.health_answer import NodeState
from cdnlab.node.log import KEPT
from cdnlab.node.node import BadRequest

if TYPE_CHECKING:
    from cdnlab.node.node import Node

FLOWS_SHOWN = 200  # entries of the flow table for one who names no limit
BODY = 1 << 20  # bytes of a POST; a purge names thousands of keys in it
GRACE = 1.0  # seconds for answers in flight when the node stops

OPEN_TO_ANY_HOST = frozenset({"/healthz", "/readyz", "/metrics"})
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refusal(web.HTTPException):
    """An error as JSON: {"error": what was wrong, "remedy": what to do}."""

    def __init__(self, status: HTTPStatus, error: str, remedy: str) -> None:
        self.status_code = status
        super().__init__(text=json.dumps({"error": error, "remedy": remedy}) + "\n")
        self.content_type = "application/json"


class Admin:
    """The API of one node; start() it on the node's loop."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._exposition = Exposition(node.families)
        self._runner: web.AppRunner | None = None
        self._names = LOCAL_NAMES | {node.name.lower()}
        self.registry = self._exposition.registry
        self.address: tuple[str, int] | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen; OSError where that is not possible. Port 0 takes a free one, see `address`."""
        app = web.Application(middlewares=[self._guard], client_max_size=BODY)
        app.add_routes(self._routes())
        self._names |= {host.lower()}
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=GRACE, keepalive_timeout=30.0
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self.address = self._runner.addresses[0][:2]

    async def stop(self) -> None:
        """Stop listening, let the answers in flight finish."""
        if self._runner:
            await self._runner.cleanup()

    def _routes(self) -> list[web.RouteDef]:
        return [
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/metrics", self._metrics),
            web.get("/status", self._status),
            web.get("/requests", self._requests),
            web.get("/events", self._events),
            web.get("/purges", self._purges),
            web.get("/flows", self._flows),
            web.post("/drain", self._drain),
            web.post("/undrain", self._undrain),
            web.post("/policy", self._policy),
            web.post("/pools", self._pools),
            web.post("/purge", self._purge),
            web.post("/reload", self._reload),
            web.post("/explain", self._explain),
            web.post("/faults", self._faults),
        ]

    @web.middleware
    async def _guard(self, request: web.Request, handler: Answer) -> web.StreamResponse:
        changes = request.method not in ("GET", "HEAD")
        if request.path not in OPEN_TO_ANY_HOST or changes:
            self._check_host(request, changes)
        if changes:
            self._check_token(request)
        try:
            response = await handler(request)
        except web.HTTPNotFound:
            known = ", ".join(route.path for route in self._routes())
            raise Refusal(
                HTTPStatus.NOT_FOUND, f"there is no {request.path} here", f"known: {known}"
            ) from None
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            raise Refusal(
                HTTPStatus.METHOD_NOT_ALLOWED, f"no {error.method} of {request.path}", f"allowed: {allowed}"
            ) from None
        except web.HTTPRequestEntityTooLarge:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the body is larger than {BODY} bytes",
                "send it in parts",
            ) from None
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    def _check_host(self, request: web.Request, changes: bool) -> None:
        host = host_name(request.headers.get("Host", ""))
        if host in self._names or (not changes and is_address(host)):
            return
        raise Refusal(
            HTTPStatus.MISDIRECTED_REQUEST,
            f'the host "{host}" is not this node',
            f"ask for {', '.join(sorted(self._names))}",
        )

    def _check_token(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        given = token.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() == "bearer" and hmac.compare_digest(given, self._node.secrets.admin_token.encode()):
            return
        refusal = Refusal(
            HTTPStatus.UNAUTHORIZED,
            "this changes state, or shows what is stored, and needs the admin token",
            "send Authorization: Bearer with the content of secrets/admin_token in the state directory",
        )
        refusal.headers["WWW-Authenticate"] = 'Bearer realm="cdnlab"'
        raise refusal

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        node = self._node
        return web.Response(status=200 if node.ready else 503, text=f"{node.state_now}: {node.reason_now}\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._exposition.text(), headers={"Content-Type": CONTENT_TYPE})

    async def _status(self, request: web.Request) -> web.Response:
        return _json(self._node.status())

    async def _requests(self, request: web.Request) -> web.Response:
        return _json({**self._who(), **self._node.ring.after(*_range(request))})

    async def _events(self, request: web.Request) -> web.Response:
        return _json({**self._who(), **self._node.events.after(*_range(request))})

    async def _drain(self, request: web.Request) -> web.Response:
        if self._node.health is NodeState.STARTING:
            raise Refusal(HTTPStatus.CONFLICT, "the node is still starting", "ask again when it is ready")
        self._node.change(NodeState.DRAINING, "told to drain")
        return _json(self._state())

    async def _undrain(self, request: web.Request) -> web.Response:
        if self._node.ending:
            raise Refusal(HTTPStatus.CONFLICT, "the node is ending", "start it again")
        if self._node.draining:
            self._node.change(NodeState.READY, "told to serve again")
        return _json(self._state())

    async def _purge(self, request: web.Request) -> web.Response:
        if self._node.purge is None:
            raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "this node does not purge", "purge on an edge")
        asked = await _object(request, 'send such as {"url": "…"}')
        try:
            return _json(await self._node.purge(asked), HTTPStatus.ACCEPTED)
        except BadRequest as bad:
            raise Refusal(HTTPStatus.BAD_REQUEST, bad.error, bad.remedy) from None

    async def _policy(self, request: web.Request) -> web.Response:
        if self._node.policy is None:
            raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "this node stores nothing", "ask an edge")
        asked = await _object(request, 'send such as {"policy": "sieve"}')
        try:
            return _json({**self._who(), **self._node.policy(asked)})
        except BadRequest as bad:
            raise Refusal(HTTPStatus.BAD_REQUEST, bad.error, bad.remedy) from None

    async def _pools(self, request: web.Request) -> web.Response:
        if self._node.pools is None:
            raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "this node has no pools", "ask a balancer or an edge")
        asked = await _object(
            request, 'send such as {"pool": "origins", "do": "drain", "backend": "origin-1"}'
        )
        try:
            return _json({**self._who(), **self._node.pools(asked)})
        except BadRequest as bad:
            raise Refusal(HTTPStatus.BAD_REQUEST, bad.error, bad.remedy) from None

    async def _reload(self, request: web.Request) -> web.Response:
        if self._node.versions is None:
            raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "this node takes no other topology", "start it anew")
        asked = await _object(request, 'send such as {"do": "prepare", "version": 2, "topology": "…"}')
        try:
            return _json({**self._who(), **self._node.versions.asked(asked)})
        except BadRequest as bad:
            raise Refusal(HTTPStatus.BAD_REQUEST, bad.error, bad.remedy) from None

    async def _explain(self, request: web.Request) -> web.Response:
        if self._node.explain is None:
            raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "this node caches nothing", "ask an edge")
        asked = await _object(request, 'send such as {"url": "http://127.0.0.1:8080/"}')
        try:
            return _json({**self._who(), **await self._node.explain(asked)})
        except BadRequest as bad:
            raise Refusal(HTTPStatus.BAD_REQUEST, bad.error, bad.remedy) from None

    async def _purges(self, request: web.Request) -> web.Response:
        if self._node.purges is None:
            raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "this node does not purge", "ask an edge")
        return _json(self._node.purges(request.query.get("id")))

    async def _flows(self, request: web.Request) -> web.Response:
        if self._node.flows is None:
            raise Refusal(HTTPStatus.NOT_IMPLEMENTED, "this node has no flows", "ask a balancer")
        limit = _number(request, "limit")
        return _json(self._node.flows(FLOWS_SHOWN if limit is None else limit))

    async def _faults(self, request: web.Request) -> web.Response:
        asked = await _object(
            request, 'send such as {"delay": 0.3, "errors": 0.2, "for": 30}, or {"clear": true}'
        )
        try:
            return _json({**self._who(), **self._node.fault_desk.order(asked)})
        except BadFaults as bad:
            raise Refusal(HTTPStatus.BAD_REQUEST, bad.error, bad.remedy) from None

    def _who(self) -> Mapping[str, Any]:
        """Which process of which node: containers give each new one the same pid."""
        return {"node": self._node.name, "started": self._node.started}

    def _state(self) -> Mapping[str, Any]:
        node = self._node
        return {"node": node.name, "state": node.state_now, "reason": node.reason_now, "since": node.since}


def host_name(field: str) -> str:
    """The host in a Host field, lower case, without port and brackets."""
    if field.startswith("["):
        return field[1:].partition("]")[0].lower()
    return field.partition(":")[0].lower()


def is_address(host: str) -> bool:
    """Whether `host` is an IP address, which no DNS answer can redirect."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def _object(request: web.Request, remedy: str) -> Mapping[str, Any]:
    """The JSON object in the body."""
    try:
        asked = await request.json()
    except (ValueError, LookupError, RecursionError):  # not JSON, in no known encoding, or nested too deep
        asked = None
    if not isinstance(asked, dict):
        raise Refusal(HTTPStatus.BAD_REQUEST, "the body is not a JSON object", remedy)
    return asked


def _range(request: web.Request) -> tuple[int | None, int]:
    """?after=N&limit=M; without `after` the newest."""
    after = _number(request, "after")
    limit = _number(request, "limit")
    return after, KEPT if limit is None else min(limit, KEPT)


def _number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Refusal(
            HTTPStatus.BAD_REQUEST, f'{name} is "{text}"', f"write {name}=N with a number from 0 up"
        )
    return int(text)


def _json(content: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.json_response(
        content, status=status, dumps=lambda value: json.dumps(value, ensure_ascii=False) + "\n"
    )
