"""Which place an address belongs to: longest prefix, IPv4 and IPv6.

Decides from a list of (prefix, place) alone. Must not know who asks, nor where a client without a place
stands: that default is the topology's.

One dictionary per prefix length, longest first: a lookup costs one probe per length in use (one, in the lab),
whatever the number of prefixes. Answers are remembered by the address's text, since the same clients come
again; clients feed that memory, so it is bounded and keyed by str.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

MEMO_ENTRIES = 65_536
"""Remembered addresses per table; at about 130 bytes each, 8 MiB at most."""

_MAPPED = IPv6Network("::ffff:0:0/96")


class PrefixTable:
    """Longest-prefix table from (prefix, place) pairs; ValueError for a bad prefix or one with two places."""

    __slots__ = ("_four", "_memo", "_six")

    def __init__(self, items: Iterable[tuple[str, str]]) -> None:
        four: dict[int, dict[int, str]] = {}
        six: dict[int, dict[int, str]] = {}
        for prefix, place in items:
            bits, length, version = parse_prefix(prefix)
            known = (four if version == 4 else six).setdefault(length, {}).setdefault(bits, place)
            if known != place:
                raise ValueError(f"prefix {prefix} belongs to two places, {known} and {place}")
        self._four = _longest_first(four, 32)
        self._six = _longest_first(six, 128)
        self._memo: dict[str, str | None] = {}

    def lookup(self, address: str) -> str | None:
        """The place of the longest prefix that covers `address`; None if none does or it is no IP address."""
        memo = self._memo
        if address in memo:
            return memo[address]
        if len(memo) >= MEMO_ENTRIES:
            memo.clear()
        place = memo[address] = self._search(address)
        return place

    def _search(self, address: str) -> str | None:
        try:
            parsed = _unmap(ip_address(address))
        except ValueError:
            return None
        bits = int(parsed)
        for shift, places in self._four if parsed.version == 4 else self._six:
            place = places.get(bits >> shift)
            if place is not None:
                return place
        return None


def parse_prefix(prefix: str) -> tuple[int, int, int]:
    """(leading bits, length, IP version) of `prefix`; a v4-mapped one counts as IPv4. ValueError if bad.

    Host bits must be zero: 127.82.1.7/24 is more often a slip than a wish.
    """
    network = ip_network(prefix)
    length, bits = network.prefixlen, int(network.network_address)
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return (bits & 0xFFFF_FFFF) >> (128 - length), length - 96, 4
    return bits >> (network.max_prefixlen - length), length, network.version


def _unmap(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """A dual-stack socket reports IPv4 peers as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2): the same clients."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _longest_first(lengths: dict[int, dict[int, str]], width: int) -> tuple[tuple[int, dict[int, str]], ...]:
    """(how far to shift an address right, places by its leading bits), longest prefix first."""
    return tuple((width - length, lengths[length]) for length in sorted(lengths, reverse=True))
