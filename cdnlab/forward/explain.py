"""The explanation of one request: the mark that asks for it, and the members that each node adds.

`Cdnlab-Explain: <expiry>.<tag>` asks; the tag is an HMAC over method, target and expiry under the lab's key, so that
a stranger cannot make nodes spend time or tell their neighbours' names. Each node on the way back appends one member
to `Cdnlab-Hop`, a List of RFC 9651 whose members are Strings (the node) with parameters. The origin's member comes
first, the balancer's last. This file must not know sockets or clocks: `wall` is a parameter.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import sha256

from cdnlab.wire import structured

MARK_FIELD = b"cdnlab-explain"
HOP_FIELD = b"cdnlab-hop"

#: How far ahead an expiry may lie: a mark is for the request at hand, not for a year of them.
LONGEST_LIFE = 300.0


def _tag(key: bytes, method: bytes, target: bytes, expiry: int) -> str:
    message = b"%s %s %d" % (method, target, expiry)
    return hmac.new(key, message, sha256).hexdigest()[:32]


def mark(key: bytes, method: bytes, target: bytes, expiry: int) -> bytes:
    """The field value that asks for an explanation of `method target` until `expiry` (seconds since 1970)."""
    return b"%d.%s" % (expiry, _tag(key, method, target, expiry).encode())


def check(key: bytes, value: bytes, method: bytes, target: bytes, wall: float) -> bool:
    """Whether `value` is a mark of this lab for this request that has not expired. Constant-time compare."""
    expiry_text, dot, tag = value.partition(b".")
    if not dot or not expiry_text.isdigit() or len(expiry_text) > 12:
        return False
    expiry = int(expiry_text)
    if not wall <= expiry <= wall + LONGEST_LIFE:
        return False
    return hmac.compare_digest(tag, _tag(key, method, target, expiry).encode())


def mark_anew(key: bytes, value: bytes, method: bytes, target: bytes) -> bytes:
    """A mark that was checked, signed for the target that is sent on, where a route's rule makes that another."""
    return mark(key, method, target, int(value.partition(b".")[0]))


@dataclass(slots=True)
class Hop:
    """One node's word on one request. Times in microseconds."""

    node: str
    tier: str = ""
    place: str = ""
    client_place: str = ""
    total: int = 0
    upstream: int = 0
    choice: str = ""
    passed: list[tuple[str, str]] = field(default_factory=list)
    """Candidates that came before the choice and were not taken: (name, reason)."""
    result: str = ""
    cache: str = ""
    """The cache's arithmetic and reason, in words."""


def _string(text: str) -> bytes:
    """A String of RFC 9651 §3.3.3; what it cannot carry becomes '?'."""
    clean = "".join(c if " " <= c <= "~" else "?" for c in text)
    return b'"' + clean.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'


def hop_member(hop: Hop) -> bytes:
    """`hop` as one List member; empty parameters are left out."""
    parts = [_string(hop.node)]
    for name in ("tier", "place", "client_place", "choice", "result", "cache"):
        value = getattr(hop, name)
        if value:
            parts.append(name.replace("_", "-").encode() + b"=" + _string(value))
    parts.append(b"us=%d" % hop.total)
    if hop.upstream:
        parts.append(b"up=%d" % hop.upstream)
    if hop.passed:
        parts.append(b"passed=" + _string(" ".join(f"{name}:{reason}" for name, reason in hop.passed)))
    return b";".join(parts)


def parse_hops(value: bytes) -> list[Hop]:
    """The members of a `Cdnlab-Hop` value, in the order they were appended. Raises ValueError."""
    hops: list[Hop] = []
    for item in structured.parse_list(value):
        bare, parameters = item[0], item[1]
        text = {k: str(v) for k, v in parameters.items()}
        passed = []
        for pair in text.get("passed", "").split():
            name, _, reason = pair.partition(":")
            passed.append((name, reason))
        hops.append(
            Hop(
                node=str(bare),
                tier=text.get("tier", ""),
                place=text.get("place", ""),
                client_place=text.get("client-place", ""),
                total=int(text.get("us", "0")),
                upstream=int(text.get("up", "0")),
                choice=text.get("choice", ""),
                passed=passed,
                result=text.get("result", ""),
                cache=text.get("cache", ""),
            )
        )
    return hops
