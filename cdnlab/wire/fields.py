"""Field names, values and lists: what a line may hold, how lists split, which fields end at the next hop.

Decides by RFC 9110 §5 and §7.6.1. Must not know which message a field came from, nor what any single field
means beyond its grammar.
"""

from __future__ import annotations

import re

from cdnlab.wire.errors import Malformed, Why

Field = tuple[bytes, bytes]
"""(lower-case name, value without surrounding white space)"""

TOKEN_BYTES = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# RFC 9110 §5.5: HTAB, SP, VCHAR, obs-text
VALUE_BYTES = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))

HOP_BY_HOP: frozenset[bytes] = frozenset(
    (
        b"connection",  # speaks of this connection only (RFC 9110 §7.6.1)
        b"keep-alive",  # parameters of this connection's persistence
        b"proxy-connection",  # a misunderstanding of 1995 that some clients still send (RFC 9112 §C.2.2)
        b"te",  # the codings this connection's reader takes (RFC 9110 §10.1.4)
        b"transfer-encoding",  # the framing of this connection; bodies are framed anew (RFC 9112 §6.1)
        b"upgrade",  # switches this connection's protocol (RFC 9110 §7.8)
        b"proxy-authenticate",  # for the client of a forward proxy; we are a gateway (RFC 9110 §11.7.1)
        b"proxy-authorization",  # credentials for a forward proxy, not for what lies behind us (§11.7.2)
        b"proxy-authentication-info",  # as above (§11.7.3)
    )
)
# Trailer is not among them: trailers are passed on, so their announcement is too (RFC 9110 §6.6.2).

PROTECTED: frozenset[bytes] = frozenset(
    b"""accept accept-charset accept-encoding accept-language accept-ranges age allow authentication-info
    authorization baggage cache-control cache-status cdn-cache-control cdn-loop cookie date dnt early-data
    etag expect expires forwarded from host last-modified link location max-forwards origin pragma prefer
    priority range referer retry-after server set-cookie strict-transport-security tracestate traceparent
    trailer true-client-ip user-agent vary via warning www-authenticate x-real-ip x-request-id""".split()
)
"""Fields that `Connection` cannot take away: a message whose framing, routing, credentials, caching or trail
depended on whether a client names them in Connection would be a message that two hops read differently (RFC
9110 §7.6.1 forbids naming fields meant for all recipients)."""

PROTECTED_PREFIXES = (b"access-control-", b"cdnlab-", b"content-", b"if-", b"sec-", b"x-forwarded-")


def is_token(name: bytes) -> bool:
    """RFC 9110 §5.6.2."""
    return bool(name) and not name.translate(None, TOKEN_BYTES)


def valid_value(value: bytes) -> bool:
    """True if `value` holds only what a field value may hold (RFC 9110 §5.5): no control byte but HTAB."""
    return not value.translate(None, VALUE_BYTES)


def hop_by_hop(connection: frozenset[bytes]) -> frozenset[bytes]:
    """The lower-case names that must not travel to the next hop, given the options of `Connection` (RFC 9110
    §7.6.1)."""
    named = connection - HOP_BY_HOP - _NOT_FIELDS
    if not named:
        return HOP_BY_HOP
    return HOP_BY_HOP.union(name for name in named if not is_protected(name))


_NOT_FIELDS = frozenset((b"close", b"keep-alive", b"upgrade"))


def is_protected(name: bytes) -> bool:
    """Whether naming `name` in Connection has no effect."""
    return name in PROTECTED or name.startswith(PROTECTED_PREFIXES)


# ---- field lines -------------------------------------------------------------------------------------------

_USUAL = b"""
Accept Accept-Charset Accept-Encoding Accept-Language Accept-Ranges Access-Control-Allow-Origin Age
Cache-Control Cache-Status Connection Content-Disposition Content-Encoding Content-Language Content-Length
Content-Range Content-Security-Policy Content-Type DNT Date ETag Expect Expires Forwarded From Host If-Match
If-Modified-Since If-None-Match If-Range If-Unmodified-Since Keep-Alive Last-Modified Link Location Origin
Pragma Priority Range Referer Retry-After Sec-CH-UA Sec-CH-UA-Mobile Sec-CH-UA-Platform Sec-Fetch-Dest
Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Server Set-Cookie Strict-Transport-Security TE Trailer
Transfer-Encoding Upgrade Upgrade-Insecure-Requests User-Agent Vary Via X-Content-Type-Options
X-Forwarded-Host X-Forwarded-Proto X-Frame-Options""".split()
_KNOWN = {  # usual spelling -> lower-case name: saves the token check and lower()
    spelling: name.lower() for name in _USUAL for spelling in (name, name.lower(), name.title())
}


