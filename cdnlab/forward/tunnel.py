"""After a 101 both connections carry bytes that are not ours to read (RFC 9110 §7.8): join them.

Flow control holds both ways, a half-close of one side is passed on, and the end of one is the end of both. An idle
tunnel is closed after `idle` seconds, as HAProxy's `timeout tunnel` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from cdnlab.net.clock import now

if TYPE_CHECKING:
    from cdnlab.forward.exchange import Forward
    from cdnlab.net.client import Broken
    from cdnlab.net.exchange import Exchange
    from cdnlab.wire.fields import Field
    from cdnlab.wire.response import ResponseBlock


class Tunnel:
    """Both ends of a tunnel. It stands in for the forward as the upstream's sink, and is the client's source."""

    __slots__ = (
        "_done",
        "_ends",
        "due",
        "exchange",
        "forward",
        "idle",
        "received",
        "sent",
        "sweep",
        "upstream",
        "when_over",
    )

    def __init__(
        self, exchange: Exchange, forward: Forward, idle: float, when_over: Callable[[Tunnel, str], None]
    ) -> None:
        """`when_over(tunnel, reason)` is called once, when both ends are closed or given up."""
        self.exchange = exchange
        self.forward = forward
        self.upstream = forward.upstream
        self.idle = idle
        self.when_over = when_over
        self.received = 0
        """Bytes from the client."""
        self.sent = 0
        """Bytes to the client."""
        self.due = now() + idle
        self.sweep = forward.owner.connector.sweep
        self._done = False
        self._ends = 0

    def join(self, head: bytes) -> None:
        """Send the 101 `head` (no blank line) to the client and carry bytes from now on."""
        upstream = self.upstream
        assert upstream is not None
        upstream.attach_tunnel(self)
        self.exchange.source = self
        self.sweep.members.add(self)
        self.exchange.tunnel(head, self.toward_upstream)

    @property
    def toward_upstream(self) -> _TowardUpstream:
        """What the client's connection writes into."""
        return _TowardUpstream(self)

    # -- from the upstream ----------------------------------------------------------------------------------------

    def tunnel_data(self, data: bytes) -> None:
        """Bytes from the upstream, for the client."""
        self.sent += len(data)
        self.due = now() + self.idle
        self.exchange.write(data)

    def tunnel_end(self) -> None:
        """The upstream sends no more."""
        self.exchange.tunnel_end()
        self.ended()

    def ended(self) -> None:
        """One of the two directions has come to its end; after both there is nothing left to carry."""
        self._ends += 1
        if self._ends == 2:
            self._over("both sides have ended", client=True)

    def response_failed(self, why: Broken, detail: str) -> None:
        """The upstream's connection is gone."""
        self._over("the upstream closed", client=True)

    def upstream_full(self) -> None:
        """The upstream reads slower than the client writes."""
        cast(Any, self.exchange).pause_tunnel()

    def upstream_ready(self) -> None:
        """There is room again."""
        cast(Any, self.exchange).resume_tunnel()

    def response_interim(self, raw: bytes, status: int) -> None:
        """Not in a tunnel."""

    def response_head(
        self, block: ResponseBlock, volatile: tuple[Field, ...], length: int, whole: bytes | None
    ) -> None:
        """Not in a tunnel."""

    def response_data(self, data: bytes) -> None:
        """Not in a tunnel."""

    def response_end(self, trailers: tuple[Field, ...]) -> None:
        """Not in a tunnel."""

    def response_upgraded(self, block: ResponseBlock, volatile: tuple[Field, ...]) -> None:
        """Not in a tunnel."""

    # -- the client's source --------------------------------------------------------------------------------------

    def pause(self) -> None:
        """The client reads slower than the upstream writes."""
        if self.upstream is not None:
            self.upstream.pause()

    def resume(self) -> None:
        """There is room again."""
        if self.upstream is not None:
            self.upstream.resume()

    def client_gone(self, reason: str) -> None:
        """The client's connection is gone."""
        self._over(reason, client=False)

    def expire(self, now: float) -> None:
        """The sweep's call: nothing was carried for `idle` seconds."""
        self._over("idle", client=True)

    def _over(self, reason: str, *, client: bool) -> None:
        if self._done:
            return
        self._done = True
        self.sweep.members.discard(self)
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.close_tunnel()
        self.forward.ended()
        if client:
            cast(Any, self.exchange).close_tunnel()
        self.when_over(self, reason)


class _TowardUpstream:
    """The direction from the client to the upstream."""

    __slots__ = ("tunnel",)

    def __init__(self, tunnel: Tunnel) -> None:
        self.tunnel = tunnel

    def tunnel_data(self, data: bytes) -> None:
        """Bytes from the client."""
        tunnel = self.tunnel
        tunnel.received += len(data)
        tunnel.due = now() + tunnel.idle
        if tunnel.upstream is not None:
            tunnel.upstream.write(data)

    def tunnel_end(self) -> None:
        """The client sends no more."""
        if self.tunnel.upstream is not None:
            self.tunnel.upstream.end_tunnel()
        self.tunnel.ended()
