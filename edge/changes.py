"""What an answer of the origin makes untrue, beside what it brings (RFC 9111 §4.3.3, §4.4, RFC 9875).

Acts on whatever holds responses: memory, disk, fetches under way, the memory of equal queries. What an answer brings is
storing.py's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from edge.invalidation import named_keys
from edge.object import Variants
from edge.purge.tags import invalidated_groups

if TYPE_CHECKING:
    from edge.cache import Cache
    from edge.fetch import Fetch
    from edge.response import ResponseFacts


def received(cache: Cache, fetch: Fetch, facts: ResponseFacts, *, stale_goes: bool) -> None:
    """A head has come from the origin: count it, and drop what it makes untrue (RFC 9111 §4.3.3, §4.4)."""
    status = facts.status
    fetch.answers[status if status == 304 else min(status // 100, 5) * 100] += 1
    if fetch.checked is not None and stale_goes and status < 500 and status != 416:  # that is about the range
        cache.discard(fetch.checked)
    if not fetch.leader.line.safe:
        _changed(cache, fetch, facts)


def _changed(cache: Cache, fetch: Fetch, facts: ResponseFacts) -> None:
    """The answer to an unsafe method: its target, the targets it names and the groups of these are no longer true
    (RFC 9111 §4.4, RFC 9875 §2.2.1), nor are the groups that it names (RFC 9875 §3)."""
    leader = fetch.leader
    prefix = fetch.key[: len(fetch.key) - len(leader.target)]
    groups = list(invalidated_groups(facts.index))
    if 200 <= facts.status < 400:
        named = named_keys(facts.index, prefix, leader.line.target.path)
        keys = [fetch.key, *(prefix + leader.facts.target(key[len(prefix) :]) for key in named)]
        for key in keys:
            groups += _groups_under(cache, key)
            invalidate(cache, key, fetch)
    if groups:
        newest = fetch.mark == cache.purges.mark()
        cache.purges.invalidate_groups(prefix, dict.fromkeys(groups))
        if newest:
            fetch.mark = cache.purges.mark()  # this answer was made after the change that it reports


def _groups_under(cache: Cache, key: bytes) -> Iterable[bytes]:
    found = cache.storage.find(key)
    objects = found.objects.values() if isinstance(found, Variants) else () if found is None else (found,)
    return [group for stored in objects for group in stored.groups]


def invalidate(cache: Cache, key: bytes, by: Fetch | None = None) -> None:
    """What lies under a key is no longer true, and what is being fetched may not be, but for the answer `by` which
    this became known."""
    _remove(cache, key)
    cache.flights.doom(key, by)
    equal = cache.searches.forget(key) if cache.searches else None
    if equal is not None:
        _remove(cache, equal)


def _remove(cache: Cache, key: bytes) -> None:
    cache.storage.remove(key)
    if cache.shelf is not None:
        cache.shelf.disk.remove(key)
