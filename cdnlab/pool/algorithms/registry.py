"""The algorithms by name. Each file in this package registers itself; nothing else names them.

To add one: a file with a class that has what `Algorithm` names (`Plain` has the parts that most do not need),
decorated with `@register("name")`, and its test. The pool imports every file of the package, so that no list of them
has to be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from cdnlab.pool.backend import Backend
from cdnlab.pool.reasons import Reason


class Algorithm(Protocol):
    """How one pool puts its usable backends in order."""

    @property
    def keyed(self) -> bool:
        """Whether the order can depend on the key, with the members it has now; else nobody need make one."""

    @property
    def by_source(self) -> bool:
        """Whether the key is who asks (the client's packed address), not what is asked for."""

    @property
    def timed(self) -> bool:
        """Whether it wants to hear how long responses take."""

    def rebuild(self, backends: Sequence[Backend], members: Sequence[Backend] | None = None) -> None:
        """Take the usable backends, in declared order; called whenever that set or a weight changes.

        `members`: all of the pool, so that what depends on them does not change with whoever is away; None: the usable
        ones are all.
        """

    def order(self, place: str, key: bytes = b"") -> Iterator[Backend]:
        """Yield the usable backends in order of choice for a client at `place`, each at most once.

        `key` names what is asked for, where the algorithm is `keyed`. The first costs O(1) or O(log n); what it takes
        to find the others is spent only when they are asked for.
        """

    def nearness(self, place: str, backend: Backend) -> int:
        """Rank of the backend's place as seen from `place`, 0 the nearest; always 0 without distances."""

    def released(self, backend: Backend) -> None:
        """Learn that an exchange with this backend has ended (`backend.live` is already lower)."""

    def observed(self, backend: Backend, seconds: float, now: float) -> None:
        """Learn that a response's head took so long, where the algorithm is `timed`; `now` on any steady clock."""

    def why_not(self, other: Backend, chosen: Backend, key: bytes) -> Reason:
        """Why `other`, usable and no farther than `chosen`, was not the one for `key`."""


class Plain:
    """What most algorithms have in common: no key, no distance, and nothing to learn."""

    __slots__ = ()
    keyed: bool = False
    by_source: bool = False
    timed: bool = False

    def nearness(self, place: str, backend: Backend) -> int:
        """Distance plays no part."""
        return 0

    def released(self, backend: Backend) -> None:
        """Load plays no part, or is looked at when somebody chooses."""

    def observed(self, backend: Backend, seconds: float, now: float) -> None:
        """Time plays no part."""


class Settings:
    """What an algorithm may need to know when it is made."""

    __slots__ = ("balance_factor", "by_source", "inner", "nearest", "secret")

    def __init__(
        self,
        *,
        nearest: Mapping[str, Sequence[str]] | None = None,
        inner: str = "round_robin",
        secret: bytes = b"",
        balance_factor: float = 1.25,
        by_source: bool = False,
    ) -> None:
        """`nearest`: for each place, all places nearest first. `inner`: what chooses inside one place. `secret`: of the
        hash that nodes agree on. `balance_factor`: how much more than its share in flight a backend may have.
        `by_source`: hashes are of who asks, not of what is asked for."""
        self.nearest: Mapping[str, Sequence[str]] = nearest or {}
        self.inner = inner
        self.secret = secret
        self.balance_factor = balance_factor
        self.by_source = by_source


Maker = Callable[[Settings], Algorithm]
REGISTRY: dict[str, Maker] = {}
_M = TypeVar("_M", bound=Maker)


def register(name: str) -> Callable[[_M], _M]:
    """Put an algorithm's class into the registry under the name that topologies use."""

    def keep(maker: _M) -> _M:
        if name in REGISTRY:
            raise ValueError(f"two algorithms are called {name}")
        REGISTRY[name] = maker
        return maker

    return keep


def make(name: str, settings: Settings) -> Algorithm:
    """Make a fresh algorithm; ValueError names the known ones."""
    try:
        maker = REGISTRY[name]
    except KeyError:
        raise ValueError(
            f"no algorithm is called {name!r}; there are {', '.join(sorted(REGISTRY))}"
        ) from None
    return maker(settings)


def weights(backends: Sequence[Backend]) -> dict[str, int]:
    """What hashes go by: the weights as the operator set them, since what grows slowly would move keys with each step.

    A backend that weighs nothing belongs to nobody's keys.
    """
    return {backend.name: backend.weight for backend in backends if backend.weight > 0}
