"""`cdnlab check FILE`: whether a topology can be used, without starting it; `--schema` prints its schema.

What is right and wrong the plan decides; this file only says it, with exit code 0 or 2.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from cdnlab.lab.errors import MISUSED
from cdnlab.plan import load
from cdnlab.plan.errors import PlanError
from cdnlab.plan.topology import Topology


def command(
    file: Annotated[
        Path | None, typer.Argument(help="The topology; without one, the shipped default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The verdict as JSON.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema and check nothing.")
    ] = False,
) -> None:
    """Check a topology: say what it describes, or what is wrong with it, where, and the remedy."""
    if schema:
        print(json.dumps(load.schema(), indent=2, ensure_ascii=False))
        return
    try:
        topology = load.load(file)
    except PlanError as error:
        print(
            json.dumps(wrong(error), indent=2, ensure_ascii=False) if as_json else f"cdnlab: {error}",
            file=_out(as_json),
        )
        raise typer.Exit(MISUSED) from None
    found = right(topology, file)
    print(json.dumps(found, indent=2, ensure_ascii=False) if as_json else sentence(found))


def _out(as_json: bool) -> Any:
    return sys.stdout if as_json else sys.stderr


def right(topology: Topology, file: Path | None) -> dict[str, Any]:
    """The verdict on a usable topology."""
    tiers = Counter(node.tier for node in topology.nodes.values())
    return {
        "ok": True,
        "file": str(file) if file else "the shipped default",
        "name": topology.name,
        "nodes": {str(tier): number for tier, number in tiers.items()},
        "pools": list(topology.pools),
        "routes": len(topology.routes),
    }


def wrong(error: PlanError) -> dict[str, Any]:
    """The verdict on a topology that can't be used, with every error that was found in it."""
    errors = [error, *error.more]
    return {
        "ok": False,
        "errors": [{"problem": e.problem, "where": e.where, "remedy": e.remedy} for e in errors],
    }


def sentence(found: dict[str, Any]) -> str:
    """The verdict on a usable topology, in words."""
    nodes = ", ".join(f"{number} {tier}" for tier, number in found["nodes"].items()) or "no nodes"
    routes = f"{found['routes']} routes" if found["routes"] else "no routes: every Host is served"
    return f"{found['file']}: fine. {found['name']} has {nodes}; pools {', '.join(found['pools'])}; {routes}."
