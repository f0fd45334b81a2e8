"""What `cdnlab status` says of routes that limit, split or mirror their requests. Text only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from cdnlab.lab import tables

Json = Mapping[str, Any]


def traffic(nodes: Sequence[Json]) -> list[RenderableType]:
    """One line for each thing that a route does at a balancer; [] where no route does anything."""
    rows = [
        (str(row.get("route")), tables.name(node), words)
        for node in nodes
        if node.get("running") is not False and not node.get("paused")
        for row in node.get("traffic") or []
        for words in _words(row)
    ]
    if not rows:
        return []
    table = tables.plain_table("route", "at", "how")
    table.show_header = False
    table.columns[-1].no_wrap = False
    for route, where, words in rows:
        table.add_row(f"  {route}", where, Text(words))
    return ["", Text("Routes", style="bold"), table]


def _words(row: Json) -> Iterator[str]:
    limit, split, mirror = row.get("rate_limit"), row.get("split"), row.get("mirror")
    if limit:
        together = ", counted by all balancers together" if limit.get("shared") else ""
        yield (
            f"at most {limit.get('requests'):g}/s for a client, {limit.get('burst')} at once{together}: "
            f"{limit.get('passed')} passed, {limit.get('refused')} refused, clients known: {limit.get('clients')}"
        )
    if split:
        shares = ", ".join(
            f"{each.get('share'):.3g} to {each.get('pool')} ({each.get('requests')} requests)"
            for each in split
        )
        yield f"split: {shares}"
    if mirror:
        copies = ", ".join(f"{count} {how}" for how, count in (mirror.get("copies") or {}).items())
        yield (
            f"copies {mirror.get('share'):.3g} to {mirror.get('pool')}: {copies or 'none so far'}, "
            f"{mirror.get('in_flight')} under way"
        )
