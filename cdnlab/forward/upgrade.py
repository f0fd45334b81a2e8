"""Which upgrades are passed on (RFC 9110 §7.8). Pure."""

from __future__ import annotations

from cdnlab.wire.fields import split_list


def to_http2(value: bytes) -> bool:
    """Whether an Upgrade asks for h2c. It is not passed on: what travels in the tunnel would be requests that no route
    and no rule of ours saw (RFC 9113 §3.1 has deprecated it)."""
    return any(member.lower().startswith(b"h2c") for member in split_list(value))
