"""The settings of routes: which requests go where, what is left of them, and how many of one client.

Decides what may be set and what holds if nothing is. Must not know pools nor who acts on it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from cdnlab.plan.section import Section, setting
from cdnlab.plan.units import KeptNames, ParameterName, UrlPath


class QuerySpec(Section):
    """What a route leaves of a query: the cache keys on the result, and the result is what is forwarded."""

    sort: bool = setting(
        False,
        "Order the parameters by name; the values of one name keep their order. For applications to which the order "
        "of different names says nothing.",
    )
    drop: tuple[ParameterName, ...] = setting(
        (), "Parameters to leave out: names, or globs such as `utm_*`.", "names"
    )
    keep: KeptNames = setting(
        "all",
        "`all`, `none`, or the only parameters to leave in: names, or globs. What `drop` names goes all the same.",
        "`all`, `none` or names",
    )


class RateLimitSpec(Section):
    """How many requests one client may send: its address, of IPv6 the first 64 bits."""

    requests: float = Field(
        description="Requests per second in the long run.",
        gt=0.0,
        le=1_000_000.0,
        json_schema_extra={"unit": "per second"},
    )
    burst: int = setting(
        10, "Requests that may come at once after a quiet time.", "requests", ge=1, le=1_000_000
    )
    shared: bool = setting(
        False, "Counted by all balancers together, through the store, a few hundredths of a second behind."
    )


class MirrorSpec(Section):
    """A copy of some requests for another pool, whose answers nobody gets."""

    pool: str = Field(description="Where the copies go.", json_schema_extra={"unit": "pool"})
    share: float = setting(1.0, "Share of the requests that are copied.", "share", gt=0.0, le=1.0)


class RouteSpec(Section):
    """Which requests go to which pool: the most exact host first, then the longest path."""

    host: str | None = setting(
        None,
        "Exactly this host, or `*.example.com` for any below it; without one, any host.",
        pattern=r"^(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$",
    )
    path: UrlPath = setting("/", "The path, or a path it lies under.")
    pool: str = Field(description="The pool that serves it.", json_schema_extra={"unit": "pool"})
    query: QuerySpec = Field(
        default_factory=QuerySpec,
        description="What is left of a query, in the key and in what is forwarded.",
    )
    cookies: Literal["rfc", "pass", "strip"] = setting(
        "rfc",
        "What edges do about cookies. `rfc`: nothing, as RFC 9111 has it; `Vary: Cookie` and Cache-Control decide. "
        "`pass`: what bears a cookie goes past the cache. `strip`: cookies are taken out both ways.",
    )
    split: dict[str, float] = setting(
        {},
        "Shares of its requests that go to other pools instead, by pool: `{canary: 0.05}` sends five of a hundred.",
        "pool: share",
    )
    mirror: MirrorSpec | None = setting(None, "What balancers copy to another pool.")
    rate_limit: RateLimitSpec | None = setting(
        None, "How many requests of one client balancers let through (429)."
    )

    @field_validator("split")
    @classmethod
    def _shares(cls, value: dict[str, float]) -> dict[str, float]:
        if any(not 0.0 < share <= 1.0 for share in value.values()) or sum(value.values()) > 1.0:
            raise ValueError("shares are above 0, and together at most 1")
        return value
