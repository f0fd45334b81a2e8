"""The cookies of one user of an audit, kept as a browser keeps them (RFC 6265 §5.2 to §5.4). Pure.

Decides which cookies are kept and which go with a request. It knows no dates: Expires is read only to see that a
cookie is taken away. `Secure` is overlooked, since TLS ends before a lab; so are SameSite and HttpOnly, which are
about pages and scripts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cdnlab.wire.dates import parse_date

Field = tuple[str, str]


class Cookie(NamedTuple):
    """A cookie by what tells it from others: two of one name with other paths are two."""

    name: str
    domain: str
    """The host that set it, or what its Domain says, in lower case."""
    path: str
    wide: bool
    """Whether hosts below the domain get it too."""


class Jar:
    """Cookie values by cookie."""

    def __init__(self) -> None:
        self._kept: dict[Cookie, str] = {}

    def take(self, fields: Iterable[Field], host: str, path: str, wall: float) -> None:
        """Keep what an answer from `host` (without port) to a request for `path` sets; `wall` in seconds since 1970."""
        for name, value in fields:
            if name.lower() == "set-cookie":
                self._set(value, host.lower(), path, wall)

    def _set(self, text: str, host: str, path: str, wall: float) -> None:
        pair, *rest = text.split(";")
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name:
            return
        said = {
            key.strip().lower(): argument.strip() for key, _, argument in (one.partition("=") for one in rest)
        }
        domain = said.get("domain", "").lstrip(".").lower()
        if domain and not _within(host, domain):
            return  # a site sets no cookies for others (RFC 6265 §5.3, step 6)
        where = said.get("path", "")
        cookie = Cookie(
            name, domain or host, where if where[:1] == "/" else _default_path(path), bool(domain)
        )
        if _taken_away(said, wall):
            self._kept.pop(cookie, None)
        else:
            self._kept[cookie] = value

    def cookies(self, host: str, path: str) -> list[tuple[str, str]]:
        """(name, value) of what goes with a request for `path` at `host`, longer paths first (RFC 6265 §5.4)."""
        host = host.lower()
        fitting = [
            (cookie, value)
            for cookie, value in self._kept.items()
            if (_within(host, cookie.domain) if cookie.wide else host == cookie.domain)
            and _below(path, cookie.path)
        ]
        return [
            (cookie.name, value) for cookie, value in sorted(fitting, key=lambda each: -len(each[0].path))
        ]

    def line(self, host: str, path: str) -> str:
        """The value of the Cookie field; "" without cookies."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies(host, path))

    def values(self) -> dict[str, str]:
        """Every cookie's value, by name."""
        return {cookie.name: value for cookie, value in self._kept.items()}


def set_by(fields: Iterable[Field]) -> tuple[tuple[str, str], ...]:
    """(name, value) of each cookie that an answer sets, attributes left out."""
    pairs = (value.partition(";")[0].partition("=") for name, value in fields if name == "set-cookie")
    return tuple((name.strip(), value.strip()) for name, _, value in pairs)


def _taken_away(said: dict[str, str], wall: float) -> bool:
    """Max-Age goes before Expires (RFC 6265 §5.3, step 3)."""
    if "max-age" in said:
        number = said["max-age"]
        return number.startswith("-") or number == "0"
    until = parse_date(said.get("expires", "").encode("latin-1", "replace").replace(b"-", b" "), wall)
    return until is not None and until <= wall


def _within(host: str, domain: str) -> bool:
    return host == domain or host.endswith("." + domain)


def _below(path: str, prefix: str) -> bool:
    path = path.partition("?")[0]
    return path == prefix or (path.startswith(prefix) and (prefix.endswith("/") or path[len(prefix)] == "/"))


def _default_path(path: str) -> str:
    """RFC 6265 §5.1.4."""
    return path.partition("?")[0].rpartition("/")[0] or "/"
