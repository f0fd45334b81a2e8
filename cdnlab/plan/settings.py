"""The settings of a topology by section: type, unit, range, default and a sentence, each declared once.

Decides what may be set and what holds if nothing is. docs/topology.md and the error messages come from here.
Must not know how the sections refer to each other (check.py) nor where they were read (load.py).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from cdnlab.plan.compression import CompressionSpec
from cdnlab.plan.disk import DiskSpec
from cdnlab.plan.section import KIB, MIB, Section, setting
from cdnlab.plan.units import Address, AdminAddress, Duration, Name, Size, StatusRange, StoreUrl


def derived(offset: int, text: str) -> Any:
    """A port that follows ports.base unless it is given: `offset` above it, or below where 65535 ends."""
    extra: Any = {"unit": "port", "default_text": f"base + {offset}"}
    return Field(
        default_factory=lambda data: beside(data["base"], offset),
        description=text,
        json_schema_extra=extra,
        ge=0,
        le=65535,
    )


def beside(base: int, offset: int) -> int:
    """The port `offset` from `base`; 0, which asks the system for a free port, stays 0."""
    if base == 0:
        return 0
    return base + offset if base + offset <= 65535 else base - offset


class Clients(Section):
    """Who the clients are."""

    may_choose_place: bool = setting(
        False,
        "Clients may move themselves by the host `<place>.localhost` or the field `Cdnlab-From: <place>`. "
        "For laboratories; where it is off, both are ignored.",
    )
    trusted: tuple[Address, ...] = setting(
        (),
        "Addresses besides the topology's own nodes whose X-Forwarded-For and PROXY headers are believed. "
        "Single addresses only: on loopback a trusted range would be everybody.",
    )


class Ports(Section):
    """Where nodes and VIPs listen, unless a node or VIP has a port of its own. 0 asks for a free one."""

    base: int = setting(8080, "The port for HTTP.", "port", ge=0, le=65535)
    tcp: int = derived(1, "The port for TCP through the balancer at layer 4.")
    udp: int = derived(2, "The port for UDP through the balancer at layer 4.")
    page: int = derived(1020, "The port of the lab's web page.")
    admin: int = derived(1021, "The port of each node's admin API, on the node's own address.")

    @property
    def data(self) -> int:
        """The HTTP port, under the name the nodes use for it."""
        return self.base


class Vip(Section):
    """A virtual address. Clients use it; the active balancer holds it, the others wait."""

    name: Name = setting("main", "Its name in status, events and the store.")
    address: Address = setting("127.0.0.1", "The address clients connect to.", "IP address")
    port: int | None = setting(
        None, "The port clients connect to; by default ports.base.", "port", ge=0, le=65535
    )
    http: bool = setting(True, "Whether HTTP is served under it. Off, it has the ports of `l4` only.")
    provider: Literal["lab", "reuseport"] = setting(
        "lab",
        "How balancers come by its socket. `lab`: `cdnlab up` opens one and all inherit it. `reuseport`: each holder "
        "opens its own and steers to it; for balancers that are started apart on one host or network namespace.",
    )


class Distance(Section):
    """Whether distance is felt: who connects delays bytes as light in fibre between the places would."""

    enabled: bool = setting(True, "Off leaves the bare connection: distance costs nothing then.")
    stretch: float = setting(
        1.0,
        "Length of the cable over the great circle. 1 is the physical floor; real paths have 1.5 to 2.",
        "factor",
        ge=0.01,
        le=100.0,
    )
    window: Size = setting(
        256 * KIB,
        "Bytes on their way per connection and direction: throughput is window over round trip, as in TCP.",
        "bytes",
        ge=4 * KIB,
        le=64 * MIB,
    )


class PlaceSpec(Section):
    """A place of your own, or changes to a shipped one: whatever is left out stays as shipped."""

    city: str | None = setting(None, "The city's name, for people.")
    country: str | None = setting(None, "The country's name, for people.")
    country_code: str | None = setting(None, "ISO 3166-1 alpha-2.", pattern=r"^[A-Z]{2}$")
    continent: str | None = setting(None, "The continent's name, for people.")
    latitude: float | None = setting(
        None, "Required for a new place; north is positive.", "degrees", ge=-90, le=90
    )
    longitude: float | None = setting(
        None, "Required for a new place; east is positive.", "degrees", ge=-180, le=180
    )
    prefixes: tuple[str, ...] | None = setting(
        None, "Addresses whose clients stand here; the longest prefix wins.", "IP prefixes"
    )


class NodeSpec(Section):
    """One process with one event loop. More capacity is more nodes."""

    tier: Literal["lb", "edge", "origin"] = Field(description="What it does.")
    place: str | None = setting(
        None,
        "The code of its place. One without stands where its client stands, as every balancer does.",
        "place",
    )
    address: Address = Field(
        description="The address it listens on, and connects from.", json_schema_extra={"unit": "IP address"}
    )
    addresses: tuple[Address, ...] = setting(
        (),
        "Its further addresses, where it stands on several networks: there the system chooses from which of them it "
        "connects, and its peers trust each.",
        "IP addresses",
    )
    data_port: int | None = setting(None, "Its port for HTTP; by default ports.base.", "port", ge=0, le=65535)
    admin_port: int | None = setting(
        None, "The port of its admin API; by default ports.admin.", "port", ge=0, le=65535
    )
    admin_address: AdminAddress | None = setting(
        None, "Where its admin API listens; by default its address. `off`: it has none.", "IP address"
    )


class NegativeSpec(Section):
    """For how long a response is kept that has a status such as 404 and does not say for how long itself."""

    status: StatusRange = Field(description="Its status, or a range such as 500-599.")
    ttl: Duration = Field(
        description="Its freshness lifetime.", ge=0.0, le=86400.0, json_schema_extra={"unit": "seconds"}
    )


PolicyName = Literal["lru", "fifo", "sieve", "s3fifo", "wtinylfu", "arc", "gdsf"]
"""The eviction policies; a test holds the list against edge/eviction."""


class EdgeSpec(Section):
    """What the edges do."""

    pool: str = setting("origins", "The pool they fetch from.", "pool")
    shield: str | None = setting(
        None,
        "Whom they ask before the origin: an edge, a place (the edges there share the keys), or a pool. A shield asks "
        "the origin itself, and one that does not answer is bypassed.",
        "node, place or pool",
    )
    share: bool = setting(
        True,
        "Edges at one place share the keys between them, so that each adds memory: one that misses another's key asks "
        "that one, once, and does not store the answer.",
    )
    parent_connect_timeout: Duration = setting(
        1.0,
        "For a connection to another edge; then whoever comes next is asked: shield, then origin.",
        "seconds",
        gt=0.0,
        le=60.0,
    )
    memory: Size = setting(
        "256MiB", "What one edge may store in memory; 0 stores nothing.", "bytes", ge=0, validate_default=True
    )
    disk: DiskSpec = Field(
        default_factory=DiskSpec, description="What they store on disk, beside what they store in memory."
    )
    object_max: Size = Field(
        default_factory=lambda data: max(data["memory"], data["disk"].size) // 8,
        description="A larger response is passed on and not stored, one above an eighth of the memory on disk only. "
        "HAProxy: a 256th of the memory.",
        ge=0,
        json_schema_extra={"unit": "bytes", "default_text": "memory / 8, or disk.size / 8 if that is more"},
    )
    policy: PolicyName = setting(
        "lru",
        "Which object goes when room is needed. `cdnlab policy` changes it while the edge runs.",
        "policy",
    )
    shadows: tuple[PolicyName, ...] = setting(
        ("lru", "fifo", "sieve", "s3fifo", "wtinylfu", "arc", "gdsf"),
        "Policies that run beside it on keys alone, so that `cdnlab status --policies` can say what the hit ratio "
        "would have been under each. Together they take at most 42 MiB, and of many keys look at a part. Empty: none.",
        "policies",
    )
    variants_max: int = setting(
        32,
        "Responses stored under one key that differ by Vary; the oldest goes first.",
        "variants",
        ge=1,
        le=1000,
    )
    collapse_waiters: int = setting(
        10_000, "Requests that may wait for one fetch of the same key; the next fetch for themselves.", ge=0
    )
    collapse_timeout: Duration = setting(
        10.0,
        "A request that waited this long for another's fetch fetches for itself.",
        "seconds",
        gt=0.0,
        le=600.0,
    )
    stale_disconnected: Duration = setting(
        3600.0,
        "For how long after its end of freshness a response is sent while no origin can be reached, unless it forbids "
        "that. 0: only what stale-if-error allows.",
        "seconds",
        ge=0.0,
    )
    background_max: int = setting(
        100, "Stale responses (stale-while-revalidate) that are validated behind at a time.", "fetches", ge=0
    )
    negative: tuple[NegativeSpec, ...] = setting(
        (),
        "Statuses whose responses are kept although they do not say for how long; the first that fits counts.",
    )
    purge_lag_max: Duration = setting(
        2.0,
        "How old an edge's word may be that it has applied every purge. An edge that was frozen for longer revalidates "
        "what it holds until the store has confirmed it, and is not ready meanwhile.",
        "seconds",
        ge=0.2,
        le=60.0,
    )
    purge_when_blind: Literal["serve", "revalidate"] = setting(
        "serve",
        "What an edge does while the store is away: `serve` what is fresh, at the risk that it was purged elsewhere, "
        "or `revalidate` it first. Purges posted to the edge itself apply in both.",
    )
    compression: CompressionSpec = Field(
        default_factory=CompressionSpec,
        description="What is sent in a content coding that the origin did not apply.",
    )

    def negative_ttl(self) -> dict[int, int]:
        """Seconds by status, of every status that a rule is for."""
        found: dict[int, int] = {}
        for rule in self.negative:
            low, high = rule.status
            for status in range(low, high + 1):
                found.setdefault(status, int(rule.ttl))
        return found


class StoreSpec(Section):
    """The Redis-protocol server that leases, replicates and broadcasts. Requests never wait for it."""

    url: StoreUrl | None = setting(
        None, "Without one the lab starts an embedded server on a socket in its state directory.", "URL"
    )


class OriginSpec(Section):
    """What the demo origins do."""

    sessions: Literal["local", "clustered"] = setting(
        "local",
        "Where logins and carts lie: `local`, in the memory of the origin that began them, or `clustered`, in the "
        "store, where every origin finds them.",
    )
    session_lifetime: Duration = setting(
        1800.0, "A session that nobody used for this long is forgotten.", "seconds", ge=1.0, le=30 * 86400.0
    )
    dns: int | None = setting(
        None,
        "UDP port on which origins answer DNS: where the edges of a place are (docs/flows.md). By default none.",
        "port",
        ge=1,
        le=65535,
    )


class FailoverSpec(Section):
    """How the balancers agree on who holds a VIP."""

    lease: Duration = setting(
        1.0, "A holder that does not renew within this has lost it.", "seconds", ge=0.1, le=60.0
    )
    renew: Duration = setting(
        0.25,
        "How often the holder renews and the others look; at most a third of the lease.",
        "seconds",
        ge=0.01,
    )


_ACCESS = re.compile(r"off|all|sample 1/([1-9][0-9]{0,8})")


def _access(value: str) -> str:
    if not _ACCESS.fullmatch(value):
        raise ValueError("write off, all, or such as `sample 1/100`")
    return value


class LogSpec(Section):
    """What nodes write into their log files."""

    access: Annotated[str, AfterValidator(_access)] = setting(
        "off", "JSON lines, one per request: `off`, `all`, or `sample 1/100` for each hundredth."
    )

    @property
    def every(self) -> int:
        """0 for no access log, 1 for every request, n for each n-th."""
        match = _ACCESS.fullmatch(self.access)
        return 0 if self.access == "off" or match is None else int(match[1] or 1)
