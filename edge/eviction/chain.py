"""A list that is linked through its entries, with the bytes they take.

It needs no table of its own, so it never stalls the loop by growing, and costs no memory but the two slots. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from edge.eviction.policy import Entry


class Chain:
    """Entries from the oldest to the newest; every call is O(1) but iterating."""

    __slots__ = ("bytes", "newest", "oldest")

    def __init__(self) -> None:
        self.bytes = 0
        self.newest: Any = None
        self.oldest: Any = None

    def push(self, entry: Entry) -> None:
        """Add at the newest end."""
        self.bytes += entry.size
        newest = self.newest
        entry.older = newest
        entry.newer = None
        if newest is None:
            self.oldest = entry
        else:
            newest.newer = entry
        self.newest = entry

    def unlink(self, entry: Entry) -> None:
        """Take out, wherever it stands."""
        self.bytes -= entry.size
        newer, older = entry.newer, entry.older
        if newer is None:
            self.newest = older
        else:
            newer.older = older
        if older is None:
            self.oldest = newer
        else:
            older.newer = newer
        entry.newer = entry.older = None

    def renew(self, entries: Iterable[Entry]) -> None:
        """Move each to the newest end; the newest, and those that are in no list, are left alone. Written out: half of
        what a hit costs would be the call."""
        for entry in entries:
            newer = entry.newer
            if newer is None:
                continue
            newer.older = older = entry.older
            if older is None:
                self.oldest = newer
            else:
                older.newer = newer
            newest = self.newest
            newest.newer = entry
            entry.older = newest
            entry.newer = None
            self.newest = entry

    def move(self, entry: Entry) -> None:
        """Move one that stands here to the newest end."""
        newer = entry.newer
        if newer is None:
            return
        newer.older = older = entry.older
        if older is None:
            self.oldest = newer
        else:
            older.newer = newer
        newest = self.newest
        newest.newer = entry
        entry.older = newest
        entry.newer = None
        self.newest = entry

    def swap(self, old: Entry, new: Entry) -> None:
        """Put `new` where `old` stands."""
        self.bytes += new.size - old.size
        newer, older = old.newer, old.older
        new.newer, new.older = newer, older
        old.newer = old.older = None
        if newer is None:
            self.newest = new
        else:
            newer.older = new
        if older is None:
            self.oldest = new
        else:
            older.newer = new

    def __iter__(self) -> Iterator[Any]:
        """From the oldest on."""
        entry = self.oldest
        while entry is not None:
            yield entry
            entry = entry.newer
