"""Which media types are worth a content coding.

Decides by the media type alone, never by a file's name or by looking into the body. A type is worth it if bytes of that
type usually repeat and are not packed by the format itself. What is not in the table is left alone: a wrong "no" costs
bandwidth, a wrong "yes" costs a thread's time for each object of the kind. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

WORTH: tuple[tuple[str, str], ...] = (
    ("text/*", "written for people or parsers: words and marks repeat"),
    ("*/*+json", "JSON under another name: keys repeat in each record"),
    ("*/*+xml", "XML under another name, such as SVG, Atom, XHTML or DASH: tags repeat"),
    ("*/*+yaml", "YAML under another name"),
    ("application/json", "keys repeat in each record"),
    ("application/json-seq", "JSON texts one after the other"),
    ("application/x-ndjson", "JSON texts, one a line"),
    ("application/javascript", "program text; RFC 9239 prefers text/javascript, servers still say this"),
    ("application/x-javascript", "the same, older"),
    ("application/ecmascript", "the same, older"),
    ("application/xml", "tags repeat"),
    ("application/xml-dtd", "declarations repeat"),
    ("application/yaml", "keys repeat"),
    ("application/toml", "keys repeat"),
    ("application/sql", "program text"),
    ("application/rtf", "marks repeat"),
    ("application/wasm", "machine code without a packing of its own"),
    ("application/x-www-form-urlencoded", "names repeat"),
    ("application/vnd.apple.mpegurl", "a playlist is text"),
    ("application/x-mpegurl", "a playlist is text"),
    ("application/vnd.ms-fontobject", "an unpacked font"),
    ("application/x-font-ttf", "an unpacked font, under its old name"),
    ("application/x-font-otf", "an unpacked font, under its old name"),
    ("font/ttf", "an unpacked font: tables of outlines"),
    ("font/otf", "an unpacked font: tables of outlines"),
    ("font/collection", "several unpacked fonts"),
    ("font/sfnt", "an unpacked font"),
    ("image/bmp", "a picture without a packing of its own"),
    ("image/x-icon", "mostly small pictures without a packing of their own"),
    ("image/vnd.microsoft.icon", "the same, under its registered name"),
    ("model/obj", "coordinates as text"),
)
"""(media type or pattern, why). `*` stands for any type, any subtype, or what is before the suffix."""

LEFT: tuple[tuple[str, str], ...] = (
    ("text/event-stream", "each event has to arrive when it is sent; a coding would hold it back"),
    ("image/jpeg, image/png, image/webp, image/avif, image/gif", "packed by the format"),
    ("audio/*, video/*", "packed by the format, and asked for in parts"),
    ("font/woff, font/woff2", "packed by the format: zlib and brotli"),
    ("application/pdf", "its streams are packed by the format"),
    ("application/zip, application/gzip, application/zstd, application/x-7z-compressed", "packed already"),
    ("application/octet-stream", "says nothing about its bytes; most are archives and programs"),
    ("multipart/*", "its parts have types of their own"),
)
"""What is left alone, and why; for people, since whatever is not in WORTH is left alone."""

TYPES: tuple[str, ...] = tuple(pattern for pattern, _ in WORTH)
_NEVER = frozenset({b"text/event-stream"})
_ESSENCE = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)/([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(?:;.*)?", re.DOTALL
)


class Types:
    """A set of media types: `type/subtype`, `type/*` or `*/*+suffix`, in lower case."""

    __slots__ = ("_exact", "_suffixes", "_types")

    def __init__(self, patterns: Iterable[str]) -> None:
        self._exact: set[bytes] = set()
        self._types: set[bytes] = set()
        self._suffixes: set[bytes] = set()
        for pattern in (each.lower().encode() for each in patterns):
            if pattern.startswith(b"*/*+"):
                self._suffixes.add(pattern[4:])
            elif pattern.endswith(b"/*"):
                self._types.add(pattern[:-2])
            else:
                self._exact.add(pattern)

    def holds(self, content_type: bytes | None) -> bool:
        """Is a response with this Content-Type of such a type (RFC 9110 §8.3.1)?

        Without the field, and with one that is no media type (also two that were joined), the answer is no: whoever
        guesses it may guess something else.
        """
        found = _ESSENCE.fullmatch(content_type or b"")
        if found is None:
            return False
        kind, subtype = found[1].lower(), found[2].lower()
        essence = kind + b"/" + subtype
        if essence in self._exact:
            return True
        if essence in _NEVER:
            return False
        return kind in self._types or (subtype.rpartition(b"+")[2] in self._suffixes and b"+" in subtype)
