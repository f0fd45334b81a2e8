"""What the origin counts: its metrics in one table, and one call per answer that fills them.

Decides names and labels. Must not know how answers come about.
"""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web

from cdnlab.net import clock
from cdnlab.node.metrics import Family, MetricSpec, Tallies, family
from cdnlab.node.node import Node
from origin.login import Login

RESULTS = ("2xx", "3xx", "4xx", "5xx", "aborted")
LABELS = ("result", "client_place")

DURATION = MetricSpec(
    "cdnlab_origin_request_duration_seconds",
    "histogram",
    LABELS,
    "Time from the request's head to the end of the response, by status class, or aborted by the client.",
)
REQUESTS = MetricSpec(
    "cdnlab_origin_requests_total", "counter", LABELS, "Requests answered, by status class."
)
BYTES = MetricSpec("cdnlab_origin_response_bytes_total", "counter", LABELS, "Bytes of response bodies.")
WEBSOCKETS = MetricSpec("cdnlab_origin_websockets", "gauge", (), "WebSockets open now.")
SESSIONS = MetricSpec(
    "cdnlab_origin_sessions",
    "gauge",
    (),
    "Sessions in this server's memory; those in the store are not counted.",
)
SESSION_REQUESTS = MetricSpec(
    "cdnlab_origin_session_requests_total",
    "counter",
    ("result",),
    "Requests for login, cart and logout: ok, or why not.",
)
EVICTED = MetricSpec(
    "cdnlab_origin_sessions_evicted_total",
    "counter",
    (),
    "Sessions that this server dropped for want of room.",
)
ORIGIN_METRICS = (DURATION, REQUESTS, BYTES, WEBSOCKETS, SESSIONS, SESSION_REQUESTS, EVICTED)

MAX_TARGET = 500  # characters of a target that the ring keeps: a thousand of the longest would be megabytes
ABORTED = 499  # the status that nginx writes down for a client that left before its answer


class Counts:
    """The node's tallies and ring, filled once per request."""

    def __init__(self, node: Node) -> None:
        places = node.topology.place_codes()
        self.node = node
        self.tallies = Tallies(RESULTS, places, errors=("5xx",))
        node.tallies = self.tallies

    def add(self, request: web.Request, status: int, size: int, started: float) -> None:
        """Count one request that was answered with `status` and `size` bytes of body; `started`: boot time."""
        seconds = clock.now() - started
        place = request.headers.get("Cdnlab-Place", "")
        index = 4 if status == ABORTED else max(0, min(status // 100 - 2, 3))  # 101 counts among the 2xx
        self.tallies.of(place)[index].add(seconds, size)
        ring = self.node.ring
        ring.seen += 1
        entry = (
            clock.wall() - seconds,
            request.method,
            request.host,
            request.raw_path[:MAX_TARGET],
            status,
            RESULTS[index],
        )
        identity = request.headers.get("X-Request-Id", "")[:100]
        ring.entries.append((*entry, place, seconds, "", size, "", identity, request.remote))

    def families(self, websockets: int, login: Login) -> Iterator[Family]:
        """The rows of ORIGIN_METRICS, filled."""
        yield from self.tallies.families(DURATION, REQUESTS, BYTES)
        yield family(WEBSOCKETS, [((), websockets)])
        yield family(SESSIONS, [((), len(login.keeper))])
        yield family(SESSION_REQUESTS, [((result,), count) for result, count in login.results.items()])
        yield family(EVICTED, [((), login.keeper.evicted)])
