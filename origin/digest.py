"""Repr-Digest: the checksum by which a client knows that a body is the one that the origin meant (RFC 9530).

Decides how the field looks, and which sized bodies get one. It is of the representation, so a 206 bears the
whole one's, and of the bytes as they are coded: whoever codes or changes a body on the way must take it away.
Must not know requests. Pure.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from hashlib import sha256

from origin import blocks

SIZED_MAX = 8 * 1024 * 1024
"""Bytes: a larger sized body is sent without one, since its head would have to wait until all of it was summed."""


def field(sum256: bytes) -> str:
    """The field's value for a SHA-256 of 32 bytes (§3, and §5 for the algorithm's key)."""
    return f"sha-256=:{base64.b64encode(sum256).decode()}:"


def of(body: bytes) -> str:
    """The field's value for a body at hand."""
    return field(sha256(body).digest())


@lru_cache(maxsize=4096)
def of_text(size: int) -> str | None:
    """The field's value for the first `size` bytes of blocks.text; None above SIZED_MAX."""
    if size > SIZED_MAX:
        return None
    summed = sha256()
    for piece in blocks.text(0, size):
        summed.update(piece)
    return field(summed.digest())
