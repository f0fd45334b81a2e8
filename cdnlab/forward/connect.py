"""Connections to backends: which source address, which link, which TLS; opened in time or not at all.

Decides how a backend is reached and keeps the idle connections of this node. It must not know requests.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Protocol, cast

from cdnlab.net import link
from cdnlab.net.client import Upstream
from cdnlab.net.dial import Resolver, connect, dial
from cdnlab.net.idle import IdleList
from cdnlab.net.timers import Sweep
from cdnlab.plan.topology import UpstreamSpec
from cdnlab.pool.backend import Backend
from cdnlab.pool.reasons import Reason
from cdnlab.wire.response import ResponseMemo

#: What is said of a backend that took a connection and closed it before anything was asked.
CLOSED_AT_ONCE = "it accepted the connection and closed it at once"


class ConnectFailed(Exception):
    """A backend could not be reached. `reason` is why it is passed over, `detail` is for the operator."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Attempt(Protocol):
    """A request that waits for a backend's answer."""

    @property
    def backend(self) -> Backend | None:
        """Whose answer."""

    @property
    def started(self) -> float:
        """When the request began."""

    def abandoned(self, backend: Backend, detail: str) -> bool:
        """The backend has gone: try another, if that may be; whether it did."""


def _standing(lists: list[IdleList]) -> int:
    return sum(each.open for each in lists)


class Connector:
    """Opens and keeps this node's upstream connections."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sweep: Sweep,
        spec: UpstreamSpec,
        *,
        source_address: str | None = None,
        round_trip: Callable[[str, str], float] | None = None,
        window: int = 262144,
        memo: ResponseMemo | None = None,
    ) -> None:
        """`source_address`: what to connect from, None for the kernel's choice. `round_trip(a, b)`: seconds between
        two places, None where distance is off."""
        self.loop = loop
        self.sweep = sweep
        self.spec = spec
        self.source_address = source_address
        self.resolver = Resolver()
        self.round_trip = round_trip
        self.window = window
        self.memo = memo or ResponseMemo()
        self.opened = 0
        self.failed = 0
        self._tls: ssl.SSLContext | None = None
        self._lists: list[IdleList] = []

    def idle(self, backend: Backend, place: str) -> IdleList:
        """The idle connections to `backend` for requests from `place`; one list for all where distance is off."""
        key = place if self.round_trip is not None and backend.place else ""
        try:
            return backend.idle[key]  # type: ignore[index, no-any-return]
        except (KeyError, TypeError):
            return self._first_idle(backend, key)

    def _first_idle(self, backend: Backend, key: str) -> IdleList:
        lists = cast("dict[str, IdleList] | None", backend.idle)
        if lists is None:
            lists = backend.idle = {}
        spec = self.spec
        found = lists[key] = IdleList(
            keep=spec.idle_timeout, most=spec.idle_per_backend, reuse_unsafe_max=spec.reuse_unsafe_max
        )
        self._lists.append(found)
        return found

    async def connect(self, backend: Backend, place: str, most: int = 0) -> Upstream:
        """A new connection to `backend` as felt from `place`. Raises ConnectFailed. `most`: how many it may have at a
        time, 0 any; an idle one over another link is closed for it."""
        home = self.idle(backend, place)
        if most:
            self._make_room(backend, most)
        try:
            async with asyncio.timeout(self.spec.connect_timeout):
                upstream = await self._open(backend, place, home)
        except TimeoutError:
            self.failed += 1
            raise ConnectFailed(
                Reason.TIMED_OUT, f"no connection within {self.spec.connect_timeout:g} s"
            ) from None
        except ssl.SSLError as error:
            self.failed += 1
            raise ConnectFailed(Reason.CONNECT_FAILED, f"TLS: {error.reason or error}") from None
        except OSError as error:
            self.failed += 1
            raise ConnectFailed(Reason.CONNECT_FAILED, error.strerror or str(error)) from None
        self.opened += 1
        upstream.count()
        return upstream

    async def _open(self, backend: Backend, place: str, home: IdleList) -> Upstream:
        upstream = Upstream(self.memo, self.sweep, home, self.spec.response_timeout)
        rtt = 0.0
        if self.round_trip is not None and backend.place and place:
            rtt = self.round_trip(place, backend.place)
        context = self._context() if backend.tls else None
        sock = await self._connected_socket(backend)
        await link.attach(
            self.loop,
            upstream,
            sock,
            rtt=rtt,
            window=self.window,
            tls=context,
            server_name=backend.server_name if context else None,
        )
        return upstream

    def lists(self, backend: Backend) -> list[IdleList]:
        """Its idle connections over each link."""
        lists = cast("dict[str, IdleList] | None", backend.idle)
        return list(lists.values()) if lists else []

    def room(self, backend: Backend, most: int) -> bool:
        """Whether one more request could have a connection to `backend`: an idle one, or one of `most`."""
        lists = self.lists(backend)
        return any(each.connections for each in lists) or _standing(lists) < most

    def _make_room(self, backend: Backend, most: int) -> None:
        lists = self.lists(backend)
        idle = [each for each in lists if each.connections]
        while idle and _standing(lists) >= most:
            idle[-1].connections[0].abort()
            if not idle[-1].connections:
                idle.pop()

    def connections_to(self, backend: Backend) -> list[Upstream]:
        """Those of `backend` that stand; it looks at every connection of this node, so it is for rare occasions."""
        homes = self.lists(backend)
        return [each for each in self.sweep.members if isinstance(each, Upstream) and each.home in homes]

    def waiting_for(self, backend: Backend) -> list[Attempt]:
        """Whoever has sent `backend` a request and has no head yet."""
        asking = [each.asker for each in self.connections_to(backend)]
        return [cast(Attempt, each) for each in asking if hasattr(each, "abandoned")]

    async def _connected_socket(self, backend: Backend) -> socket.socket:
        if backend.unix is not None:
            return await connect(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), backend.unix)
        return await dial(await self.resolver.addresses(backend.host, backend.port), self.source_address)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def close(self) -> None:
        """Close every idle connection, and end the upkeep of the pools that are reached through it."""
        self.sweep.ticks.clear()
        for idle in self._lists:
            idle.close()
