"""How `explain` shows an edge's answer: what it would do, why, with what, and whom it would ask. Pure but for printing.

It decides words and layout only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from cdnlab.lab import tables
from cdnlab.plan.topology import Topology

Json = Mapping[str, Any]


def show(found: Json, question: Json, topology: Topology, silent: Sequence[Json]) -> None:
    """Print the answer for a person."""
    console = tables.console()
    console.print(_headline(found, question, topology), soft_wrap=True)
    for each in silent:
        console.print(Text(f"passed over {each['node']}: {tables.printable(each['why'])}", style="yellow"))
    console.print()
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column()
    for title, text in rows(found):
        grid.add_row(title, Text(tables.printable(text), style=_style(title, found)))
    console.print(grid)


def _headline(found: Json, question: Json, topology: Topology) -> Text:
    name = str(found["node"])
    where = topology.all_places.get(topology.node(name).place or "")
    text = Text.assemble((str(question["method"]), "bold"), " ", tables.printable(question["url"]))
    if where is None and not topology.distance.enabled:  # one edge by itself: nobody stands anywhere
        return text.append(f"  at {name}", style="dim")
    stands = topology.place(str(question["place"]))
    city = f" in {where.city} ({where.code})" if where is not None else ""
    return text.append(f"  at {name}{city}, for a client in {stands.city} ({stands.code})", style="dim")


def _style(title: str, found: Json) -> str:
    return tables.result_style(str(found["result"])) if title == "result" else ""


def rows(found: Json) -> Iterator[tuple[str, str]]:
    """(title, text) of each line."""
    told = f"{found['result']}: {found['result_sentence']}"
    if found["validates"] and not found["behind"]:
        told += "; or revalidated, if the origin says that it is still good"
    yield "result", told
    names = [str(found[name]) for name in ("reason", "not_stored") if found[name]]
    yield "because", f"{found['sentence']}{' (' + ', '.join(names) + ')' if names else ''}"
    yield "key", str(found["key"])
    if found["vary"]:
        yield "chosen by", _variant(found)
    stored = found["stored"]
    yield (
        "stored",
        _stored(stored) if stored is not None else "nothing that this request could be answered from",
    )
    if stored is not None and (stored["tags"] or stored["groups"]):
        yield "tags", " ".join([*stored["tags"], *stored["groups"]])
    if found["status"]:
        yield "answers", str(found["status"])
    if found["joins"]:
        yield "waits for", "the fetch that another request has begun"
    for number, way in enumerate(found["asks"]):
        title = "asks" if number == 0 else "or, if that fails"
        yield ("asks behind" if found["behind"] else title), _way(way, found)


def _variant(found: Json) -> str:
    chosen = found["chosen_by"]
    told = [f"{name}: {chosen[name]}" if name in chosen else f"no {name}" for name in found["vary"]]
    return f"{', '.join(told)} ({tables.count(found['variants'])} stored)"


def _stored(stored: Json) -> str:
    left = float(stored["left"])
    by = f" by {'CDN-Cache-Control: ' if stored['targeted'] else ''}{stored['by']}"
    parts = [
        f"{stored['status']}, {tables.size(stored['size'])}{' of it in parts' if stored['partial'] else ''}",
        f"age {stored['age']:.1f} s, lifetime {stored['lifetime']:.0f} s{by}",
        f"{left:.1f} s left" if left > 0 else f"stale for {-left:.1f} s",
    ]
    if stored["purged_softly"]:
        parts.append("purged softly")
    if stored["codings"]:
        parts.append(f"also as {', '.join(stored['codings'])}")
    return "; ".join(parts)


def _way(way: Json, found: Json) -> str:
    usable = [one["name"] for one in way["backends"] if one["usable"]]
    down = [f"{one['name']} not ({one['why']})" for one in way["backends"] if not one["usable"]]
    whom = way["first"] or " or ".join(usable) or "nobody usable"
    told = [f"{way['parent']}: {whom}" if way["parent"] else f"{whom}, of the pool {way['pool']}"]
    told += down
    if found["validates"]:
        told.append("with the validators of what is stored")
    if not way["stores"]:
        told.append("what comes is not stored here")
    elif way["briefly"]:
        told.append("what comes is stored for a moment")
    return "; ".join(told)
