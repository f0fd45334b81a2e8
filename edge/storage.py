"""What a storage is to the cache: where objects lie, in how many bytes, and nothing about HTTP.

Every call is O(1) in the number of objects, or does a bounded piece of its work. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edge.object import StoredObject, Variants

FieldOf = Callable[[bytes], bytes | None]
"""A request field's combined value by its lower-case name."""

Evicted = Callable[[StoredObject, tuple[bytes, ...]], None]
"""Takes an object that went for want of room, and the names of its Vary."""


class Storage(Protocol):
    """Objects by key and variant, bounded in bytes."""

    capacity: int
    """Bytes it may hold, arriving bodies included."""
    used: int
    """Bytes it holds, reserved ones not counted."""
    reserved: int
    """Bytes kept free for bodies that are arriving."""
    objects: int
    evictions: int
    touched: list[StoredObject]
    """Whoever answers from an object appends it here; always this very list."""
    evicted: Evicted | None

    def find(self, key: bytes) -> StoredObject | Variants | None:
        """What lies under a key: an object, or the record of its variants."""

    def select(self, key: bytes, field: FieldOf) -> StoredObject | None:
        """The object for a request (RFC 9111 §4.1); None if there is none."""

    def put(self, stored: StoredObject, names: tuple[bytes, ...]) -> bool:
        """Take an object in, in place of its predecessor; `names` are those of its Vary. False if there is no room."""

    def discard(self, stored: StoredObject) -> None:
        """Remove an object if it still lies here."""

    def remove(self, key: bytes) -> int:
        """Remove whatever lies under a key; how many objects that were."""

    def touch(self, stored: StoredObject) -> None:
        """It answered a request."""

    def flush(self) -> None:
        """Tell the policy of the objects that were touched."""

    def resize(self, stored: StoredObject, by: int) -> None:
        """An object that lies here takes `by` bytes more, or fewer."""

    def reserve(self, size: int) -> bool:
        """Keep room for `size` more bytes of an arriving body; False if there is none to keep."""

    def release(self, size: int) -> None:
        """Give reserved room back."""

    def sweep(self, cursor: int, count: int) -> tuple[list[StoredObject], int]:
        """About `count` objects, and the cursor for the next call. Begins with 0; 0 comes back after the last."""
