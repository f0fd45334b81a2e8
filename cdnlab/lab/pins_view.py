"""What `cdnlab status` says of pools that keep their clients. Text only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from cdnlab.lab import tables

Json = Mapping[str, Any]

_BY = {"cookie": "by a cookie of ours", "source": "by address", "learn": "by the application's cookie"}


def pins(nodes: Sequence[Json]) -> list[RenderableType]:
    """One line for each pool whose clients are kept, counted over all nodes; [] where none is."""
    found: dict[str, list[Json]] = {}
    for node in nodes:
        if node.get("running") is not False and not node.get("paused"):
            for row in (node.get("pins") or {}).get("pools") or []:
                found.setdefault(str(row.get("pool")), []).append(row)
    if not found:
        return []
    table = tables.plain_table("pool", "how")
    table.show_header = False
    table.columns[-1].no_wrap = False
    for pool, rows in sorted(found.items()):
        table.add_row(f"  {pool}", Text("; ".join(_words(rows))))
    return ["", Text("Sticky sessions", style="bold"), table]


def _words(rows: Sequence[Json]) -> Iterator[str]:
    mode = str(rows[0].get("mode"))
    yield f"{_BY.get(mode, mode)}, {_sum(rows, 'made')} clients pinned"
    held = max(
        int(row.get("pins") or 0) for row in rows
    )  # each node has the same table, as far as it was told
    if held or mode != "cookie":
        yield f"{held} of at most {max(int(row.get('most') or 0) for row in rows)} in the table"
    for name, word in (("repins", "moved"), ("refused", "cookies refused")):
        why: Counter[str] = Counter()
        for row in rows:
            why.update(row.get(name) or {})
        if why:
            told = ", ".join(f"{count} {reason}" for reason, count in sorted(why.items()))
            yield f"{why.total()} {word} ({told})"
    evicted = _sum(rows, "evicted")
    if evicted:
        yield f"{evicted} forgotten too early, since the table was full"


def _sum(rows: Sequence[Json], name: str) -> int:
    return sum(int(row.get(name) or 0) for row in rows)
