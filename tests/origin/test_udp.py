"""The origin's UDP: the echo that says what it sees, and DNS, with good and bad datagrams."""

from __future__ import annotations

import asyncio
import random
import socket

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from cdnlab.plan.load import load
from origin.dns import LARGEST, Zone
from origin.udp_echo import UdpPort, echo

PEER = ("127.0.1.10", 40000)


@pytest.fixture(scope="module")
def zone() -> Zone:
    return Zone(load(), "origin-1")


def asked(zone: Zone, name: str, kind: str, **options: object) -> dns.message.Message:
    query = dns.message.make_query(name, kind, **options)
    said = zone.answer(query.to_wire(), PEER)
    assert said is not None
    reply = dns.message.from_wire(said)
    assert query.is_response(reply)
    return reply


@pytest.mark.parametrize(
    ("name", "kind", "records"),
    [
        ("icn.cdn.test.", "A", ["127.82.1.10"]),
        ("ICN.cdn.test.", "A", ["127.82.1.10"]),
        ("iad.cdn.test.", "A", ["127.1.1.10"]),
        ("icn.cdn.test.", "TXT", ['"Seoul"']),
        ("edge-fra.cdn.test.", "A", ["127.49.1.10"]),
        ("icn.cdn.test.", "ANY", ["127.82.1.10", '"Seoul"']),
        ("whoami.cdn.test.", "A", ["127.0.1.10"]),
        ("whoami.", "TXT", ['"127.0.1.10:40000"']),
        ("icn.cdn.test.", "AAAA", []),
        ("icn.cdn.test.", "MX", []),
    ],
)
def test_records(zone: Zone, name: str, kind: str, records: list[str]) -> None:
    reply = asked(zone, name, kind)
    assert reply.rcode() == dns.rcode.NOERROR
    assert reply.flags & dns.flags.AA
    assert [record.to_text() for rows in reply.answer for record in rows] == records
    assert [record.to_text() for rows in reply.additional for record in rows] == ['"answered by origin-1"']


def test_what_is_not_known_or_not_done(zone: Zone) -> None:
    assert asked(zone, "nowhere.cdn.test.", "A").rcode() == dns.rcode.NXDOMAIN
    assert asked(zone, ".", "A").rcode() == dns.rcode.NXDOMAIN
    assert asked(zone, "icn.cdn.test.", "A", rdclass="CH").rcode() == dns.rcode.REFUSED
    query = dns.message.make_query("icn.cdn.test.", "A")
    query.set_opcode(2)
    said = zone.answer(query.to_wire(), PEER)
    assert said is not None
    assert dns.message.from_wire(said).rcode() == dns.rcode.NOTIMP


def test_an_answer_gets_no_answer_and_rubbish_a_format_error_at_most(zone: Zone) -> None:
    query = dns.message.make_query("icn.cdn.test.", "A")
    reply = zone.answer(query.to_wire(), PEER)
    assert reply is not None
    assert zone.answer(reply, PEER) is None
    assert zone.answer(b"", PEER) is None
    assert zone.answer(b"x" * 11, PEER) is None
    rng = random.Random(8)
    good = query.to_wire()
    for _ in range(3000):
        data = bytearray(good if rng.random() < 0.7 else rng.randbytes(rng.randrange(80)))
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        said = zone.answer(bytes(data), PEER)
        assert said is None or (len(said) <= LARGEST and said[2] & 0x80 and not data[2] & 0x80)


def test_an_answer_that_is_too_large_says_so() -> None:
    zone = Zone(load(), "origin-1")
    zone.addresses["many"] = [f"10.0.{number // 250}.{number % 250}" for number in range(400)]
    assert asked(zone, "many.cdn.test.", "A").flags & dns.flags.TC


def test_the_echo_says_what_it_sees() -> None:
    assert echo("origin-1", "127.1.1.20:8082", b"hello", PEER) == (
        b"from 127.0.1.10:40000 to 127.1.1.20:8082 node origin-1\nhello"
    )
    assert echo("o", "[::2]:1", b"", ("::1", 5, 0, 0)) == b"from [::1]:5 to [::2]:1 node o\n"
    assert echo("o", "[::2]:1", b"from [::1]:5 to [::2]:1 node p\nhello", PEER) is None  # it has an end
    largest = echo("n" * 60, "[2001:db8::1]:65535", bytes(65507), ("::1", 5))
    assert largest is not None
    assert len(largest) <= 65507


async def test_a_port_answers_on_a_real_socket(zone: Zone) -> None:
    port = UdpPort(zone.answer)
    host, number = port.open("127.0.0.1", 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for data in (b"", b"\xff" * 500, random.Random(2).randbytes(60000)):
            stranger.sendto(data, (host, number))
    query = dns.message.make_query("icn.cdn.test.", "A")
    reply = await asyncio.to_thread(dns.query.udp, query, host, 10.0, number)
    assert str(reply.answer[0][0]) == "127.82.1.10"
    with pytest.raises(OSError):
        UdpPort(zone.answer).open(host, number)
    port.close()
    port.close()
