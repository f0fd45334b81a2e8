"""A control server with the shapes of a running lab's answers, so that what people see is tested without one.

It serves `/lab`, `/status`, `/requests`, `/events` on `lab.sock` in a state directory (if asked, on a TCP port with
the page), from plain data that a test may change while it runs. It knows nothing of nodes or balancing.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

STARTED = 1_790_000_000.0
"""The wall time at which the fake lab started: a constant, so that printed tables can be compared."""

Json = dict[str, Any]


def _node(name: str, tier: str, place: str | None, host: str, **facts: Any) -> Json:
    return {
        "name": name,
        "node": name,
        "tier": tier,
        "place": place,
        "pid": 4000 + len(name),
        "running": True,
        "paused": False,
        "exit": None,
        "log": f"/run/lab/{name}.log",
        "data": f"{host}:8080",
        "admin": f"{host}:9101",
        "state": "ready",
        "ready": True,
        "reason": "started",
        "since": STARTED + 1,
        "uptime": 60.0,
        "version": "0.1.0",
        "connections": 12,
        "requests": {"total": 100, "per_second": 0.0, "errors": 0, "hit_ratio": None},
        "latency": {"p50": None, "p99": None},
        "backends": [],
        "vips": [],
        "store": {"state": "up"},
        **facts,
    }


def _backend(name: str, place: str, **facts: Any) -> Json:
    return {
        "pool": "edges",
        "name": name,
        "place": place,
        "state": "up",
        "usable": True,
        "reason": "",
        "since": STARTED + 1,
        "live": 0,
        **facts,
    }


def status() -> Json:
    """A lab in which edge-icn was killed, edge-fra is frozen, lb-a holds the VIP and traffic runs."""
    edges = {
        "icn": "127.82.1.10",
        "nrt": "127.81.1.10",
        "fra": "127.49.1.10",
        "iad": "127.1.1.10",
        "gru": "127.55.1.10",
        "syd": "127.61.1.10",
    }
    down = {
        "state": "down",
        "usable": False,
        "reason": "health check failed: connection refused",
        "since": STARTED + 30,
    }
    slow = {
        "state": "down",
        "usable": False,
        "reason": "health check failed: no answer within 1 s",
        "since": STARTED + 40,
    }
    backends = [
        _backend(f"edge-{p}", p, **(down if p == "icn" else slow if p == "fra" else {})) for p in edges
    ]
    nodes = [
        _node(
            "lb-a",
            "lb",
            None,
            "127.0.1.10",
            connections=812,
            backends=backends,
            reason="claimed the lease of the VIP",
            requests={"total": 51234, "per_second": 1184.2, "errors": 3, "hit_ratio": None},
            latency={"p50": 0.0031, "p99": 0.211},
            vips=[{"name": "main", "state": "active", "token": 4, "holder": "lb-a"}],
        ),
        _node(
            "lb-b",
            "lb",
            None,
            "127.0.1.11",
            connections=0,
            backends=backends,
            reason="another node holds the lease",
            vips=[{"name": "main", "state": "backup", "token": 4, "holder": "lb-a"}],
        ),
    ]
    for index, (place, host) in enumerate(edges.items()):
        facts: Json = {
            "connections": 40 + 7 * index,
            "requests": {
                "total": 9000,
                "per_second": 90.5 + 61 * index,
                "errors": 3 if place == "gru" else 0,
                "hit_ratio": 0.93 - 0.06 * index,
            },
            "latency": {"p50": 0.0004 + 0.0002 * index, "p99": 0.012 + 0.03 * index},
        }
        if place == "icn":
            facts |= {
                "running": False,
                "exit": -9,
                "state": "dead",
                "reason": "killed by signal 9 (cdnlab kill)",
                "since": STARTED + 29,
                "connections": None,
                "requests": {},
                "latency": {},
            }
        if place == "fra":
            facts |= {"paused": True, "reason": "stopped by cdnlab pause", "since": STARTED + 38}
        nodes.append(_node(f"edge-{place}", "edge", place, host, **facts))
    nodes += [
        _node(
            f"origin-{index}",
            "origin",
            "iad",
            f"127.1.1.{19 + index}",
            requests={"total": 400, "per_second": 31.0, "errors": 0, "hit_ratio": None},
            latency={"p50": 0.0012, "p99": 0.004},
        )
        for index in (1, 2)
    ]
    return {"lab": lab(), "nodes": nodes}


def lab() -> Json:
    return {
        "name": "demo",
        "state_dir": "/run/user/1000/cdnlab/demo",
        "page": "http://127.0.0.1:9100/",
        "vips": [{"name": "main", "address": "127.0.0.1", "port": 8080}],
        "places": [{"code": "icn", "city": "Seoul"}, {"code": "gru", "city": "São Paulo"}],
        "store": {"state": "up", "kind": "embedded"},
        "nodes": [],
    }


def requests() -> list[Json]:
    """Eight requests of two nodes, oldest first."""
    rows = [
        ("lb-a", 1, "GET", "/", 200, "forwarded", "icn", 0.182, "edge-nrt", 5120, "", "a1"),
        ("edge-nrt", 1, "GET", "/", 200, "miss", "icn", 0.180, "origin-1", 5120, "nothing stored", "a1"),
        ("lb-a", 2, "GET", "/", 200, "forwarded", "icn", 0.034, "edge-nrt", 5120, "", "a2"),
        ("edge-nrt", 2, "GET", "/", 200, "hit", "icn", 0.0003, "", 5120, "", "a2"),
        ("lb-a", 3, "POST", "/api/items", 201, "forwarded", "gru", 0.118, "edge-gru", 64, "", "a3"),
        (
            "edge-gru",
            3,
            "POST",
            "/api/items",
            201,
            "pass",
            "gru",
            0.117,
            "origin-2",
            64,
            "the method is not cacheable",
            "a3",
        ),
        ("lb-a", 4, "GET", "/behave?status=503", 503, "forwarded", "gru", 0.121, "edge-gru", 9, "", "a4"),
        (
            "edge-gru",
            4,
            "GET",
            "/behave?status=503",
            503,
            "miss",
            "gru",
            0.119,
            "origin-1",
            9,
            "nothing stored",
            "a4",
        ),
    ]
    keys = (
        "node",
        "method",
        "target",
        "status",
        "result",
        "client_place",
        "seconds",
        "backend",
        "bytes",
        "reason",
        "request_id",
    )
    return [
        {"time": STARTED + 10 + n, "seq": index, "host": "127.0.0.1:8080", "peer": "127.82.1.100"}
        | dict(zip(keys, (node, *rest), strict=True))
        for index, (node, n, *rest) in enumerate(rows, 1)
    ]


def events() -> list[Json]:
    rows = [
        (1.0, "lb-a", "start", "lb-a", "ready"),
        (1.4, "lb-a", "failover", "main", "backup to active: claimed the lease, token 4"),
        (29.0, "lab", "state", "edge-icn", "killed by signal 9 (cdnlab kill)"),
        (30.1, "lb-a", "health", "edge-icn", "up to down: connection refused, 2 checks in a row"),
        (38.0, "lab", "state", "edge-fra", "stopped by cdnlab pause"),
        (40.2, "lb-a", "health", "edge-fra", "up to down: no answer within 1 s, 2 checks in a row"),
    ]
    return [
        {"time": STARTED + t, "seq": index, "node": node, "kind": kind, "subject": subject, "text": text}
        for index, (t, node, kind, subject, text) in enumerate(rows, 1)
    ]


class FakeLab:
    """The data that the server answers from. Change any of it from the test; the next look sees it."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.lab = lab()
        self.status = status()
        self.requests = requests()
        self.events = events()
        self.asked: list[str] = []
        self.port = 0
        self.broken = False
        """Whether every question is answered with 503, as by a lab that is ending."""

    def app(self, page: Path | None = None) -> web.Application:
        app = web.Application()

        def rows(data: list[Json], name: str, query: Any) -> Json:
            after = int(query.get("after", 0))
            node = query.get("node")
            found = [row for row in data if row["seq"] > after and (not node or row["node"] == node)]
            return {name: found, "next": data[-1]["seq"] if data else 0}

        def answer(pick: Any) -> Any:
            async def handle(request: web.Request) -> web.Response:
                self.asked.append(request.path_qs)
                if self.broken:
                    return web.json_response({"error": "the lab is ending", "code": 1}, status=503)
                return web.json_response(pick(request.query))

            return handle

        app.router.add_get("/lab", answer(lambda _: self.lab))
        app.router.add_get("/status", answer(lambda _: self.status))
        app.router.add_get("/requests", answer(lambda query: rows(self.requests, "requests", query)))
        app.router.add_get("/events", answer(lambda query: rows(self.events, "events", query)))
        if page is not None:

            async def index(request: web.Request) -> web.StreamResponse:
                return web.FileResponse(page / "index.html")

            app.router.add_get("/", index)
            app.router.add_static("/", page)
        return app


@contextmanager
def fake_lab(state: Path, *, page: Path | None = None) -> Iterator[FakeLab]:
    """A fake lab on `state`/lab.sock, served by a thread of its own; with `page`, also on `.port` of 127.0.0.1."""
    fake = FakeLab(state)
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(fake.app(page), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, str(state / "lab.sock")).start()
        if page is not None:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            fake.port = runner.addresses[-1][1]
        return runner

    def serve() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield fake
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
