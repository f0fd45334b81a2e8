"""Maglev: each key has its backend, found by one look at a table, and few keys move when backends come and go.

The table is `cdnlab/pool/maglev.py`. Beside `ring_hash`: shares are exact and a choice costs one step, but when a
backend leaves, a few keys of others move with its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cdnlab.pool.algorithms.registry import Plain, Settings, register, weights
from cdnlab.pool.backend import Backend
from cdnlab.pool.hashing import Hasher
from cdnlab.pool.maglev import Maglev
from cdnlab.pool.reasons import Reason


@register("maglev")
class MaglevHash(Plain):
    """The key's owner, then the next ones in the table; O(1)."""

    __slots__ = ("backends", "by_source", "keyed", "maglev")

    def __init__(self, settings: Settings) -> None:
        """Take the secret from the settings: nodes with another one have another table."""
        self.backends: dict[str, Backend] = {}
        self.by_source = settings.by_source
        self.keyed = False
        self.maglev = Maglev(Hasher(settings.secret))

    def rebuild(self, backends: Sequence[Backend], members: Sequence[Backend] | None = None) -> None:
        """Fill the table with those that are usable."""
        everybody = weights(backends if members is None else members)
        self.keyed = len(everybody) > 1
        self.backends = {backend.name: backend for backend in backends}
        self.maglev.rebuild(weights(backends), everybody)

    def order(self, place: str, key: bytes = b"") -> Iterator[Backend]:
        """Yield the owner of `key`, then the others in the order of the table."""
        backends = self.backends
        if len(backends) < 2:
            return iter(tuple(backends.values()))
        return self._in_order(key)

    def why_not(self, other: Backend, chosen: Backend, key: bytes) -> Reason:
        """Its key it is not."""
        return Reason.NOT_OWNER

    def _in_order(self, key: bytes) -> Iterator[Backend]:
        owner = self.maglev.owner(key)
        if owner is None:
            return
        yield self.backends[
            owner
        ]  # mostly the only one that is asked for: the others are looked up when they are
        for name in self.maglev.order(key):
            backend = self.backends.get(name)
            if backend is not None and name != owner:
                yield backend
