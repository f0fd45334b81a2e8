"""`cdnlab policy`: which eviction policy decides at each edge, and another one while it runs.

Without a name it shows what /status says; with one it tells each edge. Which names there are is the edges' to say.

Exit code 0 when every edge has it, 1 when one could not be told, 2 for a name that there is not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cdnlab.lab.ask import no_lab
from cdnlab.lab.client import run, topology_of
from cdnlab.lab.errors import FAILED, unknown_node
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
                raise unknown_node(one, edges, "edge")
        token = admin_token(where)
        asked = list(dict.fromkeys(node or edges))
        rows = [_row(each, topology.admin_address(each), name, token) for each in asked]
        print(json.dumps({"edges": rows}, ensure_ascii=False) if as_json else _as_text(rows))
        return FAILED if any(row["why"] for row in rows) else 0

    run(state, work)


def _row(node: str, address: tuple[str, int] | None, name: str | None, token: str) -> Json:
    """What one edge says: {"node", "policy", "changing": hands objects over, "before", "why": it does not say}."""
    row: Json = {"node": node, "policy": None, "changing": None, "before": None, "why": ""}
    try:
        if name is not None:
            row["before"] = tell(node, address, "/policy", {"policy": name}, token)["before"]
        storage = tell(node, address, "/status", None, token)["storage"]
    except NoAnswer as error:
        return {**row, "why": str(error)}
    return {**row, "policy": storage["policy"], "changing": storage["changing"]}


def _as_text(rows: list[Json]) -> str:
    width = max((len(row["node"]) for row in rows), default=0)
    return "\n".join(f"{row['node']:<{width}}  {_words(row)}" for row in rows)


def _words(row: Json) -> str:
    if row["why"]:
        return f"not reached: {row['why']}"
    words = str(row["policy"])
    if row["before"] is not None and row["before"] != row["policy"]:
        words += f", after {row['before']}"
    return f"{words}; objects are still being handed over" if row["changing"] else words
