"""A stick table: who is pinned to which backend, a million of them if need be, the longest unused out first.

Columns of numbers, and chains through them by position: a key's 64 bits, the chain of those that share a bucket, the
neighbours in order of use, when it was used, and whose it is. A million entries take 30 MB, buckets included; a dict
with an order of use took 220. Lookup, change and eviction cost the same whatever the size, and nothing is ever
rehashed: the buckets are made once, for the most there may be, and the columns grow by one entry as the table does.

Keys are eight bytes of a keyed hash (sticky.py), so nobody can choose two that meet in one bucket. Two clients whose
keys are alike share a backend, which with a million pins happens in one of 37 million tables.

Pure: it must not know the clock, what a key stands for, or backends beyond their names.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

NAMES_MAX = 4096
"""Names of backends remembered, those that are gone included: what other nodes say must not fill memory either."""
_NONE = -1
_NOBODY = 0xFFFF


class PinTable:
    """Up to `most` pins, each forgotten when it has not been used for `lifetime` seconds."""

    __slots__ = (
        "_chain",
        "_free",
        "_heads",
        "_keys",
        "_mask",
        "_names",
        "_newer",
        "_newest",
        "_numbers",
        "_older",
        "_oldest",
        "_used",
        "_whose",
        "count",
        "evicted",
        "expired",
        "lifetime",
        "most",
    )

    def __init__(self, most: int, lifetime: float) -> None:
        self.most = most
        self.lifetime = lifetime
        self.count = 0
        self.evicted = self.expired = 0
        """Pins that had to go for new ones, and those whose life was over."""
        buckets = 1 << max(6, (most - 1).bit_length())
        self._mask = buckets - 1
        self._heads = array("i", [_NONE]) * buckets
        self._keys = array("Q")
        self._chain = array("i")
        self._newer = array("i")
        self._older = array("i")
        self._used = array("I")  # deciseconds
        self._whose = array("H")
        self._free = _NONE
        self._newest = self._oldest = _NONE
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}

    def find(self, key: bytes, now: float) -> str | None:
        """Whose `key` is; None without a pin, or if its life is over. The order of use stays as it is."""
        place = self._place(int.from_bytes(key, "big"))
        if place == _NONE or self._used[place] / 10 + self.lifetime <= now:
            return None
        return self._names[self._whose[place]]

    def put(self, key: bytes, name: str, now: float) -> bool:
        """Pin `key` to `name`, used at `now`; the one longest unused goes if there is no room. False where so many
        backends have been named that no further one can be."""
        number = self._numbers.get(name)
        if number is None:
            number = len(self._names)
            if number >= NAMES_MAX:
                return False
            self._names.append(name)
            self._numbers[name] = number
        value = int.from_bytes(key, "big")
        place = self._place(value)
        if place == _NONE:
            place = self._new(value)
        else:
            self._unlink(place)
        self._link(place)
        self._used[place] = max(0, int(now * 10))
        self._whose[place] = number
        return True

    def used(self, key: bytes) -> float:
        """When `key` was last used; minus infinity without a pin."""
        place = self._place(int.from_bytes(key, "big"))
        return self._used[place] / 10 if place != _NONE else float("-inf")

    def remove(self, key: bytes) -> None:
        """Forget `key`."""
        place = self._place(int.from_bytes(key, "big"))
        if place != _NONE:
            self._drop(place)

    def bound(self, most: int, lifetime: float) -> None:
        """Hold so many from now on, for so long. What is too much goes with `expire`; the buckets stay as they are."""
        self.most, self.lifetime = most, lifetime

    def expire(self, now: float, most: int = 1000) -> int:
        """Forget up to `most` of those at the old end whose life is over, or for which there is no room any more; how
        many went."""
        gone = 0
        while gone < most and self._oldest != _NONE:
            if self.count > self.most:
                self.evicted += 1
            elif self._used[self._oldest] / 10 + self.lifetime <= now:
                self.expired += 1
            else:
                break
            self._drop(self._oldest)
            gone += 1
        return gone

    def each(self, now: float) -> Iterator[tuple[bytes, str, float]]:
        """(key, name, seconds left) of all pins, in no order, while the table changes: what comes or goes meanwhile may
        be given or not."""
        for place in range(len(self._keys)):
            if self._whose[place] == _NOBODY:
                continue
            left = self._used[place] / 10 + self.lifetime - now
            if left > 0:
                yield self._keys[place].to_bytes(8, "big"), self._names[self._whose[place]], left

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        columns = (self._heads, self._keys, self._chain, self._newer, self._older, self._used, self._whose)
        return sum(column.itemsize * len(column) for column in columns)

    # -- columns -------------------------------------------------------------------------------------------------------

    def _place(self, value: int) -> int:
        keys, chain = self._keys, self._chain
        place = self._heads[value & self._mask]
        while place != _NONE and keys[place] != value:
            place = chain[place]
        return place

    def _new(self, value: int) -> int:
        if self.count >= self.most:
            self._drop(self._oldest)
            self.evicted += 1
        place, bucket = self._free, value & self._mask
        if place == _NONE:
            place = len(self._keys)
            self._keys.append(value)
            self._chain.append(self._heads[bucket])
            self._newer.append(_NONE)
            self._older.append(_NONE)
            self._used.append(0)
            self._whose.append(0)
        else:
            self._free = self._chain[place]
            self._keys[place] = value
            self._chain[place] = self._heads[bucket]
        self._heads[bucket] = place
        self.count += 1
        return place

    def _drop(self, place: int) -> None:
        chain = self._chain
        bucket = self._keys[place] & self._mask
        before = self._heads[bucket]
        if before == place:
            self._heads[bucket] = chain[place]
        else:
            while chain[before] != place:
                before = chain[before]
            chain[before] = chain[place]
        self._unlink(place)
        chain[place] = self._free
        self._free = place
        self._whose[place] = _NOBODY
        self.count -= 1

    def _link(self, place: int) -> None:
        """At the new end."""
        self._newer[place], self._older[place] = _NONE, self._newest
        if self._newest == _NONE:
            self._oldest = place
        else:
            self._newer[self._newest] = place
        self._newest = place

    def _unlink(self, place: int) -> None:
        newer, older = self._newer[place], self._older[place]
        if newer == _NONE:
            self._newest = older
        else:
            self._older[newer] = older
        if older == _NONE:
            self._oldest = newer
        else:
            self._newer[older] = newer
