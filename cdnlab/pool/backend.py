"""One address that a tier can send to, with its live counts and what is believed of it.

It knows no connection: `idle` is a slot in which the network side keeps what it likes.
"""

from __future__ import annotations

from cdnlab.pool.health import Health, State
from cdnlab.pool.reasons import Reason


class Backend:
    """One member of a pool. The counts are plain integers, so that a request may change them in place."""

    __slots__ = (
        "draining",
        "failures",
        "health",
        "host",
        "idle",
        "key",
        "live",
        "name",
        "ours",
        "place",
        "port",
        "served",
        "server_name",
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
        tls: bool = False,
        server_name: str | None = None,
        unix: str | None = None,
        ours: bool = False,
        health: Health | None = None,
    ) -> None:
        """`place` is a place's code or ""; `weight` at least 1; `ours`: one of the lab's own nodes."""
        if weight < 1:
            raise ValueError(f"backend {name}: weight {weight} is below 1; drain it to send it nothing")
        self.name = name
        self.host = host
        self.port = port
        self.unix = unix
        self.place = place
        self.weight = weight
        self.tls = tls
        self.server_name = server_name or host
        self.ours = ours
        self.key = unix or (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        self.health = health or Health()
        self.draining = False
        self.live = 0
        self.served = 0
        self.failures = 0
        self.idle: object | None = None

    @property
    def usable(self) -> bool:
        """Whether a new exchange may go there."""
        return not self.draining and self.health.usable

    def reason(self) -> Reason:
        """Say why it is usable or not."""
        if self.draining:
            return Reason.DRAINING
        if self.health.state is State.DOWN:
            return Reason.DOWN
        return Reason.UNKNOWN if self.health.state is State.UNKNOWN else Reason.USABLE

    def __repr__(self) -> str:
        """Name, address and state, for people who debug."""
        return f"<Backend {self.name} {self.key} {self.reason()} live={self.live}>"
