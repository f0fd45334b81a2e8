"""May a response be stored, and if not, why not (RFC 9111 §3).

Decides from fields alone, never from a file name. Every "no" is a member of NotStored: the same name is the log
field, the metric label and the detail in Cache-Status. Knows no storage and no sockets. Pure.
"""

from __future__ import annotations

from enum import StrEnum

from edge.directives import RequestControl
from edge.freshness import HEURISTIC_STATUSES, Source
from edge.response import ResponseFacts

UNDERSTOOD = frozenset(
    {*range(200, 207), *range(300, 306), 307, 308, *range(400, 418), 421, 422, 426, *range(500, 506)}
)
"""The final statuses of RFC 9110 §15, whose demands on caches are met here: what must-understand asks about (RFC 9111
§5.2.2.3). Other final statuses are stored too where nothing asks that they be understood."""


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
    NOT_UNDERSTOOD = "not-understood"
    PARTIAL = "partial"
    NO_STORE = "no-store"
    PRIVATE = "private"
    AUTHORIZATION = "authorization"
    COOKIE = "cookie"
    SET_COOKIE = "set-cookie"
    VARY_ANY = "vary-any"
    VARY_HERE = "vary-here"
    NO_LIFETIME = "no-lifetime"
    NO_VALIDATOR = "no-validator"
    TOO_LARGE = "too-large"
    NO_ROOM = "no-room"
    ARRIVING = "arriving"
    TRANSFER_CODING = "transfer-coding"
    CUT_SHORT = "cut-short"
    INVALIDATED = "invalidated"
    PURGED = "purged"
    ELSEWHERE = "elsewhere"

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return _SENTENCES[self]


_SENTENCES = {
    NotStored.METHOD: "only answers to GET are stored, and those to POST that say what they are and for how long",
    NotStored.REQUEST_BODY: "the request bears a body, which is not in the key",
    NotStored.REQUEST_NO_STORE: "the request says Cache-Control: no-store",
    NotStored.CONDITION: "the request bears If-Match or If-Unmodified-Since, which only the origin can judge",
    NotStored.RANGE: "the response says that the range asked for is none of its",
    NotStored.UPGRADE: "the request asks for another protocol",
    NotStored.HIDDEN: "the request's Connection field takes away a field that the response may vary by",
    NotStored.STATUS: "the status answers this one request only",
    NotStored.NOT_UNDERSTOOD: "the response says must-understand, and its status is not one this cache knows",
    NotStored.PARTIAL: "the parts in the response cannot be told from its head",
    NotStored.NO_STORE: "the response says no-store",
    NotStored.PRIVATE: "the response says private, and this cache is shared",
    NotStored.AUTHORIZATION: "the request bears Authorization, and the response does not say public, s-maxage or "
    "must-revalidate",
    NotStored.COOKIE: "the request bears Cookie, and the route passes such requests by",
    NotStored.SET_COOKIE: "the response sets a cookie, and the route passes such responses by",
    NotStored.VARY_ANY: "the response says Vary: *",
    NotStored.VARY_HERE: "the response varies by a field that the origin does not see as clients send it",
    NotStored.NO_LIFETIME: "the response does not say how long it is fresh, and it may not be guessed",
    NotStored.NO_VALIDATOR: "the response is stale at once and has no validator to check it with",
    NotStored.TOO_LARGE: "the body is larger than one object may be",
    NotStored.NO_ROOM: "there is no room for it now: arriving bodies take it, or what lies there is worth more",
    NotStored.ARRIVING: "it is too large for memory, and another request's fetch is writing it to disk already",
    NotStored.TRANSFER_CODING: "the body is in a transfer coding that nobody asked for and nobody undoes",
    NotStored.CUT_SHORT: "the body ended before it was complete",
    NotStored.INVALIDATED: "the target was changed while this was fetched: an unsafe request or another answer says so",
    NotStored.PURGED: "it was purged while it was fetched",
    NotStored.ELSEWHERE: "another edge of this place keeps it",
}  # fmt: skip


def refusal(
    response: ResponseFacts,
    *,
    method: bytes,
    target: bytes,
    control: RequestControl | None,
    authorized: bool,
    lifetime: int,
    source: Source,
    length: int,
    object_max: int,
) -> NotStored | None:
    """Why a shared cache may not store the response; None if it may (RFC 9111 §3).

    `lifetime` and `source` are freshness.lifetime's; `length` is the body's, negative if unknown; `target` is the
    target URI, which a response to POST must name as what it is (RFC 9110 §9.3.3).
    """
    if method == b"POST" and not post_is_get(response, target, source):
        return NotStored.METHOD
    if control is not None and control.no_store:
        return NotStored.REQUEST_NO_STORE
    return (
        _by_fields(response, authorized)
        or _by_freshness(response, lifetime, source)
        or (NotStored.TOO_LARGE if length > object_max else None)
    )


def post_is_get(response: ResponseFacts, target: bytes, source: Source) -> bool:
    """Is the answer to a POST what a GET of its target would be answered (RFC 9110 §9.3.3): it says so with
    Content-Location, and how long it is fresh?"""
    explicit = source in (Source.S_MAXAGE, Source.MAX_AGE, Source.EXPIRES)
    return response.status == 200 and explicit and response.content_location(target) == target


def _by_fields(response: ResponseFacts, authorized: bool) -> NotStored | None:
    control, status = response.control, response.status
    # RFC 9112 §6.3: such a body ends with its connection; as it came it is no representation
    if response.index.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
        return NotStored.TRANSFER_CODING
    if status == 304 or status == 412:
        return NotStored.STATUS
    if status == 416:
        return NotStored.RANGE
    if status == 206 and response.part is None:
        return NotStored.PARTIAL
    if control.must_understand and status not in UNDERSTOOD:
        return NotStored.NOT_UNDERSTOOD
    if control.no_store and not control.must_understand:  # RFC 9111 §5.2.2.3: the status is understood
        return NotStored.NO_STORE
    if control.private:
        return NotStored.PRIVATE
    if authorized and not control.opens_authorized:
        return NotStored.AUTHORIZATION
    if response.vary is None:
        return NotStored.VARY_ANY
    return NotStored.VARY_HERE if response.vary_here else None


def _by_freshness(response: ResponseFacts, lifetime: int, source: Source) -> NotStored | None:
    if lifetime > 0:
        return None
    control = response.control
    if source is Source.NONE and response.status not in HEURISTIC_STATUSES and not control.public:
        return NotStored.NO_LIFETIME
    if response.etag is not None or response.last_modified is not None:
        return None
    if source is Source.NONE:
        return NotStored.NO_LIFETIME
    # stale at once and not to be validated: of use only where it may be sent stale
    windows = control.stale_while_revalidate or control.stale_if_error
    return None if windows and not control.forbids_stale else NotStored.NO_VALIDATOR
