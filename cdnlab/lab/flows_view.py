"""How `cdnlab status --flows` looks: a line for each balancer's flow table, and every flow once, with both four-tuples.

Pure: it reads the answer of /flows. A flow that several balancers know stands there once, by the word of the one that
relays it; the others have it from the store, and the age of what they have stands beside their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cdnlab.lab import tables

Json = Mapping[str, Any]

COLOURS = {"active": "green", "replica": "cyan", "closed": "dim"}
#: Columns from which an entry fits into one line.
WIDE = 150
NONE = "No balancer says anything of flows: none runs, or the topology has no `l4`."


def merged(nodes: Sequence[Json]) -> list[dict[str, Any]]:
    """Every flow once, with `by` (who relays it, or None) and `known` (who could go on with it); live ones first."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for node in nodes:
        for row in node.get("rows") or ():
            key = (row["service"], row["vip"], row["client"])
            live = row["state"] == "active"
            entry = found.get(key)
            if entry is None or (live and entry["by"] is None):
                known = [] if entry is None else [*entry["known"]]
                entry = found[key] = {**row, "by": node["node"] if live else None, "known": known}
            if not live and row["state"] != "closed":
                entry["known"].append(node["node"])
    for entry in found.values():
        entry["known"] = [name for name in dict.fromkeys(entry["known"]) if name != entry["by"]]
    return sorted(found.values(), key=lambda row: (row["by"] is None, -row["first"]))


def render(answer: Json, wall: float, width: int) -> RenderableType:
    """The whole of it for a terminal `width` columns wide; `wall` is the time now, seconds."""
    nodes: list[Json] = list(answer.get("nodes") or [])
    if not nodes:
        return Text(NONE)
    parts: list[RenderableType] = [_summary(node) for node in nodes]
    rows = merged(nodes)
    if rows:
        parts += ["", *([_table(rows, wall)] if width >= WIDE else _lines(rows, wall))]
    hidden = max(sum(int(node.get(state) or 0) for state in COLOURS) - len(node["rows"]) for node in nodes)
    if hidden > 0:
        parts.append(Text(f"… and {hidden:,} more: --json has up to 5,000 of each balancer", style="dim"))
    return Group(*parts)


def _summary(node: Json) -> Text:
    known = {key: int(node.get(key) or 0) for key in COLOURS}
    counts = ", ".join(f"{count:,} {word}" for word, count in known.items())
    text = Text.assemble(
        (str(node["node"]), "bold"), f"  {counts} of {int(node.get('max') or 0):,} entries", "  "
    )
    return text.append(*_replica(node.get("replica_status")))


def _replica(replica: Json | None) -> tuple[str, str]:
    """The age of what it knows of others' flows, and its colour."""
    if replica is None:
        return "no replica: no store, or flows.replicate is off", "yellow"
    age = tables.number(replica.get("age"))
    if age is None:
        return "replica: nothing heard of the store yet", "yellow"
    word = f"replica {age:.1f} s old"
    waits = int(replica.get("unsent") or 0)
    if replica.get("state") != "follows":
        return f"{word}: the store is {replica.get('state')}, {waits:,} changes wait", "red"
    return word, "yellow" if age > 2 else "dim"


def _table(rows: Sequence[Json], wall: float) -> RenderableType:
    right = ["up", "down", "age", "idle", "left"]
    tuples = ["client", "VIP", "balancer", "backend"]
    table = tables.plain_table("service", *tuples, "", "state", *right, "relayed by", right=right)
    for row in rows:
        up, down, age = tables.size(row["up"]), tables.size(row["down"]), tables.ago(row["first"], wall)
        idle, left = tables.ago(row["last"], wall), _left(row)
        name = tables.printable(row["backend"])
        table.add_row(row["service"], *_ends(row), name, _state(row), up, down, age, idle, left, _who(row))
    return table


def _lines(rows: Sequence[Json], wall: float) -> list[Text]:
    """Two lines for each, where the terminal is narrow."""
    found = []
    for row in rows:
        client, vip, local, remote = _ends(row)
        head = Text.assemble(f"{row['service']}  ", _state(row), f"  {tables.printable(row['backend'])}")
        head.append(f"  idle {tables.ago(row['last'], wall)}, {_left(row)} left  {_who(row)}")
        found += [head, Text(f"  {client} > {vip} | {local} > {remote}", style="dim")]
    return found


def _ends(row: Json) -> list[str]:
    """Both four-tuples: client and VIP, balancer and backend."""
    return [tables.printable(row[end]) or tables.NONE for end in ("client", "vip", "local", "remote")]


def _state(row: Json) -> Text:
    state = str(row["state"])
    return Text(state, style=COLOURS.get(state, ""))


def _left(row: Json) -> str:
    left = tables.number(row["left"]) or 0.0
    return f"{left:.0f} s" if left < 600 else f"{left / 60:.0f} min"


def _who(row: Json) -> str:
    known = ", ".join(map(str, row["known"]))
    if row["by"] is None:
        return f"nobody; known to {known}" if known else "nobody"
    return f"{row['by']}; known to {known}" if known else str(row["by"])
