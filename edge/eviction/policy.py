"""What an eviction policy is: it decides which object goes when room is needed, and nothing else.

One policy per file, registered by name. Adding one touches no other file but its test and the documentation. The same
code runs over stored objects and over the notes of a shadow. Sizes and capacities are bytes. Each call is O(1) in the
number of objects, amortised where the file says so, and none of them runs for more than a few thousand steps. Pure.

The life of an entry: `admits`, then `victim` until there is room, then `added`; `touched` for each request that it
answers; then `removed`, or handed out by a `victim`.

An entry that is in none of the policy's lists has no neighbours. The lowest bit of its rank is the policy's colour:
while a storage changes from one policy to another, that bit says which of the two holds the entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

DROPS = 500
"""Ghosts that are forgotten at most for one that comes: a large object may stand for ten thousand small ones."""

HASH_BITS = 60  # of a key's hash, so that it fits a small Python int and an unsigned word
_HASH = (1 << HASH_BITS) - 1
_SAMPLE = (
    0xFFFFF  # the bits of the hash by which shadows choose their keys; all variants of a key have the same
)


class Entry(Protocol):
    """A stored object, or the note that a shadow keeps of one; newer, older and rank are the policy's own."""

    key: Any
    variant: bytes | None
    size: int
    newer: Any
    older: Any
    rank: int


class Policy:
    """Keeps an order over entries. What is not said here has no effect on it."""

    __slots__ = ("capacity", "colour", "patience")

    name = ""

    def __init__(self, capacity: int = 0) -> None:
        """`capacity`: the bytes that all entries together may take."""
        self.capacity = capacity
        self.colour = 0
        self.patience = 1 << 62
        """Second chances that `victim` may give before it takes what comes next. The papers have no bound: there a hand
        may pass every object, which takes a tenth of a second at a million of them. Whoever makes room sets it."""

    def admits(self, entry: Entry, short: int) -> bool:
        """Is `entry`, about to be stored, worth the `short` bytes that others must give up for it?"""
        return True

    def added(self, entry: Entry) -> None:
        """It lies in the storage now; there is room for it."""
        raise NotImplementedError

    def touched(self, entries: Sequence[Entry]) -> None:
        """Each answered a request, in this order. One that has left meanwhile is passed over."""

    def removed(self, entry: Entry) -> None:
        """It has left the storage for another reason than room."""
        raise NotImplementedError

    def replaced(self, old: Entry, new: Entry) -> None:
        """`new` lies in place of `old`: the same object, fetched again because it was stale."""
        self.removed(old)
        self.added(new)

    def resized(self, entry: Entry, by: int) -> None:
        """Its size has grown by so many bytes, or shrunk."""

    def victim(self) -> Any:
        """Give up the entry that goes next: it is in none of the lists any more. None if there is none."""
        raise NotImplementedError

    @property
    def memory(self) -> int:
        """Bytes it keeps beside the entries: what it remembers of those that are gone."""
        return 0


REGISTRY: dict[str, type[Policy]] = {}


def register(policy: type[Policy]) -> type[Policy]:
    """Make a policy known under its name."""
    REGISTRY[policy.name] = policy
    return policy


def identity(entry: Entry) -> int:
    """A number for its key and variant. The hash of bytes is SipHash, random per process: nobody can choose it."""
    lead = hash(entry.key)
    if entry.variant is None:
        return lead & _HASH
    return (hash((entry.key, entry.variant)) & _HASH & ~_SAMPLE) | (lead & _SAMPLE)
