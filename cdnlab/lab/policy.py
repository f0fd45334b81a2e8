"""`cdnlab policy`: which eviction policy decides at each edge, and another one while it runs.

Without a name it shows what /status says; with one it tells each edge. Which names there are is the edges' to say.

Exit code 0 when every edge has it, 1 when one could not be told, 2 for a name that there is not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cdnlab.lab.ask import ask, no_lab
from cdnlab.lab.client import run, topology_of
from cdnlab.lab.errors import FAILED, LabError, unknown_node
from cdnlab.lab.state import StateDirectory
from cdnlab.lab.tell import NoAnswer, admin_token, tell

Json = dict[str, Any]


def command(
    name: Annotated[
        str | None,
        typer.Argument(help="The policy to change to: lru, fifo, sieve, s3fifo, wtinylfu, arc or gdsf."),
    ] = None,
    node: Annotated[
        list[str] | None, typer.Option("--node", metavar="NODE", help="At this edge only. Repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    state: Annotated[Path | None, typer.Option("--state", help="The lab's state directory.")] = None,
) -> None:
    """Show which eviction policy decides at each edge, or change it. What is stored stays.

    Example: cdnlab policy sieve --node edge-icn
    """

    def work(where: StateDirectory) -> int:
        if not where.topology.exists():
            raise no_lab(where)
        topology = topology_of(where)
        edges = topology.tier("edge")
        for one in node or ():
            if one not in edges:
                raise unknown_node(one, edges)
        asked = list(dict.fromkeys(node or edges))
        rows = _shown(where, asked)
        if name is not None:
            token = admin_token(where)
            rows = [_changed(each, topology.admin_address(each), name, token) for each in asked]
        print(json.dumps({"edges": rows}, ensure_ascii=False) if as_json else _as_text(rows))
        return FAILED if any(row["why"] for row in rows) else 0

    run(state, work)


def _shown(where: StateDirectory, names: list[str]) -> list[Json]:
    """What each edge's status says. Where no lab answers, an edge by itself may."""
    try:
        nodes = {each.get("node") or each.get("name"): each for each in ask(where, "/status")["nodes"]}
    except LabError:
        nodes = {}
    return [_row(name, nodes.get(name, {}).get("storage")) for name in names]


def _row(name: str, storage: Json | None) -> Json:
    if not storage:
        return {"node": name, "policy": None, "changing": None, "before": None, "why": "it does not say"}
    changing = bool(storage.get("changing"))
    return {"node": name, "policy": storage.get("policy"), "changing": changing, "before": None, "why": ""}


def _changed(node: str, address: tuple[str, int] | None, name: str, token: str) -> Json:
    row: Json = {"node": node, "policy": None, "changing": None, "before": None, "why": ""}
    try:
        answer = tell(node, address, "/policy", {"policy": name}, token)
    except NoAnswer as error:
        return {**row, "why": str(error)}
    return {**row, "policy": answer["policy"], "before": answer["before"]}


def _as_text(rows: list[Json]) -> str:
    width = max((len(row["node"]) for row in rows), default=0)
    return "\n".join(f"{row['node']:<{width}}  {_words(row)}" for row in rows)


def _words(row: Json) -> str:
    if row["why"]:
        return f"unknown: {row['why']}" if row["before"] is None and row["policy"] is None else row["why"]
    if row["before"] is not None and row["before"] != row["policy"]:
        return f"{row['policy']}, after {row['before']}"
    return f"{row['policy']}, objects are still being handed over" if row["changing"] else str(row["policy"])
