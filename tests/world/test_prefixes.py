"""Longest-prefix lookup: rows of (address, place), and against the standard library by property."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdnlab.world import prefixes
from cdnlab.world.places import PLACES
from cdnlab.world.prefixes import PrefixTable

TABLE = PrefixTable(
    [
        ("127.82.1.0/24", "icn"),
        ("127.82.0.0/16", "nrt"),
        ("127.82.1.128/25", "fra"),
        ("127.82.1.200/32", "gru"),
        ("2001:db8::/32", "iad"),
        ("2001:db8:1::/48", "sjc"),
        ("::ffff:10.1.0.0/112", "syd"),
    ]
)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("127.82.1.0", "icn"),
        ("127.82.1.127", "icn"),
        ("127.82.1.128", "fra"),
        ("127.82.1.200", "gru"),
        ("127.82.2.1", "nrt"),
        ("127.83.0.1", None),
        ("::ffff:127.82.1.1", "icn"),
        ("::FFFF:7f52:0101", "icn"),
        ("10.1.255.255", "syd"),
        ("10.2.0.0", None),
        ("2001:db8::1", "iad"),
        ("2001:db8:1::1", "sjc"),
        ("2001:db8:1::1%eth0", "sjc"),
        ("2001:db9::1", None),
        ("::1", None),
        ("", None),
        ("localhost", None),
        ("127.82.1", None),
        ("127.82.1.1:80", None),
        ("127.082.1.1", None),
    ],
)
def test_lookup(address: str, place: str | None) -> None:
    assert TABLE.lookup(address) == place
    assert TABLE.lookup(address) == place, "from memory"


def test_every_shipped_client_address_is_at_its_place() -> None:
    table = PrefixTable((prefix, place.code) for place in PLACES.values() for prefix in place.prefixes)
    for place in PLACES.values():
        network = ip_network(place.prefixes[0])
        assert {table.lookup(str(network[host])) for host in (0, 10, 100, 255)} == {place.code}
    assert table.lookup("127.0.0.1") is None


def test_everywhere_has_a_default_prefix() -> None:
    table = PrefixTable([("0.0.0.0/0", "iad"), ("::/0", "fra"), ("127.0.0.0/8", "icn")])
    assert [table.lookup(address) for address in ("8.8.8.8", "::1", "127.0.0.1")] == ["iad", "fra", "icn"]


def test_a_prefix_given_twice_for_one_place_is_fine() -> None:
    assert PrefixTable([("10.0.0.0/8", "icn"), ("10.0.0.0/8", "icn")]).lookup("10.1.1.1") == "icn"


@pytest.mark.parametrize("items", [[("127.82.1.7/24", "icn")], [("seoul", "icn")], [("10.0.0.0/33", "icn")]])
def test_bad_prefix(items: list[tuple[str, str]]) -> None:
    with pytest.raises(ValueError):
        PrefixTable(items)


def test_a_prefix_of_two_places_is_refused() -> None:
    with pytest.raises(ValueError, match="two places, icn and nrt"):
        PrefixTable([("10.0.0.0/8", "icn"), ("10.0.0.0/8", "nrt")])


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "MEMO_ENTRIES", 10)
    table = PrefixTable([("10.0.0.0/8", "icn")])
    for number in range(100):
        assert table.lookup(str(IPv4Address(f"10.0.0.{number}"))) == "icn"
        assert len(table._memo) <= 10


networks = st.builds(
    lambda bits, length: ip_network((bits >> (32 - length) << (32 - length), length)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@given(
    st.lists(networks, max_size=20, unique=True), st.lists(st.integers(0, 2**32 - 1), max_size=20), st.data()
)
def test_agrees_with_a_search_of_the_list(nets: list[object], seeds: list[int], data: st.DataObject) -> None:
    """The naive rule: of all networks that contain the address, the longest."""
    known = [ip_network(str(net)) for net in nets]
    table = PrefixTable((str(net), f"p{index}") for index, net in enumerate(known))
    inside = [int(net[data.draw(st.integers(0, net.num_addresses - 1))]) for net in known]
    for bits in (*seeds, *inside):
        address = ip_address(bits)
        covering = [(net.prefixlen, index) for index, net in enumerate(known) if address in net]
        expected = f"p{max(covering)[1]}" if covering else None
        assert table.lookup(str(address)) == expected
