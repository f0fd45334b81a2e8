"""POST /explain: what this edge would do with a request now, without asking anybody.

Decides how a question is read, and in which words the answer is given; what the cache would do, the cache itself says
(rehearsal.py). It needs the admin token like what changes state: it shows what is stored, heads of private answers
included.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from cdnlab.node.node import BadRequest
from cdnlab.wire.errors import Malformed
from edge.disk.found import Remote
from edge.disk.shelf import Read
from edge.object import Variants
from edge.partial import Partial
from edge.rehearsal import Question, Rehearsal, Seen
from edge.results import Result
from edge.storable import NotStored

if TYPE_CHECKING:
    from cdnlab.net.exchange import Exchange
    from edge.cache import Cache
    from edge.object import StoredObject
    from edge.routing import Way

EXAMPLE = 'send such as {"url": "http://127.0.0.1:8080/", "headers": {"Accept-Language": "ko"}}'
HEADERS = 100
"""Fields that may be asked with; the listener's own limit stands in the topology."""


async def explain(cache: Cache, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What `cache` would do with {"url", "method", "headers", "place"} now. BadRequest."""
    question = question_of(asked, cache.settings.place)
    rehearsal = Rehearsal(cache)
    x = cast("Exchange", question)
    rehearsal.handle(x)
    on_disk = rehearsal.seen.on_disk
    if on_disk is not None and cache.shelf is not None:
        found, facts, alone = on_disk
        stored = await cache.shelf.disk.load(found)
        rehearsal = Rehearsal(cache)
        rehearsal.lookup(x, facts, alone, Read(_as_taken_in(rehearsal, stored)))
    seen = rehearsal.seen
    key = seen.reader.key if seen.reader is not None else rehearsal.key(x)
    told = {
        "key": key.decode("latin-1"),
        **_variant(cache, key, question),
        "stored": None if seen.nothing else _stored(seen.found, question.started),
        "on_disk": on_disk is not None,
        **_outcome(seen, question),
        "asks": [_way(way, question.place, key) for way in seen.ways],
    }
    rehearsal.forget()
    question.source = None
    return told


def _as_taken_in(rehearsal: Rehearsal, stored: StoredObject | None) -> StoredObject | None:
    """What lies on disk as it would be in memory, where it may come to have forms; memory does not get it."""
    if stored is None or isinstance(stored, Remote):
        return stored
    taken = copy(stored)
    if rehearsal.coder is not None and taken.forms is None:
        rehearsal.coder.adopt(taken)
    return taken


def question_of(asked: Mapping[str, Any], place: str) -> Question:
    """The request that is asked about. BadRequest names what is wrong with it."""
    url, method, headers = asked.get("url"), asked.get("method", "GET"), asked.get("headers", {})
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    sound = isinstance(pairs, list) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(word, str) for word in pair)
        for pair in pairs
    )
    if not isinstance(url, str) or not isinstance(method, str) or not sound or len(pairs) > HEADERS:
        raise BadRequest(
            'it is no question: {"url", "method", "headers"} are strings and an object of strings', EXAMPLE
        )
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise BadRequest(f"the url {url[:100]!r} is no http:// or https:// URL", EXAMPLE)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    fields = [(str(name), str(value)) for name, value in pairs]
    if parts.scheme == "https":  # TLS ends before us: a peer that we trust says so
        fields = [field for field in fields if field[0].lower() != "x-forwarded-proto"]
        fields.append(("X-Forwarded-Proto", "https"))
    if any(break_ in word for field in fields for word in field for break_ in "\r\n"):
        raise BadRequest("a header holds a line break", EXAMPLE)
    where = asked.get("place")
    try:
        return Question(
            method, target, parts.netloc, fields, where if isinstance(where, str) else place,
            trusted=parts.scheme == "https",
        )  # fmt: skip
    except (Malformed, UnicodeError) as error:
        raise BadRequest(
            f"no listener would take this request: {error}", "see docs/http.md, Refused"
        ) from None


def _variant(cache: Cache, key: bytes, question: Question) -> dict[str, Any]:
    """By which request fields what lies under the key is chosen, and what this request has in them."""
    entry = cache.storage.find(key)
    names = entry.names if isinstance(entry, Variants) else ()
    fields = {name.decode(): value for name in names if (value := question.field(name)) is not None}
    return {
        "vary": [name.decode() for name in names],
        "chosen_by": {name: value.decode("latin-1") for name, value in fields.items()},
        "variants": len(entry.objects) if isinstance(entry, Variants) else 0 if entry is None else 1,
    }


def _stored(found: StoredObject | None, instant: float) -> dict[str, Any] | None:
    if found is None:
        return None
    head = found.start.decode("latin-1").split("\r\n")
    return {
        "status": found.status,
        "age": round(instant - found.born, 3),
        "lifetime": round(found.fresh_until - found.born, 3),
        "left": round(found.fresh_until - instant, 3),
        "by": str(found.source),
        "targeted": found.control.targeted,
        "size": _size(found),
        "partial": isinstance(found, Partial),
        "purged_softly": found.soft,
        "tags": [tag.decode("latin-1") for tag in found.tags],
        "groups": [group.decode("latin-1") for group in found.groups],
        "codings": sorted(coding.decode("latin-1") for coding in found.forms or ()),
        "head": [line for line in head if line],
    }


def _size(found: StoredObject) -> int:
    if isinstance(found, Partial):
        return len(found.parts)
    return found.length if isinstance(found, Remote) else len(found.body)


def _outcome(seen: Seen, question: Question) -> dict[str, Any]:
    reader, fetch = seen.reader, seen.fetch
    why = seen.why if fetch is None or fetch.leader.absent else fetch.leader.why
    if seen.joins and reader is not None:
        why = reader.why
    result = Result.COLLAPSED if seen.joins else seen.result
    reason = None if fetch is None or question.status else fetch.reason
    if reason is None and seen.ways and not seen.ways[0].store:
        reason = NotStored.ELSEWHERE
    said = seen.said or (why.sentence if why is not None else FRESH)
    return {
        "result": str(result),
        "result_sentence": result.sentence,
        "fwd": str(reader.fwd) if reader is not None and (fetch is not None or seen.joins) else None,
        "reason": str(why) if why is not None else "",
        "not_stored": str(reason) if reason is not None else "",
        "sentence": reason.sentence if why is None and reason is not None else said,
        "status": question.status or None,
        "head": [line for line in question.head.decode("latin-1").split("\r\n") if line],
        "validates": seen.conditional,
        "joins": seen.joins,
        "behind": fetch is not None and fetch.leader.absent,
    }


FRESH = "its current age is below its freshness lifetime"


def _way(way: Way, place: str, key: bytes) -> dict[str, Any]:
    """One pool that would be asked; `first` where the choice depends on nothing that changes by choosing."""
    pool = way.forwarder.pool
    keyed = pool.keyed or pool.algorithm_name == "nearest"
    steady = (keyed and not pool.by_source) or len(pool.backends) == 1
    first = way.only or (next(iter(pool.candidates(place, None, key)), None) if steady else None)
    return {
        "pool": pool.name,
        "algorithm": pool.algorithm_name,
        "parent": str(way.parent) if way.parent is not None else None,
        "stores": way.store,
        "briefly": way.brief,
        "first": first.name if first is not None else None,
        "backends": [
            {"name": one.name, "usable": one.usable, "why": "" if one.usable else one.reason().sentence}
            for one in pool.backends
        ],
    }
