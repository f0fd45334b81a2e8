"""Consistent hashing with bounded loads: each key has its backend, until that one has more than its share to do.

Theory (Mirrokni, Thorup, Zadimoghaddam: Consistent Hashing with Bounded Loads, SODA 2018; HAProxy's
hash-balance-factor and Envoy's hash_balance_factor are the same). With m exchanges in flight, the one about to begin
included, a backend of weight w among weights W may have at most ceil(c m w / W) of them. A key goes to the first
backend on its ring that has room. Since c >= 1, somebody always has; and c = 1.25 keeps the busiest within a quarter of
the average, while a key finds its own backend unless that one is at the limit.

The load is `Backend.live`, which requests change without telling anyone. So their sum is made when it is needed, which
is only where the key's owner is busy at all: n additions of integers, about 40 ns each. An idle owner costs the ring's
O(log n) alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cdnlab.pool.algorithms.registry import Settings, register
from cdnlab.pool.backend import Backend
from cdnlab.pool.hashing import Hasher
from cdnlab.pool.reasons import Reason
from cdnlab.pool.ring import Ring


@register("bounded_load")
class BoundedLoad:
    """The first on the key's ring that has less than its share in flight; those that have more come last."""

    __slots__ = ("backends", "factor", "ring", "weights")

    def __init__(self, settings: Settings) -> None:
        """Take the secret and the factor c from the settings."""
        if settings.balance_factor < 1:
            raise ValueError(f"a balance factor of {settings.balance_factor:g} leaves no room: at least 1")
        self.backends: dict[str, Backend] = {}
        self.factor = settings.balance_factor
        self.ring = Ring(Hasher(settings.secret))
        self.weights = 0

    @property
    def keyed(self) -> bool:
        """One backend owns every key."""
        return len(self.backends) > 1

    def rebuild(self, backends: Sequence[Backend]) -> None:
        """Make the ring of those that are usable."""
        self.backends = {backend.name: backend for backend in backends}
        self.weights = sum(backend.weight for backend in backends)
        self.ring.rebuild({backend.name: backend.weight for backend in backends})

    def order(self, place: str, key: bytes = b"") -> Iterator[Backend]:
        """Yield those with room in the order of the ring, then those without, in the same order."""
        if len(self.backends) < 2:
            return iter(tuple(self.backends.values()))
        return self._with_room(key)

    def nearness(self, place: str, backend: Backend) -> int:
        """Distance plays no part."""
        return 0

    def released(self, backend: Backend) -> None:
        """Loads are looked at when somebody chooses."""

    def why_not(self, other: Backend, chosen: Backend, key: bytes) -> Reason:
        """Whoever stands before the chosen one on the ring had no room."""
        for name in self.ring.order(key):
            if name == other.name:
                return Reason.FULL
            if name == chosen.name:
                break
        return Reason.NOT_OWNER

    def _with_room(self, key: bytes) -> Iterator[Backend]:
        backends, full = self.backends, []
        owner = self.ring.owner(key)
        assert owner is not None
        first = backends[owner]
        if not first.live or self._has_room(first):
            yield first  # mostly the only one that is asked for: the others are looked up when they are
        else:
            full.append(first)
        for name in self.ring.order(key):
            if name == owner:
                continue
            backend = backends[name]
            if backend.live and not self._has_room(backend):
                full.append(backend)
            else:
                yield backend
        yield from full

    def _has_room(self, backend: Backend) -> bool:
        """live < ceil(x) and live < x are the same for whole `live`, and the second one does not divide."""
        begun = 1 + sum([each.live for each in self.backends.values()])
        return backend.live * self.weights < self.factor * begun * backend.weight
