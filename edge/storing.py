"""What a response that has come does to what is stored: kept anew, joined to its other parts, refreshed, dropped.

Acts on the storage; what is sent to clients is fetch.py's. Every way in asks the purge rules last, so that nothing that
was purged while it was fetched comes to lie here as clean (see purging.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge import answer
from edge.conditional import opaque, speaks_of
from edge.disk.found import Remote
from edge.disk.shelf import renewed
from edge.object import Variants
from edge.partial import Partial, Parts
from edge.purging import Verdict
from edge.storable import NotStored

if TYPE_CHECKING:
    from edge.admission import Admission
    from edge.cache import Cache
    from edge.disk.incoming import Incoming
    from edge.object import StoredObject
    from edge.reader import Reader
    from edge.response import ResponseFacts


class Place:
    """Where a response is to lie: its key, the variant by the names of its Vary, and the purge position at which its
    fetch began."""

    __slots__ = ("key", "mark", "names", "variant")

    def __init__(self, key: bytes, names: tuple[bytes, ...], variant: bytes | None, mark: object) -> None:
        self.key = key
        self.names = names
        self.variant = variant
        self.mark = mark


def keep(
    cache: Cache, facts: ResponseFacts, admission: Admission, body: bytes, place: Place
) -> tuple[StoredObject, NotStored | None]:
    """Store a complete response; (the object, why it is not stored all the same)."""
    fresh = answer.stored(
        facts, admission, body, cache.trail, key=place.key, variant=place.variant, mark=place.mark
    )
    if cache.coder is not None:
        cache.coder.adopt(fresh, facts.index)
    return fresh, admit(cache, fresh, facts, admission, place)


def admit(
    cache: Cache, fresh: StoredObject, facts: ResponseFacts, admission: Admission, place: Place
) -> NotStored | None:
    """Put an object into the storage, unless a purge has overtaken it."""
    verdict = cache.purges.judge(fresh)
    if verdict is Verdict.GONE:
        return NotStored.PURGED
    fresh.soft = verdict is Verdict.SOFT
    if cache.storage.put(fresh, place.names):
        if cache.shelf is not None:
            cache.shelf.disk.overtaken(fresh)
    elif cache.shelf is None or not cache.shelf.keep(fresh, place.names):
        return NotStored.NO_ROOM
    if facts.variation is not None:
        cache.searches.stored(place.key, facts.variation)
    for warning in admission.warnings:
        cache.warnings[warning] += 1
    return None


def keep_large(
    cache: Cache, facts: ResponseFacts, admission: Admission, incoming: Incoming, place: Place
) -> NotStored | None:
    """Store a complete response whose body has been written to disk while it arrived."""
    fresh = answer.stored(
        facts, admission, b"", cache.trail,
        key=place.key, variant=place.variant, mark=place.mark, length=incoming.total,
    )  # fmt: skip
    verdict = cache.purges.judge(fresh)
    if verdict is Verdict.GONE:
        return NotStored.PURGED
    fresh.soft = verdict is Verdict.SOFT
    if cache.shelf is None or not cache.shelf.commit(incoming, fresh, place.names):
        return NotStored.NO_ROOM
    if facts.variation is not None:
        cache.searches.stored(place.key, facts.variation)
    for warning in admission.warnings:
        cache.warnings[warning] += 1
    return None


def keep_part(
    cache: Cache, facts: ResponseFacts, admission: Admission, body: bytes, place: Place, reader: Reader
) -> NotStored | None:
    """Store what a 206 brought, joined to what lies there if both have the same strong validator (RFC 9110
    §15.3.7.3). A whole response under that validator keeps its body. The new fields update the old ones, and those that
    it lacks stay (RFC 9111 §3.4): an answer to If-Range bears few."""
    part = facts.part
    if part is None or part.size is None or len(body) != part.end - part.start:
        return NotStored.PARTIAL
    if part.size > cache.settings.object_max:
        return NotStored.TOO_LARGE
    parts = Parts(part.size)
    old = cache.storage.select(place.key, reader.field)
    if old is not None and _same_strong(old, facts):
        if isinstance(old, Partial) and old.parts.size == part.size:
            parts = old.parts
        elif not isinstance(old, Partial) and len(old.body) == part.size:
            parts = Parts(part.size, ((0, old.body),) if old.body else ())
        if parts:
            facts = answer.merged(old, facts)
    if not parts and reader.facts.if_range is not None:
        return NotStored.PARTIAL  # without what it joins to, nobody knows the fields that it left out
    joined = answer.part(
        facts, admission, parts.with_part(part.start, body), cache.trail,
        key=place.key, variant=place.variant, mark=place.mark,
    )  # fmt: skip
    if cache.coder is not None and not isinstance(joined, Partial):
        cache.coder.adopt(joined)
    return admit(cache, joined, facts, admission, place)


def _same_strong(old: StoredObject, facts: ResponseFacts) -> bool:
    etag = old.etag
    return etag is not None and etag == facts.etag and etag[:2] != b"W/"


def refreshed(
    cache: Cache, old: StoredObject, facts: ResponseFacts, admission: Admission, place: Place
) -> tuple[StoredObject, NotStored | None]:
    """The stored response after a 304 whose fields `facts` already holds merged (RFC 9111 §4.3.4): its body with new
    fields and a new age. Its compressed forms stay: their bytes are the same."""
    fresh = answer.stored(
        facts, admission, old.body, cache.trail, key=place.key, variant=place.variant, mark=place.mark
    )
    if isinstance(old, Remote):
        return _refreshed_on_disk(cache, old, facts, admission, place)
    if _overtaken(cache, old):
        return fresh, admission.reason or NotStored.INVALIDATED
    if cache.coder is not None:
        cache.coder.renew(old, fresh, facts.index)
    reason = admission.reason
    if reason is None:  # it takes the old one's place, also in the eyes of the eviction policy
        reason = admit(cache, fresh, facts, admission, place)
    if reason is None:
        cache.storage.discard(old)
    else:
        cache.discard(old)
    return fresh, reason


def _overtaken(cache: Cache, old: StoredObject) -> bool:
    """Has another answer put something else in its place, while the origin was asked whether it is still true?"""
    found = cache.storage.find(old.key)
    if isinstance(found, Variants):
        found = found.objects.get(old.variant) if old.variant is not None else None
    if found is None or found is old:
        return False
    return (found.etag, found.last_modified) != (old.etag, old.last_modified)


def _refreshed_on_disk(
    cache: Cache, old: Remote, facts: ResponseFacts, admission: Admission, place: Place
) -> tuple[StoredObject, NotStored | None]:
    """Its body stays where it lies."""
    head = answer.stored(
        facts, admission, b"", cache.trail,
        key=place.key, variant=place.variant, mark=place.mark, length=old.length,
    )  # fmt: skip
    fresh = renewed(old, head)
    verdict = cache.purges.judge(fresh)
    fresh.soft = verdict is Verdict.SOFT
    reason = NotStored.PURGED if verdict is Verdict.GONE else admission.reason
    if reason is not None:
        cache.discard(old)
    elif cache.shelf is None or not cache.shelf.renew(old, fresh, place.names):
        reason = NotStored.NO_ROOM
    return fresh, reason


def confirmed_by(old: StoredObject, facts: ResponseFacts) -> bool:
    """Does a 304 speak of this stored response?"""
    return speaks_of(facts.etag, old.etag, facts.last_modified, old.last_modified)


def same_by_head(old: StoredObject, facts: ResponseFacts) -> bool:
    """Does the answer to a HEAD describe the stored response: the same validators and the same length, as far as it
    names them (RFC 9111 §4.3.5)?"""
    if facts.status != old.status or isinstance(old, Partial):
        return False
    if facts.content_length is not None and facts.content_length != old.length:
        return False
    if facts.etag is not None and (old.etag is None or opaque(facts.etag) != opaque(old.etag)):
        return False
    return facts.last_modified in (None, old.last_modified)
