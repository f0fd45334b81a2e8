"""The explanation of one request, as a person reads it: each station, the time at it, the way to it, and why. Pure.

It turns the members of `Cdnlab-Hop` and the client's own clock into stations, and stations into lines. Times are
differences of what each node measured by itself: time at a node is its total less its upstream's; time on the way
is what one node waited for the next, less that one's total. It must not know sockets or the lab's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table
from rich.text import Text

from cdnlab.forward.explain import Hop
from cdnlab.lab import tables
from cdnlab.plan.topology import Topology
from cdnlab.pool.reasons import Reason
from cdnlab.world.distance import great_circle_km, round_trip

#: Reasons that are a comparison and not a fault, and what they make of the one that was chosen.
WHY: dict[str, str] = {
    Reason.FARTHER: ", the nearest usable one",
    Reason.BUSIER: ", the least busy one",
    Reason.TURN: ", whose turn it was",
    Reason.NOT_OWNER: ", whose key it is",
    Reason.CHANCE: ", which was drawn",
    Reason.COSTLIER: ", the better of two that were drawn",
    Reason.STANDBY: ", the active one",
    Reason.NOT_KEPT: ", which keeps this client",
}


FORWARDED = "forwarded"
"""The result of every balancer whose request went well: not worth a line."""

#: How the candidates that came after the chosen one are introduced.
AFTER: dict[str, str] = {
    Reason.FARTHER: "next nearest",
    Reason.BUSIER: "busier",
    Reason.TURN: "next in turn",
    Reason.NOT_OWNER: "next for the key",
    Reason.CHANCE: "not drawn",
    Reason.COSTLIER: "not drawn, or worse",
    Reason.STANDBY: "standing by",
    Reason.NOT_KEPT: "not asked",
}

SENTENCES: dict[str, str] = {reason: reason.sentence for reason in Reason}


@dataclass(slots=True)
class Station:
    """One place on the way of the request. Times in seconds, None where nobody measured."""

    name: str
    what: str
    way: float | None = None
    """Time on the way from the station before, there and back."""
    way_note: str = ""
    here: float | None = None
    result: str = ""
    notes: list[str] = field(default_factory=list)
    passed: list[tuple[str, str]] = field(default_factory=list)
    """(candidate, reason) for each one that this station did not choose; reasons by name."""


def stations(
    hops: Sequence[Hop], topology: Topology, place: str, source: str, waited: float
) -> list[Station]:
    """The stations from the client at `place` to the last one that is known.

    `hops` in the order they were appended, the origin's first; `waited` is the time from the connection to the
    head of the answer, in seconds, by the client's clock.
    """
    found = [Station("client", f"{_where(topology, place)}{', ' + source if source else ''}")]
    before, before_place = waited, place
    for hop in reversed(hops):
        here = hop.place or before_place
        station = Station(hop.node, _what(topology, hop, place), result=hop.result)
        station.way = max(0.0, before - hop.total / 1e6)
        station.way_note = _distance(topology, before_place, here)
        station.here = max(0, hop.total - hop.upstream) / 1e6
        station.notes = _notes(hop)
        station.passed = list(hop.passed)
        found.append(station)
        before, before_place = hop.upstream / 1e6, here
    if hops and hops[0].upstream and hops[0].tier != "origin":
        found.append(_beyond(topology, hops[0], before, before_place))
    return found


def sentence(reason: str) -> str:
    """The sentence that belongs to a reason's name; its words where it is not one of the pool's."""
    known = SENTENCES.get(reason)
    return known if known is not None else reason.replace("_", " ")


def _beyond(topology: Topology, hop: Hop, waited: float, place: str) -> Station:
    """The station that answered `hop` without a word of its own: an origin that is not ours."""
    name = hop.choice or "origin"
    there = next((b.place for b in topology.backends(topology.edge.pool) if b.name == name), None)
    note = f"and in it {_distance(topology, place, there or place)}".rstrip()
    return Station(name, f"origin {_where(topology, there)}".strip(), waited, note)


def _what(topology: Topology, hop: Hop, place: str) -> str:
    if hop.tier == "lb" and not hop.place:
        return f"balancer, stands where the client stands ({hop.client_place or place})"
    kind = {"lb": "balancer", "edge": "edge", "origin": "origin"}.get(hop.tier, hop.tier)
    return f"{kind} {_where(topology, hop.place)}".strip()


def _where(topology: Topology, code: str | None) -> str:
    if not code:
        return ""
    known = topology.all_places.get(code)
    return f"in {known.city} ({code})" if known else f"at {code}"


def _notes(hop: Hop) -> list[str]:
    notes = []
    if hop.cache or hop.result not in ("", FORWARDED):
        notes.append(": ".join(part for part in (hop.result, hop.cache) if part))
    if hop.choice:
        because = next((WHY[reason] for _, reason in hop.passed if reason in WHY), "")
        notes.append(f"chose {hop.choice}{because}")
    return notes


def _distance(topology: Topology, here: str, there: str) -> str:
    """How far it is, and what light needs for it, if distance is felt between two different places."""
    places = topology.all_places
    if here == there or here not in places or there not in places:
        return ""
    km = f"{here}–{there} {great_circle_km(places[here], places[there]):,.0f} km"
    if not topology.distance.enabled:
        return f"({km}, not felt)"
    rtt = round_trip(places[here], places[there], stretch=topology.distance.stretch)
    return f"({km}, round trip {tables.millis(rtt)})"


# ---- lines ----


def render(path: Sequence[Station]) -> Table:
    """The stations, one below the other."""
    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(ratio=1)
    for station in path:
        if station.way is not None:
            note = f"on the way{' ' + station.way_note if station.way_note else ''}"
            table.add_row(*(Text(t, style="dim") for t in ("│", tables.millis(station.way), note)))
        head = Text.assemble(("● ", tables.result_style(station.result) or "blue"), (station.name, "bold"))
        table.add_row(head, "" if station.here is None else tables.millis(station.here), station.what)
        for note in station.notes:
            style = tables.result_style(station.result) if note.startswith(station.result or "\0") else ""
            table.add_row(Text("│", style="dim"), "", Text(note, style=style))
        for text in _passed(station):
            table.add_row(Text("│", style="dim"), "", text)
    return table


def _passed(station: Station) -> list[Text]:
    """One line per reason: faults stand out, comparisons don't."""
    grouped: dict[str, list[str]] = {}
    for name, reason in station.passed:
        grouped.setdefault(reason, []).append(name)
    faults = [
        Text(f"passed over {', '.join(names)}: {sentence(reason)}", style="yellow")
        for reason, names in grouped.items()
        if reason not in WHY
    ]
    others = [
        Text(f"{AFTER[reason]} {', '.join(names)}", style="dim")
        for reason, names in grouped.items()
        if reason in WHY
    ]
    return faults + others


def as_json(path: Sequence[Station]) -> list[dict[str, Any]]:
    """The stations as plain data."""
    return [
        {**asdict(s), "passed": [{"name": n, "reason": why, "why": sentence(why)} for n, why in s.passed]}
        for s in path
    ]
