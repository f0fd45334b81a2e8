"""A pool: which backends a request may go to, in order, and why the others were passed over.

Decides the order of candidates. It must not know what a request is, how a backend is reached, or what time
it is.

The usable backends are kept apart from the others and handed to the algorithm only when that set changes
(`usable_changed`), so the common case, taking the first candidate, looks at no state at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from pkgutil import iter_modules

from cdnlab.pool import algorithms
from cdnlab.pool.algorithms.registry import Settings, make
from cdnlab.pool.backend import Backend
from cdnlab.pool.reasons import Reason

for _file in iter_modules(algorithms.__path__):  # each registers itself
    import_module(f"{algorithms.__name__}.{_file.name}")

Passed = list[tuple[str, Reason]]


class Pool:
    """Backends with one algorithm. Call `usable_changed()` after changing a backend's health or drain."""

    __slots__ = ("algorithm", "algorithm_name", "backends", "keyed", "name", "unusable")

    def __init__(
        self,
        name: str,
        backends: Iterable[Backend],
        algorithm: str = "round_robin",
        settings: Settings | None = None,
    ) -> None:
        """Make a pool; ValueError for an unknown algorithm or two backends of one name."""
        self.name = name
        self.backends = tuple(backends)
        names = [backend.name for backend in self.backends]
        if len(set(names)) < len(names):
            raise ValueError(f"pool {name}: two backends have one name ({', '.join(sorted(names))})")
        self.algorithm_name = algorithm
        self.algorithm = make(algorithm, settings or Settings())
        self.unusable: tuple[Backend, ...] = ()
        self.usable_changed()
        self.keyed = self.algorithm.keyed
        """Whether the choice can depend on a key: all backends begin usable, so this is so for ever."""

    def usable_changed(self) -> None:
        """Look at every backend again; call it after a health transition, a drain or an undrain."""
        self.algorithm.rebuild([backend for backend in self.backends if backend.usable])
        self.unusable = tuple(backend for backend in self.backends if not backend.usable)

    def candidates(
        self, place: str = "", passed: Passed | None = None, key: bytes = b""
    ) -> Iterator[Backend]:
        """Yield the usable backends in order of choice for a client at `place`, each at most once.

        `key` names what is asked for, where the pool is `keyed`. `passed` collects, as the iteration goes on, the
        unusable ones that would have come earlier or as early.
        """
        if passed is None or not self.unusable:
            return self.algorithm.order(place, key)
        return self._explained(place, passed, key)

    def acquire(self, backend: Backend) -> None:
        """Count an exchange as begun."""
        backend.live += 1

    def release(self, backend: Backend) -> None:
        """Count an exchange as ended."""
        backend.live -= 1
        backend.served += 1
        self.algorithm.released(backend)

    def backend(self, name: str) -> Backend:
        """Return the backend of this name; KeyError names the pool."""
        for backend in self.backends:
            if backend.name == name:
                return backend
        raise KeyError(f"pool {self.name} has no backend {name}")

    def explain(self, place: str, chosen: Backend, key: bytes = b"") -> Passed:
        """Say of every other backend why it was not the one, nearest first: slow, for people."""
        rank = self.algorithm.nearness
        here = rank(place, chosen)
        others = sorted(
            (other for other in self.backends if other is not chosen), key=lambda b: rank(place, b)
        )
        return [
            (other.name, self._verdict(other, chosen, key, rank(place, other) - here)) for other in others
        ]

    def _verdict(self, other: Backend, chosen: Backend, key: bytes, farther_by: int) -> Reason:
        if not other.usable:
            return other.reason()
        return Reason.FARTHER if farther_by > 0 else self.algorithm.why_not(other, chosen, key)

    def _explained(self, place: str, passed: Passed, key: bytes) -> Iterator[Backend]:
        rank = self.algorithm.nearness
        waiting = sorted(self.unusable, key=lambda backend: rank(place, backend), reverse=True)
        for candidate in self.algorithm.order(place, key):
            here = rank(place, candidate)
            while waiting and rank(place, waiting[-1]) <= here:
                skipped = waiting.pop()
                passed.append((skipped.name, skipped.reason()))
            yield candidate
        passed.extend((skipped.name, skipped.reason()) for skipped in reversed(waiting))
