"""A pool: which backends a request may go to, in order, and why the others were passed over.

Decides the order of candidates. It must not know what a request is, how a backend is reached, or what time
it is.

The backends on offer are kept apart from the others and handed to the algorithm only when that set changes
(`usable_changed`), so the common case, taking the first candidate, looks at no state at all. Mostly those on offer are
the usable ones. When fewer than the share `panic_below` of those that the operator wants are usable, the pool panics:
so many cannot be down, it is more likely that the checks are wrong, and if not, the few that are left would break under
the load of all. Then everyone the operator wants is on offer (Envoy's panic threshold).

Backends come and go while requests run. Whoever was removed is on offer no longer; the exchanges that it has are
finished, for they hold the backend itself and nothing of the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from importlib import import_module
from pkgutil import iter_modules

from cdnlab.pool import algorithms
from cdnlab.pool.algorithms.registry import Settings, make
from cdnlab.pool.backend import Backend
from cdnlab.pool.reasons import Reason

for _file in iter_modules(algorithms.__path__):  # each registers itself
    import_module(f"{algorithms.__name__}.{_file.name}")

Passed = list[tuple[str, Reason]]

FIRST_STEP = 0.1
"""The part of its weight that a backend has when it comes back (Envoy's min_weight_percent: 10 %)."""


class Pool:
    """Backends with one algorithm. Call `usable_changed()` after changing what makes a backend usable, or its share."""

    __slots__ = (
        "_was_usable",
        "algorithm",
        "algorithm_name",
        "backends",
        "by_source",
        "keyed",
        "name",
        "on_offer",
        "panic",
        "panic_below",
        "settings",
        "slow_start",
        "unusable",
        "watchers",
    )

    def __init__(
        self,
        name: str,
        backends: Iterable[Backend],
        algorithm: str = "round_robin",
        settings: Settings | None = None,
        *,
        panic_below: float = 0.0,
        slow_start: bool = False,
    ) -> None:
        """Make a pool; ValueError for an unknown algorithm or two backends of one name. `panic_below`: a share, 0 never
        panics. `slow_start`: whoever comes back begins with a tenth of its weight, and somebody raises it
        (slow_start.py)."""
        self.name = name
        self.backends = tuple(backends)
        names = [backend.name for backend in self.backends]
        if len(set(names)) < len(names):
            raise ValueError(f"pool {name}: two backends have one name ({', '.join(sorted(names))})")
        self.settings = settings or Settings()
        self.algorithm_name = algorithm
        self.algorithm = make(algorithm, self.settings)
        self.panic = False
        """Whether the unusable are on offer, too."""
        self.panic_below = panic_below
        self.slow_start = slow_start
        self.keyed = False
        """Whether the choice depends on a key. Once so, it stays so while the algorithm does: backends come back."""
        self.by_source = False
        """Whether that key is the client's address, packed, and not what is asked for."""
        self.on_offer: tuple[Backend, ...] = ()
        """Those that a request may be sent to: the usable ones, and in a panic all that are wanted."""
        self.unusable: tuple[Backend, ...] = ()
        """Those that are not on offer."""
        self.watchers: list[Callable[[], None]] = []
        """Called when members, algorithm, `keyed` or `panic` have changed."""
        self._was_usable = frozenset(self.backends)
        self.usable_changed()

    # -- who is on offer ----------------------------------------------------------------------------------------------

    def usable_changed(self) -> None:
        """Look at every backend again: after a health transition, an ejection, a drain, a change of weight or share."""
        usable = [backend for backend in self.backends if backend.usable]
        if self.slow_start:
            for backend in usable:
                if backend not in self._was_usable:
                    backend.weigh(backend.weight, FIRST_STEP)
        self._was_usable = frozenset(usable)
        wanted = [backend for backend in self.backends if backend.wanted]
        panicked, keyed = self.panic, self.keyed
        self.panic = len(usable) < self.panic_below * len(wanted)
        on_offer = wanted if self.panic else usable
        self.algorithm.rebuild(on_offer, self.backends)
        self.keyed = keyed or self.algorithm.keyed
        self.by_source = self.algorithm.by_source
        self.on_offer = tuple(on_offer)
        offered = frozenset(on_offer)
        self.unusable = tuple(backend for backend in self.backends if backend not in offered)
        if (panicked, keyed) != (self.panic, self.keyed):
            self._tell()

    def candidates(
        self, place: str = "", passed: Passed | None = None, key: bytes = b""
    ) -> Iterator[Backend]:
        """Yield the backends on offer in order of choice for a client at `place`, each at most once.

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

    # -- changes while it runs ----------------------------------------------------------------------------------------

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` after each change of members, algorithm, `keyed` or `panic`."""
        self.watchers.append(watcher)

    def add(self, backend: Backend) -> None:
        """Take one more backend in; ValueError if one has its name."""
        if any(each.name == backend.name for each in self.backends):
            raise ValueError(f"pool {self.name} has a backend {backend.name} already")
        self.backends = (*self.backends, backend)
        self._members_changed()

    def remove(self, name: str) -> Backend:
        """Leave a backend out for good, and return it; KeyError as `backend`. What runs on it is finished."""
        gone = self.backend(name)
        self.backends = tuple(backend for backend in self.backends if backend is not gone)
        self._members_changed()
        return gone

    def set_weight(self, name: str, weight: int) -> None:
        """Give a backend another weight; 0 takes nothing new. KeyError, ValueError."""
        backend = self.backend(name)
        if weight < 0:
            raise ValueError(f"backend {name}: weight {weight} is below 0; 0 sends it nothing")
        backend.weigh(weight, backend.ramp)
        self.usable_changed()

    def drain(self, name: str) -> None:
        """Send a backend nothing new. KeyError."""
        self.backend(name).draining = True
        self.usable_changed()

    def enable(self, name: str) -> None:
        """Undo `drain`, and end an ejection; a verdict of the checks stands. KeyError."""
        backend = self.backend(name)
        backend.draining = False
        backend.ejected_until = 0.0
        backend.streak = 0
        self.usable_changed()

    def set_algorithm(self, name: str, inner: str | None = None) -> None:
        """Choose in another way from now on. `inner`: as in the settings, None leaves it. ValueError for an unknown
        one, and then nothing has changed."""
        settings = copy(self.settings)
        settings.inner = inner or settings.inner
        algorithm = make(name, settings)
        if name == "nearest":
            make(settings.inner, settings)  # it would be made when the first backend of a place comes
        self.settings, self.algorithm_name, self.algorithm = settings, name, algorithm
        self.keyed = False
        self.usable_changed()
        self._tell()

    def reshape(
        self,
        backends: Iterable[Backend],
        algorithm: str,
        settings: Settings,
        *,
        panic_below: float,
        slow_start: bool,
    ) -> None:
        """Become another pool of the same name, in one step. Backends that stay are the same objects, with their
        counts, verdicts, connections and drains; those that go finish what they have. ValueError as the constructor,
        and then nothing has changed."""
        made = make(algorithm, settings)
        self.backends = tuple(backends)
        self.settings, self.algorithm_name, self.algorithm = settings, algorithm, made
        self.panic_below, self.slow_start = panic_below, slow_start
        self.keyed = False
        self._members_changed()

    def _members_changed(self) -> None:
        self.usable_changed()
        self._tell()

    def _tell(self) -> None:
        for watcher in self.watchers:
            watcher()

    # -- why ----------------------------------------------------------------------------------------------------------

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
        if other in self.unusable or chosen not in self.backends:
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
