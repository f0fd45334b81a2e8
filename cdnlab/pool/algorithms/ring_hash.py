"""Consistent hashing: each key has its backend, and few keys move when backends come and go.

The ring is `cdnlab/pool/ring.py`. Load plays no part here: `bounded_load` is the same ring with a limit.
"""

from __future__ import annotations

from cdnlab.pool.algorithms.owned import Owned
from cdnlab.pool.algorithms.registry import Settings, register
from cdnlab.pool.hashing import Hasher
from cdnlab.pool.ring import Ring


@register("ring_hash")
class RingHash(Owned):
    """The key's owner, then the next ones on the ring; O(log n)."""

    __slots__ = ()

    def __init__(self, settings: Settings) -> None:
        """Take the secret from the settings: nodes with another one have another ring."""
        super().__init__(settings, Ring(Hasher(settings.secret)))
