"""What the control API needs of whoever watches the nodes: the supervisor, which started them, or the observer.

Types only; gather.py and control.py are written against them, so that page and commands are the same in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from cdnlab.node.log import Events

Json = dict[str, Any]


class Watched(Protocol):
    """One node, or the store, as it is seen from outside."""

    @property
    def name(self) -> str:
        """Its name in the topology, or "store"."""

    @property
    def ready(self) -> bool:
        """Whether it was ready and still is there: only then is it asked what it saw."""

    @property
    def paused(self) -> bool:
        """Whether it is known to be frozen."""

    @property
    def verdict(self) -> str | None:
        """The state that stands above the node's own word, such as "dead"; None: it can be asked."""

    def describe(self) -> Json:
        """pid, running, ready, paused, exit, reason, since (wall time), log: as /lab shows it."""


class Watch(Protocol):
    """All of them, and what may be ordered. Orders raise LabError where they make no sense or cannot be had."""

    @property
    def children(self) -> Mapping[str, Watched]:
        """Everything that is watched, by name."""

    @property
    def events(self) -> Events:
        """What was seen of them, as node "lab"."""

    def child(self, name: str) -> Watched:
        """The one called `name`; LabError names the nearest ones."""

    def store(self) -> Json:
        """What is known of the store beside its URL: its kind, and its state if there is a word for it."""

    async def kill(self, name: str) -> None:
        """End it at once."""

    async def pause(self, name: str) -> None:
        """Freeze it."""

    async def resume(self, name: str) -> None:
        """Let it run on."""

    async def start(self, name: str) -> None:
        """Start it and wait until it is ready."""

    def down(self) -> None:
        """End the lab."""
