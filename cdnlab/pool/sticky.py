"""Sticky sessions: what makes a client one, when it may be pinned to a backend, and why it is moved to another.

    cookie   the client shows a cookie of ours (pin_cookie.py). It is proof enough: no table is needed, any node that
             has the key honours it. Only clients that were moved stand in the table, by their old cookie, since
             they go on showing it until they have seen the new one.
    source   the client's address, or the network it lies in. The table says where to.
    learn    the application's own cookie. The table says which backend has set it.

A pinned backend is used while it is there, up or not checked yet, and not ejected: also when it drains or has no
weight, which keep new clients away and nobody else. In a panic nobody is believed to be down.

What is a pin's key in tables and in the store is a keyed hash: whoever reads these learns no cookie and no address.

Pure: it must not know requests, tables or the store.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from cdnlab.pool.health import State
from cdnlab.pool.reasons import Reason

if TYPE_CHECKING:
    from cdnlab.pool.backend import Backend

COOKIE = "cdnlab-pin"
KEY_BYTES = 8
_PERSON = b"cdnlab pin key"
_PERSON_HASHED = b"cdnlab pin hash"


class Repin(StrEnum):
    """Why a client was moved off its backend."""

    DOWN = "down"
    EJECTED = "ejected"
    REMOVED = "removed"
    CONNECT_FAILED = "connect_failed"
    RESPONSE_FAILED = "response_failed"
    TIMED_OUT = "timed_out"
    BAD_STATUS = "bad_status"
    OVERTAKEN = "overtaken"

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return _SENTENCES[self]


_SENTENCES = {
    Repin.DOWN: "its health check fails",
    Repin.EJECTED: "requests to it failed, so it is left out for a while",
    Repin.REMOVED: "it is not in the pool any more",
    Repin.CONNECT_FAILED: "no connection to it could be made",
    Repin.RESPONSE_FAILED: "it closed, or answered with something that is not HTTP",
    Repin.TIMED_OUT: "it did not answer in time",
    Repin.BAD_STATUS: "it answered with a status that is retried elsewhere",
    Repin.OVERTAKEN: "another one was asked beside it, and answered first",
}
_FAILED = {
    Reason.DOWN: Repin.DOWN,
    Reason.EJECTED: Repin.EJECTED,
    Reason.CONNECT_FAILED: Repin.CONNECT_FAILED,
    Reason.RESPONSE_FAILED: Repin.RESPONSE_FAILED,
    Reason.TIMED_OUT: Repin.TIMED_OUT,
    Reason.BAD_STATUS: Repin.BAD_STATUS,
}


class Hold:
    """What is known of one client's pin, for one request or for as long as its connection repeats itself."""

    __slots__ = ("backend", "key", "lost", "renew_at", "route", "told")

    def __init__(self, route: str = "") -> None:
        self.route = route
        self.backend: Backend | None = None
        """Where it is pinned to; None: nowhere yet."""
        self.told: Backend | None = None
        """The one of which the client need not be told: an answer from any other makes or moves a pin."""
        self.key = b""
        """The pin's key in the table; b"" if it can have none yet."""
        self.lost = False
        """It is pinned to a backend that is not in the pool any more."""
        self.renew_at = float("inf")
        """When the table should hear that the pin is in use."""


def dead(backend: Backend) -> Repin | None:
    """Why a member of a pool can't keep its clients; None if it can."""
    if backend.health.state is State.DOWN:
        return Repin.DOWN
    return Repin.EJECTED if backend.ejected_until else None


def moved(pinned: str, passed: Iterable[tuple[str, Reason]]) -> Repin:
    """Why another backend than `pinned` answered, from those that a request passed over."""
    for name, reason in passed:
        if name == pinned and reason in _FAILED:
            return _FAILED[reason]
    return Repin.OVERTAKEN


def client_network(address: str, prefix4: int, prefix6: int) -> bytes:
    """The network of `prefix4` or `prefix6` bits that an address lies in; what is no address stands for itself. An IPv4
    address mapped into IPv6 is the IPv4 address."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return b"?" + address.encode()
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    bits, kept = (32, prefix4) if parsed.version == 4 else (128, prefix6)
    network = int(parsed) >> (bits - kept) << (bits - kept)
    return b"%d/%d " % (parsed.version, kept) + network.to_bytes(bits // 8, "big")


class Keyring:
    """Makes the keys of one pool's table."""

    __slots__ = ("_base", "_secret")

    def __init__(self, secret: bytes, pool: str, mode: str) -> None:
        """`secret`: what all nodes share, any length."""
        self._secret = secret if len(secret) <= blake2b.MAX_KEY_SIZE else blake2b(secret).digest()
        said = b"%d:%b%b:" % (len(pool.encode()), pool.encode(), mode.encode())
        self._base = blake2b(said, digest_size=KEY_BYTES, key=self._secret, person=_PERSON)

    def key(self, said: bytes) -> bytes:
        """The key of what a client shows."""
        mac = self._base.copy()
        mac.update(said)
        return mac.digest()

    def by_hash(self, key: bytes, backends: Iterable[Backend]) -> Backend | None:
        """The backend that every node comes to for a key without asking anybody (rendezvous hashing, Thaler and
        Ravishankar 1998), among those of the lowest priority number; None if there is none."""
        every = tuple(backends)
        first = min((backend.priority for backend in every), default=0)
        return max(
            (backend for backend in every if backend.priority == first),
            key=lambda backend: self._weight(key, backend.name),
            default=None,
        )

    def _weight(self, key: bytes, name: str) -> bytes:
        said = key + name.encode()
        return blake2b(said, digest_size=8, key=self._secret, person=_PERSON_HASHED).digest()
