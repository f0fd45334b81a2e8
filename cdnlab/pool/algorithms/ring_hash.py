"""Consistent hashing: each key has its backend, and few keys move when backends come and go.

The ring is `cdnlab/pool/ring.py`. Load plays no part here: `bounded_load` is the same ring with a limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cdnlab.pool.algorithms.registry import Plain, Settings, register, weights
from cdnlab.pool.backend import Backend
from cdnlab.pool.hashing import Hasher
from cdnlab.pool.reasons import Reason
from cdnlab.pool.ring import Ring


@register("ring_hash")
class RingHash(Plain):
    """The key's owner, then the next ones on the ring; O(log n)."""

    __slots__ = ("backends", "by_source", "keyed", "ring")

    def __init__(self, settings: Settings) -> None:
        """Take the secret from the settings: nodes with another one have another ring."""
        self.backends: dict[str, Backend] = {}
        self.by_source = settings.by_source
        self.keyed = False
        self.ring = Ring(Hasher(settings.secret))

    def rebuild(self, backends: Sequence[Backend], members: Sequence[Backend] | None = None) -> None:
        """Make the ring of those that are usable."""
        everybody = weights(backends if members is None else members)
        self.keyed = len(everybody) > 1
        self.backends = {backend.name: backend for backend in backends}
        self.ring.rebuild(weights(backends), everybody)

    def order(self, place: str, key: bytes = b"") -> Iterator[Backend]:
        """Yield the owner of `key`, then the others in the order of the ring."""
        backends = self.backends
        if len(backends) < 2:
            return iter(tuple(backends.values()))
        return self._in_order(key)

    def why_not(self, other: Backend, chosen: Backend, key: bytes) -> Reason:
        """Its key it is not."""
        return Reason.NOT_OWNER

    def _in_order(self, key: bytes) -> Iterator[Backend]:
        backends, owner = self.backends, self.ring.owner(key)
        if owner is None:
            return
        yield backends[owner]  # mostly the only one that is asked for: the others are looked up when they are
        for name in self.ring.order(key):
            backend = self.backends.get(name)
            if backend is not None and name != owner:
                yield backend
