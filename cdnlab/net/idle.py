"""Idle upstream connections, kept for the next request to the same backend over the same link.

Last in, first out: the connection used last is the least likely to have been closed by the other side. It decides
which idle connection may be used for which request; it must not know how one is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdnlab.net.client import Upstream

#: The state of an upstream connection on which a request can be sent.
IDLE = 0


class IdleList:
    """The idle connections to one backend over one link."""

    __slots__ = ("connections", "keep", "most", "open", "reuse_unsafe_max")

    def __init__(self, *, keep: float, most: int, reuse_unsafe_max: float) -> None:
        """`keep`: seconds an idle connection is kept; `most`: how many; `reuse_unsafe_max`: seconds after which one
        is no longer used for a request that must not be sent twice."""
        self.connections: list[Upstream] = []
        self.open = 0
        """Connections that stand, busy ones included."""
        self.keep = keep
        self.most = most
        self.reuse_unsafe_max = reuse_unsafe_max

    def take(self, instant: float, idempotent: bool) -> Upstream | None:
        """An idle connection for a request, or None. Unsafe requests get only those used very recently: a server
        that closes an idle connection at the same moment would leave us not knowing whether it acted."""
        connections = self.connections
        while connections:
            if not idempotent and instant - connections[-1].idle_since > self.reuse_unsafe_max:
                return None
            upstream = connections.pop()
            if upstream.state == IDLE:
                return upstream
        return None

    def put(self, upstream: Upstream, instant: float) -> None:
        """A connection is free again since `instant`."""
        if len(self.connections) >= self.most:
            upstream.abort()
            return
        upstream.idle_since = instant
        upstream.due = instant + self.keep
        self.connections.append(upstream)

    def discard(self, upstream: Upstream) -> None:
        """A connection is gone; nothing if it was not idle."""
        try:
            self.connections.remove(upstream)
        except ValueError:
            pass

    def close(self) -> None:
        """Close them all, and those that come later."""
        self.most = 0
        connections, self.connections = self.connections, []
        for upstream in connections:
            upstream.abort()
