"""Response heads that this tier writes: from a fetched head, from a stored object, or in between.

Decides the bytes, not whether they are sent. Every head is a status line and fields, each line ended by CRLF,
without the blank line. Pure.
"""

from __future__ import annotations

from typing import Any

from cdnlab.forward.trail import Trail
from cdnlab.wire.fields import Field
from cdnlab.wire.response import ResponseBlock
from edge import cache_status
from edge.admission import Admission
from edge.conditional import updated
from edge.object import StoredObject
from edge.partial import Partial, Parts
from edge.response import ResponseFacts

_ABOUT_THE_BODY = frozenset(
    b"content-length content-type content-encoding content-language content-range content-md5 content-digest "
    b"accept-ranges".split()
)
"""Left out of a 304: it says nothing about a body it does not bear (RFC 9110 §15.4.5). Others, such as the
Access-Control fields, stay: browsers judge a 304 by them."""


def forwarded(
    facts: ResponseFacts,
    admission: Admission,
    age: int | None,
    length: int | None,
    trail: Trail,
    *further: bytes,
    shared: bool = False,
) -> bytes:
    """The head of a fetched response on its way to a client; `length` is that of its body, None if unknown.

    `age` is the received one for whoever asked the origin: a response that came straight from there has none (RFC 9111
    §5.1). Whoever reads along is served from the store that is being filled, so it is the current age; and `shared`, so
    that it gets no field that private or no-cache names: those are the first one's alone (§5.2.2.4, §5.2.2.7).
    """
    age_line = b"" if age is None else b"Age: %d\r\n" % age
    size = b"" if length is None else b"Content-Length: %d\r\n" % length
    return b"".join(
        (
            facts.start,
            facts.kept if shared else facts.lines,
            b"Date: %b\r\n" % admission.date,
            age_line,
            size,
            trail.response_line(facts.index, facts.version),
            *further,
        )
    )


def stored(
    facts: ResponseFacts,
    admission: Admission,
    body: bytes,
    trail: Trail,
    *,
    key: bytes,
    variant: bytes | None,
    mark: object,
    length: int | None = None,
) -> StoredObject:
    """The object that a complete response becomes; `mark` is the purge position at which its fetch began. `length` is
    that of a body that lies elsewhere."""
    size = (
        b"" if facts.status == 204 else b"Content-Length: %d\r\n" % (len(body) if length is None else length)
    )
    return StoredObject(
        status=facts.status,
        start=facts.start + stored_lines(facts, admission, trail) + size,
        body=body,
        **_terms(facts, admission, key, variant, mark),
    )


def stored_lines(facts: ResponseFacts, admission: Admission, trail: Trail) -> bytes:
    """The field lines that are kept of a response, without its framing."""
    return b"".join(
        (facts.kept, b"Date: %b\r\n" % admission.date, trail.response_line(facts.index, facts.version))
    )


def _terms(
    facts: ResponseFacts, admission: Admission, key: bytes, variant: bytes | None, mark: object
) -> dict[str, Any]:
    return {
        "key": key,
        "variant": variant,
        "chain": cache_status.chain(facts.cache_status),
        "born": admission.born,
        "fresh_until": admission.born + admission.lifetime,
        "control": facts.control,
        "source": admission.source,
        "open": facts.control.opens_authorized,
        "tags": facts.tags,
        "groups": facts.groups,
        "mark": mark,
    }


def part(
    facts: ResponseFacts,
    admission: Admission,
    parts: Parts,
    trail: Trail,
    *,
    key: bytes,
    variant: bytes | None,
    mark: object,
) -> StoredObject:
    """The object that the parts of a representation become, whose newest came in a 206 with this head: a Partial, or
    a whole response once nothing is missing (RFC 9110 §15.3.7.3)."""
    lines = [
        line
        for line in stored_lines(facts, admission, trail).split(b"\r\n")[:-1]
        if _name(line) not in _OF_A_206
    ]
    start = b"HTTP/1.1 200 OK\r\n" + b"".join([line + b"\r\n" for line in lines])
    terms = _terms(facts, admission, key, variant, mark)
    whole = parts.whole()
    if whole is not None:
        size = b"Content-Length: %d\r\n" % len(whole)
        return StoredObject(status=200, start=start + size, body=whole, **terms)
    return Partial(start=start, parts=parts, **terms)


_KNOWN_BY_IF_RANGE = frozenset({b"content-type", b"content-encoding", b"content-language", b"last-modified"})
_OF_A_206 = frozenset({b"content-range", b"content-length", b"content-digest", b"content-md5"})
"""What is said of the bytes that a message bears, be they a part or the whole: never true of the other. Repr-Digest is
of the whole either way (RFC 9530 §2, §3)."""


def from_store(old: StoredObject, now: float, status_line: bytes) -> bytes:
    """The head of an answer from the store; `status_line` is the Cache-Status line."""
    return b"%bAge: %d\r\n%b" % (old.start, old.age(now), status_line)


def not_modified(head: bytes) -> bytes:
    """The 304 that stands for a 200 with this head."""
    kept = [line for line in head.split(b"\r\n")[1:-1] if _name(line) not in _ABOUT_THE_BODY]
    return b"HTTP/1.1 304 Not Modified\r\n" + b"".join([line + b"\r\n" for line in kept])


def partial(head: bytes, start: int, end: int, size: int, *, brief: bool = False) -> bytes:
    """The 206 that bears the bytes from `start` to before `end` of a 200 with this head (RFC 9110 §15.3.7). `brief`:
    the request bore If-Range, so its client has the fields that say what the representation is."""
    dropped = _OF_A_206 | _KNOWN_BY_IF_RANGE if brief else _OF_A_206
    kept = [line for line in head.split(b"\r\n")[1:-1] if _name(line) not in dropped]
    return b"HTTP/1.1 206 Partial Content\r\n%bContent-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\n" % (
        b"".join([line + b"\r\n" for line in kept]), start, end - 1, size, end - start,
    )  # fmt: skip


def merged(old: StoredObject, facts: ResponseFacts) -> ResponseFacts:
    """What the stored response's head says once a 304 has refreshed it (RFC 9111 §3.2)."""
    lines = [line for line in old.start.split(b"\r\n") if line]
    kept = [pair for line in lines[1:] if (pair := (_name(line), line))[0] not in _WRITTEN_HERE]
    news = [(_name(line), line) for line in facts.kept.split(b"\r\n") if line]
    fields: list[Field] = updated(kept, news)
    for name, value in ((b"Via", facts.via), (b"Cache-Status", facts.cache_status)):
        if value is not None:
            fields.append((name.lower(), b"%b: %b" % (name, value)))
    head = b"\r\n".join([lines[0], *(line for _, line in fields)])
    return ResponseFacts(ResponseBlock(head))


_WRITTEN_HERE = frozenset({b"date", b"content-length", b"via"})


def _name(line: bytes) -> bytes:
    return line.partition(b":")[0].lower()
