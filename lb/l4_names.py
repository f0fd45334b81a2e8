"""Which pool a TLS client gets by the server name it asks for.

Decides by name only: the exact one first, then the longest `*.` above it. It must not know TLS, nor pools but by name.
"""

from __future__ import annotations

from collections.abc import Mapping


class ServerNames:
    """Pools by server name; a client that asks for none of them gets the default."""

    __slots__ = ("_above", "_exact", "default")

    def __init__(self, names: Mapping[str, str], default: str) -> None:
        """`names`: server name, or `*.name` for any below it, to pool."""
        self.default = default
        self._exact = {name.lower(): pool for name, pool in names.items() if not name.startswith("*.")}
        self._above = {name[2:].lower(): pool for name, pool in names.items() if name.startswith("*.")}

    def pool(self, name: str | None) -> str:
        """The pool for a name in lower case (at most 255 bytes, so the search is short), or for none."""
        if name is None:
            return self.default
        found = self._exact.get(name)
        rest = name
        while found is None and rest:
            rest = rest.partition(".")[2]
            found = self._above.get(rest)
        return found or self.default
