"""Conditional requests, toward the client and toward the origin (RFC 9110 §13, RFC 9111 §4.3).

Decides: is a client's copy still the stored one; which validators go upstream; which stored response a 304
speaks of; which of its fields replace the stored ones. Knows no storage and no sockets. Pure.
"""

from __future__ import annotations

from cdnlab.wire.dates import parse_date
from cdnlab.wire.fields import Field, split_list

KEPT_BY_UPDATE = frozenset({b"content-length", b"content-range"})
"""The stored fields that a 304 never replaces (RFC 9111 §3.2): the length is that of the body which lies here, and a
range says nothing of a response without content. Nothing of a body is processed here, so none of the further exceptions
that the section allows is needed."""


def opaque(tag: bytes) -> bytes:
    """The opaque-tag of an entity tag: what weak comparison compares (RFC 9110 §8.8.3.2)."""
    return tag[2:] if tag[:2] == b"W/" else tag


def none_match(if_none_match: bytes, etag: bytes | None) -> bool:
    """Is If-None-Match true, that is, does no listed tag match (RFC 9110 §13.1.2, weak comparison)?"""
    if if_none_match.strip(b" \t") == b"*":
        return False
    if etag is None:
        return True
    mine = opaque(etag)
    return all(opaque(tag) != mine for tag in split_list(if_none_match))


def not_modified(
    if_none_match: bytes | None,
    if_modified_since: bytes | None,
    *,
    etag: bytes | None,
    last_modified: bytes | None,
    date: int,
    wall: float,
) -> bool:
    """May a client that sent these be told 304 about the stored response (RFC 9110 §13.2.2 steps 3 and 4)?

    If-None-Match decides alone where it is present. Without Last-Modified the stored Date stands in for it
    (RFC 9111 §4.3.2). A date that does not parse is ignored (RFC 9110 §13.1.3).
    """
    if if_none_match is not None:
        return not none_match(if_none_match, etag)
    if if_modified_since is None:
        return False
    since = parse_date(if_modified_since, wall)
    if since is None:
        return False
    modified = parse_date(last_modified, wall) if last_modified is not None else date
    return modified is not None and modified <= since


def range_applies(
    if_range: bytes | None, *, etag: bytes | None, last_modified: bytes | None, date: int, wall: float
) -> bool:
    """Does If-Range let the Range count (RFC 9110 §13.1.5)? Strong comparison; dates match exactly, and a
    Last-Modified less than a second before Date is weak (§8.8.2.2)."""
    if if_range is None:
        return True
    if if_range[:1] in (b'"', b"W"):
        return etag is not None and if_range == etag and etag[:2] != b"W/"
    modified = parse_date(last_modified, wall) if last_modified is not None else None
    return modified is not None and if_range == last_modified and date - modified >= 1


def validators(etag: bytes | None, last_modified: bytes | None) -> bytes:
    """The lines that ask upstream about a stored response (RFC 9111 §4.3.1); b"" if it has no validator."""
    lines = b""
    if etag is not None:
        lines += b"If-None-Match: %b\r\n" % etag
    if last_modified is not None:
        lines += b"If-Modified-Since: %b\r\n" % last_modified
    return lines


def speaks_of(
    etag_of_304: bytes | None,
    etag: bytes | None,
    modified_of_304: bytes | None = None,
    modified: bytes | None = None,
) -> bool:
    """Does a 304 select the stored response (RFC 9111 §4.3.4)?

    One object was asked about, so a 304 without a validator speaks of it. One with a tag must name its tag, and one
    with Last-Modified alone must name its date where that was all we could ask by.
    """
    if etag_of_304 is not None:
        return etag is not None and opaque(etag_of_304) == opaque(etag)
    return etag is not None or modified_of_304 in (None, modified)


def updated(stored: list[Field], fresh: list[Field]) -> list[Field]:
    """The stored fields after a 304 (RFC 9111 §3.2): each field it bears replaces those of its name.

    Both lists bear (lower-case name, anything that stands for the field) and no hop-by-hop fields.
    """
    news = [field for field in fresh if field[0] not in KEPT_BY_UPDATE]
    replaced = {name for name, _ in news}
    return [field for field in stored if field[0] not in replaced] + news
