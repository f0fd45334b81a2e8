"""The algorithms by name. Each file in this package registers itself; nothing else names them.

To add one: a file with a class that has what `Algorithm` names, decorated with
`@register("name")`, and its test. The pool imports every file of the package, so that no list of them has
to be kept.
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
        """Whether the order depends on the key, among the backends that it has now; else nobody need make one."""

    def rebuild(self, backends: Sequence[Backend]) -> None:
        """Take the usable backends, in declared order; called whenever that set changes."""

    def order(self, place: str, key: bytes = b"") -> Iterator[Backend]:
        """Yield the usable backends in order of choice for a client at `place`, each at most once.

        `key` names what is asked for, where the algorithm is `keyed`. The first costs O(1) or O(log n); what it takes
        to find the others is spent only when they are asked for.
        """

    def nearness(self, place: str, backend: Backend) -> int:
        """Rank of the backend's place as seen from `place`, 0 the nearest; always 0 without distances."""

    def released(self, backend: Backend) -> None:
        """Learn that an exchange with this backend has ended (`backend.live` is already lower)."""

    def why_not(self, other: Backend, chosen: Backend, key: bytes) -> Reason:
        """Why `other`, usable and no farther than `chosen`, was not the one for `key`."""


class Settings:
    """What an algorithm may need to know when it is made."""

    __slots__ = ("balance_factor", "inner", "nearest", "secret")

    def __init__(
        self,
        *,
        nearest: Mapping[str, Sequence[str]] | None = None,
        inner: str = "round_robin",
        secret: bytes = b"",
        balance_factor: float = 1.25,
    ) -> None:
        """`nearest`: for each place, all places nearest first. `inner`: what chooses inside one place. `secret`: of the
        hash that nodes agree on. `balance_factor`: how much more than its share in flight a backend may have."""
        self.nearest: Mapping[str, Sequence[str]] = nearest or {}
        self.inner = inner
        self.secret = secret
        self.balance_factor = balance_factor


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
