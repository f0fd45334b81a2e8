"""The PROXY protocol, versions 1 and 2: who the client is, said by the peer before the first byte.

Decides what a header means, after the HAProxy project's specification (proxy-protocol.txt, sections cited
below). Must not decide whether a peer may send one: that is a property of the listener, never guessed from
the bytes.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

from cdnlab.wire.errors import Malformed, Why

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V1_BYTES = 107  # §2.1: the longest possible line, with its CRLF
# after the 16 fixed bytes; addresses take 36 (UNIX 216) and no known use of TLVs comes near the rest
V2_BYTES = 4096

TLV_ALPN = 0x01
TLV_AUTHORITY = 0x02
TLV_CRC32C = 0x03
TLV_NOOP = 0x04
TLV_UNIQUE_ID = 0x05

_INET, _INET6, _UNIX = 1, 2, 3
_STREAM, _DGRAM = 1, 2


class Parsed:
    """A header: `size` bytes long, of `version` 1 or 2. `source` and `destination` are (address, port), None
    where the header speaks of no client (LOCAL, UNKNOWN, UNSPEC, UNIX): then the connection's own addresses
    hold. `tlvs` are (type, value) in order; `datagram` is true for UDP."""

    __slots__ = ("datagram", "destination", "local", "size", "source", "tlvs", "version")

    def __init__(
        self,
        version: int,
        size: int,
        source: tuple[str, int] | None = None,
        destination: tuple[str, int] | None = None,
        *,
        local: bool = False,
        datagram: bool = False,
        tlvs: tuple[tuple[int, bytes], ...] = (),
    ) -> None:
        self.version = version
        self.size = size
        self.source = source
        self.destination = destination
        self.local = local
        self.datagram = datagram
        self.tlvs = tlvs


def parse(data: bytes) -> Parsed | None:
    """The PROXY header that `data` begins with; None if more bytes are needed. Raises Malformed (400)."""
    if data[:12] == SIGNATURE[: len(data)]:
        return _parse_v2(data) if len(data) >= 16 else None
    if data[:6] == b"PROXY "[: len(data)]:
        return _parse_v1(data)
    raise Malformed(Why.PROXY_HEADER, data[:16])


# ---- version 1: a line of text (§2.1) ----------------------------------------------------------------------


def _parse_v1(data: bytes) -> Parsed | None:
    line, end, _ = data[:V1_BYTES].partition(b"\r\n")
    if not end:
        if len(data) >= V1_BYTES:
            raise Malformed(Why.PROXY_HEADER, line)
        return None
    size = len(line) + 2
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":  # the rest of the line must be ignored
        return Parsed(1, size, local=True)
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise Malformed(Why.PROXY_HEADER, line)
    kind = IPv4Address if words[1] == b"TCP4" else IPv6Address
    source = (_address(kind, words[2], line), _port(words[4], line))
    return Parsed(1, size, source, (_address(kind, words[3], line), _port(words[5], line)))


def _address(kind: type[IPv4Address] | type[IPv6Address], word: bytes, line: bytes) -> str:
    try:
        text = word.decode("ascii")
        if "%" in text:
            raise ValueError("zones are of one host only")
        return str(kind(text))
    except ValueError:
        raise Malformed(Why.PROXY_HEADER, line) from None


def _port(word: bytes, line: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or (word[:1] == b"0" and word != b"0") or int(word) > 65535:
        raise Malformed(Why.PROXY_HEADER, line)
    return int(word)


def build_v1(source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """A version 1 header. ValueError if the addresses are not both IPv4 or both IPv6."""
    first, second = ip_address(source[0]), ip_address(destination[0])
    if first.version != second.version:
        raise ValueError(f"one header cannot hold {source[0]} and {destination[0]}: different families")
    line = f"PROXY TCP{first.version} {first} {second} {source[1]} {destination[1]}\r\n"
    return line.encode("ascii")


# ---- version 2: binary (§2.2) ------------------------------------------------------------------------------


def _parse_v2(data: bytes) -> Parsed | None:
    command, protocol, length = struct.unpack_from("!BBH", data, 12)
    if command not in (0x20, 0x21) or length > V2_BYTES:
        raise Malformed(Why.PROXY_HEADER, data[:16])
    size = 16 + length
    if len(data) < size:
        return None
    if command == 0x20:  # LOCAL: the whole block, and even the family, must be ignored
        return Parsed(2, size, local=True)
    family, transport = protocol >> 4, protocol & 15
    if family > _UNIX or transport > _DGRAM:
        raise Malformed(Why.PROXY_HEADER, data[:16])
    addresses, taken = _v2_addresses(data[16:size], family if transport else 0)
    tlvs = _v2_tlvs(data[16 + taken : size])
    _check_crc32c(data[:size], tlvs, 16 + taken)
    if addresses is None:
        return Parsed(2, size, local=True, tlvs=tlvs)
    return Parsed(2, size, *addresses, datagram=transport == _DGRAM, tlvs=tlvs)


Ends = tuple[tuple[str, int], tuple[str, int]]


def _v2_addresses(block: bytes, family: int) -> tuple[Ends | None, int]:
    """(source and destination or None, bytes they take) of the block after the fixed part."""
    taken = {_INET: 12, _INET6: 36, _UNIX: 216}.get(family, 0)
    if len(block) < taken:
        raise Malformed(Why.PROXY_HEADER, block[:16])
    if family == _INET:
        first, second, one, other = struct.unpack_from("!4s4sHH", block)
        return ((str(IPv4Address(first)), one), (str(IPv4Address(second)), other)), taken
    if family == _INET6:
        first, second, one, other = struct.unpack_from("!16s16sHH", block)
        return ((str(IPv6Address(first)), one), (str(IPv6Address(second)), other)), taken
    # UNSPEC: how long its addresses are is not said, so the receiver skips everything (§2.2)
    return None, taken if family == _UNIX else len(block)


def _v2_tlvs(block: bytes) -> tuple[tuple[int, bytes], ...]:
    found = []
    at = 0
    while at < len(block):
        if len(block) - at < 3:
            raise Malformed(Why.PROXY_HEADER, block[at:])
        kind, length = struct.unpack_from("!BH", block, at)
        value = block[at + 3 : at + 3 + length]
        if len(value) != length:
            raise Malformed(Why.PROXY_HEADER, block[at : at + 16])
        found.append((kind, value))
        at += 3 + length
    return tuple(found)


def _check_crc32c(header: bytes, tlvs: tuple[tuple[int, bytes], ...], at: int) -> None:
    """§2.2.3: the checksum is over the whole header with the checksum's own four bytes as zero."""
    for kind, value in tlvs:
        if kind == TLV_CRC32C:
            zeroed = header[: at + 3] + bytes(len(value)) + header[at + 3 + len(value) :]
            if len(value) != 4 or int.from_bytes(value, "big") != crc32c(zeroed):
                raise Malformed(Why.PROXY_CHECKSUM)
        at += 3 + len(value)


def build_v2(
    source: tuple[str, int] | None,
    destination: tuple[str, int] | None,
    *,
    datagram: bool = False,
    tlvs: tuple[tuple[int, bytes], ...] = (),
    checksum: bool = False,
) -> bytes:
    """A version 2 header; LOCAL where there is no source or destination. ValueError if the families
    differ."""
    if source is None or destination is None:
        command, protocol, addresses = 0x20, 0, b""
    else:
        first, second = ip_address(source[0]), ip_address(destination[0])
        if first.version != second.version:
            raise ValueError(f"one header cannot hold {source[0]} and {destination[0]}: different families")
        command = 0x21
        protocol = (_INET if first.version == 4 else _INET6) << 4 | (_DGRAM if datagram else _STREAM)
        addresses = first.packed + second.packed + struct.pack("!HH", source[1], destination[1])
    body = addresses + b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in tlvs)
    if checksum and addresses:
        body += struct.pack("!BH", TLV_CRC32C, 4) + bytes(4)
    header = SIGNATURE + struct.pack("!BBH", command, protocol, len(body)) + body
    return header[:-4] + crc32c(header).to_bytes(4, "big") if checksum and addresses else header


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli; RFC 3720 appendix B.4), a table lookup per byte: headers are short."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF
