"""`cdnlab log`: the last requests of the nodes, or each one as it happens with -f.

It decides which requests are shown and how a line looks. What a result or a reason means, the nodes decide.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from cdnlab.lab import tables
from cdnlab.lab.ask import ask
from cdnlab.lab.client import Follower, run
from cdnlab.lab.errors import MISUSED, LabError
from cdnlab.lab.state import StateDirectory

Json = Mapping[str, Any]

PERIOD = 0.5
"""Seconds between two looks with -f: soon enough to feel live, rare enough to cost nothing."""
LINES = 20
"""Requests shown at first, as many as stand in a terminal of 24 lines."""


def command(
    node: Annotated[str | None, typer.Argument(help="Only this node's requests; else those of all.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as requests come.")] = False,
    miss: Annotated[bool, typer.Option("--miss", help="Only what a cache had to ask for.")] = False,
    status: Annotated[str | None, typer.Option("--status", help="Only these: 404, 5xx or 500-504.")] = None,
    place: Annotated[
        str | None, typer.Option("--from", help="Only clients at this place, such as icn.")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many to show at first.")] = LINES,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also who asked, ids and reasons.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    state: Annotated[Path | None, typer.Option("--state", help="The lab's state directory.")] = None,
) -> None:
    """Show the requests that the nodes saw: who asked, what was answered, by whom, how fast and why."""

    def work(where: StateDirectory) -> None:
        wanted = _filter(miss, status, place)
        if place is not None:
            _check_place(where, place)
        follower = Follower(where, "requests", node)
        found = [entry for entry in follower.more() if wanted(entry)]
        _print(found[-lines:] if lines else [], verbose, as_json)
        while follow:
            time.sleep(PERIOD)
            _print(filter(wanted, follower.more()), verbose, as_json)

    run(state, work)


# ---- which ----


def _check_place(where: StateDirectory, code: str) -> None:
    codes = [str(place["code"]) for place in ask(where, "/lab")["places"]]
    if code not in codes:
        raise LabError(f'--from {code}: there is no place "{code}"', f"known: {', '.join(codes)}", MISUSED)


def _filter(miss: bool, status: str | None, place: str | None) -> Callable[[Json], bool]:
    lowest, highest = status_range(status) if status else (0, 999)

    def wanted(entry: Json) -> bool:
        if miss and not is_miss(str(entry.get("result") or "")):
            return False
        if place is not None and entry.get("client_place") != place:
            return False
        return not status or lowest <= int(entry.get("status") or 0) <= highest

    return wanted


def is_miss(result: str) -> bool:
    """Whether a cache had to ask for it while the client waited: all but a hit, and no word of a balancer."""
    return result.startswith(("miss", "pass", "revalidated", "expired"))


def status_range(text: str) -> tuple[int, int]:
    """The lowest and highest status of "404", "5xx" or "500-504". LabError names the three forms."""
    if re.fullmatch(r"[1-9][0-9][0-9]", text):
        return int(text), int(text)
    if re.fullmatch(r"[1-9][xX][xX]", text):
        return int(text[0]) * 100, int(text[0]) * 100 + 99
    if (found := re.fullmatch(r"([1-9][0-9][0-9])-([1-9][0-9][0-9])", text)) and found[1] <= found[2]:
        return int(found[1]), int(found[2])
    raise LabError(f"--status {text!r} is no status", "write 404, 5xx or 500-504", MISUSED)


# ---- how a line looks ----


def _print(entries: Iterable[Json], verbose: bool, as_json: bool) -> None:
    console = tables.console()
    for entry in entries:
        if as_json:
            print(json.dumps(entry, ensure_ascii=False), flush=True)
        else:
            for text in render(entry, console.width, verbose):
                console.print(text, soft_wrap=True)


def render(entry: Json, width: int, verbose: bool = False) -> list[Text]:
    """The line for one request, its target cut to fit `width`; with `verbose` a second one below it."""
    status, result = str(entry.get("status") or "–"), str(entry.get("result") or "")
    line = Text(no_wrap=True)
    line.append(tables.clock(entry.get("time"), fraction=True), style="dim")
    line.append(f" {entry.get('node') or '':<9}", style="bold")
    line.append(f" {entry.get('client_place') or '':<4}")
    line.append(f" {status:>3}", style=tables.status_style(entry.get("status")))
    line.append(f" {result:<9}", style=tables.result_style(result))
    line.append(f" {tables.millis(entry.get('seconds')):>8}")
    backend = str(entry.get("backend") or "")
    asked = tables.printable(f"{entry.get('method') or ''} {entry.get('target') or ''}")
    room = max(12, width - line.cell_len - 1 - (len(backend) + 3 if backend else 0))
    line.append(" ")
    line.append(asked if len(asked) <= room else asked[: room - 1] + "…")
    if backend:
        line.append(f" → {backend}", style="dim")
    return [line, _more(entry)] if verbose else [line]


def _more(entry: Json) -> Text:
    facts = [
        ("why", entry.get("reason")),
        ("host", entry.get("host")),
        ("client", entry.get("peer")),
        ("body", tables.size(entry.get("bytes"))),
        ("id", entry.get("request_id")),
    ]
    text = Text("             ", style="dim")
    return text.append(
        "  ".join(f"{name} {tables.printable(value)}" for name, value in facts if value not in (None, ""))
    )
