"""The cookie that pins a client to a backend, without naming it.

    kid.random.tag      tag = keyed BLAKE2b (RFC 7693), 128 bits, over route, pool, backend and random

The backend is whichever one gives the same tag: `kid` says under which key, `random` (64 bits) makes each client's
cookie another one. So a client learns neither names nor addresses, and can't choose a backend by editing what it has.
The cookie is good for one route and one pool. It is nobody's identity: whoever copies it is sent where its owner is
sent, until its key is rotated out. It bears no time: a browser forgets it when it closes.

Two keys are valid at a time. The newer one signs; a cookie of the older one is honoured and replaced.

Decides what a cookie says and why one is refused. Pure: randomness is given, and remembering is others' work.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from enum import StrEnum
from hashlib import blake2b
from hmac import compare_digest
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cdnlab.wire.fields import Field

TAG_BYTES = 16
RANDOM_BYTES = 8
MOST = 4
"""Cookies of one name that are looked at: a browser sends one for each path it has been given one for."""
LONGEST = 16 + 1 + 11 + 1 + 22

_FORM = re.compile(rb"([A-Za-z0-9_-]{1,16})\.([A-Za-z0-9_-]{11})\.([A-Za-z0-9_-]{22})").fullmatch
_PERSON = b"cdnlab pin"


class Refused(StrEnum):
    """Why a cookie of ours pins nobody; its bearer is sent where a new client would be."""

    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown_key"
    NO_MATCH = "no_match"

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return _SENTENCES[self]


_SENTENCES = {
    Refused.MALFORMED: "it has not the form of one of ours: cut short, or somebody else's",
    Refused.UNKNOWN_KEY: "the key it names is not known: rotated out, or another network's",
    Refused.NO_MATCH: "its tag fits no backend: forged, or made for another route or pool, or its backend is long gone",
}


class Word(NamedTuple):
    """A cookie's value in its parts, of which nothing has been proved yet."""

    kid: str
    random: bytes
    tag: bytes


def parse(value: bytes) -> Word | None:
    """The parts of a value; None if it has not the form."""
    found = _FORM(value) if len(value) <= LONGEST else None
    if found is None:
        return None
    kid, random, tag = found.groups()
    return Word(kid.decode(), random, tag)


def signed_by(value: bytes) -> str:
    """The id of the key of a value that has been verified."""
    return value.partition(b".")[0].decode()


class Signer:
    """Signs and verifies for one route and pool, under up to two keys."""

    __slots__ = ("_bases", "kid")

    def __init__(self, keys: Mapping[str, bytes], kid: str, route: str, pool: str) -> None:
        """`keys` by their ids; `kid`: the one that signs. Keys beyond 64 bytes are hashed first."""
        self.kid = kid
        """Of the key that signs."""
        said = _told(route.encode()) + _told(pool.encode())
        self._bases = {}
        for each, key in keys.items():
            short = key if len(key) <= blake2b.MAX_KEY_SIZE else blake2b(key).digest()
            self._bases[each] = blake2b(said, digest_size=TAG_BYTES, key=short, person=_PERSON)

    def value(self, backend: str, random: bytes) -> bytes:
        """The cookie for a client of `backend`; `random`: eight fresh bytes."""
        text = _text(random)
        return b"%b.%b.%b" % (self.kid.encode(), text, self._tag(self.kid, backend.encode(), text))

    def backend(self, word: Word, names: Iterable[str]) -> str | Refused:
        """Which of `names` the cookie is for. All are tried, whichever fits, and tags are compared in constant time:
        how long it takes says nothing."""
        if word.kid not in self._bases:
            return Refused.UNKNOWN_KEY
        found: str | Refused = Refused.NO_MATCH
        for name in names:
            if compare_digest(self._tag(word.kid, name.encode(), word.random), word.tag):
                found = name
        return found

    def _tag(self, kid: str, backend: bytes, random: bytes) -> bytes:
        mac = self._bases[kid].copy()
        mac.update(_told(backend) + random)
        return _text(mac.digest())


def _told(part: bytes) -> bytes:
    """With its length in front, so that no two lists of parts look alike."""
    return b"%d:%b" % (len(part), part)


def _text(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")


# -- cookies in header fields (RFC 6265 §4) --------------------------------------------------------------------------


def values_of(cookies: bytes, name: bytes) -> list[bytes]:
    """The values of the cookie `name` in a Cookie field, the first MOST of them."""
    if name not in cookies:
        return []
    found = []
    for pair in cookies.split(b";"):
        key, equals, value = pair.partition(b"=")
        if equals and key.strip() == name:
            found.append(value.strip())
            if len(found) == MOST:
                break
    return found


def without(cookies: bytes, name: bytes) -> bytes:
    """A Cookie field without the cookie `name`; b"" if nothing is left. Unchanged where it is not there."""
    if name not in cookies:
        return cookies
    kept = [pair for pair in cookies.split(b";") if pair.partition(b"=")[0].strip() != name]
    return b";".join(kept).strip()


def unpinned(fields: tuple[Field, ...], name: bytes) -> tuple[Field, ...]:
    """A request's fields without the cookie `name`; the very same if it is not there."""
    if not any(each == b"cookie" and name in value for each, value in fields):
        return fields
    found = []
    for each, value in fields:
        if each == b"cookie":
            value = without(value, name)
            if not value:
                continue
        found.append((each, value))
    return tuple(found)


def is_set(field: bytes, name: bytes) -> bytes | None:
    """The value that a Set-Cookie field gives the cookie `name`; None for another cookie, and for one that is empty."""
    key, equals, rest = field.partition(b"=")
    if not equals or key.strip() != name:
        return None
    return rest.partition(b";")[0].strip() or None


def attributes(path: str, same_site: str, secure: bool) -> bytes:
    """What stands behind our cookie. Scripts never see it, and it ends with the browser's session."""
    said = f"; Path={path}; HttpOnly; SameSite={same_site.capitalize()}"
    return (said + "; Secure" if secure or same_site == "none" else said).encode()
