"""How long a response is fresh and how old it is (RFC 9111 §4.2).

Decides seconds only; whether the response may be stored at all is storable.py's question. Two clocks come in
as parameters: `wall` (seconds since the epoch) is compared with the dates in fields, `now` (a clock that
never jumps) measures how long a response has been here. Pure.
"""

from __future__ import annotations

from enum import StrEnum

from cdnlab.wire.dates import parse_date
from edge.directives import DELTA_MAX, RequestControl, ResponseControl

HEURISTIC_FRACTION = 0.1  # RFC 9111 §4.2.2 names this fraction
HEURISTIC_MAX = 3600  # seconds; Squid's default reaches three days, too long to show a developer an old page
HEURISTIC_STATUSES = frozenset({200, 203, 300, 301, 308, 404, 410})


class Source(StrEnum):
    """Where a freshness lifetime was read (RFC 9111 §4.2.1, in order of precedence)."""

    NO_CACHE = "no-cache"
    S_MAXAGE = "s-maxage"
    MAX_AGE = "max-age"
    EXPIRES = "expires"
    HEURISTIC = "heuristic"
    NONE = "none"


class Verdict(StrEnum):
    """May a stored response be used for this request as it lies?"""

    FRESH = "fresh"
    STALE = "stale"
    REQUEST = "request"  # fresh, but the request asks for a younger or a checked one

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]


_SENTENCES = {
    Verdict.FRESH: "its current age is below its freshness lifetime",
    Verdict.STALE: "its current age has reached its freshness lifetime",
    Verdict.REQUEST: "fresh, but the request's own Cache-Control asks for one that is younger or checked",
}


def lifetime(
    control: ResponseControl,
    status: int,
    *,
    date: int,
    expires: bytes | None,
    last_modified: bytes | None,
    heuristic: bool,
    wall: float,
) -> tuple[int, Source]:
    """Freshness lifetime in seconds and what gave it (RFC 9111 §4.2.1).

    `date` is the response's Date (or the time of arrival without one), in seconds since the epoch. An Expires
    that does not parse is in the past (§5.3). `heuristic` says whether the request lets one be guessed.
    """
    if control.no_cache:
        return 0, Source.NO_CACHE
    if control.s_maxage is not None:
        return control.s_maxage, Source.S_MAXAGE
    if control.max_age is not None:
        return control.max_age, Source.MAX_AGE
    if expires is not None:
        until = parse_date(expires, wall)
        return (0 if until is None else min(max(0, until - date), DELTA_MAX)), Source.EXPIRES
    if heuristic and last_modified is not None and (status in HEURISTIC_STATUSES or control.public):
        modified = parse_date(last_modified, wall)
        if modified is not None and modified < date:
            return min(int((date - modified) * HEURISTIC_FRACTION), HEURISTIC_MAX), Source.HEURISTIC
    return 0, Source.NONE


def age_value(age: bytes | None) -> int:
    """Seconds of a received Age field; an invalid one is ignored, of a list the first counts (RFC 9111 §5.1)."""
    if not age:
        return 0
    first = age.split(b",", 1)[0].strip(b" \t")
    return min(int(first), DELTA_MAX) if first.isdigit() and len(first) <= 10 else 0


def initial_age(age: bytes | None, *, date: int | None, wall: float, delay: float) -> float:
    """corrected_initial_age in seconds (RFC 9111 §4.2.3) of a response that arrived at `wall`.

    `delay` is the time from asking to the head's arrival, in seconds. Date counts whole seconds, so the
    apparent age is taken from whole seconds too, or every response would be born half a second old.
    """
    apparent = max(0, int(wall) - date) if date is not None else 0
    return max(float(apparent), age_value(age) + max(0.0, delay))


def judge(born: float, fresh_until: float, control: RequestControl | None, now: float) -> Verdict:
    """Is a stored response usable now (RFC 9111 §4.2, §5.2.1)? `born` is now minus its current age."""
    if now >= fresh_until:
        return Verdict.STALE
    if control is None:
        return Verdict.FRESH
    if control.no_cache or (control.max_age is not None and now - born > control.max_age):
        return Verdict.REQUEST
    return Verdict.REQUEST if control.min_fresh and fresh_until - now < control.min_fresh else Verdict.FRESH
