"""The settings of pools: backends, how they are checked, chosen and spared, and which client stays with which.

Decides what may be set and what holds if nothing is, with the precedent cited. Must not know who acts on it.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from cdnlab.plan.section import Section, setting
from cdnlab.plan.units import CookieName, Duration, Host, Name, StatusRange, UrlPath

AlgorithmName = Literal[
    "round_robin",
    "random",
    "least_connections",
    "power_of_two",
    "source_hash",
    "ring_hash",
    "maglev",
    "bounded_load",
    "nearest",
    "first",
]
InnerName = Literal[
    "round_robin",
    "random",
    "least_connections",
    "power_of_two",
    "source_hash",
    "ring_hash",
    "maglev",
    "bounded_load",
    "first",
]


class HealthSpec(Section):
    """How each node finds out by itself whether a backend is usable. A new one is, until shown otherwise."""

    kind: Literal["alive", "http", "tcp", "tls", "none"] = setting(
        "tcp",
        "`alive` asks our own nodes about themselves; `http` asks for `path`; `tcp` connects; `tls` shakes hands and "
        "looks at the certificate; `none` never asks. By default `alive` for a tier, `tcp` for listed backends.",
    )
    path: UrlPath = setting("/", "What `http` asks for.")
    host: Host | None = setting(
        None,
        "The Host `http` sends, and the name `tls` asks for; by default the pool's origin_host, else the backend.",
    )
    expect: tuple[StatusRange, ...] = setting(
        ((200, 399),), "Statuses that `http` takes for healthy: 200, or 200-399.", min_length=1
    )
    body: str | None = setting(
        None,
        "Text that must occur in the first 64 KiB of the answer to `http`; with `~` before it a regular expression.",
        min_length=1,
        max_length=1024,
    )
    interval: Duration = setting(
        2.0, "From one check to the next (HAProxy's `inter`: 2 s).", "seconds", ge=0.05, le=3600.0
    )
    interval_down: Duration | None = setting(
        None,
        "The interval while a backend is down or about to change (HAProxy's `fastinter` and `downinter`); by default "
        "the smaller of `interval` and 1 s.",
        "seconds",
        ge=0.05,
        le=3600.0,
    )
    jitter: float = setting(
        0.1,
        "Share of the interval by which each one varies, so that nodes don't check in step.",
        "share",
        ge=0,
        le=0.5,
    )
    timeout: Duration = setting(
        1.0, "A check without an answer after this has failed.", "seconds", gt=0.0, le=60.0
    )
    rise: int = setting(
        2, "Good checks in a row until a backend is up again (HAProxy: 2).", "checks", ge=1, le=100
    )
    fall: int = setting(
        3, "Failed checks in a row until a backend is down (HAProxy: 3).", "checks", ge=1, le=100
    )

    def accepts(self, status: int) -> bool:
        """Whether an answer with `status` counts as healthy."""
        return any(low <= status <= high for low, high in self.expect)

    @field_validator("body")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None and value.startswith("~"):
            try:
                re.compile(value[1:])
            except re.error as error:
                raise ValueError(f"this is no regular expression: {error}") from None
        return value


class EjectionSpec(Section):
    """When a backend that its checks call good is left out for a while, because requests to it fail."""

    consecutive: int = setting(
        5, "Failures in a row until it is ejected (Envoy: 5); 0 is never.", "failures", ge=0, le=10_000
    )
    statuses: tuple[StatusRange, ...] = setting(
        ((502, 504),),
        "Statuses that count as failures. No connection, a reset and a time-out always do.",
    )
    success_rate: bool = setting(
        True,
        "Eject those whose share of good answers lies far below the others' (Envoy's success rate).",
    )
    minimum_requests: int = setting(
        100, "Requests in an interval from which on a backend's rate is looked at.", "requests", ge=1
    )
    minimum_backends: int = setting(
        3, "Backends with so many requests that there must be to compare.", "backends", ge=2
    )
    deviations: float = setting(
        1.9, "Standard deviations below the mean that are far (Envoy: 1.9).", "factor", gt=0.0, le=100.0
    )
    interval: Duration = setting(
        10.0, "From one comparison of success rates to the next.", "seconds", ge=0.1, le=3600.0
    )
    time: Duration = setting(
        30.0, "The first ejection; the n-th in a row lasts n times as long.", "seconds", ge=0.1, le=86400.0
    )
    time_max: Duration = setting(300.0, "The longest ejection.", "seconds", ge=0.1, le=86400.0)
    max_share: float = setting(
        0.5,
        "Share of a pool's backends that may be ejected at a time. One always may, the last usable one never.",
        "share",
        ge=0,
        le=1,
    )


class StickySpec(Section):
    """Whether a client stays with the backend it was first sent to."""

    mode: Literal["off", "cookie", "source", "learn"] = setting(
        "off",
        "`cookie`: a signed cookie of ours says where. `source`: the client's address does. `learn`: the application's "
        "own cookie does, once a backend has set it.",
    )
    cookie: CookieName | None = setting(
        None,
        "The cookie's name: ours, by default `cdnlab-pin`, or `cdnlab-pin-POOL` where several pools have one; with "
        "`learn` the application's, which has to be given.",
    )
    prefix4: int = setting(
        32, "Bits of an IPv4 address that make a client, for `source`.", "bits", ge=1, le=32
    )
    prefix6: int = setting(
        64, "Bits of an IPv6 address that make a client, for `source`.", "bits", ge=1, le=128
    )
    lifetime: Duration = setting(
        3600.0, "A pin that nobody used for this long is forgotten.", "seconds", ge=1.0, le=30 * 86400.0
    )
    table_max: int = setting(
        100_000, "Pins a node remembers; the one longest unused goes first.", "pins", ge=1, le=10_000_000
    )
    same_site: Literal["lax", "strict", "none"] = setting("lax", "The SameSite of our cookie.")
    secure: bool = setting(False, "Our cookie is for HTTPS only. Browsers want it where same_site is `none`.")
    path: UrlPath = setting("/", "The path our cookie is for.")

    @model_validator(mode="after")
    def _named(self) -> StickySpec:
        if self.mode == "learn" and self.cookie is None:
            raise ValueError("`learn` needs the name of the application's cookie in `cookie`")
        return self


class RetrySpec(Section):
    """When a request is sent a second time, beside `upstream.retries` and its budget."""

    statuses: tuple[StatusRange, ...] = setting(
        (), "Statuses after which another backend is asked, for methods that may be repeated."
    )
    try_timeout: Duration | None = setting(
        None,
        "For one attempt, until the response's head; then the next candidate is asked (504).",
        "seconds",
        gt=0.0,
        le=3600.0,
    )
    timeout: Duration | None = setting(
        None, "For all attempts together, until the response's head (504).", "seconds", gt=0.0, le=3600.0
    )
    hedge_after: Duration | None = setting(
        None,
        "Without a response's head for this long, another backend is asked beside the first, and whoever answers "
        "first is heard. For methods that may be repeated.",
        "seconds",
        gt=0.0,
        le=3600.0,
    )


class BreakerSpec(Section):
    """What one node asks of one backend at a time; what exceeds it waits, and then is refused with 503."""

    connections: int = setting(0, "Connections to a backend; 0 is any.", "connections", ge=0)
    requests: int = setting(
        0, "Requests in flight at a backend (HAProxy's `maxconn`); 0 is any.", "requests", ge=0
    )
    pending: int = setting(
        1000, "Requests of a pool that may wait for a backend with room.", "requests", ge=0, le=1_000_000
    )
    wait: Duration = setting(
        1.0, "How long one waits (HAProxy's `timeout queue`).", "seconds", gt=0.0, le=3600.0
    )


class BackendSpec(Section):
    """One address a pool can send to."""

    name: Name = Field(description="Its name in status, log and metrics; never its address.")
    address: Host = Field(description="Host name or IP address.")
    port: int = Field(description="Its port.", ge=1, le=65535, json_schema_extra={"unit": "port"})
    check_port: int | None = setting(
        None, "Where it is checked; by default at its port.", "port", ge=1, le=65535
    )
    place: str | None = setting(None, "Where it stands; without a place it is at no distance.", "place")
    weight: int = setting(
        1,
        "Its share of the requests, against the pool's other backends. 0: nothing new, as if it drained.",
        ge=0,
        le=1000,
    )
    priority: int = setting(
        0,
        "For `first`: the backends of the lowest number that has a usable one are used. Where all have the same, the "
        "first usable one in the order of the list is.",
        ge=0,
        le=1000,
    )
    tls: bool = setting(False, "Connect with TLS and verify its certificate.")
    server_name: Host | None = setting(None, "The name its certificate must bear; by default its address.")


class PoolSpec(Section):
    """A set of backends with one policy: the nodes of a tier, or a list."""

    algorithm: AlgorithmName = setting(
        "round_robin",
        "How the first candidate, and the order of the rest, is chosen: docs/balancing.md.",
    )
    inner: InnerName = setting(
        "bounded_load",
        "For `nearest`: how to choose among the backends of one place. `bounded_load`: the edges there share the keys "
        "between them.",
    )
    hash_on: Literal["target", "source"] = setting(
        "target",
        "What `ring_hash`, `maglev` and `bounded_load` hash: what is asked for (the edge's key; at layer 4 both ends "
        "of the flow), or who asks.",
    )
    balance_factor: float = setting(
        1.25,
        "For `bounded_load`: a backend with more than this times its share in flight is passed over (HAProxy's "
        "hash-balance-factor: 125 to 200 %).",
        "factor",
        ge=1.0,
        le=100.0,
    )
    tier: Literal["lb", "edge", "origin"] | None = setting(None, "All nodes of this tier are its backends.")
    service: Literal["http", "tcp", "udp"] = setting(
        "http", "Which port of a tier's nodes is meant: ports.base, ports.tcp or ports.udp."
    )
    backends: tuple[BackendSpec, ...] = setting((), "Its backends, where they are not a tier.")
    health: HealthSpec = Field(
        default_factory=lambda data: HealthSpec(kind="alive" if data.get("tier") else "tcp"),
        description="How its backends are checked.",
    )
    ejection: EjectionSpec = Field(
        default_factory=EjectionSpec, description="When a backend is left out because requests to it fail."
    )
    slow_start: Duration = setting(
        0.0,
        "A backend that recovered gets its full weight after this, little by little; 0 is at once. Hashes do not "
        "take part.",
        "seconds",
        ge=0.0,
        le=86400.0,
    )
    panic: float = setting(
        0.0,
        "Below this share of usable backends all of them are used, since the checks are more likely wrong than so "
        "many backends down (Envoy: 0.5); 0 is never.",
        "share",
        ge=0,
        le=1,
    )
    sticky: StickySpec = Field(default_factory=StickySpec, description="Whether clients stay with a backend.")
    retry: RetrySpec = Field(default_factory=RetrySpec, description="When a request is sent a second time.")
    breaker: BreakerSpec = Field(
        default_factory=BreakerSpec, description="What is asked of one backend at a time."
    )
    send_proxy: Literal["off", "v1", "v2"] = setting(
        "off", "At layer 4, the PROXY header that its backends get: they see the client's address in it."
    )
    origin_host: str | None = setting(
        None,
        "The Host that its backends receive; by default the client's own, unchanged.",
        pattern=r"^[A-Za-z0-9.:\[\]_-]+$",
    )
    forwarded_proto: Literal["http", "https"] | None = setting(
        None, "The X-Forwarded-Proto its backends receive, for applications that redirect to HTTPS."
    )

    @model_validator(mode="before")
    @classmethod
    def _kind_of_check(cls, data: Any) -> Any:
        """Settings for the checks that leave their kind open get the kind that fits the backends."""
        if not isinstance(data, dict) or not isinstance(data.get("health"), dict) or "kind" in data["health"]:
            return data
        return {**data, "health": {**data["health"], "kind": "alive" if data.get("tier") else "tcp"}}
