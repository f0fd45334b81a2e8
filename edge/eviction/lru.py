"""Least recently used: the object that has waited longest for a request goes first.

A list linked through the objects themselves: a dict would be resized now and then, and stall the loop when it
holds hundreds of thousands. Pure.
"""

from __future__ import annotations

from edge.eviction.policy import register
from edge.object import StoredObject

NAME = "lru"


@register(NAME)
class Lru:
    """The order of last use."""

    __slots__ = ("_newest", "_oldest")

    def __init__(self) -> None:
        self._newest: StoredObject | None = None
        self._oldest: StoredObject | None = None

    def added(self, stored: StoredObject) -> None:
        """It counts as used now."""
        stored.older = newest = self._newest
        stored.newer = None
        if newest is None:
            self._oldest = stored
        else:
            newest.newer = stored
        self._newest = stored

    def removed(self, stored: StoredObject) -> None:
        """Unlink it."""
        newer, older = stored.newer, stored.older
        if newer is None:
            self._newest = older
        else:
            newer.older = older
        if older is None:
            self._oldest = newer
        else:
            older.newer = newer
        stored.newer = stored.older = None

    def touched(self, stored: StoredObject) -> None:
        """Move it to the end."""
        if stored.newer is not None:
            self.removed(stored)
            self.added(stored)

    def victim(self) -> StoredObject | None:
        """The one used longest ago."""
        return self._oldest
