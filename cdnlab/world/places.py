"""The places of the world that ship with the lab: twelve cities on six continents.

Decides where a city lies and which loopback addresses stand for its clients and nodes.
Must not know topologies (they may move a place or add one), nodes, or sockets.

Positions are those of the airport whose IATA code names the place, so that distances can be held against
published great-circle tables. Addresses are `127.<code>.<site>.<host>`: the code is one we assign, the
country calling code where it fits an octet. Nodes take .10 and up, clients .100 and up.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A city: IATA code, ISO 3166-1 country code, position in degrees (north, east positive), prefixes."""

    code: str
    country_code: str
    city: str
    country: str
    continent: str
    latitude: float
    longitude: float
    prefixes: tuple[str, ...]


_TABLE = (
    Place("icn", "KR", "Seoul", "South Korea", "Asia", 37.4691, 126.4505, ("127.82.1.0/24",)),
    Place("nrt", "JP", "Tokyo", "Japan", "Asia", 35.7647, 140.3864, ("127.81.1.0/24",)),
    Place("sin", "SG", "Singapore", "Singapore", "Asia", 1.3502, 103.9944, ("127.65.1.0/24",)),
    Place("bom", "IN", "Mumbai", "India", "Asia", 19.0887, 72.8679, ("127.91.1.0/24",)),
    Place("fra", "DE", "Frankfurt", "Germany", "Europe", 50.0264, 8.5431, ("127.49.1.0/24",)),
    Place("lhr", "GB", "London", "United Kingdom", "Europe", 51.4706, -0.4619, ("127.44.1.0/24",)),
    Place("cdg", "FR", "Paris", "France", "Europe", 49.0128, 2.5500, ("127.33.1.0/24",)),
    Place("iad", "US", "Ashburn", "United States", "North America", 38.9445, -77.4558, ("127.1.1.0/24",)),
    Place("sjc", "US", "San Jose", "United States", "North America", 37.3626, -121.9290, ("127.1.2.0/24",)),
    Place("gru", "BR", "São Paulo", "Brazil", "South America", -23.4356, -46.4731, ("127.55.1.0/24",)),
    Place("syd", "AU", "Sydney", "Australia", "Oceania", -33.9461, 151.1772, ("127.61.1.0/24",)),
    Place("jnb", "ZA", "Johannesburg", "South Africa", "Africa", -26.1392, 28.2460, ("127.27.1.0/24",)),
)

PLACES: dict[str, Place] = {place.code: place for place in _TABLE}
