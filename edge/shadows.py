"""What the hit ratio would have been under each policy: several run beside the real one, on keys alone.

A shadow has the storage's capacity, a policy of its own, and notes in place of objects: key, size, until when fresh. It
sees what the storage sees, in the same order: hits, and the objects that come. What the storage had to fetch and a
shadow still holds is a hit of that shadow, unless it was stale: a policy can't help that.

Who counts: every request that was answered from the storage or brought an object to it. What could not be stored counts
for nobody. The real policy is counted by the same rule, so a shadow of it comes to its very numbers.

Memory and time are bounded by looking at fewer keys, not by looking less often: of every 2, 4, 8 … keys the one whose
hash ends in zeros, in a cache as many times smaller (Waldspurger, Park, Garthwaite, Ahmad: Efficient MRC construction
with SHARDS, FAST 2015; Waldspurger, Saemundsson, Ahmad, Park: Cache modeling and optimization using miniature
simulations, ATC 2017). A shadow starts with all keys. When one holds NOTES notes, or all take MEMORY, or more requests
come for the keys that are looked at than BURST or BUSY allow, all halve their keys and begin to count anew; they stand
still until each has done it. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edge.eviction.policy import Policy, identity

if TYPE_CHECKING:
    from edge.object import StoredObject

NOTES = 16_384  # per shadow; the paper finds 8,000 enough for an error of a hundredth
BURST = 400  # requests in one flush: a millisecond and a half
BUSY = 2_000  # requests in twenty ticks, which are a second: a hundredth of a core
MEMORY = 42 << 20  # bytes, of all notes and of what the policies remember of what is gone
TICKS = 20
COARSEST = 20  # halvings: the hash bits by which all variants of a key agree
EVICTIONS = 100  # notes that go in one call; what is too much then goes at the calls and ticks that follow
PATIENCE = 500  # second chances that a policy may give in one call
SLICE = 1_000  # notes that are gone through in one tick while the keys are halved
NOTE_BYTES = 240  # of a note with its place in the table; a test holds it against tracemalloc

Make = Callable[[str, int], Policy]
"""A policy by name and capacity in bytes."""


class Note:
    """What a shadow knows of an object."""

    __slots__ = ("key", "newer", "older", "rank", "size", "until")

    variant: bytes | None = None

    def __init__(self, key: int, size: int, until: float) -> None:
        self.key = key
        self.size = size
        self.until = until
        self.newer: Any = None
        self.older: Any = None
        self.rank = 0


class Score:
    """Requests and body bytes, answered from the storage or not."""

    __slots__ = ("hit_bytes", "hits", "miss_bytes", "misses", "since")

    def __init__(self) -> None:
        self.hits = self.misses = self.hit_bytes = self.miss_bytes = 0
        self.since = (0, 0, 0, 0)

    def count(self, hit: bool, size: int) -> None:
        """A request for `size` bytes."""
        if hit:
            self.hits += 1
            self.hit_bytes += size
        else:
            self.misses += 1
            self.miss_bytes += size

    def begin(self) -> None:
        """The ratios start anew; the totals go on."""
        self.since = (self.hits, self.misses, self.hit_bytes, self.miss_bytes)

    def ratios(self) -> dict[str, float | int | None]:
        """Requests seen since the beginning, and the shares of them and of their bytes that were hits."""
        hits, misses, hit_bytes, miss_bytes = self.since
        hits, misses = self.hits - hits, self.misses - misses
        hit_bytes, miss_bytes = self.hit_bytes - hit_bytes, self.miss_bytes - miss_bytes
        every, every_byte = hits + misses, hit_bytes + miss_bytes
        return {
            "requests": every,
            "hit_ratio": hits / every if every else None,
            "byte_hit_ratio": hit_bytes / every_byte if every_byte else None,
        }


class Shadow:
    """One policy over notes."""

    __slots__ = (
        "_make",
        "_notes",
        "_old",
        "capacity",
        "evictions",
        "name",
        "policy",
        "scale",
        "score",
        "used",
    )

    def __init__(self, name: str, capacity: int, make: Make) -> None:
        self.name = name
        self.capacity = capacity
        self.score = Score()
        self.evictions = 0
        """Objects that had to go: of each that did, as many as there are keys for one that is looked at."""
        self.scale = 1
        self._make = make
        self._old: Policy | None = None
        self._reset()

    def _reset(self) -> None:
        self.policy = self._make(self.name, self.capacity)
        self.used = 0
        self._notes: dict[int, Note] = {}

    def __len__(self) -> int:
        return len(self._notes)

    def touched(self, key: int, stored: StoredObject, size: int) -> None:
        """The storage answered from `stored`."""
        note = self._notes.get(key)
        self.score.count(note is not None, size)
        if note is None:
            self._take(Note(key, stored.size, stored.fresh_until))
        else:
            self.policy.touched((note,))

    def stored(self, key: int, stored: StoredObject, size: int, stale: bool, now: float) -> None:
        """The storage did not have it, or only stale, and received it."""
        note = self._notes.get(key)
        hit = note is not None and not stale and now < note.until
        self.score.count(hit, size)
        new = Note(key, stored.size, stored.fresh_until)
        if note is None:
            self._take(new)
        elif hit:
            self.policy.touched((note,))
        elif new.size <= self.capacity:
            self._notes[key] = new
            self.used += new.size - note.size
            self.policy.replaced(note, new)
            self._make_room(0)

    def forget(self, key: int) -> None:
        """It is not true any more."""
        note = self._notes.pop(key, None)
        if note is not None:
            self.used -= note.size
            self.policy.removed(note)

    def tick(self) -> None:
        """What is too much goes."""
        self._make_room(0)

    def _take(self, note: Note) -> None:
        if note.size > self.capacity or not self.policy.admits(note, self.used + note.size - self.capacity):
            return
        self._make_room(note.size)
        self._notes[note.key] = note
        self.used += note.size
        self.policy.added(note)

    def _make_room(self, size: int) -> None:
        self.policy.patience = PATIENCE
        for _ in range(EVICTIONS):
            victim: Note | None = self.policy.victim() if self.used + size > self.capacity else None
            if victim is None:
                return
            del self._notes[victim.key]
            self.used -= victim.size
            self.evictions += self.scale

    # -- fewer keys -------------------------------------------------------------------------------------------------

    def halve(self) -> None:
        """Begin again with half the capacity; `refill` brings the notes that stay."""
        self._old = self.policy
        self.capacity //= 2
        self.scale *= 2
        self._reset()

    def refill(self, count: int, mask: int) -> int:
        """Go through up to `count` notes, and keep those whose hash ends in zeros; how many are left to do of it."""
        evictions = self.evictions
        if self._old is not None:
            self._old.patience = count
        while count and self._old is not None:
            note: Note | None = self._old.victim()
            if note is None:
                self._old = None
            elif not note.key & mask:
                self._take(note)
            count -= 1
        self.evictions = evictions
        return count


class Shadows:
    """All shadows of one storage, and the score of its own policy over the same keys."""

    __slots__ = ("_halving", "_mask", "_now", "_seen", "_ticks", "capacity", "real", "shadows")

    def __init__(self, names: Sequence[str], capacity: int, make: Make) -> None:
        self.capacity = capacity
        self.real = Score()
        self.shadows = [Shadow(name, capacity, make) for name in names]
        self._mask = 0
        self._halving = False
        self._now = 0.0
        self._seen = self._ticks = 0

    @property
    def one_in(self) -> int:
        """Of so many keys one is looked at."""
        return self._mask + 1

    @property
    def memory(self) -> int:
        """Bytes that all of it takes, about."""
        return sum(len(shadow) * NOTE_BYTES + shadow.policy.memory for shadow in self.shadows)

    def touched(self, batch: Sequence[StoredObject]) -> None:
        """The storage answered from each of them, in this order."""
        if self._halving:
            return
        mask = self._mask
        seen = [stored for stored in batch if not hash(stored.key) & mask] if mask else batch
        if len(seen) > BURST and self._coarsen():
            return
        self._seen += len(seen)
        for stored in seen:
            key, size = identity(stored), len(stored.body)
            self.real.count(True, size)
            for shadow in self.shadows:
                shadow.touched(key, stored, size)

    def stored(self, stored: StoredObject, stale: bool) -> None:
        """An object came; `stale`: the storage had it, and could not use it."""
        if self._halving or hash(stored.key) & self._mask:
            return
        key, size = identity(stored), len(stored.body)
        self.real.count(False, size)
        for shadow in self.shadows:
            shadow.stored(key, stored, size, stale, self._now)
        self._seen += 1
        if max(map(len, self.shadows), default=0) > NOTES:
            self._coarsen()

    def forget(self, key: bytes, variant: bytes | None = None) -> None:
        """What lies under it is not true any more."""
        if not hash(key) & self._mask:
            number = identity(_Name(key, variant))
            for shadow in self.shadows:
                shadow.forget(number)

    def tick(self, now: float) -> None:
        """`now`: by the clock of StoredObject.fresh_until. A slice of what halving needs is done."""
        self._now = now
        self._ticks += 1
        if self._ticks == TICKS:
            if not self._halving and (self._seen > BUSY or self.memory > MEMORY):
                self._coarsen()
            self._seen = self._ticks = 0
        if self._halving:
            left = SLICE
            for shadow in self.shadows:
                left = shadow.refill(left, self._mask)
            if left:
                self._halving = False
                self.begin()
        for shadow in self.shadows:
            shadow.tick()

    def begin(self) -> None:
        """The ratios start anew."""
        for score in (self.real, *(shadow.score for shadow in self.shadows)):
            score.begin()

    def _coarsen(self) -> bool:
        if self._mask.bit_length() == COARSEST:
            return False
        self._mask = self._mask * 2 + 1
        self._halving = True
        for shadow in self.shadows:
            shadow.halve()
        return True


class _Name:
    """A key and a variant, for `identity`."""

    __slots__ = ("key", "newer", "older", "rank", "size", "variant")

    def __init__(self, key: bytes, variant: bytes | None) -> None:
        self.key: Any = key
        self.variant = variant
        self.newer: Any = None
        self.older: Any = None
        self.size = self.rank = 0
