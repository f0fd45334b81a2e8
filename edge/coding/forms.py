"""The head of a stored response that may be coded, and the coded form of one.

Decides bytes: what a coding changes in a head, and what it leaves. A form is a StoredObject that hangs on another, its
parent, and lies in no storage by itself. Pure.

    Vary               Accept-Encoding joins it, on the parent too: it chooses between them (RFC 9110 §12.5.5)
    Content-Encoding   the coding
    Content-Length     that of the form
    ETag               weak (RFC 9110 §8.8.1): a strong tag promises the same bytes, and these are others
    Accept-Ranges      gone, since no part of a form is ever sent
    Repr-Digest, Content-Digest   those of the form (digests.py)
    all others         stay, Last-Modified among them

Last-Modified is shared by the parent and its forms, which makes it a weak validator (RFC 9110 §8.8.1 names this very
case). So If-Range with a date is never true of an object that may be coded: see `dated`.

Ranges. A part of a form could be asked for, but not be put together again: its tag is weak, If-Range needs a strong
one, and a form that was made anew may have other bytes. Two designs are left: take no notice of Range where the client
accepts a coding, as nginx does, or send parts of the identity form only. This is the second. Who asks for a part wants
less than the whole, and the parent has a strong tag, so a download that breaks off can go on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from cdnlab.wire.fields import split_list
from edge.coding.digests import FIELDS
from edge.coding.negotiation import BARE
from edge.object import StoredObject
from edge.vary import names

_VARY = re.compile(rb"^vary:[ \t]*(.*?)[ \t]*\r\n", re.IGNORECASE | re.MULTILINE)
_DROPPED = frozenset({b"content-length", b"content-encoding", b"accept-ranges", b"etag", *FIELDS})
_SPELLING = {b"repr-digest": b"Repr-Digest", b"content-digest": b"Content-Digest"}


def with_vary(lines: bytes) -> bytes:
    """Head lines, each ended by CRLF, with Accept-Encoding in Vary.

    Several Vary lines become one, without duplicates; what already says it, or `*`, stays as it came.
    """
    members = split_list(b",".join(_VARY.findall(lines)))
    said = {member.lower() for member in members}
    if b"*" in said or b"accept-encoding" in said:
        return lines
    first = _VARY.search(lines)
    if first is None:
        return lines + b"Vary: Accept-Encoding\r\n"
    unique: dict[bytes, bytes] = {}
    for member in members:
        unique.setdefault(member.lower(), member)
    line = b"Vary: %b\r\n" % b", ".join([*unique.values(), b"Accept-Encoding"])
    return lines[: first.start()] + line + _VARY.sub(b"", lines[first.end() :])


def origins(names: tuple[bytes, ...], variant: bytes | None) -> tuple[bytes, ...]:
    """The names in the Vary of a stored head, as the origin gave them: without Accept-Encoding if `with_vary` put it
    there. The object's variant key has a value for each name of the origin's, so it tells how many there were."""
    count = 0 if variant is None else variant.count(b"\n") + 1
    return tuple([name for name in names if name != b"accept-encoding"]) if len(names) == count + 1 else names


def weak(etag: bytes | None) -> bytes | None:
    """The entity tag of a form (RFC 9110 §8.8.3); None without one, and where the parent's is malformed."""
    if etag is None or etag[:2] == b"W/":
        return etag
    return b"W/" + etag if etag[:1] == b'"' else None


def coded_head(
    start: bytes, etag: bytes | None, coding: bytes, size: int, digests: Mapping[bytes, bytes]
) -> bytes:
    """The head of the form with `size` bytes of a response with the head `start` and the tag `etag`; `digests` by
    lower-case name, in place of the parent's."""
    first, *lines = start.split(b"\r\n")[:-1]
    kept = [line for line in lines if line.partition(b":")[0].lower() not in _DROPPED]
    kept.append(b"Content-Encoding: " + coding)
    tag = weak(etag)
    if tag is not None:
        kept.append(b"ETag: " + tag)
    kept += [b"%b: %b" % (_SPELLING[name], value) for name, value in digests.items()]
    kept.append(b"Content-Length: %d" % size)
    return first + b"\r\n" + with_vary(b"".join([line + b"\r\n" for line in kept]))


def form_of(parent: StoredObject, coding: bytes, body: bytes, digests: Mapping[bytes, bytes]) -> StoredObject:
    """The coded form of a stored response."""
    return _hanging_on(parent, coded_head(parent.start, parent.etag, coding, len(body), digests), body)


def bare(parent: StoredObject) -> StoredObject:
    """The parent without what `with_vary` added; it shares the body."""
    found = _VARY.search(parent.start)
    start = parent.start
    if found is not None and origins(names(found[1]) or (), parent.variant) != names(found[1]):
        left = [member for member in split_list(found[1]) if member.lower() != b"accept-encoding"]
        line = b"Vary: %b\r\n" % b", ".join(left) if left else b""
        start = start[: found.start()] + line + start[found.end() :]
    form = _hanging_on(parent, start, parent.body)
    form.size -= len(parent.body)
    return form


def _hanging_on(parent: StoredObject, start: bytes, body: bytes) -> StoredObject:
    form = StoredObject(
        key=parent.key,
        variant=parent.variant,
        status=parent.status,
        start=start,
        chain=parent.chain,
        body=body,
        born=parent.born,
        fresh_until=parent.fresh_until,
        control=parent.control,
        source=parent.source,
        open=parent.open,
        tags=parent.tags,
        groups=parent.groups,
        mark=parent.mark,
    )
    form.checked = parent.checked
    return form


def renewed(parent: StoredObject, coding: bytes, old: StoredObject) -> StoredObject:
    """The form `old` under the head of the response that a 304 has made of its parent. The bytes are the same, so its
    digests are."""
    if coding == BARE:
        return bare(parent)
    present = {line.partition(b":")[0].lower() for line in parent.start.split(b"\r\n")}
    lines = (line.partition(b":") for line in old.start.split(b"\r\n"))
    kept = {
        name: value.strip()
        for spelt, _, value in lines
        if (name := spelt.lower()) in _SPELLING and name in present
    }
    return form_of(parent, coding, old.body, kept)


def aged_with(form: StoredObject, parent: StoredObject) -> StoredObject:
    """The form, as old and as fresh as its parent is now: whatever has become of that since."""
    form.born, form.fresh_until, form.checked = parent.born, parent.fresh_until, parent.checked
    return form


def dated(if_range: bytes | None) -> bool:
    """Does If-Range name a date, which is a weak validator of whatever may be coded (RFC 9110 §8.8.1, §13.1.5)?"""
    return if_range is not None and if_range[:1] != b'"' and if_range[:2] != b"W/"
