"""The Cache-Status field (RFC 9211): what this cache did, appended after the members of caches nearer the origin.

Decides spelling only. Pure.
"""

from __future__ import annotations

import re
from enum import StrEnum

_TOKEN = re.compile(rb"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*")


class Fwd(StrEnum):
    """Why a request went on toward the origin (RFC 9211 §2.2)."""

    BYPASS = "bypass"
    METHOD = "method"
    URI_MISS = "uri-miss"
    VARY_MISS = "vary-miss"
    REQUEST = "request"
    STALE = "stale"
    PARTIAL = "partial"


def name(node: bytes) -> bytes:
    """The node's name as an sf-token where it is one, else as an sf-string (RFC 9211 §2 allows both)."""
    if _TOKEN.fullmatch(node):
        return node
    return b'"%b"' % node.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def chain(received: bytes | None) -> bytes:
    """What stands before our member: the received value and a comma, or nothing."""
    return received + b", " if received else b""


def hit(node: bytes, ttl: int, detail: str = "") -> bytes:
    """Our member for an answer from the store; ttl in seconds, negative when stale (RFC 9211 §2.4)."""
    member = b"%b; hit; ttl=%d" % (name(node), ttl)
    return b"%b; detail=%b" % (member, detail.encode()) if detail else member


def forwarded(
    node: bytes,
    fwd: Fwd,
    *,
    status: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    ttl: int | None = None,
    detail: str = "",
) -> bytes:
    """Our member for a request that went on. `detail` is a reason's name: a token (RFC 9211 §2.8)."""
    member = b"%b; fwd=%b" % (name(node), fwd.value.encode())
    if status is not None:
        member += b"; fwd-status=%d" % status
    if ttl is not None:
        member += b"; ttl=%d" % ttl
    if stored:
        member += b"; stored"
    if collapsed:
        member += b"; collapsed"
    if detail:
        member += b"; detail=%b" % detail.encode()
    return member


def line(received: bytes | None, member: bytes) -> bytes:
    """The whole field line, CRLF included."""
    return b"Cache-Status: %b%b\r\n" % (chain(received), member)
