"""The settings of what balancers do at layer 4: listeners for TCP and UDP, and the table of flows.

Decides what may be set and what holds if nothing is. Must not know pools nor who acts on it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from cdnlab.plan.section import Section, setting
from cdnlab.plan.units import Duration

TCP_IDLE = 300.0
UDP_IDLE = 30.0


class L4Spec(Section):
    """A port of every VIP whose bytes are passed on as they are."""

    protocol: Literal["tcp", "udp"] = Field(description="Which kind of flow.")
    port: int | None = setting(None, "Its port; by default ports.tcp or ports.udp.", "port", ge=0, le=65535)
    pool: str = Field(description="The pool that serves it.", json_schema_extra={"unit": "pool"})
    idle_timeout: Duration = Field(
        default_factory=lambda data: UDP_IDLE if data.get("protocol") == "udp" else TCP_IDLE,
        description="A flow without a byte for this long is over.",
        gt=0.0,
        le=7 * 86400.0,
        json_schema_extra={
            "unit": "seconds",
            "default_text": f"`{TCP_IDLE:g}s` for TCP, `{UDP_IDLE:g}s` for UDP",
        },
    )
    connect_timeout: Duration = setting(
        5.0, "For a connection to a backend; then the next candidate.", "seconds", gt=0.0, le=300.0
    )
    accept_proxy: bool = setting(
        False,
        "Every connection begins with a PROXY header (version 1 or 2), and only trusted peers may connect.",
    )
    sni: dict[str, str] = setting(
        {},
        "Pools by the server name that a TLS client asks for: `shop.example.com`, or `*.example.com` for any below "
        "it. TLS stays untouched; a client that asks for no name here gets `pool`.",
    )
    max_flows: int = setting(
        10_000, "Flows at a time; further ones are refused.", "flows", ge=1, le=10_000_000
    )
    max_flows_per_client: int = setting(
        10_000, "Flows of one client address at a time.", "flows", ge=1, le=10_000_000
    )
    drain: Duration = setting(
        30.0,
        "How long a balancer that ends, or hands its VIP over, lets flows go on.",
        "seconds",
        ge=0.0,
        le=86400.0,
    )

    @model_validator(mode="before")
    @classmethod
    def _only_tcp(cls, data: Any) -> Any:
        """What only TCP has is refused for UDP: it would do nothing."""
        if isinstance(data, dict) and data.get("protocol") == "udp":
            for name in ("sni", "accept_proxy"):
                if data.get(name):
                    raise ValueError(f"`{name}` is for TCP only")
        return data


class FlowSpec(Section):
    """The table of layer-4 flows."""

    max: int = setting(1_000_000, "Entries, those of other balancers included.", "flows", ge=1, le=10_000_000)
    replicate: bool = setting(True, "Other balancers get to know the flows, through the store.")
    batch: Duration = setting(
        0.02, "What changed within this goes to the store together.", "seconds", ge=0.001, le=1.0
    )
