"""Cache-Control as two small records, one for requests and one for responses.

Decides what a Cache-Control value says (RFC 9111 §5.2), never what follows from it: that is storable.py and
freshness.py. Of a directive given twice the first counts. Values repeat endlessly, so what was parsed is remembered,
bounded in number and in length. Pure.
"""

from __future__ import annotations

from functools import lru_cache

from cdnlab.wire.fields import directives

DELTA_MAX = 2**31  # RFC 9111 §1.2.2: a cache that meets a greater value takes it for 2^31
_REMEMBERED_LENGTH = 256  # longer values are parsed each time: clients choose them


def delta_seconds(value: bytes | None) -> int:
    """Seconds of a delta-seconds argument (RFC 9111 §1.2.2); what is no number is 0, which means stale."""
    if not value or not value.isdigit():
        return 0
    return min(int(value), DELTA_MAX) if len(value) <= 10 else DELTA_MAX


class ResponseControl:
    """What a response's Cache-Control asks of a shared cache. Seconds are ints, None where absent.

    The qualified forms private="…" and no-cache="…" count as the whole directive: stricter than RFC 9111
    asks, and nothing of such a field can leak.
    """

    __slots__ = (
        "max_age", "must_revalidate", "must_understand", "no_cache", "no_store",
        "private", "proxy_revalidate", "public", "s_maxage", "said",
    )  # fmt: skip

    def __init__(self, value: bytes) -> None:
        given = directives(value)
        self.said = bool(given)
        self.no_store = b"no-store" in given
        self.no_cache = b"no-cache" in given
        self.private = b"private" in given
        self.public = b"public" in given
        self.must_revalidate = b"must-revalidate" in given
        self.proxy_revalidate = b"proxy-revalidate" in given
        self.must_understand = b"must-understand" in given
        self.max_age = delta_seconds(given[b"max-age"]) if b"max-age" in given else None
        self.s_maxage = delta_seconds(given[b"s-maxage"]) if b"s-maxage" in given else None

    @property
    def opens_authorized(self) -> bool:
        """May a shared cache reuse it where Authorization was sent? (RFC 9111 §3.5)"""
        return self.public or self.must_revalidate or self.s_maxage is not None


class RequestControl:
    """What a request's Cache-Control (or Pragma, RFC 9111 §5.4) asks of a cache."""

    __slots__ = ("max_age", "min_fresh", "no_cache", "no_store", "only_if_cached")

    def __init__(self, value: bytes, pragma: bytes) -> None:
        given = directives(value) if value else directives(pragma) if pragma else {}
        self.no_cache = b"no-cache" in given
        self.no_store = bool(value) and b"no-store" in given
        self.only_if_cached = bool(value) and b"only-if-cached" in given
        self.max_age = delta_seconds(given[b"max-age"]) if value and b"max-age" in given else None
        self.min_fresh = delta_seconds(given[b"min-fresh"]) if value and b"min-fresh" in given else 0

    @property
    def silent(self) -> bool:
        """Nothing asked that this cache acts on."""
        return (
            not (self.no_cache or self.no_store or self.only_if_cached or self.min_fresh)
            and self.max_age is None
        )


_remembered_response = lru_cache(maxsize=1024)(ResponseControl)
_remembered_request = lru_cache(maxsize=256)(RequestControl)


def response_control(value: bytes | None) -> ResponseControl:
    """The record of a response's Cache-Control value, b"" or None where the field is absent."""
    value = value or b""
    return _remembered_response(value) if len(value) <= _REMEMBERED_LENGTH else ResponseControl(value)


def request_control(value: bytes | None, pragma: bytes | None = None) -> RequestControl:
    """The record of a request's Cache-Control; Pragma: no-cache counts where Cache-Control is absent."""
    value, pragma = value or b"", pragma or b""
    if len(value) + len(pragma) <= _REMEMBERED_LENGTH:
        return _remembered_request(value, pragma)
    return RequestControl(value, pragma)
