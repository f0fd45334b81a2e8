"""A stored response, and the record of variants that share a key.

Decides how a stored response is laid out: its constant head, its body, and the seconds that its freshness is
computed from. A head that was sent is kept for as long as it stays true (one second of age), so a hit is one
dict lookup and one write. Knows no policy and no storage. Pure.

What only the slower ways ask for, its validators and its Date, is read from the head when it is asked for: three
slots less in each of a million objects.
"""

from __future__ import annotations

import re
from math import inf
from typing import TYPE_CHECKING

from cdnlab.wire.dates import parse_date

if TYPE_CHECKING:
    from edge.directives import ResponseControl
    from edge.freshness import Source

OVERHEAD = 640
"""Bytes a stored object takes beside its key, heads and body: slots, floats, bytes headers, its places in dict
and list. A test holds it against tracemalloc."""
NAME_OVERHEAD = 56
"""Bytes that each of its tags and groups takes beside its length."""

_ETAG = re.compile(rb"\r\netag:[ \t]*([^\r]*?)[ \t]*\r\n", re.IGNORECASE)
_LAST_MODIFIED = re.compile(rb"\r\nlast-modified:[ \t]*([^\r]*?)[ \t]*\r\n", re.IGNORECASE)
_DATE = re.compile(rb"\r\ndate:[ \t]*([^\r]*?)[ \t]*\r\n", re.IGNORECASE)


class StoredObject:
    """A response that was stored: complete, unless it is a Partial.

    key, variant    where it lies: the primary key, and the variant key or None without Vary
    start           status line and all constant fields, each ended by CRLF
    chain           what stands before our member in Cache-Status
    born            now minus its current age (RFC 9111 §4.2.3), so age at any time is now - born
    fresh_until     born plus its freshness lifetime; born itself if it must be checked each time
    control         what its Cache-Control, or the targeted field in its place, says; shared by all who say the same
    source          which field gave the lifetime
    open            a request with Authorization may be answered from it (RFC 9111 §3.5)
    tags, groups    names under which it is purged: of Surrogate-Key and Cache-Tag, of Cache-Groups (RFC 9875)
    mark            the purge position at which its fetch began, for edge/purge to read
    checked         the purge position up to which it was compared with the rules
    soft            purged softly: to be validated before it is used again
    forms           its compressed forms by coding, or None
    head            the last head sent, true until `head_until`
    newer, older, rank   belong to the eviction policy
    """

    __slots__ = (
        "body", "born", "chain", "checked", "control", "forms", "fresh_until", "groups", "head", "head_until", "key",
        "mark", "newer", "older", "open", "rank", "size", "soft", "source", "start", "status", "tags", "variant",
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
        control: ResponseControl,
        source: Source,
        open: bool,
        tags: tuple[bytes, ...] = (),
        groups: tuple[bytes, ...] = (),
        mark: object = None,
    ) -> None:
        self.key = key
        self.variant = variant
        self.status = status
        self.start = start
        self.chain = chain
        self.body = body
        self.born = born
        self.fresh_until = fresh_until
        self.control = control
        self.source = source
        self.open = open
        self.tags = tags
        self.groups = groups
        self.mark = mark
        self.checked = -2
        self.soft = False
        self.forms: dict[bytes, StoredObject | None] | None = None
        self.head = b""
        self.head_until = -inf
        self.newer: StoredObject | None = None
        self.older: StoredObject | None = None
        self.rank: int = 0
        self.size = OVERHEAD + len(key) + len(variant or b"") + 2 * (len(start) + len(chain)) + len(body)
        if tags or groups:
            self.size += sum([NAME_OVERHEAD + len(name) for name in (*tags, *groups)])

    @property
    def etag(self) -> bytes | None:
        """Its entity tag as it came, None without one."""
        found = _ETAG.search(self.start)
        return (found[1] or None) if found else None

    @property
    def last_modified(self) -> bytes | None:
        """Its Last-Modified as it came, None without one."""
        found = _LAST_MODIFIED.search(self.start)
        return (found[1] or None) if found else None

    def date(self, wall: float) -> int:
        """Its Date in seconds since 1970; `wall` where it has none that can be read."""
        found = _DATE.search(self.start)
        seconds = parse_date(found[1], wall) if found else None
        return int(wall) if seconds is None else seconds

    @property
    def length(self) -> int:
        """Bytes of its body, wherever that lies."""
        return len(self.body)

    def age(self, now: float) -> int:
        """Current age in whole seconds."""
        return max(0, int(now - self.born))

    def ttl(self, now: float) -> int:
        """Whole seconds left, negative when stale."""
        return int(self.fresh_until - now) if self.fresh_until >= now else -int(now - self.fresh_until)

    def renew_head(self, now: float, member: bytes, until: float = inf) -> None:
        """Serialise the head for this second of age; only of a fresh object. `member` is our name in Cache-Status;
        `until` is the latest instant at which it may be sent without another look."""
        born, fresh_until = self.born, self.fresh_until
        age = int(now - born) if now > born else 0
        self.head = b"%bAge: %d\r\nCache-Status: %b%b; hit; ttl=%d\r\n" % (
            self.start, age, self.chain, member, int(fresh_until - now),
        )  # fmt: skip
        end = born + age + 1  # written out: of a million objects each hit needs a new head
        if fresh_until < end:
            end = fresh_until
        self.head_until = until if until < end else end  # noqa: FURB136 - min() is a call


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
