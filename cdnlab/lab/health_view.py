"""What `cdnlab status` says of pools beyond who is passed over: panic, and who starts slowly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from cdnlab.lab import tables

Json = Mapping[str, Any]


def pools(nodes: Sequence[Json]) -> list[RenderableType]:
    """Pools that panic, and backends that have a part of their weight only; [] for none."""
    running = [node for node in nodes if node.get("running") is not False and not node.get("paused")]
    found: dict[tuple[str, str], list[str]] = {}
    for node in running:
        for pool in node.get("pools") or []:
            if pool.get("panic"):
                words = f"panics: {pool.get('usable')} of {pool.get('backends')} backends are usable, so all are used"
                found.setdefault((f"pool {pool.get('pool')}", words), []).append(tables.name(node))
        for backend in node.get("backends") or []:
            share, weight = tables.number(backend.get("share")), tables.number(backend.get("weight"))
            if backend.get("usable") and share is not None and weight and share < weight:
                words = f"starts slowly: {share / weight:.0%} of its weight"
                found.setdefault((str(backend.get("name")), words), []).append(tables.name(node))
    if not found:
        return []
    table = tables.plain_table("what", "at", "how")
    table.show_header = False
    table.columns[-1].no_wrap = False
    for (name, words), where in found.items():
        table.add_row(Text(f"  {name}", style="yellow"), ", ".join(where), Text(words))
    return ["", Text("Pools", style="bold"), table]
