"""The trail a message leaves, and how a loop is seen in it (RFC 9110 §7.6.3, RFC 8586).

Via names the node for people. Loops are decided by CDN-Loop, which RFC 8586 §2 forbids others to remove or rewrite:
our member is `cdnlab;node="edge-icn";id=…`, where the id is random per process, so that two labs (or two single edges
in a row) with nodes of the same name are no loop, and a request that comes back to this very process is one. Eight of
our members in one request are a loop through processes that do not know each other.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from cdnlab.wire import via
from cdnlab.wire.fields import split_list

#: Members of ours after which a request is refused; the path client → balancer → edge → shield → origin has three.
MOST_MEMBERS = 8
NAME = b"cdnlab"


class Trail:
    """What one node adds to Via and CDN-Loop."""

    __slots__ = ("_id", "member", "node")

    def __init__(self, node: str) -> None:
        self.node = node.encode("ascii")
        self._id = secrets.token_hex(6).encode()
        self.member = NAME + b';node="' + self.node + b'";id=' + self._id

    def loops(self, index: Mapping[bytes, bytes]) -> bool:
        """Whether a request with these fields has been here before, or at too many of us."""
        value = index.get(b"cdn-loop")
        if value is None:
            return False
        ours = [member for member in split_list(value) if member.partition(b";")[0].strip().lower() == NAME]
        mine = b"id=" + self._id
        return len(ours) >= MOST_MEMBERS or any(mine in member for member in ours)

    def request_lines(self, index: Mapping[bytes, bytes], version: int) -> bytes:
        """The Via and CDN-Loop lines of a forwarded request."""
        loop = index.get(b"cdn-loop")
        chain = loop + b", " + self.member if loop else self.member
        return (
            b"Via: " + via.append(index.get(b"via"), version, self.node) + b"\r\nCDN-Loop: " + chain + b"\r\n"
        )

    def response_line(self, index: Mapping[bytes, bytes], version: int) -> bytes:
        """The Via line of a forwarded response."""
        return b"Via: " + via.append(index.get(b"via"), version, self.node) + b"\r\n"
