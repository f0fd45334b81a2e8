"""Objects in memory, bounded in bytes.

Decides where an object lies and when one must go; which one is the policy's choice. Pure.

Nothing here keeps the loop for longer than 5 ms, at a million objects neither:

    growth      the table is cut into shards, none of which grows past the size whose resizing is felt (26 ms at
                700,000 entries in one dict)
    hits        whoever answers from an object appends it to `touched`, which costs 20 ns; the policy and the shadows
                hear of them in batches, in their order, before anything is put here and at every tick
    room        a large object may displace thousands of small ones: so many per call, and what is wanting then is
                made at the ticks that follow. An object for which there is no room yet is refused
    a change    of policy hands the objects over in slices

The head last sent is a second copy of an object's head. Objects that nobody asks for give theirs up: the shards are
looked through one after the other, all of them within half a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from edge.eviction.handover import Handover
from edge.eviction.policy import Policy
from edge.object import StoredObject, Variants
from edge.shadows import Shadows
from edge.storage import Evicted, FieldOf
from edge.vary import variant_key

SHARDS = 1024  # a power of two; bytes hash by SipHash, random per process, so clients can't fill one
RESERVED_SHARE = 0.5  # of the capacity, for bodies that are arriving
FLUSHED = 2_000  # hits that one flush passes on
EVICTIONS = 600  # objects that go in one call
PATIENCE = 2_000  # second chances that the policy may give in one call
HANDED_OVER = 250  # objects per slice of a change of policy
COOLED = 2  # shards that are looked through at each tick
VARIANTS_COST = 400  # bytes of a Variants record with its dict


class MemoryStorage:
    """See Storage."""

    __slots__ = (
        "_cooled", "_policy", "_shards", "_variants_max", "_wanted", "capacity", "evicted", "evictions",
        "objects", "reserved", "shadows", "touched", "used",
    )  # fmt: skip

    def __init__(
        self, capacity: int, policy: Policy, variants_max: int = 32, shadows: Shadows | None = None
    ) -> None:
        self.capacity = capacity
        self.used = self.reserved = self.objects = self.evictions = 0
        self.touched: list[StoredObject] = []
        self.evicted: Evicted | None = None
        self.shadows = shadows
        self._policy = policy
        self._variants_max = variants_max
        self._cooled = 0
        self._wanted = 0
        """Bytes for which there was no room at once, and that are made free since."""
        self._shards: list[dict[bytes, StoredObject | Variants]] = [{} for _ in range(SHARDS)]

    @property
    def shards(self) -> list[dict[bytes, StoredObject | Variants]]:
        """The tables themselves: the hottest path looks into shards[hash(key) & (SHARDS - 1)] without a call."""
        return self._shards

    @property
    def policy(self) -> Policy:
        """The policy that decides, or the one that will when the change is done."""
        return self._policy.new if isinstance(self._policy, Handover) else self._policy

    def _shard(self, key: bytes) -> dict[bytes, StoredObject | Variants]:
        return self._shards[hash(key) & (SHARDS - 1)]

    # -- what lies here ---------------------------------------------------------------------------------------------

    def find(self, key: bytes) -> StoredObject | Variants | None:
        """What lies under a key."""
        return self._shard(key).get(key)

    def select(self, key: bytes, field: FieldOf) -> StoredObject | None:
        """The object for a request."""
        found = self._shard(key).get(key)
        if isinstance(found, Variants):
            return found.objects.get(variant_key(found.names, field))
        return found

    def holds(self, stored: StoredObject) -> bool:
        """Does this very object lie here?"""
        found = self._shard(stored.key).get(stored.key)
        if isinstance(found, Variants):
            return stored.variant is not None and found.objects.get(stored.variant) is stored
        return found is stored

    def sweep(self, cursor: int, count: int) -> tuple[list[StoredObject], int]:
        """Whole shards, until there are `count` objects. What is put into a shard that was seen is not found."""
        found: list[StoredObject] = []
        while cursor < SHARDS and len(found) < count:
            found.extend(_objects(self._shards[cursor]))
            cursor += 1
        return found, cursor % SHARDS

    def __iter__(self) -> Iterator[StoredObject]:
        """All objects, in no order."""
        for shard in self._shards:
            yield from _objects(shard)

    # -- what comes -------------------------------------------------------------------------------------------------

    def put(self, stored: StoredObject, names: tuple[bytes, ...]) -> bool:
        """Take an object in."""
        self.flush()
        variant = stored.variant if names else None
        old = self._predecessor(stored.key, variant, names)
        if self.shadows is not None:
            self.shadows.stored(stored, old is not None)
        if stored.size > self.capacity - self.reserved:
            return False
        if old is not None:
            return self._replace(old, stored)
        return self._take(stored, variant, names)

    def _predecessor(
        self, key: bytes, variant: bytes | None, names: tuple[bytes, ...]
    ) -> StoredObject | None:
        """The object whose place a new one takes; whatever else lies under the key and can't stay is removed."""
        found = self._shard(key).get(key)
        if isinstance(found, StoredObject):
            if variant is None:
                return found
        elif found is None or (found.names == names and variant is not None):
            return None if found is None or variant is None else found.objects.get(variant)
        self.remove(key)
        return None

    def _replace(self, old: StoredObject, stored: StoredObject) -> bool:
        shard = self._shard(stored.key)
        record = shard[stored.key]
        if isinstance(record, Variants) and stored.variant is not None:
            record.objects[stored.variant] = stored
        else:
            shard[stored.key] = stored
        self.used += stored.size - old.size
        self._policy.replaced(old, stored)
        if self._make_room(0):
            return self.holds(stored)
        self._drop(stored)
        return False

    def _take(self, stored: StoredObject, variant: bytes | None, names: tuple[bytes, ...]) -> bool:
        record = self._shard(stored.key).get(stored.key)
        if isinstance(record, Variants) and len(record.objects) >= self._variants_max:
            self.evictions += 1
            self.discard(next(iter(record.objects.values())))
        size = stored.size + (
            VARIANTS_COST if variant is not None else 0
        )  # its record may go with the last sibling
        if not self._policy.admits(stored, self.used + self.reserved + size - self.capacity):
            return False
        if not self._make_room(size):
            self._wanted = size
            return False
        shard = self._shard(stored.key)
        if variant is None:
            shard[stored.key] = stored
        else:
            record = shard.get(stored.key)
            if not isinstance(record, Variants):
                record = shard[stored.key] = Variants(names)
                self.used += VARIANTS_COST
            record.objects[variant] = stored
        self.objects += 1
        self.used += stored.size
        self._policy.added(stored)
        return True

    def touch(self, stored: StoredObject) -> None:
        """It answered a request."""
        self.touched.append(stored)

    def flush(self) -> None:
        """Pass hits on, in their order; not all of them where there are many, see `behind`."""
        touched = self.touched
        if not touched:
            return
        batch = touched[:FLUSHED]
        del touched[:FLUSHED]
        self._policy.touched(batch)
        if self.shadows is not None:
            self.shadows.touched(batch)

    @property
    def behind(self) -> bool:
        """Is more left to do than waits for the next tick?"""
        return len(self.touched) >= FLUSHED or self.changing

    @property
    def changing(self) -> bool:
        """Is a change of the policy going on?"""
        return isinstance(self._policy, Handover)

    def resize(self, stored: StoredObject, by: int) -> None:
        """It has grown, or shrunk."""
        held = self.holds(stored)
        stored.size += by
        if held:
            self.used += by
            self._policy.resized(stored, by)
            self._make_room(0)

    # -- what goes --------------------------------------------------------------------------------------------------

    def discard(self, stored: StoredObject) -> None:
        """Remove an object if it still lies here."""
        if self.holds(stored):
            self.flush()  # it was there for those who hit it
            self._drop(stored)

    def remove(self, key: bytes) -> int:
        """Remove whatever lies under a key."""
        self.flush()
        record = self._shard(key).get(key)
        if record is None:
            if self.shadows is not None:
                self.shadows.forget(key)
            return 0
        objects = [record] if isinstance(record, StoredObject) else list(record.objects.values())
        for stored in objects:
            self._drop(stored)
        return len(objects)

    def _drop(self, stored: StoredObject) -> None:
        self._policy.removed(stored)
        self._unlist(stored)
        if self.shadows is not None:
            self.shadows.forget(stored.key, stored.variant)

    def _unlist(self, stored: StoredObject) -> tuple[bytes, ...]:
        """Take it out of the table; the names of its Vary."""
        self.objects -= 1
        self.used -= stored.size
        shard = self._shard(stored.key)
        record = shard[stored.key]
        if not isinstance(record, Variants):
            del shard[stored.key]
            return ()
        if stored.variant is not None:
            del record.objects[stored.variant]
        if not record.objects:
            del shard[stored.key]
            self.used -= VARIANTS_COST
        return record.names

    def _make_room(self, size: int) -> bool:
        """Let objects go until there is room for `size` bytes; False if there is not, or not yet."""
        if self.used + self.reserved + size <= self.capacity:
            return True
        self.flush()
        self._policy.patience = PATIENCE
        for _ in range(EVICTIONS):
            victim = self._policy.victim()
            if victim is None:
                return False
            self._evict(victim)
            if self.used + self.reserved + size <= self.capacity:
                return True
        return False

    def _evict(self, victim: StoredObject) -> None:
        self.evictions += 1
        names = self._unlist(victim)
        if self.evicted is not None:
            self.evicted(victim, names)

    def reserve(self, size: int) -> bool:
        """Keep room for an arriving body."""
        if self.reserved + size > self.capacity * RESERVED_SHARE:
            return False
        self.reserved += size
        self._make_room(0)
        return True

    def release(self, size: int) -> None:
        """Give reserved room back."""
        self.reserved -= size

    # -- what goes on by and by -------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """A few times a second: hits are passed on, room that was wanted is made, and a change goes on."""
        if self.shadows is not None:
            self.shadows.tick(now)
        self.flush()
        if self._make_room(self._wanted):
            self._wanted = 0
        self.advance(HANDED_OVER)
        self._cool(now)

    def _cool(self, now: float) -> None:
        """The next shards' objects that have not been asked for lately give up the head they sent last."""
        for _ in range(COOLED):
            for stored in _objects(self._shards[self._cooled]):
                if stored.head_until < now and stored.head:
                    stored.head, stored.head_until = b"", -inf
            self._cooled = (self._cooled + 1) % SHARDS

    def use(self, policy: Policy) -> bool:
        """Let `policy` decide from now on; `advance` hands it the objects that lie here. False if another change is
        still going on."""
        if isinstance(self._policy, Handover):
            return False
        self.flush()
        self._policy = Handover(self._policy, policy)
        if self.shadows is not None:
            self.shadows.begin()
        return True

    def advance(self, count: int) -> bool:
        """Hand over `count` more objects to the new policy; True when there is none to hand over."""
        if not isinstance(self._policy, Handover):
            return True
        if not self._policy.advance(count):
            return False
        self._policy = self._policy.new
        return True


def _objects(shard: dict[bytes, StoredObject | Variants]) -> Iterator[StoredObject]:
    for record in shard.values():
        if isinstance(record, StoredObject):
            yield record
        else:
            yield from record.objects.values()
