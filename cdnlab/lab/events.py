"""`cdnlab events`: what changed in the lab, when and why; each change as it happens with -f.

Node states, health verdicts, failover, the store, limits reached. It only shows what nodes and supervisor
recorded.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from cdnlab.lab import tables
from cdnlab.lab.client import Follower, run
from cdnlab.lab.state import StateDirectory

Json = Mapping[str, Any]

PERIOD = 0.5
"""Seconds between two looks with -f."""
LINES = 40
KIND_STYLES = {"health": "yellow", "failover": "magenta", "store": "cyan", "limit": "red", "start": "green"}


def command(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as things change.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many to show at first.")] = LINES,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    state: Annotated[Path | None, typer.Option("--state", help="The lab's state directory.")] = None,
) -> None:
    """Show what changed: nodes that came and went, health verdicts, who holds the VIP, and why."""

    def work(where: StateDirectory) -> None:
        follower = Follower(where, "events")
        found = follower.more()
        _print(found[-lines:] if lines else [], as_json)
        while follow:
            time.sleep(PERIOD)
            _print(follower.more(), as_json)

    run(state, work)


def _print(entries: Iterable[Json], as_json: bool) -> None:
    console = tables.console()
    for entry in entries:
        if as_json:
            print(json.dumps(entry, ensure_ascii=False), flush=True)
        else:
            console.print(render(entry))


def render(entry: Json) -> Text:
    """The line for one event."""
    kind, node, subject = (str(entry.get(name) or "") for name in ("kind", "node", "subject"))
    text = Text()
    text.append(tables.clock(entry.get("time"), fraction=True), style="dim")
    text.append(f" {node or 'lab':<9}", style="bold")
    text.append(f" {kind:<9} ", style=KIND_STYLES.get(kind, ""))
    if subject and subject != node:
        text.append(f"{subject}: ")
    return text.append(tables.printable(entry.get("text")))
