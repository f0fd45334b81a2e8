"""Stickiness at an edge: what the cache must not see of a pin, whom a fetch asks first, and which client is told.

The pin's cookie is a matter between a client and the nodes that choose an origin for it. It is taken out of a request
before anybody looks, so it counts for no key, no variant and no rule about cookies, and goes to no origin; only to
another edge of ours it travels on, since that one may be who asks the origin.

A client is told of its pin with an answer that is its own, and with no other: one that is stored, or that others could
be sent, here or by a cache behind us, bears no cookie of ours. So it is only told with answers that the origin or the
request itself made private to it, never with hits, shared fetches or answers to HEAD, which update what caches hold
(RFC 9111 §4.3.5), nor with a 304, which does the same (§4.3.4), nor on a route that strips cookies.

It must not know where pins lie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cdnlab.forward.client import client_address
from cdnlab.pool.pin_cookie import values_of
from edge.cookies import Cookies
from edge.storable import NotStored

if TYPE_CHECKING:
    from cdnlab.forward.sticky import Stickiness
    from cdnlab.net.exchange import Exchange
    from cdnlab.pool.sticky import Hold
    from cdnlab.wire.fields import Field
    from edge.reader import Reader
    from edge.settings import Settings

PERSONAL = frozenset(
    {
        NotStored.METHOD, NotStored.REQUEST_BODY, NotStored.REQUEST_NO_STORE, NotStored.CONDITION, NotStored.HIDDEN,
        NotStored.STATUS, NotStored.NO_STORE, NotStored.PRIVATE, NotStored.AUTHORIZATION, NotStored.COOKIE,
        NotStored.SET_COOKIE, NotStored.VARY_ANY, NotStored.VARY_HERE, NotStored.NO_LIFETIME,
    }
)  # fmt: skip
"""Why an answer is one client's. The other reasons for not storing it say nothing of who may have it."""

_HERE = frozenset(
    {
        NotStored.REQUEST_BODY, NotStored.CONDITION, NotStored.HIDDEN, NotStored.COOKIE, NotStored.SET_COOKIE,
        NotStored.VARY_HERE,
    }
)  # fmt: skip
"""Those of them that bind this cache only: one behind us may store such an answer if it has a lifetime."""


def split(volatile: tuple[Field, ...], sticky: Stickiness) -> tuple[tuple[Field, ...], tuple[bytes, ...]]:
    """A request's own fields without the pin's cookie, the very same if it is not there; and that, as name=value."""
    bare = sticky.unpinned(volatile)
    if bare is volatile:
        return volatile, ()
    cookie = sticky.cookie
    fields = [value for name, value in volatile if name == b"cookie"]
    return bare, tuple(b"%b=%b" % (cookie, value) for field in fields for value in values_of(field, cookie))


def shown(x: Exchange) -> tuple[bytes, ...]:
    """The pin that a request bore, as name=value, before it was taken out; several if it is there several times."""
    client: tuple[Any, ...] | None = x.tag
    found: tuple[bytes, ...] = client[5] if client is not None and client[0] is x.volatile else ()
    return found


def hold_of(reader: Reader, sticky: Stickiness, settings: Settings) -> Hold:
    """Where a request's client is pinned to."""
    address = reader.peer
    if reader.trusted:
        address = client_address(address, True, reader.field(b"x-forwarded-for"), settings.trusted)
    cookies = reader.shown or [value for name, value in reader.volatile if name == b"cookie"]
    return sticky.find(cookies, address)


def with_pin(reader: Reader) -> tuple[Field, ...]:
    """A request's own fields with the pin, for another edge of ours."""
    return (*reader.volatile, *((b"cookie", pin) for pin in reader.shown))


def tells(reader: Reader, status: int, reason: NotStored | None, lifetime: int, cookies: Cookies) -> bool:
    """Whether an answer that is not stored for `reason` is its client's own; `lifetime` in seconds."""
    if reason not in PERSONAL or (lifetime > 0 and reason in _HERE):
        return False
    return status != 304 and reader.line.method != b"HEAD" and cookies is not Cookies.STRIP
