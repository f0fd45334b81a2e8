"""The policies by name: every file of this package is looked at once, so that a new one only has to be there. Pure."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from edge import eviction
from edge.eviction.policy import REGISTRY, Policy

for _file in iter_modules(eviction.__path__):
    import_module(f"{eviction.__name__}.{_file.name}")


def names() -> tuple[str, ...]:
    """All names, in the order of the alphabet."""
    return tuple(sorted(REGISTRY))


def make(name: str, capacity: int) -> Policy:
    """A policy for `capacity` bytes. KeyError for an unknown name."""
    return REGISTRY[name](capacity)
