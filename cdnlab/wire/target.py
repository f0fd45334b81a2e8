"""The request target in canonical form: what is keyed on and what is forwarded, decided once.

Decides by RFC 9112 §3.2 (the four forms) and RFC 3986 §6.2.2 (hexadecimal digits in upper case, unreserved
characters decoded, dot segments removed). Two spellings that RFC 3986 calls equivalent become the same bytes;
%2F stays %2F, an empty query stays an empty query, and double slashes stay. Must not know routes, keys or
query rules.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from itertools import product

from cdnlab.wire.errors import Malformed, Why


class Target:
    """One request target. `form` is b"origin", b"absolute", b"authority" or b"asterisk"; `canonical` is
    path[?query] (or the authority, or b"*"); `query` is None where there is no '?'; `authority` is the
    lower-case host[:port] or None."""

    __slots__ = ("authority", "canonical", "form", "path", "query", "raw")

    def __init__(
        self,
        raw: bytes,
        form: bytes,
        path: bytes,
        query: bytes | None,
        authority: bytes | None,
        canonical: bytes,
    ) -> None:
        self.raw = raw
        self.form = form
        self.path = path
        self.query = query
        self.authority = authority
        self.canonical = canonical


# RFC 3986 pchar and '/', plus '[' and ']' which browsers leave as they are (WHATWG URL) and nothing reads
# differently.
_PATH_BYTES = b"%/:@!$&'()*+,;=-._~[]0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_QUERY_BYTES = _PATH_BYTES + b"?"
# Not allowed in a URI, yet sent raw by browsers: they are encoded in the canonical form. A backslash only in
# the query: in a path some servers read it as a slash.
_PATH_ENCODED = b"{}|^`"
_QUERY_ENCODED = _PATH_ENCODED + b"\\"
_UNRESERVED = frozenset(b"-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

_ESCAPE = re.compile(rb"%(..)?", re.DOTALL)
_HEX = b"0123456789abcdefABCDEF"
_ESCAPES = {  # two hexadecimal digits in any case -> what the escape becomes: b"2f" -> b"%2F", b"7E" -> b"~"
    digits: bytes((code,)) if code in _UNRESERVED else b"%%%02X" % code
    for digits in (bytes(pair) for pair in product(_HEX, _HEX))
    for code in (int(digits, 16),)
}
_RAW_ENCODED = re.compile(rb"[{}|^`\\]")

_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*)(.*)", re.DOTALL)


def parse_target(raw: bytes, method: bytes) -> Target:
    """The Target of a request with `method`. Raises Malformed (400): wrong form for the method, a byte that
    needs encoding, a broken escape, an authority that is not host[:port] (user information included, RFC 9110
    §4.2.4)."""
    if method == b"CONNECT":
        return _authority_form(raw)
    if raw[:1] == b"/":
        path, query = _path_and_query(raw)
        return Target(raw, b"origin", path, query, None, path if query is None else path + b"?" + query)
    if raw == b"*" and method == b"OPTIONS":
        return Target(raw, b"asterisk", b"*", None, None, b"*")
    match = _ABSOLUTE.fullmatch(raw)
    if match is None:
        raise Malformed(Why.TARGET_FORM, raw)
    return _absolute_form(raw, method, match[1], match[2])


def _authority_form(raw: bytes) -> Target:
    authority = parse_host(raw)
    if not authority.rpartition(b":")[2].isdigit():
        raise Malformed(Why.TARGET_FORM, raw)
    return Target(raw, b"authority", b"", None, authority, authority)


def _absolute_form(raw: bytes, method: bytes, authority: bytes, rest: bytes) -> Target:
    host = parse_host(authority)
    if not rest and method == b"OPTIONS":  # RFC 9112 §3.2.4: the last proxy sends '*'
        return Target(raw, b"absolute", b"*", None, host, b"*")
    path, query = _path_and_query(rest if rest[:1] == b"/" else b"/" + rest)
    return Target(raw, b"absolute", path, query, host, path if query is None else path + b"?" + query)


def _path_and_query(target: bytes) -> tuple[bytes, bytes | None]:
    path, mark, query = target.partition(b"?")
    path = _normal(path, _PATH_BYTES, _PATH_ENCODED)
    # no file and no route has a NUL in its name; what is behind may cut the path there (nginx refuses too)
    if b"%00" in path:
        raise Malformed(Why.TARGET_ESCAPE, target)
    if b"/." in path:
        path = remove_dot_segments(path)
    return path, _normal(query, _QUERY_BYTES, _QUERY_ENCODED) if mark else None


def _normal(text: bytes, allowed: bytes, encoded: bytes) -> bytes:
    odd = text.translate(None, allowed)
    if odd:
        if odd.translate(None, encoded):
            raise Malformed(Why.TARGET_BYTES, text)
        text = _RAW_ENCODED.sub(lambda match: b"%%%02X" % match[0][0], text)
    return _ESCAPE.sub(_normal_escape, text) if b"%" in text else text


def _normal_escape(match: re.Match[bytes]) -> bytes:
    try:
        return _ESCAPES[match[1]]
    except KeyError:
        raise Malformed(Why.TARGET_ESCAPE, match[0]) from None


def remove_dot_segments(path: bytes) -> bytes:
    """RFC 3986 §5.2.4 for a path that begins with '/': `/a/./b/../c` -> `/a/c`; never climbs above the
    root."""
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)


_HOST = re.compile(rb"([0-9A-Za-z._~-]{1,255}|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{1,5}))?")


def parse_host(value: bytes) -> bytes:
    """The lower-case host[:port] of a Host value or an authority. Raises Malformed (400).

    Stricter than RFC 3986 §3.2.2: no percent-encoding, no sub-delims (no name in use has them, and a comma in
    a host reads as two hosts elsewhere), no empty port, no IPvFuture, no zone.
    """
    match = _HOST.fullmatch(value)
    if match is None or (match[3] and int(match[3]) > 65535) or (match[2] and not _is_ipv6(match[2])):
        raise Malformed(Why.HOST_INVALID, value)
    return value.lower()


def _is_ipv6(text: bytes) -> bool:
    try:
        IPv6Address(text.decode("ascii"))
    except ValueError:
        return False
    return True
