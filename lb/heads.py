"""The heads that a balancer sends on, and what of them can be computed once per block. Pure.

Decides which fields travel (RFC 9110 §7.6, RFC 9112 §7) and which of ours come. What differs per client or request
(volatile fields, X-Forwarded-For, place, ids) is added per request by http_proxy; the rest is one byte string that is
remembered with the block it was made from. It must not know backends or sockets.
"""

from __future__ import annotations

from collections.abc import Callable

from cdnlab.forward.client import OWN, UNKEYED, Claims, claims
from cdnlab.forward.trail import Trail
from cdnlab.forward.upgrade import to_http2
from cdnlab.wire.dates import format_date
from cdnlab.wire.fields import Field, hop_by_hop
from cdnlab.wire.request import RequestBlock
from cdnlab.wire.response import ResponseBlock

#: Written anew, or handled apart, so never copied.
_REPLACED = frozenset(b"host via cdn-loop x-forwarded-for x-forwarded-proto expect content-length".split())
_DROPPED = _REPLACED | UNKEYED

OURS = b"cdnlab-"
"""What our nodes tell each other begins so: an edge believes it of a balancer, so none of it may be a client's."""

_SPELLING = {
    b"cookie": b"Cookie: ",
    b"authorization": b"Authorization: ",
    b"tracestate": b"tracestate: ",
}


class RequestPlan:
    """What one request block becomes."""

    __slots__ = ("chain", "claims", "loops", "middle", "ours", "upgrade")

    def __init__(
        self,
        block: RequestBlock,
        host: bytes,
        version: int,
        trail: Trail,
        places: frozenset[str],
        may_choose: bool,
        origin_host: bytes | None,
        proto: bytes,
        ours: bool,
    ) -> None:
        """`origin_host` replaces the host (which then travels in X-Forwarded-Host); `proto` is X-Forwarded-Proto;
        `ours`: the backends are this network's own nodes, which are told more than strangers."""
        self.ours = ours
        self.claims: Claims = claims(block.index, host, places, may_choose)
        self.loops = trail.loops(block.index)
        self.upgrade = block.upgrade is not None and block.length == 0 and not to_http2(block.upgrade)
        named = hop_by_hop(block.connection)
        lines = [
            line
            for line, (name, _) in zip(block.lines, block.fields, strict=True)
            if name not in named and name not in _DROPPED and not name.startswith(OURS)
        ]
        client_host = self.claims.host
        head = [b"Host: " + (origin_host or client_host), *lines, _framing(block)]
        if origin_host and origin_host != client_host:
            head.append(b"X-Forwarded-Host: " + client_host)
        if block.expect:
            head.append(b"Expect: 100-continue")
        if self.upgrade and block.upgrade is not None:
            head += [b"Connection: Upgrade", b"Upgrade: " + block.upgrade]
        head.append(b"X-Forwarded-Proto: " + proto)
        self.middle = b"\r\n".join([line for line in head if line]) + b"\r\n"
        self.chain = trail.request_lines(block.index, version)


def _framing(block: RequestBlock) -> bytes:
    """Bodies are framed anew: one Content-Length, or chunked by us (RFC 9112 §6.3)."""
    if block.length < 0:
        return b"Transfer-Encoding: chunked"
    if block.length or b"content-length" in block.index:
        return b"Content-Length: %d" % block.length
    return b""


def volatile_lines(volatile: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """The lines of the volatile fields that travel as they are. Two Cookie lines become one (RFC 6265 §5.4)."""
    if len(volatile) == 1:
        name, value = volatile[0]
        spelling = _SPELLING.get(name)
        return spelling + value + b"\r\n" if spelling else b""
    cookies = [value for name, value in volatile if name == b"cookie"]
    lines = [
        _SPELLING[name] + value + b"\r\n"
        for name, value in volatile
        if name in _SPELLING and name != b"cookie"
    ]
    if cookies:
        lines.append(b"Cookie: " + b"; ".join(cookies) + b"\r\n")
    return b"".join(lines)


class ResponsePlan:
    """What one response block becomes: `head` is the status line and the fields but for Date and Age.

    A second has one Date: `dated` is the head with the newest one, for the `volatile` fields it was made from.
    """

    __slots__ = ("dated", "head", "volatile")

    def __init__(self, block: ResponseBlock, trail: Trail) -> None:
        named = hop_by_hop(block.connection) | OWN
        bodiless = block.status == 204 or block.status < 200
        lines = [b"HTTP/1.1 %d %b" % (block.status, block.reason)]
        for line, (name, _) in zip(block.lines, block.fields, strict=True):
            if name in named or name == b"via":
                continue
            if name == b"content-length" and (bodiless or block.length < 0):
                continue
            lines.append(line)
        kept = _single_length(lines, block)
        self.head = b"\r\n".join(kept) + b"\r\n" + trail.response_line(block.index, block.version)
        self.volatile: tuple[Field, ...] | None = None
        self.dated = b""

    def with_date(self, volatile: tuple[Field, ...], wall: Callable[[], float]) -> bytes:
        """The head with Date and Age. RFC 9110 §6.6.1: who forwards a response without a Date adds one."""
        if volatile == self.volatile:
            return self.dated
        lines = [(b"Date: " if name == b"date" else b"Age: ") + value + b"\r\n" for name, value in volatile]
        head = self.head + b"".join(lines)
        if any(name == b"date" for name, _ in volatile):
            self.volatile, self.dated = volatile, head
            return head
        return head + b"Date: " + format_date(int(wall())) + b"\r\n"


def _single_length(lines: list[bytes], block: ResponseBlock) -> list[bytes]:
    """A list-valued Content-Length that framing took for one number is sent as that number (RFC 9112 §6.3)."""
    seen = False
    kept = []
    for line in lines:
        if line[:15].lower() == b"content-length:":
            if seen:
                continue
            seen = True
            line = b"Content-Length: %d" % block.length
        kept.append(line)
    return kept


_NOT_IN_UPGRADE = frozenset(b"via connection content-length transfer-encoding keep-alive".split())


def upgrade_head(block: ResponseBlock, trail: Trail) -> bytes:
    """The 101 that is passed on: Upgrade and Connection are this message's point (RFC 9110 §7.8)."""
    keep = [
        line
        for line, (name, _) in zip(block.lines, block.fields, strict=True)
        if name not in OWN and name not in _NOT_IN_UPGRADE
    ]
    lines = [b"HTTP/1.1 101 " + (block.reason or b"Switching Protocols"), *keep, b"Connection: Upgrade"]
    return b"\r\n".join(lines) + b"\r\n" + trail.response_line(block.index, block.version)
