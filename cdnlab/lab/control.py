"""The lab's control API, over HTTP: every command goes through it, and the page reads it.

    GET  /lab /status                                              on lab.sock and on the page's port
    GET  /requests /events ?after=N&node=NAME&limit=N              the same; feed.py says what the numbers mean
    GET  /flows ?limit=N                                           the same; up to N entries of each balancer
    POST /kill /pause /resume /start {"node": NAME}   /down        on lab.sock only
    GET  / and the page's files                                    on the page's port only

lab.sock needs no token: its directory is its owner's alone. The page's port is read-only, and answers only to hosts
that mean this machine, so that a foreign site cannot read the lab by rebinding its name (DNS rebinding). Errors are
{"error": text, "code": exit code for a command line}. It decides nothing about nodes: whoever watches them does, the
supervisor or the observer.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from cdnlab.lab.errors import MISUSED, LabError
from cdnlab.lab.feed import KEPT
from cdnlab.lab.gather import LAB, Gather
from cdnlab.lab.watch import Watch

PAGE = Path(__file__).with_name("page")
HOST = "127.0.0.1"
#: What a browser on this machine calls it; see local_host_only.
HOSTS = (HOST, "localhost")
#: Entries for one who gives no number to go on from: what a page shows.
NEWEST = 200

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Control:
    """Serves one lab; `open` and `close` it on the running loop."""

    def __init__(self, watch: Watch, gather: Gather) -> None:
        self._watch = watch
        self._gather = gather
        self._runners: list[web.AppRunner] = []

    async def open(self, path: Path, port: int, host: str = HOST) -> None:
        """Serve orders on the Unix socket `path`, and the page on `port` of `host`. OSError if it is taken."""
        private = web.Application(middlewares=[errors])
        self._add_reads(private)
        for name in ("kill", "pause", "resume", "start"):
            private.router.add_post(f"/{name}", self._order(name))
        private.router.add_post("/down", self._down)
        await web.UnixSite(await self._runner(private), str(path)).start()
        page = web.Application(middlewares=[local_host_only, errors])
        self._add_reads(page)
        page.router.add_get("/", index)
        if PAGE.is_dir():
            page.router.add_static("/", PAGE)
        await web.TCPSite(await self._runner(page), host, port).start()

    async def close(self) -> None:
        """Stop serving."""
        for runner in self._runners:
            await runner.cleanup()

    async def _runner(self, app: web.Application) -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.3, handle_signals=False)
        await runner.setup()
        self._runners.append(runner)
        return runner

    def _add_reads(self, app: web.Application) -> None:
        async def lab(request: web.Request) -> web.Response:
            return answer(self._gather.lab())

        async def status(request: web.Request) -> web.Response:
            return answer(await self._gather.status())

        async def flows(request: web.Request) -> web.Response:
            limit = _number(request, "limit")
            return answer(await self._gather.flows(NEWEST if limit is None else limit))

        app.router.add_get("/lab", lab)
        app.router.add_get("/status", status)
        app.router.add_get("/flows", flows)
        for kind in ("requests", "events"):
            app.router.add_get(f"/{kind}", self._feed(kind))

    def _feed(self, kind: str) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            node = request.query.get("node")
            if node is not None and node != LAB:
                self._watch.child(node)
            after, limit = _number(request, "after"), _number(request, "limit")
            if limit is None:
                limit = NEWEST if after is None else KEPT
            return answer(await self._gather.feed(kind, after or 0, node, limit))

        return handle

    def _order(self, name: str) -> Handler:
        act: Callable[[str], Awaitable[None]] = getattr(self._watch, name)

        async def handle(request: web.Request) -> web.Response:
            node = await _node(request)
            await act(node)
            return answer({"node": node, **self._watch.child(node).describe()})

        return handle

    async def _down(self, request: web.Request) -> web.Response:
        self._watch.down()
        return answer({"ending": True})


def answer(data: dict[str, Any], status: int = 200) -> web.Response:
    """JSON that nobody keeps."""
    return web.json_response(data, status=status, headers={"Cache-Control": "no-store"})


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refusals as JSON with the text a person reads: 404 for what does not exist, 409 for what cannot be done now."""
    try:
        return await handler(request)
    except LabError as error:
        return answer({"error": str(error), "code": error.code}, 404 if error.code == MISUSED else 409)


@web.middleware
async def local_host_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """403 unless Host names this machine as a person here would."""
    host = request.host.rpartition(":")[0] if ":" in request.host else request.host
    if host.lower() not in HOSTS:
        return web.Response(status=403, text=f"This page is at http://{HOST}/ only, not at {host!r}.\n")
    return await handler(request)


async def index(request: web.Request) -> web.StreamResponse:
    """The page."""
    path = PAGE / "index.html"
    return (
        web.FileResponse(path)
        if path.is_file()
        else web.Response(status=404, text="The page is not installed.\n")
    )


def _number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name, "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise LabError(f"{name}={text}: it is a number from 0", "", MISUSED)
    return int(text)


async def _node(request: web.Request) -> str:
    try:
        return str((await request.json())["node"])
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError):
        raise LabError('the body is {"node": NAME}', "", MISUSED) from None
