"""Which pool a request goes to: the most exact host first, then the longest path. Pure.

Decides by RFC 3986 host and path alone; it must not know backends. Host names compare without case and without
port; a path prefix matches whole segments only, so `/api` is no prefix of `/apis`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol


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

    __slots__ = ("_any", "_exact", "_suffixes", "only")

    def __init__(self, specs: Sequence[RouteSpec]) -> None:
        self._exact: dict[bytes, list[tuple[bytes, str]]] = {}
        suffixes: dict[bytes, list[tuple[bytes, str]]] = {}
        anywhere: list[RouteSpec] = []
        for spec in specs:
            if spec.host is None:
                anywhere.append(spec)
            elif spec.host.startswith("*."):
                suffixes.setdefault(spec.host[1:].lower().encode(), []).append(_row(spec))
            else:
                self._exact.setdefault(spec.host.lower().encode(), []).append(_row(spec))
        self._any = _longest_first(map(_row, anywhere))
        for host, rows in self._exact.items():
            self._exact[host] = _longest_first(rows)
        self._suffixes = [
            (suffix, _longest_first(rows))
            for suffix, rows in sorted(suffixes.items(), key=lambda item: -len(item[0]))
        ]
        only = specs[0] if len(specs) == 1 else None
        self.only = only.pool if only is not None and only.host is None and only.path == "/" else None

    def pool(self, host: bytes, path: bytes) -> str | None:
        """The pool for a lower-case `host` (a port is ignored) and a canonical `path`; None if no route is for it."""
        if self.only is not None:
            return self.only
        name = _without_port(host)
        for rows in self._tables(name):
            for prefix, pool in rows:
                if path.startswith(prefix) and (
                    len(path) == len(prefix)
                    or prefix.endswith(b"/")
                    or path[len(prefix) : len(prefix) + 1] == b"/"
                ):
                    return pool
        return None

    def _tables(self, name: bytes) -> Iterable[list[tuple[bytes, str]]]:
        exact = self._exact.get(name)
        if exact is not None:
            yield exact
        for suffix, rows in self._suffixes:
            if name.endswith(suffix) and len(name) > len(suffix):
                yield rows
        yield self._any


def _row(spec: RouteSpec) -> tuple[bytes, str]:
    return spec.path.encode(), spec.pool


def _longest_first(rows: Iterable[tuple[bytes, str]]) -> list[tuple[bytes, str]]:
    return sorted(rows, key=lambda row: -len(row[0]))


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and (port.isdigit() or not port) else host
