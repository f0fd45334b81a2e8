"""Consistent hashing with bounded loads: each key has its backend, until that one has more than its share to do.

Theory (Mirrokni, Thorup, Zadimoghaddam: Consistent Hashing with Bounded Loads, SODA 2018; HAProxy's
hash-balance-factor and Envoy's hash_balance_factor are the same). With m exchanges in flight, the one about to begin
included, a backend of weight w among weights W may have at most ceil(c m w / W) of them. A key goes to the first
backend on its ring that has room. Since c >= 1, somebody always has; and c = 1.25 keeps the busiest within a quarter of
the average, while a key finds its own backend unless that one is at the limit.

The load is `Backend.live`, which requests change without telling anyone. To add up all of them at each choice would
cost more the more there are. So the sum is kept, with the load that each backend had when it was last looked at: it is
looked at when it is considered, when the choice after its own is made, and when an exchange ends there. That misses
only exchanges that began without a choice (a client's pin, say), for a while: at each choice one backend more is looked
at, in turn. A sum that is too small makes the bound tighter, never looser.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cdnlab.pool.algorithms.registry import Plain, Settings, register, weights
from cdnlab.pool.backend import Backend
from cdnlab.pool.hashing import Hasher
from cdnlab.pool.reasons import Reason
from cdnlab.pool.ring import Ring


@register("bounded_load")
class BoundedLoad(Plain):
    """The first on the key's ring that has less than its share in flight; those that have more come last."""

    __slots__ = (
        "backends", "by_source", "factor", "in_turn", "keyed", "last", "loads", "ring", "total", "turn", "weights",
    )  # fmt: skip

    def __init__(self, settings: Settings) -> None:
        """Take the secret and the factor c from the settings."""
        if settings.balance_factor < 1:
            raise ValueError(f"a balance factor of {settings.balance_factor:g} leaves no room: at least 1")
        self.backends: dict[str, Backend] = {}
        self.by_source = settings.by_source
        self.factor = settings.balance_factor
        self.keyed = False
        self.ring = Ring(Hasher(settings.secret))
        self.weights = 0
        self.loads: dict[Backend, int] = {}
        """What each had in flight when it was looked at."""
        self.total = 0
        """The sum of those."""
        self.last: Backend | None = None
        """Whom the newest choice was of: it has begun an exchange since."""
        self.in_turn: tuple[Backend, ...] = ()
        self.turn = 0

    def rebuild(self, backends: Sequence[Backend], members: Sequence[Backend] | None = None) -> None:
        """Make the ring of those that are usable."""
        everybody, present = weights(backends if members is None else members), weights(backends)
        self.keyed = len(everybody) > 1
        self.backends = {backend.name: backend for backend in backends}
        self.weights = sum(present.values())
        self.ring.rebuild(present, everybody)
        self.in_turn, self.turn, self.last = tuple(backends), 0, None
        self.loads = {backend: backend.live for backend in backends}
        self.total = sum(self.loads.values())

    def order(self, place: str, key: bytes = b"") -> Iterator[Backend]:
        """Yield those with room in the order of the ring, then those without, in the same order."""
        if len(self.backends) < 2:
            return iter(tuple(self.backends.values()))
        return self._with_room(key)

    def released(self, backend: Backend) -> None:
        """Look at it."""
        if backend in self.loads:
            self._look(backend)

    def why_not(self, other: Backend, chosen: Backend, key: bytes) -> Reason:
        """Whoever stands before the chosen one on the ring had no room."""
        for name in self.ring.order(key):
            if name == other.name:
                return Reason.FULL
            if name == chosen.name:
                break
        return Reason.NOT_OWNER

    def _with_room(self, key: bytes) -> Iterator[Backend]:
        owner = self.ring.owner(key)
        if owner is None:
            return
        self._look_around()
        full: list[Backend] = []
        first = self.backends[owner]
        if not first.live or self._has_room(first):
            self.last = first
            yield first  # mostly the only one that is asked for: the others are looked up when they are
        else:
            full.append(first)
        for name in self.ring.order(key):
            backend = self.backends.get(name)
            if backend is None or backend is first:
                continue
            if backend.live and not self._has_room(backend):
                full.append(backend)
            else:
                self._chosen(backend)
                yield backend
        for backend in full:
            if self.backends.get(backend.name) is backend:  # the pool may have changed since
                self._chosen(backend)
                yield backend

    def _chosen(self, backend: Backend) -> None:
        """The further choices: in between others may have been made."""
        if self.last is not None:
            self._look(self.last)
        self.last = backend

    def _look_around(self) -> None:
        """See what the newest choice began, and what may have begun without one."""
        if self.last is not None:
            self._look(self.last)
            self.last = None
        turn = self.turn
        self.turn = turn + 1 if turn + 1 < len(self.in_turn) else 0
        self._look(self.in_turn[turn])

    def _look(self, backend: Backend) -> None:
        live = backend.live
        self.total += live - self.loads[backend]
        self.loads[backend] = live

    def _has_room(self, backend: Backend) -> bool:
        """live < ceil(x) and live < x are the same for whole `live`, and the second one does not divide."""
        if backend in self.loads:
            self._look(backend)
        return backend.live * self.weights < self.factor * (1 + self.total) * backend.weight
