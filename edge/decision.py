"""May a stored response answer this request as it lies, and if not, why not (RFC 9111 §4).

Decides from a stored response and what the request asks, without acting on it: the cache acts on the answer, and
`explain` shows it. Every answer but "it is fresh" is a member with a sentence, which is also the metric's label, the
log's field and the detail in Cache-Status. Pure.

The order of the questions is that of strictness: what forbids reuse at all, what the purge rules say, what the request
asks, what the clock says, and last what may be used although it is stale.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.directives import RequestControl
    from edge.object import StoredObject


class NotReused(StrEnum):
    """Why what is stored was not used without asking the origin."""

    NOTHING_STORED = "nothing-stored"
    NO_VARIANT = "no-variant"
    AUTHORIZATION = "authorized"
    PURGED = "soft-purged"
    NO_CACHE = "no-cache"
    STALE = "expired"
    MUST_REVALIDATE = "must-revalidate"
    REQUEST_NO_CACHE = "request-no-cache"
    REQUEST_MAX_AGE = "request-max-age"
    REQUEST_MIN_FRESH = "request-min-fresh"
    NOT_IN_PART = "not-in-part"
    UNPROVED = "unproved"

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return _SENTENCES[self]


class Stale(StrEnum):
    """Why a stale response was sent all the same (RFC 9111 §4.2.4)."""

    WHILE_REVALIDATE = "stale-while-revalidate"
    IF_ERROR = "stale-if-error"
    MAX_STALE = "request-max-stale"
    DISCONNECTED = "disconnected"

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return _STALE[self]


_SENTENCES = {
    NotReused.NOTHING_STORED: "nothing is stored under this key",
    NotReused.NO_VARIANT: "what is stored was selected by other request fields (Vary)",
    NotReused.AUTHORIZATION: "the request bears Authorization, and the stored response does not say public, s-maxage "
    "or must-revalidate",
    NotReused.PURGED: "it was purged softly: it has to be validated first",
    NotReused.NO_CACHE: "it says no-cache: it has to be validated each time",
    NotReused.STALE: "its current age has reached its freshness lifetime",
    NotReused.MUST_REVALIDATE: "it is stale, and says must-revalidate, proxy-revalidate or s-maxage, which forbid to "
    "use it so",
    NotReused.REQUEST_NO_CACHE: "the request says no-cache: it wants it validated",
    NotReused.REQUEST_MAX_AGE: "the request's max-age asks for a younger one",
    NotReused.REQUEST_MIN_FRESH: "the request's min-fresh asks for one that stays fresh for longer",
    NotReused.NOT_IN_PART: "only parts of it are stored, and not the one asked for",
    NotReused.UNPROVED: "whether it was purged is not known at the moment: it has to be validated first",
}  # fmt: skip

_STALE = {
    Stale.WHILE_REVALIDATE: "stale, within its stale-while-revalidate; it is validated behind",
    Stale.IF_ERROR: "stale, within stale-if-error, and the origin failed",
    Stale.MAX_STALE: "stale, within the request's max-stale",
    Stale.DISCONNECTED: "stale, and no origin could be reached; nothing in it forbids to use it so",
}


def judge(
    found: StoredObject, control: RequestControl | None, *, authorized: bool, now: float
) -> NotReused | Stale | None:
    """None: it is fresh and may be sent. Stale: it is not, and may be sent. NotReused: the origin has to be asked."""
    if authorized and not found.open:
        return NotReused.AUTHORIZATION
    if found.soft:
        return NotReused.PURGED
    if found.control.no_cache:
        return NotReused.NO_CACHE
    asked = None if control is None else _asked(found, control, now)
    if asked is not None:
        return asked
    if now < found.fresh_until:
        return None
    return _stale(found, control, now)


def _asked(found: StoredObject, control: RequestControl, now: float) -> NotReused | None:
    """What the request's own directives forbid (RFC 9111 §5.2.1)."""
    if control.no_cache:
        return NotReused.REQUEST_NO_CACHE
    too_old = control.max_age is not None and now - found.born > control.max_age
    # RFC 8246 §2: a fresh immutable response is not validated for a reload, only for a no-cache. max-stale speaks of
    # staleness and lifts no limit of age (RFC 9111 §5.2.1.1, §5.2.1.2)
    if too_old and not (found.control.immutable and now < found.fresh_until):
        return NotReused.REQUEST_MAX_AGE
    if control.min_fresh and found.fresh_until - now < control.min_fresh:
        return NotReused.REQUEST_MIN_FRESH
    return None


def _stale(found: StoredObject, control: RequestControl | None, now: float) -> NotReused | Stale:
    if found.control.forbids_stale:
        return NotReused.MUST_REVALIDATE
    since = now - found.fresh_until
    # RFC 9111 §5.2.1.1: who limits the age and does not say max-stale does not want a stale response
    willing = control is None or control.max_age is None or control.max_stale is not None
    window = found.control.stale_while_revalidate
    if window is not None and since < window and willing:
        return Stale.WHILE_REVALIDATE
    if control is not None and control.max_stale is not None and since <= control.max_stale:
        return Stale.MAX_STALE
    return NotReused.STALE


def after_failure(
    found: StoredObject,
    control: RequestControl | None,
    *,
    authorized: bool,
    answered: bool,
    disconnected_for: float,
    now: float,
) -> Stale | None:
    """May a stored response be sent because the origin failed (RFC 5861 §4, RFC 9111 §4.2.4, §4.3.3)?

    `answered`: it said 500, 502, 503 or 504; else nobody could be reached, or no answer came. `disconnected_for`:
    seconds after its end of freshness for which this cache sends a stale response while it is disconnected.
    """
    if (authorized and not found.open) or found.control.forbids_stale:
        return None
    if control is not None and (control.no_cache or control.min_fresh or control.max_age is not None):
        return None
    since = max(0.0, now - found.fresh_until)  # soft-purged, it counts as stale from now on
    said, asked = found.control.stale_if_error, control.stale_if_error if control is not None else 0
    if since < max(said or 0, asked):
        return Stale.IF_ERROR
    # RFC 5861 §4: who gives a limit does not want what is staler, whatever we would do on our own
    if not answered and said is None and not asked and since < disconnected_for:
        return Stale.DISCONNECTED
    return None