def parse_lines(block: bytes, status: int | None = None) -> tuple[tuple[bytes, ...], tuple[Field, ...]]:
    """Raw field lines and the fields in them, from `block`: lines joined by CRLF, with none at either end.

    Raises Malformed (with `status` where given) for anything outside RFC 9112 §5, and for obsolete folding
    (§5.2).
    """
    if not block:
        return (), ()
    lines = block.split(b"\r\n")
    if block.translate(None, VALUE_BYTES) != b"\r\n" * (len(lines) - 1):
        raise Malformed(Why.FIELD_BYTES, _offender(lines), status=status)
    known = _KNOWN.get
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        lower = known(name)
        if lower is None or not colon:
            lower = _checked_name(line, name, colon, status)
        fields.append((lower, value.strip(b" \t")))
    return tuple(lines), tuple(fields)


def _checked_name(line: bytes, name: bytes, colon: bytes, status: int | None) -> bytes:
    if line[:1] in (b" ", b"\t"):
        raise Malformed(Why.FIELD_FOLD, line, status=status)
    if not colon:
        raise Malformed(Why.FIELD_LINE, line, status=status)
    if not is_token(name):
        raise Malformed(Why.FIELD_NAME, name, status=status)
    return name.lower()


def _offender(lines: list[bytes]) -> bytes:
    return next((line for line in lines if not valid_value(line)), b"")


def make_index(fields: tuple[Field, ...]) -> dict[bytes, bytes]:
    """Lower-case name -> its values joined by b", " in order (RFC 9110 §5.3).

    Set-Cookie is joined too although its grammar forbids reading that as a list: whoever needs its values
    walks the fields.
    """
    index: dict[bytes, bytes] = {}
    for name, value in fields:
        index[name] = index[name] + b", " + value if name in index else value
    return index


# ---- lists, parameters, quoted strings ---------------------------------------------------------------------

_MEMBER = re.compile(rb'(?:[^",]++|"(?:[^"\\]|\\.)*+"|")++', re.DOTALL)


def split_list(value: bytes) -> list[bytes]:
    """The members of a comma-separated list, stripped, in order; empty ones dropped (RFC 9110 §5.6.1).

    Commas in quoted strings do not split. A quote that never closes is an ordinary byte: it hides no comma.
    """
    if b'"' not in value:
        return [member for piece in value.split(b",") if (member := piece.strip(b" \t"))]
    return [member for piece in _MEMBER.findall(value) if (member := piece.strip(b" \t"))]


_SEMICOLON_PIECE = re.compile(rb'(?:[^";]++|"(?:[^"\\]|\\.)*+"|")++', re.DOTALL)


def split_parameters(member: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """(what stands before the first ';', [(lower-case name, unquoted value)]) of a list member such as
    `gzip;q=0.5`.

    A parameter without '=' has the value b"" (RFC 9110 §5.6.6 wants one; the field's owner decides whether
    that matters).
    """
    head, *rest = [piece.strip(b" \t") for piece in _SEMICOLON_PIECE.findall(member)] or [b""]
    if member.lstrip(b" \t").startswith(b";"):
        head, rest = b"", [head, *rest]
    return head, [
        (name.rstrip(b" \t").lower(), unquote(value.lstrip(b" \t")))
        for name, _, value in (piece.partition(b"=") for piece in rest if piece)
    ]


_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def unquote(value: bytes) -> bytes:
    """The content of a quoted-string (RFC 9110 §5.6.4); anything else is returned as it is."""
    if len(value) >= 2 and value[:1] == b'"' and value[-1:] == b'"':
        inner = value[1:-1]
        return _ESCAPED.sub(rb"\1", inner) if b"\\" in inner else inner
    return value


def quote(value: bytes) -> bytes:
    """`value` as a quoted-string (RFC 9110 §5.6.4). ValueError if it holds a control byte."""
    if not valid_value(value):
        raise ValueError(f"a quoted-string cannot hold {value!r}")
    return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def directives(value: bytes) -> dict[bytes, bytes | None]:
    """Cache-Control and its like: lower-case directive -> unquoted argument, or None where it has none (RFC
    9111 §5.2).

    Of a directive given twice the first stands (RFC 9111 §4.2.1 allows the first or the stale reading; caches
    that care for the strictest reading walk `split_list` themselves).
    """
    found: dict[bytes, bytes | None] = {}
    for member in split_list(value):
        name, equals, argument = member.partition(b"=")
        name = name.rstrip(b" \t").lower()
        if name and name not in found:
            found[name] = unquote(argument.strip(b" \t")) if equals else None
    return found
