"""What a route's `cookies` means, and what is said of cookies in stored responses. Pure.

RFC 9111 knows nothing of cookies: a response that sets one may be stored, one that was made for a request with one may
answer a request with another, and the origin says otherwise by `Vary: Cookie`, private or no-store (RFC 6265 §3 says
the same of Set-Cookie). Most origins have never been told, so most CDNs look away where a cookie shows. Which of
these a route does is the topology's choice:

            a request that bears Cookie             a response that bears Set-Cookie
    rfc     is like any other                       is like any other
    pass    goes past the cache                     is not stored
    strip   loses it before key, cache and origin   loses it before the store and the client

What `strip` takes away is taken away first, so it is in no variant key either, and what `Vary: Cookie` chooses is then
the response to a request without one. Under `rfc` what is legal may still be an accident, and is a warning.

It must not know storage, forwarding, or what a cookie holds.
"""

from __future__ import annotations

from copy import copy
from enum import StrEnum
from typing import TYPE_CHECKING

from edge.storable import NotStored

if TYPE_CHECKING:
    from cdnlab.wire.fields import Field
    from edge.response import ResponseFacts


class Cookies(StrEnum):
    """What a route does about cookies."""

    RFC = "rfc"
    PASS = "pass"
    STRIP = "strip"


class CookieWarning(StrEnum):
    """What a person should know of a response that was stored."""

    STORED_SET_COOKIE = "stored-set-cookie"
    STORED_FOR_COOKIE = "stored-for-cookie"

    @property
    def sentence(self) -> str:
        """The warning in words."""
        return _SENTENCES[self]


_SENTENCES = {
    CookieWarning.STORED_SET_COOKIE: "stored with Set-Cookie: everybody who gets it from here gets the same cookie",
    CookieWarning.STORED_FOR_COOKIE: "stored although the request bore Cookie and the response does not say "
    "Vary: Cookie: everybody gets what was made for that client",
}


def bears_cookie(volatile: tuple[Field, ...]) -> bool:
    """Does a request bear Cookie?"""
    for name, _ in volatile:  # noqa: SIM110 - any() with a generator costs three times as much
        if name == b"cookie":
            return True
    return False


def without_cookie(volatile: tuple[Field, ...]) -> tuple[Field, ...]:
    """A request's own fields without Cookie."""
    return tuple([field for field in volatile if field[0] != b"cookie"])


def without_set_cookie(facts: ResponseFacts) -> ResponseFacts:
    """A response as if it set no cookie."""
    if not facts.sets_cookie:
        return facts
    bare = copy(facts)
    bare.index = {name: value for name, value in facts.index.items() if name != b"set-cookie"}
    bare.lines = _without(facts.lines)
    bare.kept = _without(facts.kept)
    bare.sets_cookie = False
    return bare


def _without(lines: bytes) -> bytes:
    kept = [line for line in lines.split(b"\r\n") if line[:11].lower() != b"set-cookie:"]
    return b"\r\n".join(kept)


def refusal(cookies: Cookies, *, cookie: bool, sets_cookie: bool) -> NotStored | None:
    """Why an exchange has no place in the cache, None if it has as far as cookies go: `cookie`, the request bears one;
    `sets_cookie`, the response sets one."""
    if cookies is not Cookies.PASS:
        return None
    if cookie:
        return NotStored.COOKIE
    return NotStored.SET_COOKIE if sets_cookie else None


def warnings(kept: bytes, *, cookie: bool, vary: tuple[bytes, ...]) -> tuple[CookieWarning, ...]:
    """What is to be said of a response that is stored: `kept` are its stored lines, `cookie` whether the origin saw
    one in the request, `vary` the names that choose among its variants."""
    found = []
    if any(line[:11].lower() == b"set-cookie:" for line in kept.split(b"\r\n")):
        found.append(CookieWarning.STORED_SET_COOKIE)
    if cookie and b"cookie" not in vary:
        found.append(CookieWarning.STORED_FOR_COOKIE)
    return tuple(found)


def spelt(found: tuple[CookieWarning, ...]) -> str:
    """What stands behind an explanation; "" without a warning."""
    return "".join(f"; warning: {warning}, {warning.sentence}" for warning in found)
