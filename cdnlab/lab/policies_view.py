"""How `cdnlab status --policies` looks: each edge's policy, and what the hit ratio would have been under others. Pure.

It reads the `storage` of each edge's /status. It must not know how a shadow works.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cdnlab.lab import tables

Json = Mapping[str, Any]

COLUMNS = ("policy", "", "requests", "hit ratio", "byte hit ratio", "objects", "evictions")
_KEPT = ("policy", "changing", "policies")


def of_status(answer: Json) -> list[dict[str, Any]]:
    """[{"node", "policy", "changing", "policies"}] of every edge that says something of its storage."""
    found = []
    for node in answer.get("nodes") or []:
        storage = node.get("storage")
        if node.get("tier") == "edge" and storage and node.get("running") is not False:
            found.append({"node": tables.name(node), **{key: storage.get(key) for key in _KEPT}})
    return found


def render(edges: Iterable[Json]) -> RenderableType:
    """A table per edge; the real policy first, then the best shadow."""
    parts: list[RenderableType] = []
    for edge in edges:
        if parts:
            parts.append("")
        parts += _edge(edge)
    return Group(*parts) if parts else Text("No edge says anything of its storage.")


def _edge(edge: Json) -> Iterable[RenderableType]:
    policies: Json | None = edge.get("policies")
    head = Text.assemble((str(edge["node"]), "bold"), f"  {edge['policy']} decides")
    if edge.get("changing"):
        head.append(", objects are still being handed over to it", style="yellow")
    if policies and policies["one_in"] > 1:
        head.append(f"; counted over one in {policies['one_in']} keys", style="dim")
    yield head
    if policies is None:
        yield Text("  no shadows (edge.shadows)", style="dim")
        return
    table = tables.plain_table(*COLUMNS, right=list(COLUMNS[2:]))
    real = policies["real"]
    table.add_row(*_row(real, Text("real", style="green")))
    best = max((row["hit_ratio"] or 0.0 for row in policies["shadows"]), default=0.0)
    for row in sorted(policies["shadows"], key=lambda each: -(each["hit_ratio"] or 0.0)):
        ahead = (row["hit_ratio"] or 0.0) == best > (real["hit_ratio"] or 0.0)
        table.add_row(*_row(row, Text("shadow", style="bold" if ahead else "dim")))
    yield table


def _row(row: Json, role: Text) -> list[str | Text]:
    return [
        f"  {row['policy']}",
        role,
        tables.count(row["requests"]),
        tables.percent(row["hit_ratio"]),
        tables.percent(row["byte_hit_ratio"]),
        tables.count(row["objects"]),
        tables.count(row["evictions"]),
    ]
