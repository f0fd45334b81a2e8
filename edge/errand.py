"""The request that a fetch sends: one client's question, as it goes one way toward the origin.

Decides which of the forms of a client's fields goes along, and under which host and scheme; the head itself is
outgoing.py's. Knows no storage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cdnlab.forward.client import forwarded_for
from cdnlab.forward.explain import MARK_FIELD, mark_anew
from cdnlab.forward.messages import OutRequest
from edge.outgoing import request_head
from edge.pinned import with_pin

if TYPE_CHECKING:
    from cdnlab.forward.trail import Trail
    from edge.reader import Reader
    from edge.routing import Way
    from edge.settings import Settings


def request_for(
    reader: Reader, way: Way, settings: Settings, trail: Trail, extra: bytes, keep_conditions: bool
) -> OutRequest:
    """The request that goes `way` for what `reader` asked; `extra` are further field lines. `keep_conditions`: the
    client's own conditions travel on, which else this cache answers."""
    facts, line = reader.facts, reader.line
    host = facts.claims.host if way.ours else settings.origin_host or facts.claims.host
    outgoing = facts.outgoing(reader.block)
    scheme = facts.forwarded_proto if reader.trusted else reader.scheme
    # a client's conditions are for whoever has the response: where we don't store it, that is not us
    keep_conditions = keep_conditions or not (way.store or extra)
    ranged = facts.one_range and not reader.whole
    if keep_conditions:
        lines = outgoing.kept if ranged else outgoing.kept_whole
    else:
        lines = outgoing.plain if ranged else outgoing.whole
    if reader.explain and all(backend.ours for backend in way.forwarder.pool.backends):
        extra += _mark_line(reader, settings.explain_key)
    head = request_head(
        reader.block,
        line,
        target=reader.target,
        lines=lines,
        volatile=with_pin(reader) if way.ours else reader.volatile,
        host=host,
        trail=trail,
        forwarded_for=forwarded_for(reader.peer, reader.trusted, reader.volatile),
        forwarded_proto=scheme if way.ours else settings.forwarded_proto or scheme,
        forwarded_host=facts.claims.host if host != facts.claims.host else None,
        extra=extra + way.lines,
    )
    return OutRequest(
        line.method,
        head,
        place=settings.place,
        idempotent=line.idempotent,
        body=reader.x.body,
        expect=reader.block.expect,
    )


def _mark_line(reader: Reader, key: bytes) -> bytes:
    """The mark is for one target: for another it is signed anew."""
    line = reader.line
    marks = [value for name, value in reader.volatile if name == MARK_FIELD]
    if reader.target != line.target.canonical:
        marks = [mark_anew(key, value, line.method, reader.target) for value in marks]
    return b"".join([b"Cdnlab-Explain: %b\r\n" % value for value in marks])
