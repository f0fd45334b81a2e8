"""How often keys were asked for that are not stored: a count-min sketch with a doorkeeper, halved now and then.

Einziger, Friedman, Manes: TinyLFU: a highly efficient cache admission policy, ACM Transactions on Storage 13(4), 2017:
counters up to 15, of which a key has four; the doorkeeper, a Bloom filter, takes each key's first request, so that the
many keys that are asked for once take no counter. Fixed in size: five bytes for each key that is expected. Estimates
err upwards only. Halving two million counters takes longer than the loop may be kept, so it goes on in slices with the
calls that follow. Pure.
"""

from __future__ import annotations

COUNT_MAX = 15
ROWS = 4
SLICE = 1 << 16  # counters halved per call, some 30 µs

_HALF = bytes(value >> 1 for value in range(256))
_WORD = (1 << 64) - 1
_ODD = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)


class Sketch:
    """Counts by hash; every call is O(1)."""

    __slots__ = ("_ageing", "_counts", "_door", "_shift", "width")

    def __init__(self, keys: int) -> None:
        """`keys`: how many it should tell apart; rounded up to a power of two, at least 64."""
        bits = max(6, (max(keys, 1) - 1).bit_length())
        self.width = 1 << bits
        self._shift = 64 - bits
        self._counts = bytearray(ROWS * self.width)
        self._door = bytearray(self.width)  # eight bits per key, of which each sets two
        self._ageing = ROWS * self.width  # the halving has come so far

    def estimate(self, identity: int) -> int:
        """How often; too high where keys collide, never too low but by halving."""
        self._age()
        counts = self._counts
        first = int(self._passed(identity))
        return first + min([counts[place] for place in self._places(identity)])

    def raise_to(self, identity: int, count: int) -> None:
        """It was asked for `count` times at least."""
        self._age()
        if count < 1:
            return
        self._open(identity)
        count = min(count, COUNT_MAX + 1) - 1
        counts = self._counts
        for place in self._places(identity):
            if counts[place] < count:
                counts[place] = count

    def halve(self) -> None:
        """Age every count; the doorkeeper forgets everyone (the paper's reset)."""
        while self._ageing < len(self._counts):  # the one before is not over: only where calls are few
            self._age()
        self._door = bytearray(self.width)
        self._ageing = 0
        self._age()

    @property
    def memory(self) -> int:
        """Bytes its tables take."""
        return len(self._counts) + len(self._door)

    def _age(self) -> None:
        start = self._ageing
        if start < len(self._counts):
            end = start + SLICE
            self._counts[start:end] = self._counts[start:end].translate(_HALF)
            self._ageing = end

    def _places(self, identity: int) -> list[int]:
        shift, width = self._shift, self.width
        return [row * width + (identity * odd & _WORD) // (1 << shift) for row, odd in enumerate(_ODD)]

    def _bits(self, identity: int) -> tuple[int, int]:
        mixed = (identity ^ identity >> 29) * 0xBF58476D1CE4E5B9 & _WORD
        mask = 8 * self.width - 1
        return mixed >> 32 & mask, (mixed ^ mixed >> 23) & mask

    def _passed(self, identity: int) -> bool:
        door = self._door
        one, two = self._bits(identity)
        return bool(door[one >> 3] >> (one & 7) & 1 and door[two >> 3] >> (two & 7) & 1)

    def _open(self, identity: int) -> None:
        for bit in self._bits(identity):
            self._door[bit >> 3] |= 1 << (bit & 7)
