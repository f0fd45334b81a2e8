"""How far apart two places are, and how long light in fibre needs for it.

Decides kilometres, seconds and the nearest-first order.
Must not know topologies, nodes, or how a link delays bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import asin, cos, radians, sin, sqrt

from cdnlab.world.places import Place

EARTH_RADIUS_KM = 6371.0088
"""Mean radius R1 of the WGS 84 ellipsoid (Moritz, Geodetic Reference System 1980). Against the ellipsoid's
geodesics, which published tables use, the sphere is at most about 0.56 % off."""

LIGHT_KM_PER_S = 299_792.458
FIBRE_INDEX = 1.468
"""Group index of standard single-mode fibre at 1550 nm (ITU-T G.652 fibres, as their data sheets give it)."""

FIBRE_KM_PER_S = LIGHT_KM_PER_S / FIBRE_INDEX

METRO_ROUND_TRIP = 0.0005
"""Seconds between two hosts of one city: some 50 km of fibre there and back. No link is faster than this."""


def great_circle_km(a: Place, b: Place) -> float:
    """Kilometres over the sphere's surface (haversine, which stays exact for close points)."""
    north = radians(b.latitude - a.latitude)
    east = radians(b.longitude - a.longitude)
    h = sin(north / 2) ** 2 + cos(radians(a.latitude)) * cos(radians(b.latitude)) * sin(east / 2) ** 2
    return 2 * EARTH_RADIUS_KM * asin(min(1.0, sqrt(h)))


def round_trip(a: Place, b: Place, *, stretch: float = 1.0) -> float:
    """Seconds for light in fibre from `a` to `b` and back.

    `stretch` is the length of the cable over that of the great circle: 1.0 is the physical floor; real paths
    have about 1.5 to 2. Within one place, and never below it: METRO_ROUND_TRIP.
    """
    return max(METRO_ROUND_TRIP, 2 * great_circle_km(a, b) * stretch / FIBRE_KM_PER_S)


def nearest_first(place: Place, places: Iterable[Place]) -> list[str]:
    """The codes of `places`, nearest to `place` first (itself at the front if it is one); ties go by code."""
    return [code for _, code in sorted((great_circle_km(place, other), other.code) for other in places)]
