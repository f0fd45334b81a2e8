"""What `cdnlab status` says of failures that clients did not see, or did: per node and pool, where there were any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from cdnlab.lab import tables

Json = Mapping[str, Any]

#: What is shown, in this order, and in which words: (key of the row, words for that many).
_COUNTS = (
    ("retries", "sent again"),
    ("moved", "moved off a backend that had gone"),
    ("hedges", "sent twice at a time"),
    ("pending", "waiting for a backend with room"),
    ("turned_away", "turned away since none had room"),
)


def resilience(nodes: Sequence[Json]) -> list[RenderableType]:
    """A line for each node and pool in which something was done about failures; [] for none."""
    rows = [
        (tables.name(node), str(row.get("pool")), said)
        for node in nodes
        if node.get("running") is not False and not node.get("paused")
        for row in node.get("resilience") or []
        if (said := words(row))
    ]
    if not rows:
        return []
    table = tables.plain_table("pool", "at", "what")
    table.show_header = False
    table.columns[-1].no_wrap = False
    for node, pool, said in rows:
        table.add_row(f"  {pool}", node, Text(said))
    return ["", Text("Requests that met a failure or a limit", style="bold"), table]


def words(row: Json) -> str:
    """`3 sent again, 2 not sent again (budget)`; "" where there was nothing."""
    said = [f"{row[key]} {meaning}" for key, meaning in _COUNTS if row.get(key)]
    for key, meaning in (("refused", "not sent again"), ("cut", "cut after the head")):
        counts: Json = row.get(key) or {}
        if counts:
            said.append(f"{sum(counts.values())} {meaning} ({', '.join(counts)})")
    return ", ".join(said)
