"""Which backend a TCP flow is given to, and the connection to it.

Decides the order of candidates and what counts as a failure of one. It must not know clients' limits, nor how bytes are
carried.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cdnlab.forward.client import client_key
from cdnlab.net import dial
from cdnlab.net.clock import now
from cdnlab.pool.reasons import Reason
from lb.l4_flow import Refusal
from lb.l4_stats import Refused
from lb.udp_flow import may_go_on

if TYPE_CHECKING:
    from cdnlab.forward.connect import Connector
    from cdnlab.forward.forwarder import Forwarder
    from cdnlab.pool.backend import Backend
    from cdnlab.pool.pool import Pool
    from lb.flow_entry import Address
    from lb.flow_table import FlowTable

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""The system has no descriptors or memory left."""


class Choice:
    """How one listener chooses and connects."""

    __slots__ = ("_address", "_connector", "_members", "_table", "_timeout")

    def __init__(
        self, connector: Connector, table: FlowTable | None, address: Address, connect_timeout: float
    ) -> None:
        """`address`: the listener's, under which its flows stand in the table; `connect_timeout` in seconds."""
        self._connector = connector
        self._table = table
        self._address = address
        self._timeout = connect_timeout
        self._members: dict[str, tuple[tuple[Backend, ...], dict[str, Backend]]] = {}
        """By pool: its backends when they were last looked at, and by name."""

    def candidates(
        self, client: Address, vip: Address, forwarder: Forwarder, place: str
    ) -> Iterator[Backend]:
        """The backend that this source belongs to, by the flow table, while it is up or drains; then the pool's, in
        order; those with room."""
        pool, table = forwarder.pool, self._table
        known = table.find("tcp", client, self._address, now()) if table is not None else None
        first = self._member(pool, known) if known is not None else None
        if first is not None and may_go_on(first) and _has_room(first, forwarder):
            yield first
        key = b""
        if pool.keyed:
            key = client_key(client[0]) if pool.by_source else flow_hash(client, vip)
        for backend in pool.candidates(place, None, key):
            if backend is not first and _has_room(backend, forwarder):
                yield backend

    def _member(self, pool: Pool, name: str) -> Backend | None:
        """A pool's backend by its name."""
        known = self._members.get(pool.name)
        if known is None or known[0] is not pool.backends:
            known = self._members[pool.name] = pool.backends, {each.name: each for each in pool.backends}
        return known[1].get(name)

    async def dial(self, backend: Backend, forwarder: Forwarder) -> socket.socket | None:
        """A connection to it; None, counted against it, if there is none in time. Refusal where nobody could be
        connected to."""
        connector = self._connector
        try:
            async with asyncio.timeout(self._timeout):
                if backend.unix is not None:
                    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                    far = await dial.connect(sock, backend.unix)
                else:
                    found = await connector.resolver.addresses(backend.host, backend.port)
                    far = await dial.dial(found, connector.source_address)
        except TimeoutError:
            why = Reason.TIMED_OUT
        except OSError as error:
            if error.errno in EXHAUSTED:  # ours, and no fault of the backend's
                raise Refusal(Refused.SYSTEM) from None
            if error.errno == errno.EADDRNOTAVAIL:
                connector.failed += 1  # all our ports to this one are in use, those to the next are not
                return None
            why = Reason.CONNECT_FAILED
        else:
            connector.opened += 1
            return far
        connector.failed += 1
        failed(backend, forwarder, why)
        return None


def failed(backend: Backend, forwarder: Forwarder, why: Reason) -> None:
    """Count a failure against a backend; the ejector may leave it out for that."""
    backend.failures += 1
    if forwarder.ejector is not None:
        forwarder.ejector.failed(backend, why, now())


def flow_hash(client: Address, vip: Address) -> bytes:
    """What an algorithm with keys goes by where it is not the client's address alone: both ends of the flow."""
    return f"{client[0]} {client[1]} {vip[0]} {vip[1]}".encode()


def _has_room(backend: Backend, forwarder: Forwarder) -> bool:
    """Whether the circuit breaker lets it have one more: a flow is a request, and a connection."""
    return backend.live < backend.limit and (
        not forwarder.connections or backend.live < forwarder.connections
    )
