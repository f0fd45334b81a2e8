"""One answer as an audit keeps it, and what its fields say of the caches it passed. Pure.

Decides whether an answer came from a cache: by Cache-Status where there is one (RFC 9211), else by Age and by the
fields that caches used before it. It must not know sockets, nor who is judged.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from itertools import pairwise

from cdnlab.lab.audit_jar import set_by
from cdnlab.lab.fetch import Answer
from cdnlab.wire import structured

KEPT = 512 * 1024
"""Bytes of a body whose words are compared; of what follows only the digest is."""
WHOLE = b"\0whole "

_WORD = re.compile(rb"[0-9A-Za-z_.@+\-\x80-\xff]+")
_HIT_WORDS = re.compile(r"\bhit\b", re.IGNORECASE)
#: What caches said before RFC 9211: Squid, Varnish, nginx, Fastly and CloudFront; Cloudflare; nginx; Akamai.
_OLDER = ("x-cache", "cf-cache-status", "x-cache-status", "x-proxy-cache", "x-cache-remote")

UNTOLD = frozenset({
    "date", "age", "expires", "last-modified", "etag", "set-cookie", "cache-status", "via", "content-length",
    "connection", "keep-alive", "transfer-encoding", "x-request-id", "traceparent", "server-timing", "x-runtime",
    "x-timer", "x-served-by", "x-cache", "x-cache-hits", "x-varnish", "x-amz-cf-id", "cf-ray", "report-to", "nel",
    "alt-svc", "repr-digest", "content-digest", "cdnlab-hop", "cdnlab-origin", "cdnlab-serial",
})  # fmt: skip
"""Fields that say nothing of a user: times, validators, digests, the way that was taken, the request's number."""


@dataclass(slots=True)
class Told:
    """What an answer's fields say about the caches on its way."""

    hit: bool = False
    stored: bool = False
    age: int | None = None
    detail: str = ""
    """Why the nearest cache did not store or use a response, in its own word."""
    known: bool = False
    """Whether any cache said anything."""


@dataclass
class Sample:
    """One answer: who got it, where, and by which way."""

    who: str
    place: str
    past: bool
    """Whether it was asked past the cache."""
    answer: Answer
    body: bytes
    """The first KEPT bytes of it, decoded where it was gzip."""
    digest: bytes
    told: Told = field(default_factory=Told)

    @property
    def status(self) -> int:
        """The response's status."""
        return self.answer.status

    @cached_property
    def cookies(self) -> tuple[tuple[str, str], ...]:
        """(name, value) of each cookie that it sets."""
        return set_by(self.answer.fields)

    @cached_property
    def marks(self) -> frozenset[bytes]:
        """Its words, its pairs of words, and its whole: what another answer may have in common with it."""
        words = _WORD.findall(self.body)
        pairs = [one + b" " + two for one, two in pairwise(words)]
        lines = [
            f"{name}: {value}".encode("latin-1", "replace")
            for name, value in self.answer.fields
            if name not in UNTOLD
        ]
        return frozenset([*words, *pairs, *lines, WHOLE + self.digest])

    def holds(self, secret: str) -> bool:
        """Whether a text stands in its body or in one of its fields."""
        sought = secret.encode("utf-8", "replace")
        told = (value for name, value in self.answer.fields if name not in ("via", "cache-status"))
        return sought in self.body or any(secret in value for value in told)


class Taken:
    """A body as it comes: its first bytes are kept, and a digest of all of it."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self._digest = sha256()

    def add(self, data: bytes) -> None:
        """The next bytes."""
        self._digest.update(data)
        if len(self.kept) < KEPT:
            self.kept += data[: KEPT - len(self.kept)]

    @property
    def digest(self) -> bytes:
        """Of what has come."""
        return self._digest.digest()


def sample(who: str, place: str, past: bool, answer: Answer, taken: Taken) -> Sample:
    """The sample of an answer with its body."""
    body, digest = bytes(taken.kept), taken.digest
    if answer.field("content-encoding").strip().lower() in ("gzip", "x-gzip"):
        body = _unzipped(body)
        digest = sha256(body).digest()  # gzip may write the time into its head
    return Sample(who, place, past, answer, body[:KEPT], digest, told(answer))


def is_field(mark: bytes) -> bool:
    """Whether a mark is a field line; no word and no pair of words has a colon."""
    return b": " in mark and not mark.startswith(WHOLE)


def _unzipped(body: bytes) -> bytes:
    """As much of a gzip body as is compared; the body itself where it is none."""
    try:
        return zlib.decompressobj(wbits=31).decompress(body, 2 * KEPT)
    except zlib.error:
        return body


def told(answer: Answer) -> Told:
    """What its fields say. A Cache-Status that does not parse counts as absent (RFC 9651 §4.2)."""
    found = Told(age=_age(answer.field("age")))
    try:
        members = structured.parse_list(answer.field("cache-status").encode("latin-1", "replace"))
    except ValueError:
        members = []
    for _, parameters in members:
        found.known = True
        found.hit = found.hit or parameters.get("hit") is True
        found.stored = found.stored or parameters.get("stored") is True
        found.detail = str(parameters.get("detail", found.detail))
    if not members:
        older = [answer.field(name) for name in _OLDER if answer.field(name)]
        found.known = bool(older) or found.age is not None
        found.hit = any(_HIT_WORDS.search(text) for text in older) or bool(found.age)
    return found


def _age(text: str) -> int | None:
    first = text.partition(",")[0].strip()
    return int(first) if first.isascii() and first.isdigit() and len(first) < 12 else None
