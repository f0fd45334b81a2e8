"""The origin as a node: its listener, its resources by path, and what every response bears.

Decides which handler answers, how errors look, and how the listener starts, drains and stops. Must not know
what the resources say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from aiohttp import web

from cdnlab.net import clock
from cdnlab.node.degrades import Feature
from cdnlab.node.health_answer import ALIVE_PATH
from cdnlab.node.health_answer import answer as health_answer
from cdnlab.node.metrics import Family
from cdnlab.node.node import Node
from cdnlab.node.process import binding
from origin import echo, files, reply, tcp_echo, udp_echo
from origin.behave import Behave
from origin.fault_door import FaultDoor
from origin.items_api import MAX_BODY, ItemsApi
from origin.items_shelf import Shelf
from origin.login import Login
from origin.metrics import ABORTED, Counts
from origin.sessions import keeper
from origin.site_http import SiteHttp

ALIVE = ALIVE_PATH.decode()
KEEP_ALIVE = 75.0  # seconds; longer than the 50 s that our tiers keep an idle connection, so that they end it
BACKLOG = 1024
SERVER = "cdnlab-origin"
BEGUN = web.RequestKey("begun", bool)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger("cdnlab.origin")


class OriginApp:
    """One origin: made by build(node), opened by start()."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.counts = Counts(node)
        self.behave = Behave()
        self.websockets = echo.WebSockets()
        self.shelf = Shelf(node.store, f"cdnlab:{{{node.topology.name}}}:items")
        node.degrades.register(Feature.ITEMS)
        places = [node.topology.place(code) for code in node.topology.place_codes()]
        self.site = SiteHttp(places)
        self.faults = FaultDoor(node, ALIVE)
        self.login = Login(keeper(node), self.shelf, self.site, node.name)
        self.address: tuple[str, int] | None = None
        self.udp = list(udp_echo.ports(node))
        self.tcp = tcp_echo.make(node)
        self._running = 0
        self._busy: set[web.RequestHandler] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._runner = web.AppRunner(
            self._application(), access_log=None, handle_signals=False, keepalive_timeout=KEEP_ALIVE,
            handler_cancellation=True, shutdown_timeout=0.5,
        )  # fmt: skip
        node.connections = self._connections

    async def start(self) -> None:
        """Listen at the node's data address; StartError for an address that can't be had."""
        host, port = self.node.topology.data_address(self.node.name)
        await self._runner.setup()
        with binding(host, port, f"--listen, or nodes.{self.node.name} in the topology"):
            await web.TCPSite(self._runner, host, port, backlog=BACKLOG).start()
        self.address = self._runner.addresses[0][:2]
        for udp, host, port in self.udp:
            with binding(host, port, "ports.udp or origin.dns in the topology"):
                udp.open(host, port)
        if self.tcp is not None:
            with binding(*self.tcp[1:], "ports.tcp in the topology"):
                await self.tcp[0].open(*self.tcp[1:])
        self.node.fault_desk.turns += [self._turn, self._turn_udp, self._turn_tcp]

    async def _turn(self, shut: bool) -> None:
        """Refuse connections, or take them again."""
        if not shut and self.address is not None and not self._stopping:
            await web.TCPSite(self._runner, *self.address, backlog=BACKLOG).start()
        else:
            await self._stop_accepting()

    async def _turn_udp(self, shut: bool) -> None:
        for udp, host, port in self.udp:
            udp.close()
            if not shut:
                udp.open(host, port)

    async def _turn_tcp(self, shut: bool) -> None:
        if self.tcp is not None:
            self.tcp[0].close()
            if not shut:
                await self.tcp[0].open(*self.tcp[1:])

    async def _stop_accepting(self) -> None:
        """Close the address, idle connections now, and each busy one after its answer."""
        for site in tuple(self._runner.sites):
            await site.stop()
        for connection in list(self._runner.server.connections) if self._runner.server is not None else ():
            connection.close()
            # aiohttp only stops to listen to it: what was asked there would wait for ever
            if connection not in self._busy and connection.transport is not None:
                connection.transport.close()

    async def drain(self, deadline: float) -> None:
        """Stop accepting, let go of idle connections and WebSockets, and wait for the answers that run."""
        self._stopping = True
        await self._stop_accepting()
        await self.websockets.close()
        await self._idle.wait()

    async def stop(self) -> None:
        """Close the listener and every connection."""
        for udp, _, _ in self.udp:
            udp.close()
        if self.tcp is not None:
            self.tcp[0].close()
        await self._runner.cleanup()

    def status(self) -> Mapping[str, Any]:
        """What the origin adds to /status."""
        return {
            "running": self._running,
            "websockets": {"open": len(self.websockets.open), "messages": self.websockets.messages},
            "items": {"count": len(self.shelf.items.rows), "shared": self.shelf.shared},
            "sessions": self.login.status(),
        }

    def metrics(self) -> Iterable[Family]:
        """The rows of ORIGIN_METRICS."""
        return self.counts.families(len(self.websockets.open), self.login)

    def _connections(self) -> int:
        server = self._runner.server
        return len(server.connections) if server is not None else 0

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._serve], client_max_size=MAX_BODY)
        application.on_response_prepare.append(self._sign)
        items = ItemsApi(self.shelf)
        everything: tuple[tuple[str, Handler], ...] = (
            ("/behave", self.behave.answer),
            ("/echo", echo.echo),
            ("/api/items", items.collection),
            (r"/api/items/{number:[0-9]{1,6}}", items.item),
        )
        readable: tuple[tuple[str, Handler], ...] = (
            ("/files/{name}", files.download),
            ("/healthz", self._healthz),
            (ALIVE, self._alive),
            *self.site.routes(),
        )
        application.router.add_routes([web.route("*", path, handler) for path, handler in everything])
        application.router.add_routes([web.get(path, handler) for path, handler in readable])
        private = [web.route(method, path, handler) for method, path, handler in self.login.routes()]
        application.router.add_routes(private)
        application.router.add_routes([web.get("/ws", self.websockets.answer, allow_head=False)])
        return application

    @web.middleware
    async def _serve(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Around every handler: count it, and turn whatever it raises into an answer."""
        started = clock.now()
        self._running += 1
        self._busy.add(request.protocol)
        self._idle.clear()
        status, size = ABORTED, 0
        try:
            response = await self._answer(request, handler)
            if self._stopping and not response.prepared:
                response.force_close()
            status = response.status
            size = response.body_length if response.prepared else response.content_length or 0
            return response
        finally:
            if request.path != ALIVE:  # a health check every second would drown what people asked for
                self.counts.add(request, status, 0 if request.method == "HEAD" else size, started)
            self._running -= 1
            self._busy.discard(request.protocol)
            if not self._running:
                self._idle.set()

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if self.node.faults is not None and (failed := await self.faults.meets(request)) is not None:
                return failed
            return await handler(request)
        except web.HTTPException as error:
            return self._refused(request, error)
        except ConnectionError:  # the client has gone
            raise
        except Exception:
            if request.get(BEGUN):
                raise  # what was begun can only be cut short
            log.exception("%s %s failed", request.method, request.raw_path)
            return reply.problem(500, "The origin failed on this request; its log says why.")

    def _refused(self, request: web.Request, error: web.HTTPException) -> web.StreamResponse:
        if error.status == 404 and not request.path.startswith(("/api/", "/files/")):
            return self.site.missing(request)
        if error.status == 404:
            return reply.problem(404, "There is nothing at this path.")
        if isinstance(error, web.HTTPMethodNotAllowed):
            allow = ", ".join(sorted(error.allowed_methods))
            return reply.problem(405, f"This resource takes {allow}.", {"Allow": allow})
        if error.status == 413:
            return reply.problem(413, f"The body is over {MAX_BODY} bytes.")
        return reply.problem(error.status, error.reason)

    async def _sign(self, request: web.Request, response: web.StreamResponse) -> None:
        request[BEGUN] = True
        response.headers["Server"] = SERVER
        response.headers["Cdnlab-Origin"] = self.node.name

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n", headers={"Cache-Control": "no-store"})

    async def _alive(self, request: web.Request) -> web.Response:
        """The health answer of our tiers; given to anyone, since an origin has no secrets and no trusted peers."""
        status, _, body = health_answer(self.node.health, self.node.name)
        headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
        return web.Response(status=status, body=body, headers=headers)


def build(node: Node) -> OriginApp:
    """The origin of `node`; nothing is opened yet."""
    return OriginApp(node)
