"""The parts of pages that are made from tables: navigation, places, map, files, parameters.

Decides their HTML. Must not know requests, or where the tables come from beyond their rows. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import quote

from cdnlab.world.distance import great_circle_km, round_trip
from cdnlab.world.places import PLACES, Place
from origin.behaviours import PARAMETERS, Parameter
from origin.files import FILES

HOME = PLACES["iad"]  # where the default topology's origins stand
LEFT_OF = frozenset(("cdg", "lhr", "icn", "sjc"))
"""Places whose name stands left of the dot, since another's stands right of it."""
ABOVE = frozenset(("lhr",))


def navigation(path: str, suffix: str, rows: object) -> str:
    """The list of pages, the present one marked; `rows`: [path, name] pairs in order."""
    assert isinstance(rows, list)
    return "".join(_navigation_row(to, name, to == path, suffix) for to, name in rows)


def _navigation_row(to: str, name: str, here: bool, suffix: str) -> str:
    current = ' aria-current="page"' if here else ""
    return f'<li><a href="{to}{suffix}"{current}>{escape(name)}</a></li>'


def elsewhere(places: Sequence[Place], cities: Mapping[str, str]) -> str:
    """Links to be elsewhere; the script gives each its address, since only the browser knows the port it used."""
    return "".join(
        f'<li><a data-place="{escape(place.code)}">{_flagged(place, cities)}</a></li>' for place in places
    )


def _flagged(place: Place, cities: Mapping[str, str]) -> str:
    return f"<b>{escape(cities.get(place.code, place.city))}</b> <small>{escape(place.code)}</small>"


def world(places: Sequence[Place], cities: Mapping[str, str]) -> str:
    """The dots and names on the map, in degrees: x is longitude, y is minus latitude."""
    return "".join(_dot(place, cities) for place in places)


def _dot(place: Place, cities: Mapping[str, str]) -> str:
    x, y = round(place.longitude, 1), round(-place.latitude, 1)
    side = -1 if place.code in LEFT_OF else 1
    anchor = "end" if side < 0 else "start"
    lift = -2.5 if place.code in ABOVE else 1.6
    return (
        f'<a data-place="{escape(place.code)}" tabindex="-1"><circle class="halo" cx="{x}" cy="{y}" r="4.5"/>'
        f'<circle class="dot" cx="{x}" cy="{y}" r="1.7"/>'
        f'<text x="{round(x + 3.2 * side, 1)}" y="{round(y + lift, 1)}" text-anchor="{anchor}">'
        f"{escape(cities.get(place.code, place.city))}</text></a>"
    )


def place_rows(places: Sequence[Place], cities: Mapping[str, str], columns: Mapping[str, str]) -> str:
    """A table row per place: name, code, distance to the origin and the round trip of light in fibre."""
    return "".join(_place_row(place, cities, columns) for place in places)


def _place_row(place: Place, cities: Mapping[str, str], columns: Mapping[str, str]) -> str:
    address = place.prefixes[0].rpartition(".")[0] + ".100" if place.prefixes else "–"
    return (
        f'<tr><th scope="row"><a data-place="{escape(place.code)}">{_flagged(place, cities)}</a></th>'
        f'<td data-label="{columns["address"]}"><code>{escape(address)}</code></td>'
        f'<td data-label="{columns["distance"]}">{great_circle_km(place, HOME):,.0f} km</td>'
        f'<td data-label="{columns["round_trip"]}">{round_trip(place, HOME) * 1000:.0f} ms</td></tr>'
    )


def file_rows(columns: Mapping[str, str]) -> str:
    """A table row per download."""
    return "".join(
        f'<tr><th scope="row"><a href="/files/{file.name}" download>{file.name}</a></th>'
        f'<td data-label="{columns["bytes"]}">{file.size:,}</td>'
        f'<td data-label="SHA-256"><code class="digest">{file.sha256}</code></td></tr>'
        for file in FILES.values()
    )


def parameter_rows(translated: Mapping[str, Sequence[str]], columns: Mapping[str, str]) -> str:
    """A table row per parameter of /behave, with a link that tries its example.

    `translated`: [what it does, what it takes] by name; the parameter's own English where there is none.
    """
    return "".join(_parameter_row(row, translated, columns) for row in PARAMETERS.values())


def _parameter_row(
    row: Parameter, translated: Mapping[str, Sequence[str]], columns: Mapping[str, str]
) -> str:
    query = escape(f"{row.name}={quote(row.example, safe='/:;,')}")
    does, takes = translated.get(row.name, (row.does, row.form))
    return (
        f'<tr id="{row.name}"><th scope="row"><code>{row.name}</code></th>'
        f'<td data-label="{columns["does"]}">{escape(does)}</td>'
        f'<td data-label="{columns["takes"]}">{escape(takes)}</td>'
        f'<td data-label="{columns["example"]}"><a href="/behave?{query}"><code>{query}</code></a></td></tr>'
    )
