"""What this tier reads in a response head, computed once per distinct head.

Decides which fields travel on to the client and into the store, and gathers what the policy files ask about.
Heads repeat, so the record lives in the head's `derived` slot. Knows no request. Pure.
"""

from __future__ import annotations

from cdnlab.forward.client import OWN
from cdnlab.wire.fields import hop_by_hop
from cdnlab.wire.response import ResponseBlock
from edge import vary
from edge.directives import ResponseControl, response_control

_WRITTEN_HERE = OWN | {b"via", b"cache-status", b"age", b"date", b"content-length"}
"""Written anew by this node at the end of each head it sends, or not at all."""


class ResponseFacts:
    """A response head as the cache sees it. `lines` are the end-to-end fields, each ended by CRLF, without those
    this node writes itself; `vary` is None for `Vary: *`."""

    __slots__ = (
        "cache_status", "content_length", "control", "etag", "expires", "index", "last_modified", "lines", "partial",
        "pragma", "sets_cookie", "start", "status", "vary", "vary_here", "version", "via",
    )  # fmt: skip

    def __init__(self, block: ResponseBlock) -> None:
        self.index = index = block.index
        self.status = block.status
        self.content_length = int(index[b"content-length"]) if b"content-length" in index else None
        self.version = block.version
        self.start = b"HTTP/1.1 %d %b\r\n" % (block.status, block.reason)
        self.lines = _end_to_end(block)
        self.control: ResponseControl = response_control(index.get(b"cache-control"))
        self.vary = vary.names(index.get(b"vary"))
        self.vary_here = self.vary is not None and vary.written_here(self.vary)
        self.etag = index.get(b"etag") or None
        self.last_modified = index.get(b"last-modified") or None
        self.expires = index.get(b"expires")
        self.pragma = b"pragma" in index and not self.control.said
        self.sets_cookie = b"set-cookie" in index
        self.partial = block.status == 206 or b"content-range" in index
        self.via = index.get(b"via")
        self.cache_status = index.get(b"cache-status")


def _end_to_end(block: ResponseBlock) -> bytes:
    dropped = hop_by_hop(block.connection) | _WRITTEN_HERE
    kept = [line for line, (name, _) in zip(block.lines, block.fields, strict=True) if name not in dropped]
    return b"".join([line + b"\r\n" for line in kept])


def response_facts(block: ResponseBlock) -> ResponseFacts:
    """The record of a head, remembered with it."""
    facts = block.derived
    if not isinstance(facts, ResponseFacts):
        facts = block.derived = ResponseFacts(block)
    return facts
