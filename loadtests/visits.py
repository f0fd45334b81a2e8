"""One visitor's browser: what it has kept, what it asks again, and which files a page names.

Decides which requests a page becomes, and with which conditions (RFC 9111 §4, for a private cache). Must not know
connections, places, nor Locust. Pure: time and chance are parameters.
"""

from __future__ import annotations

import re
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from random import Random
from urllib.parse import urljoin, urlsplit

ASSETS_MAX = 40
"""Files of one page that are asked for."""
KEPT_MAX = 500
PARSED_MAX = 1000
PART_MAX = 64 * 1024

_NUMBER = re.compile(r"(?:^|,)\s*(max-age|no-store|no-cache)(?:=\"?(\d+))?", re.ASCII | re.IGNORECASE)

Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Kept:
    """A response in a browser's cache: its validators, when it stops being fresh, and the files it names."""

    etag: str | None
    modified: str | None
    until: float
    names: tuple[str, ...]


class Browser:
    """What one visitor has kept. Bodies are not: only whether they would have to be asked for."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def fresh(self, path: str, now: float) -> bool:
        """Whether `path` is shown without asking."""
        kept = self._kept.get(path)
        return kept is not None and now < kept.until

    def conditions(self, path: str) -> dict[str, str]:
        """The fields that make a request for `path` conditional, if it is kept."""
        kept = self._kept.get(path)
        if kept is None:
            return {}
        if kept.etag is not None:
            return {"If-None-Match": kept.etag}
        return {"If-Modified-Since": kept.modified} if kept.modified is not None else {}

    def keep(self, path: str, fields: Fields, names: tuple[str, ...], now: float) -> None:
        """Remember a 200, if it may be."""
        told = directives(fields.get("cache-control", ""))
        etag, modified = fields.get("etag"), fields.get("last-modified")
        if "no-store" in told or fields.get("vary") == "*":
            self._kept.pop(path, None)
            return
        self._kept[path] = Kept(etag, modified, _until(fields, told, now), names)
        self._kept.move_to_end(path)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)

    def confirm(self, path: str, fields: Fields, now: float) -> tuple[str, ...]:
        """A 304 came: what is kept is fresh again. The files that it names."""
        kept = self._kept.get(path)
        if kept is None:
            return ()
        told = directives(fields.get("cache-control", ""))
        self._kept[path] = Kept(kept.etag, kept.modified, _until(fields, told, now), kept.names)
        return kept.names


def directives(value: str) -> dict[str, int]:
    """max-age, no-cache and no-store of a Cache-Control field; those without an argument are 0."""
    return {name.lower(): int(number or 0) for name, number in _NUMBER.findall(value)}


def _until(fields: Fields, told: Mapping[str, int], now: float) -> float:
    age = fields.get("age", "0")
    if "no-cache" in told:
        return now
    return now + max(0, told.get("max-age", 0) - (int(age) if age.isdigit() else 0))


class Parsed:
    """The files that pages name, remembered by the page's checksum: parsing costs more than asking."""

    def __init__(self) -> None:
        self._names: OrderedDict[tuple[str, bytes], tuple[str, ...]] = OrderedDict()

    def names(self, path: str, fields: Fields, body: bytes, summed: bytes) -> tuple[str, ...]:
        """Paths on the same host, in the page's order; none for what is no HTML."""
        if not fields.get("content-type", "").lower().startswith("text/html"):
            return ()
        found = self._names.get((path, summed))
        if found is None:
            found = references(path, _plain(fields, body).decode("utf-8", "replace"))
            self._names[path, summed] = found
            if len(self._names) > PARSED_MAX:
                self._names.popitem(last=False)
        return found


def references(path: str, html: str) -> tuple[str, ...]:
    """The styles, scripts and pictures that a page at `path` names and a browser would load from the same host."""
    parser = _References()
    parser.feed(html)
    paths = (_local(path, address) for address in parser.found)
    return tuple(dict.fromkeys(found for found in paths if found is not None))[:ASSETS_MAX]


def span(chance: Random, size: int) -> tuple[int, int, str]:
    """(first, end, Range) of a part of `size` bytes: somewhere in it, to its end, or its last bytes."""
    length = min(size, chance.randrange(1, PART_MAX + 1))
    kind = chance.random()
    if kind < 0.1:
        return size - length, size, f"bytes=-{length}"
    if kind < 0.2:
        return size - length, size, f"bytes={size - length}-"
    first = chance.randrange(size - length + 1)
    return first, first + length, f"bytes={first}-{first + length - 1}"


class _References(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get("src") if tag in ("script", "img") else None
        if tag == "link" and {"stylesheet", "icon"} & set((given.get("rel") or "").lower().split()):
            address = given.get("href")
        if address:
            self.found.append(address)


def _local(base: str, address: str) -> str | None:
    """The path of a reference, None for one to another host or of another kind."""
    try:
        parts = urlsplit(urljoin(f"http://here{base}", address.strip()))
    except ValueError:
        return None
    if parts.scheme != "http" or parts.netloc != "here":
        return None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return path if path.isascii() and path.isprintable() and " " not in path else None


def _plain(fields: Fields, body: bytes) -> bytes:
    if fields.get("content-encoding", "").lower() not in ("gzip", "x-gzip"):
        return body
    try:
        return zlib.decompressobj(wbits=31).decompress(body, 8 * 1024 * 1024)
    except zlib.error:
        return b""
