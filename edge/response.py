"""What this tier reads in a response head, computed once per distinct head.

Decides which fields travel on to the client and into the store, and gathers what the policy files ask about.
Heads repeat, so the record lives in the head's `derived` slot. Knows no request. Pure.
"""

from __future__ import annotations

from cdnlab.forward.client import OWN
from cdnlab.wire.fields import hop_by_hop
from cdnlab.wire.response import ResponseBlock
from edge import no_vary_search, vary
from edge.directives import ResponseControl, response_control
from edge.invalidation import named_keys
from edge.purge import tags
from edge.ranges import Part, content_range

_WRITTEN_HERE = OWN | {b"via", b"cache-status", b"age", b"date", b"content-length"}
"""Written anew by this node at the end of each head it sends, or not at all."""


class ResponseFacts:
    """A response head as the cache sees it. `lines` are the end-to-end fields, each ended by CRLF, without those
    this node writes itself; `kept` are those of them that are stored: without the ones that no-cache or private name.
    `vary` is None for `Vary: *`; `part` is where the body of a 206 lies, None if it cannot be told."""

    __slots__ = (
        "cache_status", "content_length", "control", "etag", "expires", "groups", "index", "kept", "last_modified",
        "lines", "part", "sets_cookie", "start", "status", "tags", "variation", "vary", "vary_here", "version", "via",
    )  # fmt: skip

    def __init__(self, block: ResponseBlock) -> None:
        self.index = index = block.index
        self.status = block.status
        self.content_length = int(index[b"content-length"]) if b"content-length" in index else None
        self.version = block.version
        self.start = b"HTTP/1.1 %d %b\r\n" % (block.status, block.reason)
        self.control: ResponseControl = response_control(
            index.get(b"cache-control"), index.get(b"cdn-cache-control")
        )
        self.lines = _end_to_end(block, _NOTHING)
        self.kept = _end_to_end(block, self.control.withheld) if self.control.withheld else self.lines
        self.vary = vary.names(index.get(b"vary"))
        self.vary_here = self.vary is not None and vary.written_here(self.vary)
        self.etag = index.get(b"etag") or None
        self.last_modified = index.get(b"last-modified") or None
        self.expires = index.get(b"expires")
        self.sets_cookie = b"set-cookie" in index
        self.variation = no_vary_search.variation(index.get(b"no-vary-search"))
        self.part: Part | None = content_range(index.get(b"content-range")) if block.status == 206 else None
        self.tags = tags.tags(index)
        self.groups = tags.groups(index)
        self.via = index.get(b"via")
        self.cache_status = index.get(b"cache-status")

    def content_location(self, target: bytes) -> bytes | None:
        """The absolute URI that Content-Location names, None without one or with another origin's; `target` is the
        request's own key."""
        reference = self.index.get(b"content-location")
        if reference is None:
            return None
        scheme_end = target.index(b"://") + 3
        slash = target.find(b"/", scheme_end)
        prefix, path = (target, b"/") if slash < 0 else (target[:slash], target[slash:].partition(b"?")[0])
        return next(iter(named_keys({b"content-location": reference}, prefix, path)), None)


_NOTHING: frozenset[bytes] = frozenset()


def _end_to_end(block: ResponseBlock, withheld: frozenset[bytes]) -> bytes:
    dropped = hop_by_hop(block.connection) | _WRITTEN_HERE | withheld
    kept = [line for line, (name, _) in zip(block.lines, block.fields, strict=True) if name not in dropped]
    return b"".join([line + b"\r\n" for line in kept])


def response_facts(block: ResponseBlock) -> ResponseFacts:
    """The record of a head, remembered with it."""
    facts = block.derived
    if not isinstance(facts, ResponseFacts):
        facts = block.derived = ResponseFacts(block)
    return facts
