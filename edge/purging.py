"""What the cache asks of whoever knows the purges, and the answer of an edge that has none.

Decides names only. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from edge.object import StoredObject


PURGED_FIELD = b"cdnlab-purged"
"""The request field in which an edge tells the edge that it asks how far it has followed the purges."""


class Verdict(Enum):
    """What the purge rules say about a stored response."""

    KEEP = 0
    SOFT = 1
    """It is to be validated before it is used again."""
    GONE = 2
    """It is not to be used, nor kept."""


class Purges(Protocol):
    """The rules of purges, and how far this edge knows them."""

    position: int
    """Grows whenever a rule is applied; -1 while what is asked must be validated, so that no `checked` equals it."""
    confirmed_until: float
    """The instant until which the position counts as confirmed; inf where nobody could know better."""

    def mark(self) -> object:
        """What a fetch that begins now carries, and what it brings."""

    def judge(self, stored: StoredObject) -> Verdict:
        """What the rules that are newer than the beginning of its fetch say; notes that it was compared."""

    def may_concern(self, key: bytes, mark: object, now: float) -> bool:
        """Could a rule newer than `mark` mean the response that a fetch with this mark brings? Then nobody who comes
        now may share it."""

    def reached(self, said: bytes) -> bool:
        """Has this edge applied all that another edge had, which `said` so with its request (PURGED_FIELD)?"""

    def invalidate_groups(self, origin: bytes, groups: Iterable[bytes]) -> None:
        """A response says that these cache groups of its origin have changed (RFC 9875): drop them here, and tell the
        other edges."""


class NoPurges:
    """Nothing is ever purged."""

    __slots__ = ("confirmed_until", "position")

    def __init__(self) -> None:
        self.position = 0
        self.confirmed_until = inf

    def mark(self) -> object:
        """Nothing to carry."""
        return None

    def judge(self, stored: StoredObject) -> Verdict:
        """It stays."""
        stored.checked = self.position
        return Verdict.KEEP

    def may_concern(self, key: bytes, mark: object, now: float) -> bool:
        """No."""
        return False

    def reached(self, said: bytes) -> bool:
        """Who knows of no purges can't say so."""
        return False

    def invalidate_groups(self, origin: bytes, groups: Iterable[bytes]) -> None:
        """Nothing happens."""
