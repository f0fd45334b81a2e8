"""How faults look in a terminal: the answer of `cdnlab fault`, and the lines of `cdnlab status`. Text only."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.text import Text

from cdnlab.lab import tables

Json = Mapping[str, Any]


def shown(rows: Sequence[Json], store: bool) -> str:
    """One line per node: what is set there; of the store, if `store`, or beside it."""
    width = max((len(row["node"]) for row in rows), default=0)
    return "\n".join(f"{row['node']:<{width}}  {_line(row, store)}" for row in rows)


def _line(row: Json, store: bool) -> str:
    if row["why"]:
        return f"not reached: {row['why']}"
    own, of_store = words(row["faults"]), words(row["store_faults"])
    if store:
        return f"store: {of_store}" if of_store else "store: no faults"
    beside = f"store: {of_store}" if of_store else ""
    return "; ".join(part for part in (own, beside) if part) or "no faults"


def words(setting: Json | None) -> str:
    """A set of faults and the time that is left of it; "" for none."""
    if not setting:
        return ""
    until = tables.number(setting.get("until"))
    left = "" if until is None else f", {max(0.0, until - time.time()):.0f} s left"
    return f"{setting.get('words')}{left}"


def faults(nodes: Iterable[Json]) -> list[Text]:
    """The lines of `cdnlab status`: which nodes have faults, and who meets which of the store."""
    lines = []
    for kind, of in (("faults", ""), ("store_faults", "store, at ")):
        found: dict[str, list[str]] = {}
        for node in _running(nodes):
            if said := words(node.get(kind)):
                found.setdefault(said, []).append(tables.name(node))
        lines += [
            Text.assemble(("Faults ", "bold"), (f"{of}{', '.join(names)}: {said}", "yellow"))
            for said, names in found.items()
        ]
    return lines


def degraded(nodes: Iterable[Json]) -> list[Text]:
    """The lines of `cdnlab status`: what works less well without the store, where, and what that means."""
    found: dict[tuple[str, str], list[str]] = {}
    for node in _running(nodes):
        for row in node.get("degraded") or []:
            key = str(row.get("feature")), str(row.get("sentence"))
            found.setdefault(key, []).append(tables.name(node))
    return [
        Text.assemble(
            ("Less   ", "bold"), (feature, "yellow"), f": {sentence} ", (f"({', '.join(names)})", "dim")
        )
        for (feature, sentence), names in found.items()
    ]


def _running(nodes: Iterable[Json]) -> Iterable[Json]:
    return (node for node in nodes if node.get("running") is not False and not node.get("paused"))
