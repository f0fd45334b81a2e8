"""How long a response is fresh and how old it is (RFC 9111 §4.2).

Decides seconds only; whether the response may be stored at all is storable.py's question. Two clocks come in
as parameters: `wall` (seconds since the epoch) is compared with the dates in fields, `now` (a clock that
never jumps) measures how long a response has been here. Pure.
"""

from __future__ import annotations

from enum import StrEnum

from cdnlab.wire.dates import parse_date
from cdnlab.wire.fields import split_list
from edge.directives import DELTA_MAX, ResponseControl

HEURISTIC_FRACTION = 0.1  # RFC 9111 §4.2.2 names this fraction
HEURISTIC_MAX = 3600  # seconds; Squid's default reaches three days, too long to show a developer an old page
HEURISTIC_STATUSES = frozenset({200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})  # RFC 9110 §15.1


class Source(StrEnum):
    """Where a freshness lifetime was read (RFC 9111 §4.2.1, in order of precedence). NEGATIVE: from the operator's rule
    for statuses whose responses say nothing themselves."""

    NO_CACHE = "no-cache"
    S_MAXAGE = "s-maxage"
    MAX_AGE = "max-age"
    EXPIRES = "expires"
    HEURISTIC = "heuristic"
    NEGATIVE = "negative"
    NONE = "none"


def lifetime(
    control: ResponseControl,
    status: int,
    *,
    date: int,
    expires: bytes | None,
    last_modified: bytes | None,
    wall: float,
    negative: int | None = None,
) -> tuple[int, Source]:
    """Freshness lifetime in seconds and what gave it (RFC 9111 §4.2.1).

    `date` is the response's Date (or the time of arrival without one), in seconds since the epoch. Of an Expires
    before it the lifetime is negative: so long has it been stale already, which bounds how long it may be sent
    stale. One that does not parse is in the past (§5.3), and does not count beside a targeted field (RFC 9213
    §2.2). `negative` is what the operator's rule for this status gives, in seconds. One is guessed from
    Last-Modified only for a status that allows it (§4.2.2), or with `public`.
    """
    if control.no_cache:
        return 0, Source.NO_CACHE
    if control.s_maxage is not None:
        return control.s_maxage, Source.S_MAXAGE
    if control.max_age is not None:
        return control.max_age, Source.MAX_AGE
    if expires is not None and not control.targeted:
        until = parse_date(expires, wall)
        return (0 if until is None else max(-DELTA_MAX, min(until - date, DELTA_MAX))), Source.EXPIRES
    if negative is not None:
        return negative, Source.NEGATIVE
    if last_modified is not None and (status in HEURISTIC_STATUSES or control.public):
        modified = parse_date(last_modified, wall)
        if modified is not None and modified < date:
            return min(int((date - modified) * HEURISTIC_FRACTION), HEURISTIC_MAX), Source.HEURISTIC
    return 0, Source.NONE


def age_value(age: bytes | None) -> int:
    """Seconds of a received Age field; an invalid one is ignored, of a list the first counts (RFC 9111 §5.1), and one
    that is too large is 2^31 (§1.2.2)."""
    first = next(iter(split_list(age)), b"") if age else b""
    if not first.isdigit():
        return 0
    return min(int(first), DELTA_MAX) if len(first) <= 10 else DELTA_MAX


def initial_age(age: bytes | None, *, date: int | None, wall: float, delay: float) -> float:
    """corrected_initial_age in seconds (RFC 9111 §4.2.3) of a response that arrived at `wall`.

    `delay` is the time from asking to the head's arrival, in seconds. Date counts whole seconds, so the
    apparent age is taken from whole seconds too, or every response would be born half a second old.
    """
    apparent = max(0, int(wall) - date) if date is not None else 0
    return max(float(apparent), age_value(age) + max(0.0, delay))
