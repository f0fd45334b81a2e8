"""What `ring_hash` and `maglev` have in common: a key has an owner among the backends, and an order of the others.

Decides nothing by itself: whose a key is says the circle or the table that it is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from cdnlab.pool.algorithms.registry import Plain, Settings, weights
from cdnlab.pool.backend import Backend
from cdnlab.pool.reasons import Reason


class Owners(Protocol):
    """Finds a key's owner by its name."""

    def rebuild(self, members: Mapping[str, int], everybody: Mapping[str, int] | None = None) -> None:
        """Take those that are there, with their weights, and those that belong to the pool."""

    def owner(self, key: bytes) -> str | None:
        """Whose `key` is; None without members."""

    def order(self, key: bytes) -> Iterator[str]:
        """The owner, then the others, each once."""


class Owned(Plain):
    """The key's owner, then whoever comes next there."""

    __slots__ = ("backends", "by_source", "keyed", "owners")

    def __init__(self, settings: Settings, owners: Owners) -> None:
        self.backends: dict[str, Backend] = {}
        self.by_source = settings.by_source
        self.keyed = False
        self.owners = owners

    def rebuild(self, backends: Sequence[Backend], members: Sequence[Backend] | None = None) -> None:
        """Take those that are usable, and those that belong to the pool."""
        everybody = weights(backends if members is None else members)
        self.keyed = len(everybody) > 1
        self.backends = {backend.name: backend for backend in backends}
        self.owners.rebuild(weights(backends), everybody)

    def order(self, place: str, key: bytes = b"") -> Iterator[Backend]:
        """Yield the owner of `key`, then the others in their order."""
        backends = self.backends
        if len(backends) < 2:
            return iter(tuple(backends.values()))
        return self._in_order(key)

    def why_not(self, other: Backend, chosen: Backend, key: bytes) -> Reason:
        """Its key it is not."""
        return Reason.NOT_OWNER

    def _in_order(self, key: bytes) -> Iterator[Backend]:
        owner = self.owners.owner(key)
        if owner is None:
            return
        # mostly the only one that is asked for: the others are looked up when they are
        yield self.backends[owner]
        for name in self.owners.order(key):
            backend = self.backends.get(name)
            if backend is not None and name != owner:
                yield backend
