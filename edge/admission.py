"""What the cache concludes from one response head: how old, how long fresh, stored or why not.

Brings freshness.py and storable.py together for one moment of arrival. Knows no storage and no sockets. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from cdnlab.wire.dates import format_date, parse_date
from cdnlab.wire.fields import Field
from edge import cookies, freshness
from edge.cookies import Cookies
from edge.directives import RequestControl
from edge.freshness import Source
from edge.response import ResponseFacts
from edge.storable import NotStored, refusal


class Asked:
    """What the decision needs to know of the request: when it was sent, what it was, and what it bore."""

    __slots__ = ("asked_at", "authorized", "control", "cookie", "cookies", "method", "target")

    def __init__(
        self,
        asked_at: float,
        method: bytes,
        target: bytes,
        control: RequestControl | None,
        authorized: bool,
        *,
        cookie: bool = False,
        cookies: Cookies = Cookies.RFC,
    ) -> None:
        self.cookie = cookie
        self.cookies = cookies
        self.asked_at = asked_at
        self.method = method
        self.target = target
        self.control = control
        self.authorized = authorized


class Admission:
    """born: arrival minus corrected initial age; lifetime in seconds; date: bytes and seconds of the Date sent on;
    age: the received Age in seconds, or None; reason: why it is not stored, or None; warnings: what to say if it is."""

    __slots__ = ("age", "born", "date", "date_value", "lifetime", "reason", "source", "warnings")

    def __init__(
        self,
        facts: ResponseFacts,
        volatile: tuple[Field, ...],
        asked: Asked,
        *,
        length: int,
        object_max: int,
        now: float,
        wall: float,
        negative: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        """`negative`: seconds by status, for responses that say nothing about their freshness."""
        age, date = _age_and_date(volatile)
        seconds = parse_date(date, wall) if date is not None else None
        self.age = freshness.age_value(age) if age is not None else None
        if date is None or seconds is None:  # RFC 9110 §6.6.1: a recipient with a clock adds it
            self.date_value = int(wall)
            self.date = format_date(self.date_value)
        else:
            self.date_value = seconds
            self.date = date
        self.born = now - freshness.initial_age(age, date=seconds, wall=wall, delay=now - asked.asked_at)
        self.lifetime, self.source = freshness.lifetime(
            facts.control,
            facts.status,
            date=self.date_value,
            expires=facts.expires,
            last_modified=facts.last_modified,
            wall=wall,
            negative=negative.get(facts.status),
        )
        self.reason: NotStored | None = cookies.refusal(
            asked.cookies, cookie=asked.cookie, sets_cookie=facts.sets_cookie
        ) or refusal(
            facts,
            method=asked.method,
            target=asked.target,
            control=asked.control,
            authorized=asked.authorized,
            lifetime=self.lifetime,
            source=self.source,
            length=length,
            object_max=object_max,
        )
        self.warnings = (
            ()
            if self.reason is not None
            else cookies.warnings(facts.kept, cookie=asked.cookie, vary=facts.vary or ())
        )

    def reusable(self, now: float) -> bool:
        """May those who waited be served from it without asking again?"""
        return self.reason is None and now < self.born + self.lifetime

    def arithmetic(self, now: float) -> str:
        """The sums, for a person."""
        age = max(0.0, now - self.born)
        kind = "" if self.source is Source.NONE else f" from {self.source}"
        return f"age {age:.1f} s, lifetime {self.lifetime} s{kind}{cookies.spelt(self.warnings)}"


def _age_and_date(volatile: tuple[Field, ...]) -> tuple[bytes | None, bytes | None]:
    """The first of each (RFC 9111 §5.1; a second Date is malformed, and the first is as good as any)."""
    age = date = None
    for name, value in reversed(volatile):
        if name == b"age":
            age = value
        elif name == b"date":
            date = value
    return age, date
