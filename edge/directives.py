"""Cache-Control as two small records, one for requests and one for responses.

Decides what the value says (RFC 9111 §5.2, RFC 5861, RFC 8246; RFC 9213 for the targeted field), never what follows
from it: that is storable.py, freshness.py and decision.py. Of a directive with seconds given twice the first counts, of
one with and without field names the stricter form. Values repeat endlessly, so what was parsed is remembered, bounded
in number and in length. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import inf

from cdnlab.wire.fields import directives, split_list, unquote
from cdnlab.wire.structured import parse_dictionary

DELTA_MAX = 2**31  # RFC 9111 §1.2.2: a cache that meets a greater value takes it for 2^31
_REMEMBERED_LENGTH = 256  # longer values are parsed each time: clients choose them
_SECONDS = frozenset({b"max-age", b"s-maxage", b"stale-while-revalidate", b"stale-if-error"})
_FIELDS = frozenset({b"no-cache", b"private"})

Given = Mapping[bytes, bytes | None]
"""Lower-case directive to its argument, None where it has none."""


def delta_seconds(value: bytes | None) -> int:
    """Seconds of a delta-seconds argument (RFC 9111 §1.2.2); what is no number is 0, which means stale."""
    if not value or not value.isdigit():
        return 0
    return min(int(value), DELTA_MAX) if len(value) <= 10 else DELTA_MAX


class ResponseControl:
    """What a response asks of a shared cache. Seconds are ints, None where absent.

    targeted        it was read from CDN-Cache-Control, so Cache-Control and Expires do not count
    no_cache        without field names; `withheld` are the lower-case names that no-cache or private list: they are
                    sent on once, and not stored (RFC 9111 §5.2.2.4, §5.2.2.7)
    """

    __slots__ = (
        "immutable", "max_age", "must_revalidate", "must_understand", "no_cache", "no_store",
        "private", "proxy_revalidate", "public", "s_maxage", "said", "stale_if_error", "stale_while_revalidate",
        "targeted", "withheld",
    )  # fmt: skip

    def __init__(self, given: Given, *, targeted: bool = False) -> None:
        self.targeted = targeted
        self.said = bool(given)
        self.no_store = b"no-store" in given
        self.public = b"public" in given
        self.must_revalidate = b"must-revalidate" in given
        self.proxy_revalidate = b"proxy-revalidate" in given
        self.must_understand = b"must-understand" in given
        self.immutable = b"immutable" in given
        self.max_age = _seconds(given, b"max-age")
        self.s_maxage = _seconds(given, b"s-maxage")
        self.stale_while_revalidate = _seconds(given, b"stale-while-revalidate")
        self.stale_if_error = _seconds(given, b"stale-if-error")
        unchecked, private = _names(given, b"no-cache"), _names(given, b"private")
        self.no_cache = unchecked == ()
        self.private = private == ()
        self.withheld: frozenset[bytes] = frozenset((*(unchecked or ()), *(private or ())))

    @property
    def opens_authorized(self) -> bool:
        """May a shared cache reuse it where Authorization was sent? (RFC 9111 §3.5)"""
        return self.public or self.must_revalidate or self.s_maxage is not None

    @property
    def forbids_stale(self) -> bool:
        """Must it be validated once it is stale, whatever else is said (RFC 9111 §4.2.4)? s-maxage brings the meaning
        of proxy-revalidate with it (§5.2.2.10)."""
        return self.must_revalidate or self.proxy_revalidate or self.s_maxage is not None or self.no_cache


class RequestControl:
    """What a request's Cache-Control (or Pragma, RFC 9111 §5.4) asks of a cache. `max_stale` is inf without a value,
    None where absent."""

    __slots__ = (
        "max_age",
        "max_stale",
        "min_fresh",
        "no_cache",
        "no_store",
        "only_if_cached",
        "stale_if_error",
    )

    def __init__(self, value: bytes, pragma: bytes) -> None:
        given = directives(value) if value else directives(pragma) if pragma else {}
        said = bool(value)
        self.no_cache = b"no-cache" in given
        self.no_store = said and b"no-store" in given
        self.only_if_cached = said and b"only-if-cached" in given
        self.max_age = delta_seconds(given[b"max-age"]) if said and b"max-age" in given else None
        self.min_fresh = delta_seconds(given[b"min-fresh"]) if said and b"min-fresh" in given else 0
        self.max_stale: float | None = None
        if said and b"max-stale" in given:
            argument = given[b"max-stale"]
            self.max_stale = inf if argument is None else delta_seconds(argument)
        self.stale_if_error = delta_seconds(given.get(b"stale-if-error")) if said else 0

    @property
    def silent(self) -> bool:
        """Nothing asked that this cache acts on."""
        return (
            not (
                self.no_cache or self.no_store or self.only_if_cached or self.min_fresh or self.stale_if_error
            )
            and self.max_age is None
            and self.max_stale is None
        )


def _seconds(given: Given, name: bytes) -> int | None:
    return delta_seconds(given[name]) if name in given else None


def _names(given: Given, name: bytes) -> tuple[bytes, ...] | None:
    """The field names a directive lists, () for the directive without names, None where it is absent."""
    if name not in given:
        return None
    return tuple(member.lower() for member in split_list(given[name] or b""))


def _given(value: bytes) -> dict[bytes, bytes | None]:
    """The directives of a Cache-Control value. White space around `=` is outside the grammar (RFC 9111 §5.2), so a
    number behind it is no number."""
    found: dict[bytes, bytes | None] = {}
    for member in split_list(value):
        raw, equals, argument = member.partition(b"=")
        name = raw.rstrip(b" \t").lower()
        said = unquote(argument.strip(b" \t")) if equals else None
        if name in _SECONDS and (raw[-1:] in (b" ", b"\t") or argument[:1] in (b" ", b"\t")):
            said = b"white space"
        if name in _FIELDS and name in found:  # the form without names is the stricter one, else names add up
            before = found[name]
            found[name] = before + b"," + said if before and said else None
        elif name and name not in found:
            found[name] = said
    return found


def _targeted(value: bytes) -> dict[bytes, bytes | None] | None:
    """The directives of a targeted field (RFC 9213 §2.1), None if it is empty or no Dictionary: then it counts as
    absent. A number of another type is no number, so what it limits is over (RFC 9111 §4.2.1); another directive whose
    value has not its type is passed over, and a false one is not given."""
    try:
        members = parse_dictionary(value)
    except ValueError:
        return None
    found: dict[bytes, bytes | None] = {}
    for key, member in members.items():
        bare, name = member[0], key.encode()
        if name in _SECONDS:
            found[name] = b"%d" % bare if type(bare) is int and bare >= 0 else b"another type"
        elif name in _FIELDS and isinstance(bare, str):
            found[name] = bare.encode("latin-1", "replace")
        elif bare is not False:
            found[name] = None
    return found if members else None


def _response(value: bytes, targeted: bytes) -> ResponseControl:
    given = _targeted(targeted) if targeted else None
    return ResponseControl(_given(value)) if given is None else ResponseControl(given, targeted=True)


_remembered_response = lru_cache(maxsize=1024)(_response)
_remembered_request = lru_cache(maxsize=256)(RequestControl)


def response_control(value: bytes | None, targeted: bytes | None = None) -> ResponseControl:
    """The record of a response's Cache-Control value, or of its CDN-Cache-Control where that is a valid one; None or
    b"" where a field is absent."""
    value, targeted = value or b"", targeted or b""
    if len(value) + len(targeted) <= _REMEMBERED_LENGTH:
        return _remembered_response(value, targeted)
    return _response(value, targeted)


def request_control(value: bytes | None, pragma: bytes | None = None) -> RequestControl:
    """The record of a request's Cache-Control; Pragma: no-cache counts where Cache-Control is absent."""
    value, pragma = value or b"", pragma or b""
    if len(value) + len(pragma) <= _REMEMBERED_LENGTH:
        return _remembered_request(value, pragma)
    return RequestControl(value, pragma)
