"""Who the client is, and where it stands: the one place that reads the fields that claim it.

A claim counts only from whom it may come. `Cdnlab-Place` is a balancer's word to an edge and counts from trusted
peers, as does `Cdnlab-Sibling`, one edge's word to another; `Cdnlab-From` and the host `<place>.localhost` are a
person's wish and count where the topology lets clients choose. X-Forwarded-For counts from trusted peers, read from the
right up to the first address that is not trusted.
Must not know sockets or routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from cdnlab.wire.fields import Field

PLACE_FIELD = b"cdnlab-place"
FROM_FIELD = b"cdnlab-from"
SIBLING_FIELD = b"cdnlab-sibling"

#: Inputs that change what an origin answers but stand in no cache key (the classic ways to poison one): they are
#: removed when they come from a client. X-Forwarded-For, -Proto and -Host are written anew instead.
UNKEYED: frozenset[bytes] = frozenset(
    b"""x-forwarded-host x-forwarded-proto x-forwarded-port x-forwarded-scheme x-forwarded-ssl x-forwarded-server
    x-forwarded-prefix x-forwarded-path x-original-url x-original-uri x-original-host x-rewrite-url x-host
    x-http-method x-http-method-override x-method-override x-http-host-override forwarded x-real-ip true-client-ip
    cf-connecting-ip x-client-ip x-cluster-client-ip front-end-https x-url-scheme""".split()
)

#: Our own fields: dropped from whoever may not send them, and never passed to origins that are not ours.
OWN: frozenset[bytes] = frozenset((PLACE_FIELD, FROM_FIELD, SIBLING_FIELD, b"cdnlab-explain", b"cdnlab-hop"))


class Claims:
    """What one header block says about where its client stands. Remembered with the block."""

    __slots__ = ("asserted", "chosen", "host")

    def __init__(self, asserted: str, chosen: str, host: bytes) -> None:
        self.asserted = asserted
        """The place that a balancer says, or ""; counts only from a trusted peer."""
        self.chosen = chosen
        """The place that the client wishes to stand at, or ""."""
        self.host = host
        """The host without the place in it."""


def claims(index: Mapping[bytes, bytes], host: bytes, places: frozenset[str], may_choose: bool) -> Claims:
    """Read the claims of a block. `host` is lower-case and may bear a port; unknown places claim nothing."""
    asserted = index.get(PLACE_FIELD, b"").decode("latin-1").lower()
    if asserted not in places:
        asserted = ""
    chosen = ""
    if may_choose:
        name, dot, rest = host.partition(b".")
        if dot and (rest == b"localhost" or rest.startswith(b"localhost:")):
            label = name.decode("latin-1")
            if label in places:
                chosen, host = label, rest
        wished = index.get(FROM_FIELD, b"").decode("latin-1").lower()
        if wished in places:
            chosen = wished
    return Claims(asserted, chosen, host)


def place_of(claim: Claims, home: str, trusted: bool) -> str:
    """Where the client of one request stands. A trusted peer's word is about its own client, so it comes first."""
    if trusted and claim.asserted:
        return claim.asserted
    return claim.chosen or home


def client_address(
    peer: str, trusted_peer: bool, forwarded_for: bytes | None, trusted: frozenset[str]
) -> str:
    """The client's address: `peer`, or, where the peer is trusted, the rightmost X-Forwarded-For member that is not."""
    if not trusted_peer or not forwarded_for:
        return peer
    address = peer
    for member in reversed(forwarded_for.split(b",")):
        address = _without_port(member.strip().decode("latin-1"))
        if address not in trusted:
            return address if _plausible(address) else peer
    return address if _plausible(address) else peer


@lru_cache(maxsize=4096)
def client_key(address: str) -> bytes:
    """One client, to hash and to count by: an IPv4 address (4 bytes), or the first 64 bits of an IPv6 one (8 bytes).

    A network gives a host 64 bits to number itself in (RFC 4291 §2.5.1), and hosts change theirs often (RFC 8981).
    What is no address at all stands for itself.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address.encode()
    if isinstance(parsed, IPv6Address):
        return parsed.packed[:8] if parsed.ipv4_mapped is None else parsed.ipv4_mapped.packed
    return parsed.packed


def forwarded_for(peer: str, trusted_peer: bool, volatile: tuple[Field, ...]) -> bytes:
    """The X-Forwarded-For value to send on: the chain of a trusted peer with that peer appended, else the peer."""
    own = peer.encode("ascii", "replace")
    if not trusted_peer:
        return own
    chain = [value for name, value in volatile if name == b"x-forwarded-for" and value]
    return b", ".join([*chain, own])


def _without_port(address: str) -> str:
    """Some proxies name the client's port as well: `192.0.2.1:4711`, `[2001:db8::1]:4711`. Each connection has another
    one, so a client would never be the same."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


def _plausible(address: str) -> bool:
    """Whether it can be an IP address at all: what is shown and counted must not be a stranger's prose."""
    return 0 < len(address) <= 45 and not address.strip("0123456789abcdefABCDEF.:")
