"""What this tier reads in a request's header block, computed once per distinct block.

Decides the key's prefix, what the client asks of a cache, and whether the request must go to the origin
whatever lies in the store. Blocks repeat, so the record lives in the block's `derived` slot; a memo of blocks is
one listener's, so the scheme may be part of it. Nothing of a single client is in it. Pure.
"""

from __future__ import annotations

from cdnlab.forward.client import Claims, claims
from cdnlab.forward.key import HostRules, KeyRules, key_prefix
from cdnlab.wire.fields import HOP_BY_HOP, hop_by_hop
from cdnlab.wire.request import RequestBlock
from edge.cookies import Cookies
from edge.directives import RequestControl, request_control
from edge.outgoing import Outgoing
from edge.purging import PURGED_FIELD
from edge.ranges import well_formed
from edge.storable import NotStored

_SCHEMES = (b"http", b"https")
_ASKS_CACHE = (
    b"cache-control",
    b"pragma",
    b"if-none-match",
    b"if-modified-since",
    b"range",
    b"if-range",
    PURGED_FIELD,
)
"""What a cache has to look at before it sends what it has; the last is another edge's."""


class RequestFacts:
    """A request's header block as the cache sees it.

    prefix, peer_prefix   what the key begins with: for strangers, and for trusted peers, whose X-Forwarded-Proto
                          is the scheme the client used
    plain                 nothing in the block asks anything of a cache: a fresh object can be sent as it is
    variant_key           what the block gives for `variant_names`, the names that were last asked for
    bypass                why the request goes to the origin whatever is stored, or None
    codings               the content codings that its client likes, the best first (edge/coding); the cache fills it in
    rules                 the host's query rules and what its routes do about cookies; None where no route says any
    cookie_rules          the same where any of the routes does something about cookies, which a block does not hold
    """

    __slots__ = (
        "bypass", "claims", "codings", "control", "cookie_rules", "forwarded_proto", "if_modified_since",
        "if_none_match", "if_range", "one_range", "outgoing_lines", "peer_prefix", "plain", "prefix", "purged",
        "range", "rules", "variant_key", "variant_names",
    )  # fmt: skip

    def __init__(
        self,
        block: RequestBlock,
        host: bytes,
        scheme: bytes,
        places: frozenset[str],
        may_choose_place: bool,
        rules: KeyRules | None = None,
    ) -> None:
        index = block.index
        self.claims: Claims = claims(index, host, places, may_choose_place)
        said = index.get(b"x-forwarded-proto", scheme).lower()
        self.forwarded_proto = said if said in _SCHEMES else scheme
        self.prefix = key_prefix(scheme, self.claims.host)
        self.peer_prefix = key_prefix(self.forwarded_proto, self.claims.host)
        control = request_control(index.get(b"cache-control"), index.get(b"pragma"))
        self.control: RequestControl | None = None if control.silent else control
        self.if_none_match = index.get(b"if-none-match")
        self.if_modified_since = index.get(b"if-modified-since")
        self.range = index.get(b"range")
        self.one_range = self.range is not None and well_formed(self.range)
        self.if_range = index.get(b"if-range")
        self.purged = index.get(PURGED_FIELD)
        self.bypass = _bypass(block)
        self.plain = self.bypass is None and not any(name in index for name in _ASKS_CACHE)
        self.rules: HostRules | None = None if rules is None else rules.host(self.claims.host)
        self.cookie_rules = self.rules if self.rules is not None and self.rules.cookies else None
        self.outgoing_lines: Outgoing | None = None
        self.codings: tuple[bytes, ...] = ()
        self.variant_names: tuple[bytes, ...] = ()
        self.variant_key = b""

    def target(self, canonical: bytes) -> bytes:
        """The target as it is keyed and sent on."""
        return canonical if self.rules is None else self.rules.target(canonical)

    def cookies(self, path: bytes) -> Cookies:
        """What is done about cookies on the request's route."""
        return Cookies.RFC if self.rules is None else Cookies(self.rules.rule(path).cookies)

    def outgoing(self, block: RequestBlock) -> Outgoing:
        """The lines that travel on, computed when first needed: a hit needs none. The block is not kept here, since it
        keeps this: the two would never be freed."""
        if self.outgoing_lines is None:
            self.outgoing_lines = Outgoing(block)
        return self.outgoing_lines


def _bypass(block: RequestBlock) -> NotStored | None:
    if block.length:
        return NotStored.REQUEST_BODY
    if block.upgrade is not None:
        return NotStored.UPGRADE
    if b"if-match" in block.index or b"if-unmodified-since" in block.index:
        return NotStored.CONDITION
    if block.connection and not (hop_by_hop(block.connection) - HOP_BY_HOP).isdisjoint(block.index):
        return NotStored.HIDDEN
    return None
