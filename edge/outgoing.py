"""The request head that goes toward the origin.

Decides which of a client's fields travel on and what this node adds: Via, CDN-Loop, X-Forwarded-*. Fields that
many applications obey although no key holds them are removed, or one client could choose what others are
served from the cache. Knows no cache and no sockets. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from cdnlab.forward.client import UNKEYED
from cdnlab.forward.trail import Trail
from cdnlab.forward.upgrade import to_http2
from cdnlab.wire.fields import Field, hop_by_hop
from cdnlab.wire.request import RequestBlock, RequestLine

_UNKEYED = UNKEYED | frozenset(
    b"""x-forwarded-host x-forwarded-protocol x-forwarded-uri x-forwarded-by x-forwarded forwarded-for x-override-url
    x-request-uri x-http-destinationurl x-proxy-url base-url x-middleware-subrequest client-ip fastly-client-ip
    x-originating-ip x-remote-ip x-remote-addr proxy""".split()
)
"""Inputs that applications and frameworks obey and no cache keys on: host, path, method and address overrides."""

_WRITTEN_HERE = frozenset(
    b"host via cdn-loop x-forwarded-for x-forwarded-proto content-length expect max-forwards".split()
)
_ASKED_OF_CACHE = frozenset({b"if-none-match", b"if-modified-since"})
_ASKED_OF_PART = frozenset({b"range", b"if-range"})
_ASKED_OF_WHOLE = _ASKED_OF_CACHE | _ASKED_OF_PART


def never_forwarded(name: bytes) -> bool:
    """Is a client's field of this name removed before the origin sees it?"""
    return name in _UNKEYED or name.startswith(b"cdnlab-")


class Outgoing:
    """The part of an outgoing head that one header block determines, in four forms.

    `kept` are a client's end-to-end lines, each ended by CRLF; `plain` is the same without If-None-Match and
    If-Modified-Since, which the cache answers itself; `whole` is `plain` without Range and If-Range, `kept_whole` is
    `kept` without them.
    """

    __slots__ = ("kept", "kept_whole", "plain", "whole")

    def __init__(self, block: RequestBlock) -> None:
        dropped = hop_by_hop(block.connection) | _WRITTEN_HERE
        pairs = [
            (name, line + b"\r\n")
            for line, (name, _) in zip(block.lines, block.fields, strict=True)
            if name not in dropped and not never_forwarded(name)
        ]
        self.kept = b"".join([line for _, line in pairs])
        self.kept_whole = b"".join([line for name, line in pairs if name not in _ASKED_OF_PART])
        self.plain = b"".join([line for name, line in pairs if name not in _ASKED_OF_CACHE])
        self.whole = b"".join([line for name, line in pairs if name not in _ASKED_OF_WHOLE])


_SPELLING = {
    b"authorization": b"Authorization",
    b"traceparent": b"traceparent",
    b"tracestate": b"tracestate",
    b"x-request-id": b"X-Request-Id",
}


def volatile_lines(volatile: tuple[Field, ...]) -> bytes:
    """The lines of a request's own fields that travel on as they came; two Cookie lines become one (RFC 6265
    §5.4). X-Forwarded-For is written anew, and our mark goes to our own nodes only."""
    lines = [b"%b: %b\r\n" % (_SPELLING[name], value) for name, value in volatile if name in _SPELLING]
    cookies = [value for name, value in volatile if name == b"cookie"]
    if cookies:
        lines.append(b"Cookie: %b\r\n" % b"; ".join(cookies))
    return b"".join(lines)


def framing(length: int, method: bytes) -> bytes:
    """The line that frames the outgoing body: `length` bytes, -1 chunked (RFC 9112 §6)."""
    if length < 0:
        return b"Transfer-Encoding: chunked\r\n"
    if length or method in (b"POST", b"PUT", b"PATCH"):  # RFC 9110 §8.6: these say 0, too
        return b"Content-Length: %d\r\n" % length
    return b""


def request_head(
    block: RequestBlock,
    line: RequestLine,
    *,
    target: bytes,
    lines: bytes,
    volatile: tuple[Field, ...],
    host: bytes,
    trail: Trail,
    forwarded_for: bytes,
    forwarded_proto: bytes,
    forwarded_host: bytes | None = None,
    extra: bytes = b"",
) -> bytes:
    """The complete head: request line, fields, framing of the body, blank line.

    `target` is the canonical one, as the route's rules left it; `lines` are Outgoing's; `extra` are further lines, each
    ended by CRLF. `forwarded_host` is the client's Host where `host` is another one.
    """
    index = block.index
    parts = [
        b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (line.method, target, host),
        lines,
        volatile_lines(volatile),
        extra,
        b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n" % (forwarded_for, forwarded_proto),
        trail.request_lines(index, line.version),
        framing(block.length, line.method),
        b"\r\n",
    ]
    if forwarded_host is not None:
        parts.insert(5, b"X-Forwarded-Host: %b\r\n" % forwarded_host)
    if block.upgrade is not None and not block.length and not to_http2(block.upgrade):
        parts.insert(5, b"Connection: Upgrade\r\nUpgrade: %b\r\n" % block.upgrade)
    if block.expect:
        parts.insert(5, b"Expect: 100-continue\r\n")
    hops = max_forwards(index)
    if hops is not None and line.method == b"OPTIONS":
        parts.insert(5, b"Max-Forwards: %d\r\n" % max(0, hops - 1))
    return b"".join(parts)


def max_forwards(index: Mapping[bytes, bytes]) -> int | None:
    """How many more gateways may forward a request (RFC 9110 §7.6.2); None where it does not say."""
    value = index.get(b"max-forwards", b"")
    return int(value) if value.isdigit() and len(value) <= 9 else None
