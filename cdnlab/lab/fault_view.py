"""How faults look in a terminal: the answer of `cdnlab fault`, and the lines of `cdnlab status`. Text only."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
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


def faults(nodes: Sequence[Json]) -> list[RenderableType]:
    """What `cdnlab status` says of faults: which nodes have some, and who meets which of the store; [] for none."""
    found: dict[tuple[str, str], list[str]] = {}
    running = [node for node in nodes if node.get("running") is not False and not node.get("paused")]
    for node in running:
        if said := words(node.get("faults")):
            found[tables.name(node), said] = []
        if said := words(node.get("store_faults")):
            found.setdefault(("store", said), []).append(tables.name(node))
    rows = [
        (name, said if len(where) in (0, len(running)) else f"{said} (at {', '.join(where)})")
        for (name, said), where in found.items()
    ]
    return _listed("Faults that were set", rows)


def degraded(nodes: Sequence[Json]) -> list[RenderableType]:
    """What `cdnlab status` says of a store that is away: what works less well, and what that means; [] for nothing."""
    found: dict[str, str] = {}
    for node in nodes:
        if node.get("running") is not False and not node.get("paused"):
            for row in node.get("degraded") or []:
                found.setdefault(str(row.get("feature")), str(row.get("sentence")))
    return _listed("Less well while the store is away", list(found.items()))


def _listed(title: str, rows: Sequence[tuple[str, str]]) -> list[RenderableType]:
    if not rows:
        return []
    table = tables.plain_table("what", "how")
    table.show_header = False
    table.columns[-1].no_wrap = False
    for name, words in rows:
        table.add_row(Text(f"  {name}", style="yellow"), Text(words))
    return ["", Text(title, style="bold"), table]
