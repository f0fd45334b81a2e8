"""The trail of a message: Via (RFC 9110 §7.6.3) and CDN-Loop (RFC 8586).

Decides what the trail says: who was passed, in order. Must not decide how often a node may be passed, nor
what answers a loop.
"""

from __future__ import annotations

from cdnlab.wire.fields import is_token, split_list, split_parameters

_PROTOCOLS = {10: b"1.0", 11: b"1.1", 20: b"2", 30: b"3"}


def append(existing: bytes | None, version: int, node: bytes) -> bytes:
    """The value of Via with our own member at its end: what version the message was received by (10, 11), and
    our pseudonym. ValueError if `node` is not a token."""
    if not is_token(node):
        raise ValueError(f"a pseudonym in Via must be a token, not {node!r}")
    member = _PROTOCOLS[version] + b" " + node
    return existing + b", " + member if existing else member


def members(value: bytes | None) -> list[tuple[bytes, bytes]]:
    """(received protocol, received by) of each member of Via in order, comments left out; what has not both
    is dropped."""
    found = []
    for member in _split_outside_comments(value) if value else ():
        parts = member.split(None, 2)
        if len(parts) >= 2:
            found.append((parts[0], parts[1]))
    return found


def _split_outside_comments(value: bytes) -> list[bytes]:
    """Split at commas outside of (comments), which may hold commas and quotes and may nest (RFC 9110
    §5.6.5)."""
    if b"(" not in value:
        return value.split(b",")
    pieces = [bytearray()]
    depth = 0
    escaped = False
    for byte in value:
        if escaped:
            escaped = False
        elif byte == 0x5C and depth:
            escaped = True
        elif byte == 0x28:
            depth += 1
        elif byte == 0x29 and depth:
            depth -= 1
        elif byte == 0x2C and not depth:
            pieces.append(bytearray())
            continue
        pieces[-1].append(byte)
    return [bytes(piece) for piece in pieces]


def names(value: bytes | None) -> list[bytes]:
    """The received-by parts of Via, lower-case, in order: what loop detection counts."""
    return [by.lower() for _, by in members(value)]


def append_loop(existing: bytes | None, cdn: bytes) -> bytes:
    """The value of CDN-Loop with `cdn` (a token or host) added at its end (RFC 8586 §2)."""
    return existing + b", " + cdn if existing else cdn


def loop_names(value: bytes | None) -> list[bytes]:
    """The CDN identifiers in CDN-Loop, lower-case, in order, parameters left out."""
    if not value:
        return []
    return [name.lower() for name in (split_parameters(member)[0] for member in split_list(value)) if name]
