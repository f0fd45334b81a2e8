"""Limits: what one client, one connection or one upstream may cost a node.

Decides the bound, its range and its default, with the precedent cited; the status in brackets is the answer
to whoever exceeds it. Must not know who enforces them.
"""

from __future__ import annotations

from cdnlab.plan.section import KIB, MIB, Section, setting
from cdnlab.plan.units import Duration, Size


class Limits(Section):
    """What a listener takes from its clients."""

    header_bytes: Size = setting(
        32 * KIB,
        "All of a request's header fields (431). nginx takes 4 × 8 KiB, Varnish 32 KiB.",
        "bytes",
        ge=KIB,
        le=MIB,
    )
    header_count: int = setting(
        128, "Number of header fields (431). Apache takes 100, HAProxy 101.", "fields", ge=8, le=10_000
    )
    target_bytes: Size = setting(
        8 * KIB, "The request target (414). RFC 9112 §3 asks for at least 8000.", "bytes", ge=256, le=MIB
    )
    body_bytes: Size = setting(
        0, "A request's body (413); 0 is any. nginx: 1 MiB, HAProxy: any.", "bytes", ge=0
    )
    header_timeout: Duration = setting(
        10.0,
        "From a request's first byte to the end of its header (408). HAProxy's guide: 10 s.",
        "seconds",
        gt=0,
        le=3600,
    )
    idle_timeout: Duration = setting(
        75.0, "A connection without a request is closed after this. nginx: 75 s.", "seconds", gt=0, le=86400
    )
    body_rate: Size = setting(
        128, "A request's body comes at least this fast on average (408); 0 is any.", "bytes per second", ge=0
    )
    body_grace: Duration = setting(
        10.0, "The slowest rate counts from here on. Apache's mod_reqtimeout: 20 s.", "seconds", ge=0, le=3600
    )
    write_timeout: Duration = setting(
        60.0,
        "A client that takes no byte of its response for this long is cut off. nginx: 60 s.",
        "seconds",
        gt=0,
        le=86400,
    )
    connections: int = setting(16_000, "Open connections per node (503).", "connections", ge=1, le=1_000_000)
    connections_per_client: int = setting(
        10_000, "Open connections per client address (429).", "connections", ge=1, le=1_000_000
    )
    connection_rate: float | None = setting(
        None,
        "New connections per second of one client address (of IPv6 the first 64 bits) in the long run (429).",
        "per second",
        gt=0.0,
        le=1_000_000.0,
    )
    connection_burst: int = setting(
        100, "New connections that may come at once after a quiet time.", "connections", ge=1, le=1_000_000
    )
    requests_per_connection: int = setting(
        100_000,
        "Requests on one connection, then it is closed after the answer. nginx: 1000.",
        "requests",
        ge=1,
    )


class UpstreamSpec(Section):
    """What a node gives the backends it asks."""

    connect_timeout: Duration = setting(
        3.0, "For a connection, TLS included; then the next candidate (504).", "seconds", gt=0, le=300
    )
    response_timeout: Duration = setting(
        60.0, "Without a byte from the backend (504). nginx: 60 s.", "seconds", gt=0, le=86400
    )
    idle_timeout: Duration = setting(
        50.0,
        "An idle connection is closed after this; less than the peer's own idle time.",
        "seconds",
        ge=0,
        le=86400,
    )
    idle_per_backend: int = setting(
        256, "Idle connections kept per backend and place.", "connections", ge=0, le=100_000
    )
    reuse_unsafe_max: Duration = setting(
        1.0,
        "A method that may not be repeated does not use a connection that was idle longer.",
        "seconds",
        ge=0,
    )
    replay_bytes: Size = setting(
        64 * KIB,
        "Of a request's body, kept for a retry until the response begins.",
        "bytes",
        ge=0,
        le=16 * MIB,
    )
    retries: int = setting(2, "Further candidates tried after the first.", "candidates", ge=0, le=20)
    retry_budget: float = setting(
        0.2, "Retries for each request of the last seconds. Finagle and Envoy: 0.2.", "share", ge=0, le=1
    )
