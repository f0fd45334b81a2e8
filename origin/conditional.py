"""Whether a conditional request goes on, is answered 304, or fails with 412.

Decides by the order of RFC 9110 §13.2.2, for every resource of this origin. Must not know what the resource
is: it is given its validators. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from cdnlab.wire.dates import parse_date

_ETAG = re.compile(r'\s*((?:W/)?"[\x21\x23-\x7e\x80-\xff]*")\s*(?:,|$)')


class Verdict(StrEnum):
    """What becomes of a conditional request."""

    PROCEED = "proceed"
    NOT_MODIFIED = "not modified"
    FAILED = "precondition failed"


def evaluate(
    method: str,
    fields: Mapping[str, str],
    *,
    etag: str | None,
    modified: int | None = None,
    wall: float = 0.0,
) -> Verdict:
    """The verdict for `method` on a resource with these validators.

    `fields`: case-insensitive request fields. `etag`: quoted entity-tag, None if the resource does not exist.
    `modified`: Last-Modified in seconds since 1970, None if unknown. `wall`: seconds, to read two-digit years by.
    """
    if not _may_proceed(fields, etag, modified, wall):
        return Verdict.FAILED
    safe = method in ("GET", "HEAD")
    none_match = fields.get("If-None-Match")
    if none_match is not None:
        if not matches(none_match, etag, weak=True):
            return Verdict.PROCEED
        return Verdict.NOT_MODIFIED if safe else Verdict.FAILED
    since = fields.get("If-Modified-Since")
    if safe and since is not None and modified is not None:
        date = parse_date(since.encode("latin-1", "replace"), wall)
        return Verdict.NOT_MODIFIED if date is not None and modified <= date else Verdict.PROCEED
    return Verdict.PROCEED


def matches(listed: str, etag: str | None, *, weak: bool) -> bool:
    """Whether a list of entity-tags, or `*`, names `etag` by weak or strong comparison (RFC 9110 §8.8.3.2)."""
    if etag is None:
        return False
    if listed.strip() == "*":
        return True
    if weak:
        return etag.removeprefix("W/") in (tag.removeprefix("W/") for tag in _ETAG.findall(listed))
    return not etag.startswith("W/") and etag in _ETAG.findall(listed)


def range_applies(if_range: str | None, *, etag: str, modified: int | None, wall: float = 0.0) -> bool:
    """Whether Range is to be honoured under If-Range (RFC 9110 §13.1.5): a strong match, or exactly that date."""
    if if_range is None:
        return True
    if '"' in if_range:
        return matches(if_range, etag, weak=False)
    return modified is not None and parse_date(if_range.encode("latin-1", "replace"), wall) == modified


def _may_proceed(fields: Mapping[str, str], etag: str | None, modified: int | None, wall: float) -> bool:
    match = fields.get("If-Match")
    if match is not None:
        return matches(match, etag, weak=False)
    unmodified = fields.get("If-Unmodified-Since")
    if unmodified is not None and modified is not None:
        date = parse_date(unmodified.encode("latin-1", "replace"), wall)
        return date is None or modified <= date
    return True
