"""A stored response, and the record of variants that share a key.

Decides how a stored response is laid out: its constant head, its body, and the seconds that its freshness is
computed from. A head that was sent is kept for as long as it stays true (one second of age), so a hit is one
dict lookup and one write. Knows no policy and no storage. Pure.
"""

from __future__ import annotations

from math import inf

OVERHEAD = 1000
"""Bytes a stored object takes beside its key, heads and body: slots, floats, bytes headers, its places in dict
and list. A test holds it against tracemalloc."""


class StoredObject:
    """A complete response to a GET.

    key, variant    where it lies: the primary key, and the variant key or None without Vary
    start           status line and all constant fields, each ended by CRLF
    chain           what stands before our member in Cache-Status
    born            now minus its current age (RFC 9111 §4.2.3), so age at any time is now - born
    fresh_until     born plus its freshness lifetime; born itself if it must be checked each time
    date            its Date, in seconds since the epoch
    open            a request with Authorization may be answered from it (RFC 9111 §3.5)
    head            the last head sent, true until `head_until`
    newer, older    belong to the eviction policy
    """

    __slots__ = (
        "body", "born", "chain", "date", "etag", "fresh_until", "head", "head_until", "key", "last_modified",
        "newer", "older", "open", "size", "source", "start", "status", "variant",
    )  # fmt: skip

    def __init__(
        self,
        *,
        key: bytes,
        variant: bytes | None,
        status: int,
        start: bytes,
        chain: bytes,
        body: bytes,
        born: float,
        fresh_until: float,
        date: int,
        etag: bytes | None,
        last_modified: bytes | None,
        open: bool,
        source: str,
    ) -> None:
        self.key = key
        self.variant = variant
        self.status = status
        self.start = start
        self.chain = chain
        self.body = body
        self.born = born
        self.fresh_until = fresh_until
        self.date = date
        self.etag = etag
        self.last_modified = last_modified
        self.open = open
        self.source = source
        self.head = b""
        self.head_until = -inf
        self.newer: StoredObject | None = None
        self.older: StoredObject | None = None
        self.size = OVERHEAD + len(key) + len(variant or b"") + 2 * (len(start) + len(chain)) + len(body)

    def age(self, now: float) -> int:
        """Current age in whole seconds."""
        return max(0, int(now - self.born))

    def ttl(self, now: float) -> int:
        """Whole seconds left, negative when stale."""
        return int(self.fresh_until - now) if self.fresh_until >= now else -int(now - self.fresh_until)

    def renew_head(self, now: float, member: bytes) -> None:
        """Serialise the head for this second of age; only of a fresh object. `member` is our name in Cache-Status."""
        age = self.age(now)
        self.head = b"%bAge: %d\r\nCache-Status: %b%b; hit; ttl=%d\r\n" % (
            self.start, age, self.chain, member, self.ttl(now),
        )  # fmt: skip
        self.head_until = min(self.born + age + 1, self.fresh_until)


class Variants:
    """The responses under one key that differ by Vary: `names` are the fields that choose, `objects` by variant key.

    `head_until` is never in the future, so the path that sends an object's own head passes it by.
    """

    __slots__ = ("names", "objects")

    head_until = -inf
    fresh_until = -inf
    open = False

    def __init__(self, names: tuple[bytes, ...]) -> None:
        self.names = names
        self.objects: dict[bytes, StoredObject] = {}
