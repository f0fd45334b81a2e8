"""The PROXY protocol: both versions, byte by byte, and nothing taken on trust."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdnlab.wire.errors import Malformed, Why
from cdnlab.wire.proxy_protocol import (
    SIGNATURE,
    TLV_CRC32C,
    TLV_NOOP,
    TLV_UNIQUE_ID,
    V2_BYTES,
    Parsed,
    build_v1,
    build_v2,
    crc32c,
    parse,
)

V4 = (("192.0.2.1", 40000), ("198.51.100.2", 443))
V6 = (("2001:db8::1", 40000), ("2001:db8::2", 443))


def parsed(data: bytes) -> Parsed:
    found = parse(data)
    assert found is not None
    return found


V1 = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n", V4),
    (b"PROXY TCP6 2001:db8::1 2001:DB8:0::2 40000 443\r\n", V6),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", (("255.255.255.255", 65535),) * 2),
    (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", (("0.0.0.0", 0),) * 2),
]


@pytest.mark.parametrize("line, ends", V1)
def test_version_1(line: bytes, ends: tuple[tuple[str, int], tuple[str, int]]) -> None:
    found = parsed(line + b"GET / HTTP/1.1\r\n")
    assert (found.version, found.size, found.local) == (1, len(line), False)
    assert (found.source, found.destination) == ends


@pytest.mark.parametrize("rest", [b"", b" ", b" whatever it says", b" TCP4 1.2.3.4"])
def test_version_1_unknown(rest: bytes) -> None:
    line = b"PROXY UNKNOWN" + rest + b"\r\n"
    found = parsed(line)
    assert (found.local, found.source, found.destination, found.size) == (True, None, None, len(line))


def test_the_longest_line_of_version_1() -> None:
    line = b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n"
    assert len(line) == 107
    assert parsed(line).size == 107
    with pytest.raises(Malformed):
        parse(b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n")


BAD = [
    b"GET / HTTP/1.1\r\n",
    b"\r\n\r\nGET",
    b"\x16\x03\x01",
    b"proxy TCP4 ",
    b"PROXY\tTCP4",
    b"PROXY  TCP4 192.0.2.1 198.51.100.2 1 2\r\n",
    b"PROXY TCP4\r\n",
    b"PROXY \r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 -1 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 1 \r\n",
    b"PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n",
    b"PROXY TCP4 192.0.2 198.51.100.2 1 2\r\n",
    b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
    b"PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    b"PROXY TCP6 [::1] ::1 1 2\r\n",
    b"PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n" + b" " * 100,
    b"PROXY " + b"x" * 101,
    b"PROXY TCP4 \xd9\xa1.0.0.1 198.51.100.2 1 2\r\n",
    SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12),  # version 1 in the binary form
    SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12),
    SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),  # neither LOCAL nor PROXY
    SIGNATURE + b"\x21\x41\x00\x0c" + bytes(12),  # unknown family
    SIGNATURE + b"\x21\x13\x00\x0c" + bytes(12),  # unknown transport
    SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11),  # shorter than its addresses
    SIGNATURE + b"\x21\x21\x00\x23" + bytes(35),
    SIGNATURE + b"\x21\x31\x00\xd7" + bytes(215),
    SIGNATURE + b"\x21\x11" + struct.pack("!H", V2_BYTES + 1),
    SIGNATURE + b"\x21\x11\x00\x0e" + bytes(14),  # half a TLV
    SIGNATURE + b"\x21\x11\x00\x10" + bytes(12) + b"\x04\x00\x02\x00",  # a TLV longer than what is left
]


@pytest.mark.parametrize("data", BAD)
def test_bad(data: bytes) -> None:
    with pytest.raises(Malformed) as refusal:
        parse(data)
    assert (refusal.value.code, refusal.value.status) == (Why.PROXY_HEADER, 400)


GOOD = [
    build_v1(*V4),
    build_v1(*V6),
    build_v2(*V4),
    build_v2(*V6, datagram=True),
    build_v2(*V4, tlvs=((TLV_UNIQUE_ID, b"abc"), (TLV_NOOP, b"")), checksum=True),
    build_v2(None, None),
]


@pytest.mark.parametrize("data", GOOD)
def test_every_beginning_asks_for_more(data: bytes) -> None:
    for size in range(len(data)):
        assert parse(data[:size]) is None
    assert parsed(data).size == len(data)
    assert parsed(data + b"\r\n").size == len(data)


@pytest.mark.parametrize("ends", [V4, V6])
@pytest.mark.parametrize("datagram", [False, True])
@pytest.mark.parametrize("checksum", [False, True])
def test_version_2(ends: tuple[tuple[str, int], tuple[str, int]], datagram: bool, checksum: bool) -> None:
    data = build_v2(*ends, datagram=datagram, tlvs=((TLV_UNIQUE_ID, b"abc"),), checksum=checksum)
    found = parsed(data)
    assert (found.version, found.source, found.destination) == (2, *ends)
    assert (found.datagram, found.local) == (datagram, False)
    assert found.tlvs[0] == (TLV_UNIQUE_ID, b"abc")
    assert (len(found.tlvs) == 2) is checksum


def test_the_bytes_of_version_2() -> None:
    assert build_v2(*V4) == SIGNATURE + b"\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x9c\x40\x01\xbb"
    assert SIGNATURE == b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"


LOCAL = [
    build_v2(None, None),
    SIGNATURE + b"\x20\x11\x00\x0c" + bytes(12),  # LOCAL: the addresses must be discarded
    SIGNATURE + b"\x20\x00\x00\x05junk!",
    SIGNATURE + b"\x20\x11\x00\x00",  # also where they are missing, or the family is none
    SIGNATURE + b"\x20\xff\x00\x00",
    SIGNATURE + b"\x21\x00\x00\x05junk!",  # UNSPEC: everything is skipped
    SIGNATURE + b"\x21\x01\x00\x00",
    SIGNATURE + b"\x21\x10\x00\x0c" + bytes(12),
    SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216),  # UNIX: no address we could use
]


@pytest.mark.parametrize("data", LOCAL)
def test_version_2_without_a_client(data: bytes) -> None:
    found = parsed(data + b"GET")
    assert (found.local, found.source, found.destination, found.size) == (True, None, None, len(data))


def test_the_checksum_is_verified_wherever_it_stands() -> None:
    data = build_v2(*V4, checksum=True)
    assert parsed(data).tlvs[-1][0] == TLV_CRC32C
    for place in range(16, len(data) - 7):
        broken = bytearray(data)
        broken[place] ^= 1
        with pytest.raises(Malformed) as refusal:
            parse(bytes(broken))
        assert refusal.value.code is Why.PROXY_CHECKSUM
    body = b"\x7f\x00\x00\x01\x7f\x00\x00\x02\x00\x01\x00\x02"
    head = SIGNATURE + b"\x21\x11" + struct.pack("!H", len(body) + 7 + 4)
    after = b"\x05\x00\x01z"
    value = crc32c(head + body + b"\x03\x00\x04" + bytes(4) + after)
    first = head + body + b"\x03\x00\x04" + struct.pack("!I", value) + after
    assert parsed(first).source == ("127.0.0.1", 1)


@pytest.mark.parametrize("value", [b"", b"\x00", bytes(5)])
def test_a_checksum_of_another_length_is_refused(value: bytes) -> None:
    with pytest.raises(Malformed) as refusal:
        parse(build_v2(*V4, tlvs=((TLV_CRC32C, value),)))
    assert refusal.value.code is Why.PROXY_CHECKSUM


@pytest.mark.parametrize(
    "data, value",
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # RFC 3720 §B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_crc32c(data: bytes, value: int) -> None:
    assert crc32c(data) == value


@pytest.mark.parametrize("build", [build_v1, build_v2])
def test_two_families_in_one_header(build: object) -> None:
    assert callable(build)
    with pytest.raises(ValueError):
        build(V4[0], V6[1])


@given(st.binary(max_size=60), st.sampled_from([b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_no_bytes_raise_anything_else(data: bytes, prefix: bytes) -> None:
    try:
        found = parse(prefix + data)
    except Malformed:
        return
    if found is not None:
        assert found.size <= len(prefix + data)
