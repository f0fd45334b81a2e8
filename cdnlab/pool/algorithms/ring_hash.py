"""Consistent hashing: each key has its backend, and few keys move when backends come and go.

The ring is `cdnlab/pool/ring.py`. Load plays no part here: `bounded_load` is the same ring with a limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cdnlab.pool.algorithms.registry import Settings, register
from cdnlab.pool.backend import Backend
from cdnlab.pool.hashing import Hasher
from cdnlab.pool.reasons import Reason
from cdnlab.pool.ring import Ring


@register("ring_hash")
class RingHash:
    """The key's owner, then the next ones on the ring; O(log n)."""

    __slots__ = ("backends", "ring")

    def __init__(self, settings: Settings) -> None:
        """Take the secret from the settings: nodes with another one have another ring."""
        self.backends: dict[str, Backend] = {}
        self.ring = Ring(Hasher(settings.secret))

    @property
    def keyed(self) -> bool:
        """One backend owns every key."""
        return len(self.backends) > 1

    def rebuild(self, backends: Sequence[Backend]) -> None:
        """Make the ring of those that are usable."""
        self.backends = {backend.name: backend for backend in backends}
        self.ring.rebuild({backend.name: backend.weight for backend in backends})

    def order(self, place: str, key: bytes = b"") -> Iterator[Backend]:
        """Yield the owner of `key`, then the others in the order of the ring."""
        backends = self.backends
        if len(backends) < 2:
            return iter(tuple(backends.values()))
        return self._in_order(key)

    def _in_order(self, key: bytes) -> Iterator[Backend]:
        backends, owner = self.backends, self.ring.owner(key)
        assert owner is not None
        yield backends[owner]  # mostly the only one that is asked for: the others are looked up when they are
        for name in self.ring.order(key):
            if name != owner:
                yield backends[name]

    def nearness(self, place: str, backend: Backend) -> int:
        """Distance plays no part."""
        return 0

    def released(self, backend: Backend) -> None:
        """Load plays no part."""

    def why_not(self, other: Backend, chosen: Backend, key: bytes) -> Reason:
        """Its key it is not."""
        return Reason.NOT_OWNER
