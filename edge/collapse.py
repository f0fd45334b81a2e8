"""Who fetches for whom: requests for the same missing object share one fetch.

Decides whether a fetch may be joined, and remembers for a while which keys are not worth waiting for, so that
responses nobody may share are never fetched one after the other. Knows no sockets; `now` is a parameter. Pure.

Theory. The first request that misses leads a fetch under its collapse key (the cache key, or the key and the
variant where the response is known to vary). Others with the same collapse key wait, at most `waiters_max` of
them and at most `wait_max` seconds each; the surplus and the overdue fetch for themselves. When the leader's head
arrives, those who may share it read along, and the others fetch for themselves. The fetch belongs to
all of its readers: a leader that goes away takes nothing with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Generic, Protocol, TypeVar

ALONE_SECONDS = 60.0  # Varnish's hit-for-miss lasts 120 s by default
ALONE_MAX = 8192  # keys remembered, in each of two generations
ALONE_BYTES = 128  # of a longer key its digest is remembered: clients choose keys, of up to 40 KiB


class Flight(Protocol):
    """A fetch under way."""

    key: bytes
    collapse_key: bytes | None

    def doom(self) -> None:
        """What it brings must not be stored, nor be given to anybody who comes from now on."""


F = TypeVar("F", bound=Flight)


class Flights(Generic[F]):
    """The fetches under way, by collapse key and by cache key, and the keys that are fetched alone."""

    __slots__ = ("_alone", "_alone_before", "_by_key", "_leading", "wait_max", "waiters_max")

    def __init__(self, waiters_max: int, wait_max: float) -> None:
        self.waiters_max = waiters_max
        self.wait_max = wait_max
        self._leading: dict[bytes, F] = {}
        self._by_key: dict[bytes, list[F]] = {}
        self._alone: dict[bytes, float] = {}
        self._alone_before: dict[bytes, float] = {}

    def leader(self, collapse_key: bytes) -> F | None:
        """The fetch that may be joined under a collapse key."""
        return self._leading.get(collapse_key)

    def begin(self, flight: F) -> None:
        """It is under way, and leads if it has a collapse key."""
        self._by_key.setdefault(flight.key, []).append(flight)
        if flight.collapse_key is not None:
            self._leading[flight.collapse_key] = flight

    def reopen(self, flight: F) -> None:
        """It may be joined after all, if nobody else leads meanwhile."""
        if flight.collapse_key is not None:
            self._leading.setdefault(flight.collapse_key, flight)

    def close(self, flight: F) -> None:
        """Nobody may join it any more."""
        if flight.collapse_key is not None and self._leading.get(flight.collapse_key) is flight:
            del self._leading[flight.collapse_key]

    def end(self, flight: F) -> None:
        """It is over."""
        self.close(flight)
        under = self._by_key.get(flight.key)
        if under is not None and flight in under:
            under.remove(flight)
            if not under:
                del self._by_key[flight.key]

    def doom(self, key: bytes, but: F | None = None) -> None:
        """The object under `key` was changed: what is being fetched may be older than the change, `but` for this."""
        for flight in list(self._by_key.get(key, ())):
            if flight is not but:
                self.close(flight)
                flight.doom()

    def fetch_alone(self, collapse_key: bytes, now: float) -> None:
        """Remember that what lies there could not be shared."""
        if len(self._alone) >= ALONE_MAX:
            self._alone_before, self._alone = self._alone, {}
        self._alone[_brief(collapse_key)] = now + ALONE_SECONDS

    def share_again(self, collapse_key: bytes) -> None:
        """What lies there can be shared after all."""
        brief = _brief(collapse_key)
        self._alone.pop(brief, None)
        self._alone_before.pop(brief, None)

    def alone(self, collapse_key: bytes, now: float) -> bool:
        """Was a response under this key found, not long ago, to be of use to one client only?"""
        brief = _brief(collapse_key)
        until = self._alone.get(brief) or self._alone_before.get(brief)
        return until is not None and now < until

    def __iter__(self) -> Iterator[F]:
        """All that can be joined."""
        return iter(list(self._leading.values()))

    def under_way(self) -> list[F]:
        """All there are, those that fetch for one request only included."""
        return [flight for flights in self._by_key.values() for flight in flights]

    def __len__(self) -> int:
        return sum(map(len, self._by_key.values()))


def _brief(key: bytes) -> bytes:
    return key if len(key) <= ALONE_BYTES else blake2b(key, digest_size=32).digest()
