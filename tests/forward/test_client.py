"""Who the client is and where it stands: claims as tables."""

from __future__ import annotations

import pytest

from cdnlab.forward.client import claims, client_address, client_key, forwarded_for, place_of

PLACES = frozenset(("icn", "gru", "fra"))
TRUSTED = frozenset(("10.0.0.1", "10.0.0.2"))


@pytest.mark.parametrize(
    "host, asserted, wished, may_choose, expected",
    [
        (b"a.test", b"", b"", True, ("", "", b"a.test")),
        (b"gru.localhost", b"", b"", True, ("", "gru", b"localhost")),
        (b"gru.localhost:8080", b"", b"", True, ("", "gru", b"localhost:8080")),
        (b"gru.localhost", b"", b"", False, ("", "", b"gru.localhost")),
        (b"xyz.localhost", b"", b"", True, ("", "", b"xyz.localhost")),
        (b"gru.localhost.evil", b"", b"", True, ("", "", b"gru.localhost.evil")),
        (b"a.gru.localhost", b"", b"", True, ("", "", b"a.gru.localhost")),
        (b"localhost", b"", b"", True, ("", "", b"localhost")),
        (b"gru.localhost", b"", b"fra", True, ("", "fra", b"localhost")),
        (b"a.test", b"", b"FRA", True, ("", "fra", b"a.test")),
        (b"a.test", b"", b"nowhere", True, ("", "", b"a.test")),
        (b"a.test", b"", b"fra", False, ("", "", b"a.test")),
        (b"a.test", b"gru", b"", False, ("gru", "", b"a.test")),
        (b"a.test", b"gru, fra", b"", False, ("", "", b"a.test")),
        (b"a.test", b"\xff", b"\xff", True, ("", "", b"a.test")),
    ],
)
def test_claims(
    host: bytes, asserted: bytes, wished: bytes, may_choose: bool, expected: tuple[str, str, bytes]
) -> None:
    index = {name: value for name, value in ((b"cdnlab-place", asserted), (b"cdnlab-from", wished)) if value}
    claim = claims(index, host, PLACES, may_choose)
    assert (claim.asserted, claim.chosen, claim.host) == expected


@pytest.mark.parametrize(
    "asserted, chosen, trusted, place",
    [
        (b"", b"", False, "icn"),
        (b"gru", b"", False, "icn"),
        (b"gru", b"", True, "gru"),
        (b"", b"fra", False, "fra"),
        (b"gru", b"fra", True, "gru"),
        (b"gru", b"fra", False, "fra"),
    ],
)
def test_whose_word_counts(asserted: bytes, chosen: bytes, trusted: bool, place: str) -> None:
    index = {b"cdnlab-place": asserted, b"cdnlab-from": chosen}
    assert place_of(claims(index, b"a", PLACES, True), "icn", trusted) == place


@pytest.mark.parametrize(
    "peer, value, address",
    [
        ("1.1.1.1", b"2.2.2.2", "1.1.1.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", b"2.2.2.2", "2.2.2.2"),
        ("10.0.0.1", b"3.3.3.3, 2.2.2.2", "2.2.2.2"),
        ("10.0.0.1", b"3.3.3.3, 10.0.0.2", "3.3.3.3"),
        ("10.0.0.1", b"10.0.0.2,10.0.0.1", "10.0.0.2"),
        ("10.0.0.1", b"2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", b"3.3.3.3, unknown", "10.0.0.1"),
        ("10.0.0.1", b"\x1b[31m", "10.0.0.1"),
        ("10.0.0.1", b",", "10.0.0.1"),
        ("10.0.0.1", b"1" * 50, "10.0.0.1"),
        ("10.0.0.1", b"1.1.1.1:4711, 10.0.0.2:99", "1.1.1.1"),
        ("10.0.0.1", b"[2001:db8::1]:4711", "2001:db8::1"),
    ],
)
def test_the_clients_address(peer: str, value: bytes | None, address: str) -> None:
    assert client_address(peer, peer in TRUSTED, value, TRUSTED) == address


def test_the_chain_that_is_sent_on() -> None:
    lines = ((b"x-forwarded-for", b"1.1.1.1, 2.2.2.2"), (b"cookie", b"a"), (b"x-forwarded-for", b"3.3.3.3"))
    assert forwarded_for("9.9.9.9", False, lines) == b"9.9.9.9"
    assert forwarded_for("9.9.9.9", True, lines) == b"1.1.1.1, 2.2.2.2, 3.3.3.3, 9.9.9.9"
    assert forwarded_for("9.9.9.9", True, ()) == b"9.9.9.9"


@pytest.mark.parametrize(
    "address,key",
    [
        ("192.0.2.7", b"\xc0\x00\x02\x07"),
        ("::ffff:192.0.2.7", b"\xc0\x00\x02\x07"),
        ("2001:db8:1:2:3:4:5:6", bytes.fromhex("20010db800010002")),
        ("2001:db8:1:2::", bytes.fromhex("20010db800010002")),
        ("fe80::1%eth0", bytes.fromhex("fe80000000000000")),
        ("", b""),
        ("unix", b"unix"),
    ],
)
def test_what_makes_one_client(address: str, key: bytes) -> None:
    assert client_key(address) == key
