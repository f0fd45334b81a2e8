"""Which route a request is on: the most exact host first, then the longest path. Pure.

Decides by RFC 3986 host and path alone, for whatever hangs on a route: the balancer's pools and the rules of the key,
so that both always mean the same route. Host names compare without case and without port; a path prefix matches whole
segments only, so `/api` is no prefix of `/apis`. It must not know backends, pools or rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

Row = tuple[bytes, T]
"""(path prefix, what hangs on the route)"""


class RouteTable(Generic[T]):
    """What hangs on each route, ready to be looked up."""

    __slots__ = ("_any", "_exact", "_suffixes", "only")

    def __init__(self, routes: Iterable[tuple[str | None, str, T]]) -> None:
        """`routes` are (host, path, what hangs on it): host exact, `*.suffix`, or None for any."""
        exact: dict[bytes, list[Row[T]]] = {}
        suffixes: dict[bytes, list[Row[T]]] = {}
        anywhere: list[Row[T]] = []
        rows = list(routes)
        for host, path, value in rows:
            if host is None:
                anywhere.append((path.encode(), value))
            elif host.startswith("*."):
                suffixes.setdefault(host[1:].lower().encode(), []).append((path.encode(), value))
            else:
                exact.setdefault(host.lower().encode(), []).append((path.encode(), value))
        self._any = _longest_first(anywhere)
        self._exact = {host: _longest_first(found) for host, found in exact.items()}
        self._suffixes = [
            (suffix, _longest_first(found))
            for suffix, found in sorted(suffixes.items(), key=lambda item: -len(item[0]))
        ]
        whole = len(rows) == 1 and rows[0][:2] == (None, "/")
        self.only: T | None = rows[0][2] if whole else None
        """What hangs on the one route that takes every request; None if there are others."""

    def rows(self, host: bytes) -> tuple[Row[T], ...]:
        """The rows that a request for a lower-case `host` (a port is ignored) goes through, the first match counts."""
        return tuple(row for rows in self._tables(without_port(host)) for row in rows)

    def _tables(self, name: bytes) -> Iterator[list[Row[T]]]:
        exact = self._exact.get(name)
        if exact is not None:
            yield exact
        for suffix, rows in self._suffixes:
            if name.endswith(suffix) and len(name) > len(suffix):
                yield rows
        yield self._any

    def find(self, host: bytes, path: bytes) -> T | None:
        """What hangs on the route of a canonical `path` at `host`; None if no route is for it."""
        if self.only is not None:
            return self.only
        for rows in self._tables(without_port(host)):
            found = match(rows, path)
            if found is not None:
                return found
        return None


def match(rows: Sequence[Row[T]], path: bytes) -> T | None:
    """The first row whose prefix `path` lies under."""
    for prefix, value in rows:
        if path.startswith(prefix) and (
            len(path) == len(prefix) or prefix.endswith(b"/") or path[len(prefix) : len(prefix) + 1] == b"/"
        ):
            return value
    return None


def without_port(host: bytes) -> bytes:
    """`host` without `:port`."""
    name, colon, port = host.rpartition(b":")
    return name if colon and (port.isdigit() or not port) else host


def _longest_first(rows: Iterable[Row[T]]) -> list[Row[T]]:
    return sorted(rows, key=lambda row: -len(row[0]))
