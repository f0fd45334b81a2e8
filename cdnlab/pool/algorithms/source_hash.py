"""Source hash: a client's address alone says which backend serves it, by a table as long as the weights together.

Theory (nginx's ip_hash, HAProxy's `balance source`). The address is hashed, and the remainder by the number of slots is
its slot; a backend has as many slots as it weighs. No memory, no cookie, and every node comes to the same answer. If
the slot's backend cannot be used, the hash is hashed again: so whoever is away is missed by its own clients only, and
has them back when it returns. But a backend that is added, removed or weighted anew changes the number of slots, and
with it nearly every client's backend. That is what `ring_hash` and `maglev` avoid, by `hash_on: source`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import gcd

from cdnlab.pool.algorithms.registry import Plain, Settings, register, weights
from cdnlab.pool.backend import Backend
from cdnlab.pool.hashing import SPACE, Hasher
from cdnlab.pool.reasons import Reason

TRIES = 20
"""Slots that are looked at before any usable backend will do (nginx: 20). If half of them are away, one client in a
million comes so far."""

MOST = 65_536
"""Slots: beyond it every backend gets fewer, in proportion."""


@register("source_hash")
class SourceHash(Plain):
    """The backend in the address's slot; O(1)."""

    __slots__ = ("backends", "hasher", "keyed", "slots")
    by_source = True

    def __init__(self, settings: Settings) -> None:
        """Take the secret from the settings: without it nobody can choose addresses that fall to one backend."""
        self.backends: dict[str, Backend] = {}
        self.hasher = Hasher(settings.secret)
        self.keyed = False
        self.slots: list[str] = []

    def rebuild(self, backends: Sequence[Backend], members: Sequence[Backend] | None = None) -> None:
        """Fill the slots with all members, and note which of those are usable."""
        everybody = weights(backends if members is None else members)
        self.keyed = len(everybody) > 1
        self.backends = {backend.name: backend for backend in sorted(backends, key=lambda each: each.name)}
        unit, total = gcd(*everybody.values()) or 1, sum(everybody.values())
        shrink = max(1.0, total / unit / MOST)
        self.slots = [
            name
            for name, weight in sorted(everybody.items())
            for _ in range(max(1, int(weight / unit / shrink)))
        ]

    def order(self, place: str, key: bytes = b"") -> Iterator[Backend]:
        """Yield whose slot it is, then those that further hashes lead to, then the rest."""
        if len(self.backends) < 2:
            return iter(tuple(self.backends.values()))
        return self._in_order(key)

    def why_not(self, other: Backend, chosen: Backend, key: bytes) -> Reason:
        """The slot is another one's."""
        return Reason.NOT_OWNER

    def _in_order(self, key: bytes) -> Iterator[Backend]:
        point = self.hasher.point(key)
        seen: set[Backend] = set()
        for _ in range(TRIES):
            backend = self.backends.get(self.slots[(point >> 32) % len(self.slots)])
            if backend is not None and backend not in seen:
                yield backend
                seen.add(backend)
            point = again(point)
        rest = [backend for backend in self.backends.values() if backend not in seen]
        turn = point % (len(rest) or 1)
        yield from rest[turn:] + rest[:turn]


def again(point: int) -> int:
    """Another point, from a point: one step of a generator with a full period (Knuth's MMIX)."""
    return (point * 6364136223846793005 + 1442695040888963407) % SPACE
