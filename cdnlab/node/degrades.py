"""What a node does less well while the store is away, and what people are told of it.  Pure.

Each part that keeps something in the store registers its feature when it is made; nothing is registered where there is
no store to lose. Whether a feature is degraded is asked when somebody looks, so it costs no request anything. It
decides nothing: what to do without the store is each part's own rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cdnlab.node.metrics import Family, MetricSpec, family

if TYPE_CHECKING:
    from cdnlab.node.store import Store

DEGRADED = MetricSpec(
    "cdnlab_node_degraded",
    "gauge",
    ("feature",),
    "1 while a feature works less well because the store is away.",
)


class Feature(StrEnum):
    """What needs the store to be whole; the sentence says what happens without it."""

    LEASES = "leases"
    PURGES = "purges"
    PINS = "pins"
    FLOWS = "flows"
    RATE_LIMITS = "rate_limits"
    SESSIONS = "sessions"
    ITEMS = "items"

    @property
    def sentence(self) -> str:
        """What a person is told while it is degraded."""
        return _SENTENCES[self]


_SENTENCES = {
    Feature.LEASES: "the balancer that holds a VIP keeps it; one that dies is followed by nobody",
    Feature.PURGES: "a purge reaches only the edges to which it is posted",
    Feature.PINS: "new pins stay at the node that made them; another one goes by the signed cookie",
    Feature.FLOWS: "flows are known to their own balancer only; one that takes over picks anew",
    Feature.RATE_LIMITS: "each balancer counts its clients for itself",
    Feature.SESSIONS: "clustered sessions cannot be read or written: login and cart are answered 503",
    Feature.ITEMS: "each origin sells from the shop's table as it saw it last",
}

State = Callable[[], bool]
"""Whether a feature is degraded now."""


class Degrades:
    """One node's registry."""

    __slots__ = ("_registered", "_store")

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self._registered: dict[Feature, State] = {}

    def register(self, feature: Feature, degraded: State | None = None) -> None:
        """`feature` is this node's, too. `degraded` says when it is; without it, while the store is away. Without a
        store there is nothing to lose: nothing happens."""
        if self._store is not None:
            self._registered[feature] = degraded or self._away

    def _away(self) -> bool:
        return self._store is not None and not self._store.up

    def now(self) -> Iterator[Feature]:
        """The features that are degraded now, in the order of the enumeration."""
        return (each for each in Feature if each in self._registered and self._registered[each]())

    def status(self) -> list[dict[str, Any]]:
        """The "degraded" of /status."""
        return [{"feature": str(each), "sentence": each.sentence} for each in self.now()]

    def family(self) -> Family:
        """The row of DEGRADED: every feature, at zero where it is whole, or not this node's."""
        degraded = set(self.now())
        return family(DEGRADED, [((str(each),), int(each in degraded)) for each in Feature])
