"""Maglev: each key has its backend, found by one look at a table, and few keys move when backends come and go.

The table is `cdnlab/pool/maglev.py`. Beside `ring_hash`: shares are exact and a choice costs one step, but when a
backend leaves, a few keys of others move with its own.
"""

from __future__ import annotations

from cdnlab.pool.algorithms.owned import Owned
from cdnlab.pool.algorithms.registry import Settings, register
from cdnlab.pool.hashing import Hasher
from cdnlab.pool.maglev import Maglev


@register("maglev")
class MaglevHash(Owned):
    """The key's owner, then the next ones in the table; O(1)."""

    __slots__ = ()

    def __init__(self, settings: Settings) -> None:
        """Take the secret from the settings: nodes with another one have another table."""
        super().__init__(settings, Maglev(Hasher(settings.secret)))
