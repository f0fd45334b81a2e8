"""One address that a tier can send to, with its live counts and what is believed of it.

It knows no connection: `idle` is a slot in which the network side keeps what it likes. Nor does it know the clock:
whoever judges writes down what it found, and the pool is told by `usable_changed()`.

Three judges speak, and each may only say no for itself: the operator (`draining`, a weight of 0), the active checks
(`health`) and the watch over real exchanges (`ejected_until`). A backend is usable while nobody says no.
"""

from __future__ import annotations

from cdnlab.pool.health import Health, State
from cdnlab.pool.reasons import Reason

UNBOUNDED = 1 << 62
"""`limit` of a backend without a circuit breaker."""


class Backend:
    """One member of a pool. The counts are plain integers, so that a request may change them in place."""

    __slots__ = (
        "check_port",
        "draining",
        "ejected_at",
        "ejected_until",
        "ejected_why",
        "ejections",
        "ewma",
        "ewma_at",
        "failures",
        "faults",
        "health",
        "host",
        "idle",
        "key",
        "limit",
        "live",
        "name",
        "ours",
        "pending",
        "place",
        "port",
        "priority",
        "ramp",
        "served",
        "server_name",
        "share",
        "streak",
        "tls",
        "unix",
        "weight",
    )

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        *,
        place: str = "",
        weight: int = 1,
        priority: int = 0,
        check_port: int | None = None,
        tls: bool = False,
        server_name: str | None = None,
        unix: str | None = None,
        ours: bool = False,
        health: Health | None = None,
    ) -> None:
        """`place` is a place's code or ""; `weight` 0 takes nothing new; `priority` 0 comes first; `check_port`: where
        it is checked, if not at its port; `ours`: one of the lab's own nodes."""
        if weight < 0:
            raise ValueError(f"backend {name}: weight {weight} is below 0; 0 sends it nothing")
        self.name = name
        self.host = host
        self.port = port
        self.check_port = check_port or port
        self.unix = unix
        self.place = place
        self.weight = weight
        self.priority = priority
        self.tls = tls
        self.server_name = server_name or host
        self.ours = ours
        self.key = unix or (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        self.health = health or Health()
        self.draining = False
        self.ejected_until = 0.0
        """The instant at which its ejection ends; 0: it is not ejected."""
        self.ejected_at = 0.0
        self.ejected_why = ""
        """When the last ejection began, and why."""
        self.ejections = 0
        """How often it was ejected."""
        self.streak = 0
        """Exchanges that failed in a row."""
        self.faults = 0
        """Exchanges that the ejector was told of as failed: broken ones, and bad statuses."""
        self.ramp = 1.0
        """Slow start: the part of its weight that it has by now, in tenths."""
        self.share = float(weight)
        """The weight that counts now, weight x ramp: what algorithms that balance by weight go by."""
        self.ewma = self.ewma_at = 0.0
        """Peak-sensitive mean of its response times, seconds, and when it was last brought up to date."""
        self.limit = UNBOUNDED
        """Exchanges in flight at most (circuit breaker)."""
        self.pending = 0
        self.live = 0
        self.served = 0
        self.failures = 0
        self.idle: object | None = None

    @property
    def usable(self) -> bool:
        """Whether a new exchange may go there."""
        return not self.draining and not self.ejected_until and self.weight > 0 and self.health.usable

    @property
    def wanted(self) -> bool:
        """Whether the operator wants it to be used: what a panicking pool goes by."""
        return not self.draining and self.weight > 0

    def weigh(self, weight: int, ramp: float = 1.0) -> None:
        """Set the weight and the part of it that counts; then tell the pool."""
        self.weight = weight
        self.ramp = ramp
        self.share = weight * ramp

    def reason(self) -> Reason:
        """Say why it is usable or not."""
        if self.draining:
            return Reason.DRAINING
        if not self.weight:
            return Reason.NO_WEIGHT
        if self.health.state is State.DOWN:
            return Reason.DOWN
        if self.ejected_until:
            return Reason.EJECTED
        return Reason.UNKNOWN if self.health.state is State.UNKNOWN else Reason.USABLE

    def __repr__(self) -> str:
        """Name, address and state, for people who debug."""
        return f"<Backend {self.name} {self.key} {self.reason()} live={self.live}>"
