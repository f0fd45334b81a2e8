"""The shipped places: twelve, on six continents, each with a prefix of its own on loopback."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from cdnlab.world.places import PLACES, Place


def test_twelve_places_on_six_continents() -> None:
    assert len(PLACES) == 12
    assert {place.continent for place in PLACES.values()} == {
        "Asia", "Europe", "North America", "South America", "Oceania", "Africa",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("code", "prefix"),
    [
        ("icn", "127.82.1.0/24"), ("nrt", "127.81.1.0/24"), ("fra", "127.49.1.0/24"), ("iad", "127.1.1.0/24"),
        ("sjc", "127.1.2.0/24"), ("gru", "127.55.1.0/24"), ("lhr", "127.44.1.0/24"), ("sin", "127.65.1.0/24"),
        ("syd", "127.61.1.0/24"), ("jnb", "127.27.1.0/24"), ("bom", "127.91.1.0/24"), ("cdg", "127.33.1.0/24"),
    ],
)  # fmt: skip
def test_prefixes_are_as_promised(code: str, prefix: str) -> None:
    assert PLACES[code].prefixes == (prefix,)


@pytest.mark.parametrize("place", PLACES.values(), ids=lambda place: place.code)
def test_each_place_is_complete(place: Place) -> None:
    assert PLACES[place.code] is place
    assert len(place.code) == 3
    assert len(place.country_code) == 2
    assert place.city
    assert place.country
    assert -90 < place.latitude < 90
    assert -180 < place.longitude < 180


def test_no_prefix_covers_the_vip_or_the_balancers() -> None:
    """A client without a place stands at the default one; so must the addresses that have none."""
    networks = [ip_network(prefix) for place in PLACES.values() for prefix in place.prefixes]
    for address in ("127.0.0.1", "127.0.1.10", "127.0.1.11"):
        assert not any(ip_address(address) in network for network in networks)
