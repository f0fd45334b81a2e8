"""What `/behave` can be told to do, and what each parameter may hold.

Decides from a query string how a response will look, or why it can't be had. The rows of PARAMETERS are the
one declaration: the parser, the messages and the page /behave/help come from them. Must not know sockets or
how the response is sent. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

MAX_DELAY = 30.0  # seconds; half of the 60 s after which the lab's tiers give up on a response
MAX_SIZE = 1024 * 1024 * 1024  # bytes; made as they are sent, so a gigabyte costs the origin no memory
MAX_DRIP_TIME = 120.0  # seconds from first to last byte
MAX_FIELDS = 32
MAX_FIELD = 1024  # characters of one field value

_VALUE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"')
_DATE = re.compile(r"[A-Z][a-z]{2,8}[, ][\x20-\x7e]{10,32}")
_FRAMING = frozenset(
    ("connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)


class Wrong(ValueError):
    """A parameter that can't be obeyed; the text names it, its value and the remedy."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One word of the query: what it takes, what it does, and an example that can be tried."""

    name: str
    form: str
    read: Callable[[str], object]
    example: str
    does: str
    repeatable: bool = False


@dataclass(frozen=True, slots=True)
class When:
    """A date: `text` to be sent as it stands, or `offset` seconds from the time of the answer."""

    text: str | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one response shall look like: the values told, by parameter name."""

    told: Mapping[str, object]

    def number(self, name: str, default: float) -> float:
        """A number told, or `default`."""
        value = self.told.get(name, default)
        return value if isinstance(value, int | float) else default

    def text(self, name: str) -> str | None:
        """A text told, or None."""
        value = self.told.get(name)
        return value if isinstance(value, str) else None

    def flag(self, name: str) -> bool:
        """Whether the switch was turned on."""
        return self.told.get(name) is True

    def when(self, name: str) -> When | None:
        """A date told, or None."""
        value = self.told.get(name)
        return value if isinstance(value, When) else None

    def fields(self, name: str) -> tuple[tuple[str, str], ...]:
        """Fields told by a repeatable parameter, in order."""
        value = self.told.get(name, ())
        return value if isinstance(value, tuple) else ()

    @property
    def status(self) -> int:
        return int(self.number("status", 200))

    @property
    def bodiless(self) -> bool:
        """Statuses that never have a body (RFC 9110 §15.3.5, §15.4.5)."""
        return self.status in (204, 304)


def understand(query: Iterable[tuple[str, str]]) -> Behaviour:
    """The behaviour that decoded query pairs ask for; raises Wrong."""
    told: dict[str, object] = {}
    for name, raw in query:
        parameter = _parameter(name)
        if len(raw) > MAX_FIELD:
            raise Wrong(f"{name}: longer than {MAX_FIELD} characters.")
        try:
            value = parameter.read(raw)
        except ValueError:
            raise Wrong(f"{name}={raw[:80]!r} does not fit: it takes {parameter.form}.") from None
        if parameter.repeatable:
            value = (*_sequence(told.get(name)), value)
            if len(value) > MAX_FIELDS:
                raise Wrong(f"{name}: at the most {MAX_FIELDS} times.")
        elif name in told:
            raise Wrong(f"{name} is given twice; once is enough.")
        told[name] = value
    return _consistent(Behaviour(told))


def _sequence(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else ()


def _consistent(behaviour: Behaviour) -> Behaviour:
    drip, size = behaviour.number("drip", 0), behaviour.number("size", 0)
    if drip and size / drip > MAX_DRIP_TIME:
        raise Wrong(
            f"drip: {size:.0f} bytes would take over {MAX_DRIP_TIME:.0f} s; drip faster or send less."
        )
    if behaviour.flag("echo") and "size" in behaviour.told:
        raise Wrong("echo and size both say what the body is; give one of them.")
    if behaviour.fields("trailer") and behaviour.told.get("chunked") is False:
        raise Wrong("trailer needs a chunked body; leave chunked=0 out.")
    return behaviour


def _parameter(name: str) -> Parameter:
    try:
        return PARAMETERS[name]
    except KeyError:
        near = get_close_matches(name, PARAMETERS, 1)
        remedy = f"did you mean {near[0]}?" if near else "see /behave/help."
        raise Wrong(f"{name[:40]!r} is not a parameter; {remedy}") from None


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(raw: str) -> int:
        if not raw.isascii() or not raw.isdigit() or len(raw) > 12 or not least <= int(raw) <= most:
            raise ValueError
        return int(raw)

    return read


def _seconds(raw: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", raw) or float(raw) > MAX_DELAY:
        raise ValueError
    return float(raw)


def _switch(raw: str) -> bool:
    if raw not in ("0", "1"):
        raise ValueError
    return raw == "1"


def _value(raw: str) -> str:
    if not _VALUE.fullmatch(raw):
        raise ValueError
    return raw


def _etag(raw: str) -> str:
    tag = raw if '"' in raw else f'"{raw}"'
    if not _ETAG.fullmatch(tag):
        raise ValueError
    return tag


def _when(raw: str) -> When:
    if re.fullmatch(r"[+-]?[0-9]{1,9}", raw):
        return When(offset=int(raw))
    if not _DATE.fullmatch(raw):
        raise ValueError
    return When(text=raw)


def _expires(raw: str) -> When:
    return When(text=raw) if raw == "0" else _when(raw)


def _field(raw: str) -> tuple[str, str]:
    name, colon, value = raw.partition(":")
    lower = name.lower()
    if not colon or not _TOKEN.fullmatch(name) or lower in _FRAMING or lower.startswith("cdnlab-"):
        raise ValueError
    return name, _value(value.strip()) if value.strip() else ""


def _ignored(raw: str) -> str:
    return raw


_FIELD_FORM = "Name:Value, a field other than those of framing, the connection and cdnlab's own"

_ROWS = (
    Parameter("status", "a status from 200 to 599", _whole(200, 599), "503",
              "The status code."),
    Parameter("delay", f"seconds up to {MAX_DELAY:.0f}, such as 1.5", _seconds, "1.5",
              "Wait so long before the head is sent."),
    Parameter("size", f"bytes from 0 to {MAX_SIZE}", _whole(0, MAX_SIZE), "1024",
              "A body of this many bytes: lines of 64 bytes, each beginning with its own offset."),
    Parameter("type", "a media type", _value, "text/csv",
              "The Content-Type."),
    Parameter("cc", "a Cache-Control value", _value, "public, max-age=60",
              "The Cache-Control field; none is sent without it."),
    Parameter("vary", "a Vary value", _value, "Accept-Language",
              "The Vary field."),
    Parameter("etag", "an entity-tag; quotes may be left out", _etag, "v1",
              "The ETag field. A request whose If-None-Match has it is answered 304."),
    Parameter("last_modified", "an HTTP date, or seconds from now, such as -3600", _when, "-3600",
              "The Last-Modified field, with 304 for If-Modified-Since where the date is fixed."),
    Parameter("expires", "an HTTP date, seconds from now, or 0 sent as it stands", _expires, "60",
              "The Expires field. A bare 0 is not a date, and means already stale."),
    Parameter("age", "seconds from 0 to 999999999", _whole(0, 999_999_999), "30",
              "The Age field, as from a cache further up."),
    Parameter("chunked", "1 or 0", _switch, "1",
              "Send the body chunked, without Content-Length."),
    Parameter("trailer", _FIELD_FORM, _field, "Digest-Note:done",
              "A trailer field after a chunked body. May be repeated.", repeatable=True),
    Parameter("drip", "bytes a second, from 1", _whole(1, 1_000_000_000), "256",
              f"Send the body slowly; the whole may take {MAX_DRIP_TIME:.0f} s."),
    Parameter("close", "bytes, from 0", _whole(0, MAX_SIZE), "100",
              "Close the connection after so many bytes of the body, finished or not."),
    Parameter("set_cookie", "a Set-Cookie value", _value, "seen=1; Path=/",
              "A Set-Cookie field."),
    Parameter("location", "a URI reference", _value, "/",
              "The Location field, for 201 and 3xx."),
    Parameter("early_hints", "a Link value", _value, "</a.css>; rel=preload; as=style",
              "Send 103 Early Hints with this Link first (RFC 8297)."),
    Parameter("header", _FIELD_FORM, _field, "X-Colour:blue",
              "Any other response field. May be repeated.", repeatable=True),
    Parameter("echo", "1 or 0", _switch, "1",
              "The body is the request's head, as it arrived here, in JSON."),
    Parameter("key", "any text", _ignored, "mine",
              "Changes nothing here, but makes a cache key of its own."),
)  # fmt: skip

PARAMETERS: dict[str, Parameter] = {row.name: row for row in _ROWS}
