"""A small DNS server: which addresses stand at a place, and which origin said so.

Decides what a query gets. The form of messages is dnspython's. It must not know sockets.

    icn.<anything>        A: the edges at the place, else all nodes there     TXT: its city
    edge-icn.<anything>   A: the node's address
    whoami.<anything>     A: the address the question came from               TXT: the same with its port

Every answer has a TXT record "answered by NAME" in its additional section. It answers for every zone, never recurses,
and answers nothing to what is no query: an answer to an answer could go on for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

if TYPE_CHECKING:
    from cdnlab.plan.topology import Topology

TTL = 5
"""Seconds for which a resolver may remember: who looks wants to see what is so now."""
SMALLEST = 512
"""Bytes that every client takes (RFC 1035 §4.2.1)."""
LARGEST = 1232
"""Bytes of an answer that is never fragmented (DNS flag day 2020)."""


class Zone:
    """What one origin knows: addresses and words by label."""

    def __init__(self, topology: Topology, node: str) -> None:
        self.node = node
        self.addresses: dict[str, list[str]] = {}
        self.words: dict[str, str] = {}
        for code in topology.place_codes():
            there = [name for name, spec in topology.nodes.items() if spec.place == code]
            names = topology.edges_at(code) or tuple(there)
            self.addresses[code] = [topology.nodes[name].address for name in names]
            self.words[code] = topology.place(code).city
        for name, spec in topology.nodes.items():
            self.addresses[name] = [spec.address]

    def answer(self, data: bytes, peer: tuple[Any, ...]) -> bytes | None:
        """The answer to a datagram from `peer`; None for what deserves none."""
        try:
            query = dns.message.from_wire(data, ignore_trailing=True)
        except (dns.exception.DNSException, ValueError):
            return _format_error(data)
        if query.flags & dns.flags.QR:
            return None
        try:
            reply = dns.message.make_response(query, recursion_available=False)
            reply.set_rcode(self._fill(query, reply, peer))
            most = min(LARGEST, max(SMALLEST, query.payload)) if query.edns >= 0 else SMALLEST
            return reply.to_wire(max_size=most)
        except dns.exception.TooBig:
            reply = dns.message.make_response(query)
            reply.flags |= dns.flags.TC
            return reply.to_wire()
        except (dns.exception.DNSException, ValueError):
            return _format_error(data)

    def _fill(
        self, query: dns.message.Message, reply: dns.message.Message, peer: tuple[Any, ...]
    ) -> dns.rcode.Rcode:
        """Put the answer in; its code (RFC 1035 §4.1.1)."""
        if query.opcode() != dns.opcode.QUERY:
            return dns.rcode.NOTIMP
        if len(query.question) != 1 or query.question[0].rdclass != dns.rdataclass.IN:
            return dns.rcode.REFUSED
        asked = query.question[0]
        label = asked.name.labels[0].decode("latin-1").lower()
        reply.flags |= dns.flags.AA
        addresses, words = dict(self.addresses), dict(self.words)
        addresses["whoami"], words["whoami"] = [str(peer[0])], f"{peer[0]}:{peer[1]}"
        if label not in addresses:
            return dns.rcode.NXDOMAIN
        self._records(reply, asked.name, asked.rdtype, addresses[label], words.get(label))
        node = dns.name.from_text(f"{self.node}.answered.")
        reply.additional.append(dns.rrset.from_text(node, 0, "IN", "TXT", f'"answered by {self.node}"'))
        return dns.rcode.NOERROR

    @staticmethod
    def _records(
        reply: dns.message.Message,
        name: dns.name.Name,
        kind: dns.rdatatype.RdataType,
        addresses: list[str],
        word: str | None,
    ) -> None:
        kinds: Mapping[dns.rdatatype.RdataType, list[str]] = {
            dns.rdatatype.A: [each for each in addresses if ":" not in each],
            dns.rdatatype.AAAA: [each for each in addresses if ":" in each],
            dns.rdatatype.TXT: [] if word is None else [f'"{word}"'],
        }
        for each in kinds if kind == dns.rdatatype.ANY else (kind,):
            if found := kinds.get(each):
                reply.answer.append(dns.rrset.from_text_list(name, TTL, dns.rdataclass.IN, each, found))


def _format_error(data: bytes) -> bytes | None:
    """FORMERR to what has at least a query's header, else nothing."""
    if len(data) < 12 or data[2] & 0x80:
        return None
    return data[:2] + bytes((0x80 | data[2] & 0x79, dns.rcode.FORMERR)) + bytes(8)
