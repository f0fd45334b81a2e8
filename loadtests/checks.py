"""Whether a body is the one that was meant.

Decides by what the answer itself says (Repr-Digest and Content-Digest, RFC 9530), by what was seen before under the
same entity-tag, and for a part by the whole it was cut from. Must not know connections, places, nor Locust. Pure.

Lengths are the parser's to check: an answer that ends before its Content-Length never gets here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

REMEMBERED = 20_000
"""Entity-tags whose bytes are remembered, about 4 MB; those used longest ago go first."""
WHOLES = 8
WHOLE_MIN, WHOLE_MAX = 16 * 1024, 2 * 1024 * 1024
"""Bodies that are kept so that parts of them can be checked: how many, and their size in bytes."""

_DIGEST = re.compile(r"\b(sha-256|sha-512)=:([A-Za-z0-9+/=]+):")
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")

Fields = Mapping[str, str]


class WrongBody(Exception):
    """A body that is not the one that was meant. The text is one of a few, so that statistics can count it."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole body, with the strong entity-tag it bore."""

    etag: str
    body: bytes


class Checker:
    """What one process remembers of the bodies it saw."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._limit = remembered
        self._sums: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()
        self.wholes: OrderedDict[str, Whole] = OrderedDict()

    def whole(self, path: str, fields: Fields, body: bytes) -> bytes:
        """The SHA-256 of a whole body; WrongBody if it is not what its digests, or an equal entity-tag, promise."""
        summed = hashlib.sha256(body).digest()
        _check_digests(fields.get("repr-digest"), "Repr-Digest", body, summed)
        _check_digests(fields.get("content-digest"), "Content-Digest", body, summed)
        etag = strong(fields)
        if etag:
            self._compare(path, etag, fields.get("content-encoding", ""), summed)
            if fields.get("accept-ranges") == "bytes" and WHOLE_MIN <= len(body) <= WHOLE_MAX:
                self._keep(path, Whole(etag, body))
        return summed

    def part(
        self, path: str, fields: Fields, body: bytes, asked: tuple[int, int], only: str | None = None
    ) -> None:
        """A 206 to a request for the bytes [first, end): WrongBody unless it is those, under the same entity-tag.

        `only`: what If-Range named, if it did; then a part of anything else is wrong (RFC 9110 §13.1.5).
        """
        found = _RANGE.fullmatch(fields.get("content-range", ""))
        if found is None:
            raise WrongBody("a part without a Content-Range that says which")
        first, end = int(found[1]), int(found[2]) + 1
        if end - first != len(body):
            raise WrongBody("a part that is not as long as its Content-Range says")
        _check_digests(fields.get("content-digest"), "Content-Digest", body, hashlib.sha256(body).digest())
        if only is not None and strong(fields) != only:
            raise WrongBody("a part of another whole than If-Range named")
        whole = self.wholes.get(path)
        if whole is None or whole.etag != strong(fields):
            # The representation has changed: what is kept says nothing about it, not even where its last bytes are.
            self.wholes.pop(path, None)
            return
        if first != asked[0] or end > asked[1]:
            raise WrongBody("another part than was asked for")
        size = len(whole.body)
        if found[3] != "*" and int(found[3]) != size:
            raise WrongBody("a part of a whole of another size under the same entity-tag")
        if end != min(asked[1], size) or body != whole.body[first:end]:
            raise WrongBody("a part that is not those bytes of the whole")

    def _compare(self, path: str, etag: str, coding: str, summed: bytes) -> None:
        key = (path, etag, coding)
        known = self._sums.setdefault(key, summed)
        self._sums.move_to_end(key)
        if len(self._sums) > self._limit:
            self._sums.popitem(last=False)
        if known != summed:
            raise WrongBody("wrong body: other bytes than before under the same entity-tag")

    def _keep(self, path: str, whole: Whole) -> None:
        self.wholes[path] = whole
        self.wholes.move_to_end(path)
        if len(self.wholes) > WHOLES:
            self.wholes.popitem(last=False)


def strong(fields: Fields) -> str | None:
    """The entity-tag if it is a strong one: equal tags then mean equal bytes (RFC 9110 §8.8.1)."""
    etag = fields.get("etag", "")
    return etag if etag.startswith('"') else None


def _check_digests(value: str | None, name: str, body: bytes, summed: bytes) -> None:
    for algorithm, encoded in _DIGEST.findall(value or ""):
        try:
            promised = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            continue
        if promised != (summed if algorithm == "sha-256" else hashlib.sha512(body).digest()):
            raise WrongBody(f"wrong body: its {algorithm} is not the one in {name}")
