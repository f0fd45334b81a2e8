"""Where a request that this cache cannot answer may go.

Decides nothing: one way after the other, in order of preference; parents.py makes them. Pure.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from cdnlab.forward.forwarder import Forwarder
    from cdnlab.forward.upload import Upload
    from cdnlab.pool.backend import Backend
    from cdnlab.pool.pool import Passed


class Parent(StrEnum):
    """Another edge that is asked before the origin: the label of metrics."""

    OWNER = "owner"
    SHIELD = "shield"

    @property
    def sentence(self) -> str:
        """What it is, in words."""
        return _SENTENCES[self]


_SENTENCES = {
    Parent.OWNER: "the edge of this place that keeps what lies under the key",
    Parent.SHIELD: "whom all places ask before the origin",
}


POOLS = {"edge.share": Parent.OWNER, "edge.shield": Parent.SHIELD}
"""What the pools of other edges are called in metrics and status: the settings that make them, which no pool of a
topology can be called."""


class Way(NamedTuple):
    """One pool to ask: `lines` are request field lines for it alone, each ended by CRLF. `store` is false where what
    comes this way lies in a neighbour that keeps it; `brief` where it is stored here for a moment only."""

    forwarder: Forwarder
    lines: bytes = b""
    store: bool = True
    parent: Parent | None = None
    """None: the origin."""
    ours: bool = False
    """A cache of this network: it is told the scheme and the host of the key, not what the origin is told."""
    only: Backend | None = None
    """The one backend of the pool that may be asked."""
    brief: bool = False
    passed: Passed = []  # noqa: RUF012 - never written to
    """Whom this way leaves out, and why; for people."""

    def aimed(self, key: bytes, upload: Upload | None) -> dict[str, Any]:
        """What the forwarder has to know beyond the request: whose it is, and what another way left of its body."""
        more: dict[str, Any] = {}
        if self.only is not None:
            more["only"] = self.only
        if self.parent is not None or self.forwarder.pool.keyed:
            more["key"] = key
        if upload is not None:
            more["upload"] = upload
        return more
