"""May a response be stored, and if not, why not (RFC 9111 §3).

Decides from fields alone, never from a file name. What this cache does not understand it does not store, and
every "no" is a member of NotStored: the same name is the log field, the metric label and the detail in
Cache-Status. Knows no storage and no sockets. Pure.
"""

from __future__ import annotations

from enum import StrEnum

from cdnlab.wire.framing import UNTIL_CLOSE
from edge.directives import RequestControl
from edge.freshness import Source
from edge.response import ResponseFacts

UNDERSTOOD = frozenset({200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 410})
"""Final statuses whose caching this node implements. Left out on purpose: statuses that a client's own header
can provoke (400, 405, 406, 412, 413, 414, 416, 417, 431, 501), or one client would choose what all others see;
206, since parts are not combined here; 5xx, since an outage should not outlast itself."""


class NotStored(StrEnum):
    """Why a response was not stored."""

    METHOD = "method"
    REQUEST_BODY = "request-body"
    REQUEST_NO_STORE = "request-no-store"
    CONDITION = "condition"
    RANGE = "range"
    UPGRADE = "upgrade"
    HIDDEN = "hidden-field"
    STATUS = "status"
    PARTIAL = "partial"
    NO_STORE = "no-store"
    PRIVATE = "private"
    AUTHORIZATION = "authorization"
    SET_COOKIE = "set-cookie"
    VARY_ANY = "vary-any"
    VARY_HERE = "vary-here"
    NO_LIFETIME = "no-lifetime"
    NO_VALIDATOR = "no-validator"
    UNDELIMITED = "undelimited"
    TOO_LARGE = "too-large"
    NO_ROOM = "no-room"
    CUT_SHORT = "cut-short"
    INVALIDATED = "invalidated"
    KNOWN = "known"

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return _SENTENCES[self]


_SENTENCES = {
    NotStored.METHOD: "only answers to GET are stored",
    NotStored.REQUEST_BODY: "the request bears a body, which is not in the key",
    NotStored.REQUEST_NO_STORE: "the request says Cache-Control: no-store",
    NotStored.CONDITION: "the request bears If-Match or If-Unmodified-Since, which only the origin can judge",
    NotStored.RANGE: "the request asks for a part, and parts are not combined here",
    NotStored.UPGRADE: "the request asks for another protocol",
    NotStored.HIDDEN: "the request's Connection field takes away a field that the response may vary by",
    NotStored.STATUS: "the status is not one this cache stores",
    NotStored.PARTIAL: "the response is a part of a representation",
    NotStored.NO_STORE: "the response says Cache-Control: no-store",
    NotStored.PRIVATE: "the response says Cache-Control: private, and this cache is shared",
    NotStored.AUTHORIZATION: "the request bears Authorization, and the response does not say public, s-maxage or "
    "must-revalidate",
    NotStored.SET_COOKIE: "the response sets a cookie, which is meant for one client",
    NotStored.VARY_ANY: "the response says Vary: *",
    NotStored.VARY_HERE: "the response varies by a field that the origin does not see as clients send it",
    NotStored.NO_LIFETIME: "the response does not say how long it is fresh, and it may not be guessed",
    NotStored.NO_VALIDATOR: "the response is stale at once and has no validator to check it with",
    NotStored.UNDELIMITED: "the body ends only with its connection, so a cut could not be told from the end",
    NotStored.TOO_LARGE: "the body is larger than one object may be",
    NotStored.NO_ROOM: "bodies that are arriving now take all the room there is for them",
    NotStored.CUT_SHORT: "the body ended before it was complete",
    NotStored.INVALIDATED: "the target was changed by an unsafe request while this was fetched",
    NotStored.KNOWN: "a response under this key was found not to be reusable a moment ago",
}  # fmt: skip


def refusal(
    response: ResponseFacts,
    *,
    control: RequestControl | None,
    authorized: bool,
    lifetime: int,
    source: Source,
    length: int,
    object_max: int,
) -> NotStored | None:
    """Why the response to a GET may not be stored by a shared cache; None if it may (RFC 9111 §3).

    `lifetime` and `source` are freshness.lifetime's; `length` is the body's, -1 chunked, -2 until close.
    """
    if control is not None and control.no_store:
        return NotStored.REQUEST_NO_STORE
    return (
        _by_fields(response, authorized)
        or _by_freshness(response, lifetime, source)
        or _by_length(length, object_max)
    )


def _by_fields(response: ResponseFacts, authorized: bool) -> NotStored | None:
    control = response.control
    if response.partial:
        return NotStored.PARTIAL
    if response.status not in UNDERSTOOD:
        return NotStored.STATUS
    if control.no_store and not control.must_understand:  # RFC 9111 §5.2.2.3: the status is understood
        return NotStored.NO_STORE
    if control.private:
        return NotStored.PRIVATE
    if response.sets_cookie:
        return NotStored.SET_COOKIE
    if authorized and not control.opens_authorized:
        return NotStored.AUTHORIZATION
    if response.vary is None:
        return NotStored.VARY_ANY
    return NotStored.VARY_HERE if response.vary_here else None


def _by_freshness(response: ResponseFacts, lifetime: int, source: Source) -> NotStored | None:
    if source is Source.NONE:
        return NotStored.NO_LIFETIME
    if lifetime <= 0 and response.etag is None and response.last_modified is None:
        return NotStored.NO_VALIDATOR
    return None


def _by_length(length: int, object_max: int) -> NotStored | None:
    if length == UNTIL_CLOSE:
        return NotStored.UNDELIMITED
    return NotStored.TOO_LARGE if length > object_max else None
