"""Which pool a request goes to. Pure.

Decides by host and path, as cdnlab/forward/routing.py reads routes; it must not know backends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cdnlab.forward.routing import RouteTable


class RouteSpec(Protocol):
    """A row of the topology's routes."""

    @property
    def host(self) -> str | None:
        """Exact, `*.suffix`, or None for any."""

    @property
    def path(self) -> str:
        """A path prefix."""

    @property
    def pool(self) -> str:
        """Where to."""


class Routes:
    """Routes, ready to be looked up."""

    __slots__ = ("_table", "only")

    def __init__(self, specs: Sequence[RouteSpec]) -> None:
        self._table = RouteTable((spec.host, spec.path, spec.pool) for spec in specs)
        self.only = self._table.only
        """The pool of every request, where one route takes all."""

    def pool(self, host: bytes, path: bytes) -> str | None:
        """The pool for a lower-case `host` (a port is ignored) and a canonical `path`; None if no route is for it."""
        return self._table.find(host, path)
