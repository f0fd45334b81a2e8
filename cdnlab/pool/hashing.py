"""The hash that all nodes of a network agree on: keyed BLAKE2b (RFC 7693) under the topology's secret.

Decides which 64-bit number a key or a member of a ring has. It must not know what is hashed for what.

Keyed, because clients choose the keys: without the secret nobody can make a thousand URLs that all fall to one node.
Not Python's own hash(), because that differs per process. The values are part of the promise between nodes, which may
run different versions for a while, so a test holds golden ones. `person` keeps the two uses apart: a key that is
spelled like a member's point has nothing to do with it.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct

SPACE = 1 << 64
"""Points are 0 to SPACE - 1."""

_KEY_BYTES = blake2b.MAX_KEY_SIZE
_PER_DIGEST = 8
_EIGHT = Struct(">8Q").unpack
_OF_KEY = b"cdnlab key"
_OF_MEMBER = b"cdnlab member"


class Hasher:
    """BLAKE2b under one secret."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        """`secret`: any length; one that is longer than BLAKE2b takes (64 bytes) is hashed first."""
        self._secret = secret if len(secret) <= _KEY_BYTES else blake2b(secret).digest()

    def point(self, key: bytes) -> int:
        """The point of a key: 64 bits, evenly spread."""
        digest = blake2b(key, digest_size=8, key=self._secret, person=_OF_KEY).digest()
        return int.from_bytes(digest, "big")

    def points(self, name: str, count: int) -> list[int]:
        """The first `count` points of a member. More of them are those and further ones, so that a change of weight
        moves no point that stays."""
        found: list[int] = []
        for block in range(-(-count // _PER_DIGEST)):
            said = b"%b\0%d" % (name.encode(), block)
            found += _EIGHT(blake2b(said, key=self._secret, person=_OF_MEMBER).digest())
        return found[:count]
