"""Whose a request is, among the edges that share the keys of one place. Pure.

Decides the key that all nodes choose by, and with it the one edge that stores what lies under it. The balancer sends a
request where the answer lies; an edge that misses asks here who may have it. Both come to the same answer, because the
key, the hash (cdnlab/pool/hashing.py) and the ring (cdnlab/pool/ring.py) are the same, and each leaves out whom its own
health checks call down.

    key        scheme://host, and the target that the route's query rule leaves: the edge's primary key, byte for byte
    balancer   `bounded_load` on that ring: the owner, unless it has more than its share in flight
    edge       `ring_hash` on that ring: the owner, whatever it has to do

It must not know who is asked, over which connection, or what a cache does with an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdnlab.pool.algorithms.registry import Settings
from cdnlab.pool.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cdnlab.forward.key import HostRules
    from cdnlab.pool.backend import Backend


def edge_key(prefix: bytes, canonical: bytes, rules: HostRules | None = None) -> bytes:
    """The key under which an edge stores what a request asks for (RFC 9111 §2).

    `prefix` is `key_prefix` of the scheme and the host that the edge will see; `canonical` is the request's target as
    wire brought it to canonical form; `rules` are the host's, None where it has none.
    """
    return prefix + (canonical if rules is None else rules.target(canonical))


def sharing(name: str, backends: Iterable[Backend], secret: bytes) -> Pool:
    """The pool of those who share the keys: `owner` finds in it."""
    return Pool(name, backends, "ring_hash", Settings(secret=secret))


def owner(pool: Pool, key: bytes, place: str = "") -> Backend | None:
    """Who has `key`, for clients at `place`, of the usable backends; None where nobody is usable."""
    return next(pool.candidates(place, key=key), None)
