"""The memory of the flow table: rows of numbers, found by key, by client, by age, and by the time they are due.

It decides where a row lies and in which chains it hangs. It must not know what a row stands for.

A million entries have to stay small, and no insertion may hold the loop up. Three designs were weighed:

- an object and a dict entry per flow: 700 bytes and more, and the dict stands still for 26 ms when it grows at 700,000;
- packed records, and a dict cut into shards: 250 bytes, of which the dict and its keys are two thirds;
- columns of numbers and chains through them, as in Linux' conntrack: 121 bytes, and nothing ever grows, since the
  columns are anonymous memory of their final size, of which the kernel gives only the pages that are used.

The third is this file. A lookup takes a microsecond longer than a dict's, once per flow and never per packet. A chain
begins where Python's keyed hash of a key's octets says, so that no client can choose to make one long.

    row ──┬─ keys, near (local address), backend, state, first, last, up, down, until
          ├─ chain           the next row whose key falls on the same head
          ├─ kin             the same by the client's prefix, where the service has source affinity
          ├─ after, before   the rows that are due in the same quarter of a second
          └─ newer, older    all that are live, and all that may give way, each by age

Row 0 is none. The wheel visits a row when it may be over and not each time round (Varghese and Lauck, "Hashed and
hierarchical timing wheels", 1987).
"""

from __future__ import annotations

import mmap
import struct
from typing import Any

from lb.flow_entry import ENDPOINT, GRAIN, KEY, Service


class Rows:
    """At most `most` rows. Whoever takes, lists or plans one undoes it before dropping it."""

    __slots__ = (
        "after",
        "backend",
        "before",
        "chain",
        "down",
        "due",
        "ends",
        "first",
        "free",
        "heads",
        "high",
        "keys",
        "kin",
        "kin_before",
        "kin_heads",
        "last",
        "mask",
        "most",
        "near",
        "newer",
        "older",
        "state",
        "swept",
        "until",
        "up",
        "wheel",
    )

    def __init__(self, most: int) -> None:
        rows = most + 1
        self.most = most
        self.keys, self.near = _octets(rows * KEY), _octets(rows * ENDPOINT)
        self.backend, self.state = _column(rows, "H"), _column(rows, "B")
        self.first, self.last, self.until = (_column(rows, "d") for _ in range(3))
        self.up, self.down = _column(rows, "Q"), _column(rows, "Q")
        self.due, self.after, self.before = (_column(rows, "I") for _ in range(3))
        self.newer, self.older, self.chain = (_column(rows, "I") for _ in range(3))
        self.kin, self.kin_before = _column(rows, "I"), _column(rows, "I")
        heads = 1 << max(4, (most - 1).bit_length())
        self.mask = heads - 1
        self.heads, self.kin_heads = _column(heads, "I"), _column(heads, "I")
        self.ends = {False: [0, 0], True: [0, 0]}
        """The newest and the oldest row of those that may give way, and of those that are live."""
        self.wheel: dict[int, int] = {}
        self.swept = 0
        """The bucket that the wheel has come to."""
        self.free = 0
        self.high = 0
        """Rows above this one were never used."""

    # -- rows and keys -----------------------------------------------------------------------------------------

    def take(self) -> int:
        """A row that nobody has; 0 if there is none."""
        row: int = self.free
        if row:
            self.free = self.after[row]
        elif self.high < self.most:
            self.high = row = self.high + 1
        return row

    def drop(self, row: int) -> None:
        """Give a row back."""
        self.state[row] = 0
        self.after[row] = self.free
        self.free = row

    def key(self, row: int) -> bytes:
        """The key of a row."""
        return self.keys[row * KEY : row * KEY + KEY]

    def lookup(self, key: bytes) -> int:
        """The row with this key, 0 without one."""
        row: int = self.heads[hash(key) & self.mask]
        keys = self.keys
        while row and keys[row * KEY : row * KEY + KEY] != key:
            row = self.chain[row]
        return row

    def enter(self, row: int, key: bytes, service: Service) -> None:
        """Have a row be found by its key, and by its client where the service has source affinity."""
        self.keys[row * KEY : row * KEY + KEY] = key
        head = hash(key) & self.mask
        self.chain[row] = self.heads[head]
        self.heads[head] = row
        if service.masks:
            self._kin_in(row, hash(service.source(key)) & self.mask)

    def leave(self, row: int, service: Service) -> None:
        """Have a row be found no more: it is shown only."""
        if not self.entered(row):
            return
        key = self.key(row)
        head, chain = hash(key) & self.mask, self.chain
        at = self.heads[head]
        if at == row:
            self.heads[head] = chain[row]
        else:
            while chain[at] != row:
                at = chain[at]
            chain[at] = chain[row]
        chain[row] = row
        if service.masks:
            self._kin_out(row, hash(service.source(key)) & self.mask)

    def entered(self, row: int) -> bool:
        """Whether a row is found by its key."""
        return bool(self.chain[row] != row)

    def _kin_in(self, row: int, head: int) -> None:
        first = self.kin_heads[head]
        self.kin[row], self.kin_before[row] = first, 0
        if first:
            self.kin_before[first] = row
        self.kin_heads[head] = row

    def _kin_out(self, row: int, head: int) -> None:
        after, before = self.kin[row], self.kin_before[row]
        if after:
            self.kin_before[after] = before
        if before:
            self.kin[before] = after
        else:
            self.kin_heads[head] = after

    # -- by age ------------------------------------------------------------------------------------------------

    def add(self, row: int, *, live: bool) -> None:
        """Put a row at the new end of one of the two lists."""
        ends = self.ends[live]
        newest = ends[0]
        self.older[row], self.newer[row] = newest, 0
        if newest:
            self.newer[newest] = row
        else:
            ends[1] = row
        ends[0] = row

    def remove(self, row: int, *, live: bool) -> None:
        """Take a row out of its list."""
        ends, newer, older = self.ends[live], self.newer[row], self.older[row]
        if newer:
            self.older[newer] = older
        else:
            ends[0] = older
        if older:
            self.newer[older] = newer
        else:
            ends[1] = newer

    # -- by the time they are due ------------------------------------------------------------------------------

    def plan(self, row: int, when: float) -> None:
        """Have `next_due` give a row out once `when` has passed."""
        bucket = max(int(when / GRAIN) + 1, self.swept + 1)
        first = self.wheel.get(bucket, 0)
        self.due[row], self.after[row], self.before[row] = bucket, first, 0
        if first:
            self.before[first] = row
        self.wheel[bucket] = row

    def unplan(self, row: int) -> None:
        """Undo that."""
        after, before = self.after[row], self.before[row]
        if after:
            self.before[after] = before
        if before:
            self.after[before] = after
        elif after:
            self.wheel[self.due[row]] = after
        else:
            del self.wheel[self.due[row]]

    def next_due(self, now: float) -> int:
        """A row whose time has passed, no more planned; 0 without one."""
        bucket = int(now / GRAIN)
        if (
            bucket - self.swept > 3600
        ):  # the first time, or after a long freeze: go to the first that has a row
            self.swept = min(min(self.wheel, default=bucket), bucket)
        while self.swept <= bucket:
            row = self.wheel.get(self.swept, 0)
            if row:
                self.unplan(row)
                return row
            self.swept += 1
        self.swept = bucket
        return 0


def _octets(size: int) -> mmap.mmap:
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _column(rows: int, kind: str) -> Any:
    """A column of numbers, all zero, of which only what is used takes memory."""
    return memoryview(_octets(rows * struct.calcsize(kind))).cast(kind)  # type: ignore[call-overload]
