"""What was purged, and what that means for a stored response.

A purge is a rule, not a deletion. It costs the same whatever it hits: an entry in a table. A stored response is
compared with the rules when it is used, when it is stored, and when it comes from disk; a sweep beside frees the memory
of what nobody asks for. So no object can be overlooked: one whose fetch began before a rule meets that rule, however
late it arrives.

Rules are numbered in the order in which this process applied them. A response carries the number at which its fetch
*began*; the rules above that number, and no others, concern it.

    floor          rules up to it are forgotten. What carries an older number (a fetch that took very long, an object
                   on disk) can't be compared with them any more: it counts as soft-purged, never as clean
    young, old     rules are kept in two tables, so that forgetting costs nothing. Once a pass over all that is in
                   memory has ended and the young ones are many, they become the old ones and the old ones go

Looked up per response: its key, each tag, each group of its origin, and its path from the root down, in time linear in
the key's length. Keys are bytes: their hashes are random per process, so nobody can choose them to collide. Must not
know where rules come from, nor what a storage is. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from edge.purge.prefixes import Prefixes
from edge.purge.tags import EVERY
from edge.purging import Verdict

RULES_MAX = 50_000
"""Rules that are kept. One more, and all are forgotten at once, which makes everything older soft-purged. A dict of so
many entries is resized in about 2 ms."""
KEEP = 1000
"""Rules that are kept although they are swept, for fetches that take long. With a disk, whose objects no pass reads, it
is KEEP_FOR_DISK."""
KEEP_FOR_DISK = 20_000
NEVER = -1


class Kind(StrEnum):
    """What a rule names. The value is the metric's label and the command line's word."""

    URL = "url"
    TAG = "tag"
    PREFIX = "prefix"
    GROUP = "group"
    ALL = "all"


_KEEP, _SOFT, _GONE = (
    Verdict.KEEP,
    Verdict.SOFT,
    Verdict.GONE,
)  # reading a member from its class is a call in 3.11


class Rule(NamedTuple):
    """One purge. `name`: the key (scheme://host/path?query) of a URL; the same of a prefix; a tag; for a group what
    `group_name` makes; empty for everything."""

    kind: Kind
    name: bytes
    soft: bool = False


def group_name(origin: bytes, group: bytes) -> bytes:
    """The name of a group's rule: groups of different origins are different (RFC 9875 §2.1)."""
    return origin + b" " + group


def origin_of(key: bytes) -> bytes:
    """The scheme://host[:port] that a key begins with."""
    at = key.find(b"/", key.find(b"://") + 3)
    return key if at < 0 else key[:at]


class Newest:
    """The newest rules over one thing: the number of the last hard one and of the last soft one."""

    __slots__ = ("hard", "soft")

    def __init__(self) -> None:
        self.hard = self.soft = NEVER

    def add(self, number: int, soft: bool) -> None:
        """A rule with this number, higher than all before."""
        if soft:
            self.soft = number
        else:
            self.hard = number


class _Table:
    """Some rules."""

    __slots__ = ("all", "any_tag", "count", "groups", "prefixes", "tags", "urls")

    def __init__(self) -> None:
        self.urls: dict[bytes, Newest] = {}
        self.tags: dict[bytes, Newest] = {}
        self.groups: dict[bytes, Newest] = {}
        self.prefixes = Prefixes()
        self.all = Newest()
        self.any_tag = Newest()
        """The newest rule by tag or group, whichever it names."""
        self.count = 0

    def add(self, rule: Rule, number: int) -> None:
        kind, name, soft = rule
        self.count += 1
        if kind is Kind.ALL:
            self.all.add(number, soft)
        elif kind is Kind.PREFIX:
            self.prefixes.newest(name, Newest).add(number, soft)
        else:
            table = self.urls if kind is Kind.URL else self.tags if kind is Kind.TAG else self.groups
            found = table.get(name)
            if found is None:
                found = table[name] = Newest()
            found.add(number, soft)
            if kind is not Kind.URL:
                self.any_tag.add(number, soft)

    def by_key(self, key: bytes) -> Iterator[Newest]:
        yield self.all
        if self.urls and (found := self.urls.get(key)) is not None:
            yield found
        if self.prefixes:
            yield from self.prefixes.covering(key)

    def by_name(self, key: bytes, tags: tuple[bytes, ...], groups: tuple[bytes, ...]) -> Iterator[Newest]:
        if self.tags:
            for tag in tags:
                if (found := self.tags.get(tag)) is not None:
                    yield found
        if self.groups and groups:
            origin = origin_of(key)
            for group in groups:
                if (found := self.groups.get(group_name(origin, group))) is not None:
                    yield found
        if EVERY in tags or EVERY in groups:
            yield self.any_tag


class Rules:
    """All rules that are not forgotten."""

    __slots__ = ("_keep", "_old", "_old_until", "_young", "floor", "number")

    def __init__(self, keep: int = KEEP) -> None:
        """`keep`: rules, swept or not, that are remembered at the least."""
        self.number = 0
        """The number of the newest rule."""
        self.floor = 0
        """The number up to which rules are forgotten."""
        self._keep = keep
        self._young = _Table()
        self._old = _Table()
        self._old_until = 0

    @property
    def count(self) -> int:
        """How many rules are kept."""
        return self._young.count + self._old.count

    def add(self, rule: Rule) -> bool:
        """Apply a rule from now on. True if so many were kept that all are forgotten instead, and everything older
        counts as soft-purged."""
        self.number += 1
        if self.count >= RULES_MAX:
            self._forget_all()
            return True
        self._young.add(rule, self.number)
        return False

    def distrust(self) -> None:
        """Nothing older than now is known to be clean: rules were missed."""
        self.number += 1
        self._forget_all()

    def _forget_all(self) -> None:
        self._young, self._old = _Table(), _Table()
        self.floor = self._old_until = self.number

    def judge(self, key: bytes, tags: tuple[bytes, ...], groups: tuple[bytes, ...], since: int) -> Verdict:
        """What the rules above number `since` say of a response under `key` with these tags and groups."""
        if since >= self.number:
            return _KEEP
        verdict = _SOFT if since < self.floor else _KEEP
        for table in (self._young, self._old):
            if table.count:
                for newest in table.by_key(key):
                    if newest.hard > since:
                        return _GONE
                    if newest.soft > since:
                        verdict = _SOFT
                for newest in table.by_name(key, tags, groups):
                    if newest.hard > since:
                        return _GONE
                    if newest.soft > since:
                        verdict = _SOFT
        return verdict

    def may_concern(self, key: bytes, since: int) -> bool:
        """Could a rule above `since` concern a response under `key` whose tags and groups nobody knows yet?"""
        if since >= self.number:
            return False
        if since < self.floor:
            return True
        for table in (self._young, self._old):
            if table.count:
                newest = [table.any_tag, *table.by_key(key)]
                if any(each.hard > since or each.soft > since for each in newest):
                    return True
        return False

    def swept(self, number: int) -> bool:
        """A pass that began at this number has compared all that is in memory. True if rules grew old: what happened
        before the time at which that was last so is forgotten."""
        if self._young.count <= self._keep or self._old_until > number:
            return False
        self.floor = max(self.floor, self._old_until)
        self._old, self._young = self._young, _Table()
        self._old_until = self.number
        return True
