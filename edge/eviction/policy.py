"""What an eviction policy is: it decides which object goes when room is needed, and nothing else.

One policy per file, registered by name. Adding one touches no other file but its test and the documentation.
Every call is O(1). Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edge.object import StoredObject


class Policy(Protocol):
    """Keeps an order over the stored objects; `newer` and `older` of an object are its own."""

    def added(self, stored: StoredObject) -> None:
        """It lies in the storage now."""

    def touched(self, stored: StoredObject) -> None:
        """It answered a request; called at most about once a second per object."""

    def removed(self, stored: StoredObject) -> None:
        """It has left the storage, whoever asked for that."""

    def victim(self) -> StoredObject | None:
        """The object to give up next, still in its place; None if there is none."""


REGISTRY: dict[str, Callable[[], Policy]] = {}


def register(name: str) -> Callable[[type[Policy]], type[Policy]]:
    """Make a policy known under `name`."""

    def add(policy: type[Policy]) -> type[Policy]:
        REGISTRY[name] = policy
        return policy

    return add
