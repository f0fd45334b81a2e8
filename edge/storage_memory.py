"""Objects in memory, bounded in bytes.

Decides where an object lies and when one must go; which one is the policy's choice. The table is cut into
shards, so that none grows past the size whose resizing stalls the loop (26 ms at 700,000 entries in one dict).
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge.eviction.policy import Policy
from edge.object import StoredObject, Variants
from edge.storage import FieldOf
from edge.vary import variant_key

SHARDS = 64  # a power of two; bytes hash by SipHash, random per process, so clients can't fill one
RESERVED_SHARE = 0.5  # of the capacity, for bodies that are arriving
_VARIANTS_COST = 400  # bytes of a Variants record with its dict


class MemoryStorage:
    """See Storage."""

    __slots__ = (
        "_policy", "_shards", "_variants_max", "capacity", "evictions", "objects", "reserved", "used",
    )  # fmt: skip

    def __init__(self, capacity: int, policy: Policy, variants_max: int = 32) -> None:
        self.capacity = capacity
        self.used = self.reserved = self.objects = self.evictions = 0
        self._policy = policy
        self._variants_max = variants_max
        self._shards: list[dict[bytes, StoredObject | Variants]] = [{} for _ in range(SHARDS)]

    @property
    def shards(self) -> list[dict[bytes, StoredObject | Variants]]:
        """The tables themselves: the hottest path looks into shards[hash(key) & (SHARDS - 1)] without a call."""
        return self._shards

    def _shard(self, key: bytes) -> dict[bytes, StoredObject | Variants]:
        return self._shards[hash(key) & (SHARDS - 1)]

    def find(self, key: bytes) -> StoredObject | Variants | None:
        """What lies under a key."""
        return self._shard(key).get(key)

    def select(self, key: bytes, field: FieldOf) -> StoredObject | None:
        """The object for a request."""
        found = self._shard(key).get(key)
        if isinstance(found, Variants):
            return found.objects.get(variant_key(found.names, field))
        return found

    def put(self, stored: StoredObject, names: tuple[bytes, ...]) -> bool:
        """Take an object in."""
        if stored.size > self.capacity - self.reserved:
            return False
        if names and stored.variant is not None:
            self._put_variant(stored, stored.variant, names)
        else:
            self.remove(stored.key)
            self._shard(stored.key)[stored.key] = stored
        self._policy.added(stored)
        self.objects += 1
        self.used += stored.size
        self._make_room()
        return True

    def _put_variant(self, stored: StoredObject, variant: bytes, names: tuple[bytes, ...]) -> None:
        shard = self._shard(stored.key)
        record = shard.get(stored.key)
        if not isinstance(record, Variants) or record.names != names:
            self.remove(stored.key)
            record = shard[stored.key] = Variants(names)
            self.used += _VARIANTS_COST
        elif variant in record.objects:
            self._forget(record.objects.pop(variant))
        elif len(record.objects) >= self._variants_max:
            self.evictions += 1
            self._forget(record.objects.pop(next(iter(record.objects))))
        record.objects[variant] = stored

    def _make_room(self) -> None:
        while self.used + self.reserved > self.capacity:
            victim = self._policy.victim()
            if victim is None:
                return
            self.discard(victim)
            self.evictions += 1

    def discard(self, stored: StoredObject) -> None:
        """Remove an object if it still lies here."""
        shard = self._shard(stored.key)
        record = shard.get(stored.key)
        if record is stored:
            del shard[stored.key]
            self._forget(stored)
        elif isinstance(record, Variants) and stored.variant is not None:
            if record.objects.get(stored.variant) is not stored:
                return
            del record.objects[stored.variant]
            self._forget(stored)
            if not record.objects:
                del shard[stored.key]
                self.used -= _VARIANTS_COST

    def remove(self, key: bytes) -> int:
        """Remove whatever lies under a key."""
        record = self._shard(key).pop(key, None)
        if record is None:
            return 0
        if isinstance(record, StoredObject):
            self._forget(record)
            return 1
        self.used -= _VARIANTS_COST
        for stored in record.objects.values():
            self._forget(stored)
        return len(record.objects)

    def _forget(self, stored: StoredObject) -> None:
        self._policy.removed(stored)
        self.objects -= 1
        self.used -= stored.size

    def touch(self, stored: StoredObject) -> None:
        """It answered a request."""
        self._policy.touched(stored)

    def reserve(self, size: int) -> bool:
        """Keep room for an arriving body."""
        if self.reserved + size > self.capacity * RESERVED_SHARE:
            return False
        self.reserved += size
        self._make_room()
        return True

    def release(self, size: int) -> None:
        """Give reserved room back."""
        self.reserved -= size

    def __iter__(self) -> Iterator[StoredObject]:
        """All objects, in no order."""
        for shard in self._shards:
            for record in shard.values():
                if isinstance(record, StoredObject):
                    yield record
                else:
                    yield from record.objects.values()
