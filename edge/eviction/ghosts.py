"""What is remembered of objects that are gone: a hash of the key and the size, first in, first out.

Decides nothing. A ghost takes 32 bytes in flat arrays: the same in a dict would take four times as much, and stall the
loop whenever that grew. Arrays grow by moving pages, not bytes, and the buckets are zero pages until they are used.
Collisions are chained. Two keys are taken for one another with a chance of 2^-60 each. Pure.
"""

from __future__ import annotations

from array import array

from edge.eviction.policy import DROPS

_BYTES_PER_BUCKET = 4096  # of capacity; an object takes about a quarter of that, or more
_BUCKETS = (1 << 8, 1 << 18)
_NONE = 0  # no ghost has this number


class Ghosts:
    """Hashes with sizes, in the order of their coming; O(1) each."""

    __slots__ = (
        "_buckets", "_free", "_hashes", "_mask", "_newer", "_newest", "_next", "_older", "_oldest", "_sizes",
        "bytes", "capacity", "count",
    )  # fmt: skip

    def __init__(self, capacity: int) -> None:
        """`capacity`: what the remembered objects took together, in bytes."""
        self.capacity = capacity
        self.bytes = self.count = 0
        low, high = _BUCKETS
        buckets = min(max(1 << (capacity // _BYTES_PER_BUCKET).bit_length(), low), high)
        self._mask = buckets - 1
        self._buckets = memoryview(bytearray(4 * buckets)).cast("I")
        self._hashes, self._sizes = array("Q", [0]), array("Q", [0])
        self._next, self._newer, self._older = array("I", [0]), array("I", [0]), array("I", [0])
        self._free = self._newest = self._oldest = _NONE

    def add(self, identity: int, size: int) -> None:
        """Remember; the oldest are forgotten for it. One that is here already keeps its place, and one for which too
        many would have to be forgotten is not remembered."""
        if size > self.capacity or self._find(identity):
            return
        if not self.shrink(self.capacity - size, DROPS):
            return
        number = self._slot(identity, size)
        bucket = identity & self._mask
        self._next[number] = self._buckets[bucket]
        self._buckets[bucket] = number
        self._older[number], self._newer[number] = self._newest, _NONE
        if self._newest:
            self._newer[self._newest] = number
        else:
            self._oldest = number
        self._newest = number
        self.bytes += size
        self.count += 1

    def take(self, identity: int) -> bool:
        """Was it remembered? It is not any more."""
        number = self._find(identity)
        if number:
            self._remove(number)
        return bool(number)

    def shrink(self, size: int, drops: int) -> bool:
        """Forget the oldest until the rest stand for `size` bytes; False if `drops` of them were not enough."""
        while self.bytes > size and self._oldest and drops:
            self._remove(self._oldest)
            drops -= 1
        return self.bytes <= size or not self._oldest

    def __contains__(self, identity: int) -> bool:
        return bool(self._find(identity))

    @property
    def memory(self) -> int:
        """Bytes its tables take at most."""
        return 28 * len(self._hashes) + 4 * min(len(self._buckets), 1024 * len(self._hashes))

    def _find(self, identity: int) -> int:
        number = self._buckets[identity & self._mask]
        while number and self._hashes[number] != identity:
            number = self._next[number]
        return number

    def _slot(self, identity: int, size: int) -> int:
        number = self._free
        if number:
            self._free = self._next[number]
            self._hashes[number], self._sizes[number] = identity, size
            return number
        self._hashes.append(identity)
        self._sizes.append(size)
        for links in (self._next, self._newer, self._older):
            links.append(_NONE)
        return len(self._hashes) - 1

    def _remove(self, number: int) -> None:
        newer, older = self._newer[number], self._older[number]
        if newer:
            self._older[newer] = older
        else:
            self._newest = older
        if older:
            self._newer[older] = newer
        else:
            self._oldest = newer
        self._unchain(number)
        self.bytes -= self._sizes[number]
        self.count -= 1
        self._next[number], self._free = self._free, number

    def _unchain(self, number: int) -> None:
        bucket = self._hashes[number] & self._mask
        before = self._buckets[bucket]
        if before == number:
            self._buckets[bucket] = self._next[number]
            return
        while self._next[before] != number:
            before = self._next[before]
        self._next[before] = self._next[number]
