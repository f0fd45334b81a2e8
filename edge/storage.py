"""What a storage is to the cache: where objects lie, in how many bytes, and nothing about HTTP.

Every call is O(1) in the number of objects. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edge.object import StoredObject, Variants

FieldOf = Callable[[bytes], bytes | None]
"""A request field's combined value by its lower-case name."""


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

    def find(self, key: bytes) -> StoredObject | Variants | None:
        """What lies under a key: an object, or the record of its variants."""

    def select(self, key: bytes, field: FieldOf) -> StoredObject | None:
        """The object for a request (RFC 9111 §4.1); None if there is none."""

    def put(self, stored: StoredObject, names: tuple[bytes, ...]) -> bool:
        """Take an object in, in place of its predecessor; `names` are those of its Vary. False if it is too large."""

    def discard(self, stored: StoredObject) -> None:
        """Remove an object if it still lies here."""

    def remove(self, key: bytes) -> int:
        """Remove whatever lies under a key; how many objects that were."""

    def touch(self, stored: StoredObject) -> None:
        """It answered a request."""

    def reserve(self, size: int) -> bool:
        """Keep room for `size` more bytes of an arriving body; False if there is none to keep."""

    def release(self, size: int) -> None:
        """Give reserved room back."""
