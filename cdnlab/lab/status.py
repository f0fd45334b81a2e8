"""`cdnlab status`: what runs, how it is, and why. One look, or a look each second with --watch.

It reads /status from the lab and lays it out; what a word or a colour means is in tables.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from cdnlab.lab import (
    fault_view,
    flows_view,
    health_view,
    pins_view,
    policies_view,
    resilience_view,
    tables,
    traffic_view,
)
from cdnlab.lab.ask import ask
from cdnlab.lab.client import run
from cdnlab.lab.errors import LabError
from cdnlab.lab.policies_view import of_status
from cdnlab.lab.state import StateDirectory

Json = Mapping[str, Any]

PERIOD = 1.0
"""Seconds between two looks: the nodes' own numbers are sampled as often."""
WIDE = 110
"""Columns from which the tier, p50 and connections fit beside the reasons."""


def command(
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Look again each second, until Ctrl-C.")
    ] = False,
    policies: Annotated[
        bool,
        typer.Option("--policies", help="Instead: what the hit ratio would have been under each policy."),
    ] = False,
    flows: Annotated[
        bool, typer.Option("--flows", help="Instead: each flow at layer 4, with both its four-tuples.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the lab's own answer, one object per look.")
    ] = False,
    state: Annotated[Path | None, typer.Option("--state", help="The lab's state directory.")] = None,
) -> None:
    """Show each node: its state and why, its traffic, who holds the VIP, which backends are passed over."""

    def work(where: StateDirectory) -> None:
        look = FLOWS if flows else POLICIES if policies else NODES
        if watch:
            _watch(where, as_json, look)
        elif as_json:
            print(json.dumps(look.told(ask(where, look.path(True))), indent=2, ensure_ascii=False))
        else:
            console = tables.console()
            console.print(look.render(ask(where, look.path(False)), time.time(), console.width))

    run(state, work)


def _watch(where: StateDirectory, as_json: bool, look: Look) -> None:
    path = look.path(as_json)
    if as_json:
        while True:
            print(json.dumps(look.told(ask(where, path)), ensure_ascii=False), flush=True)
            time.sleep(PERIOD)
    console = tables.console()
    shown: RenderableType = look.render(ask(where, path), time.time(), console.width)
    with Live(shown, console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            time.sleep(PERIOD)
            try:
                shown = look.render(ask(where, path), time.time(), console.width)
                live.update(shown, refresh=True)
            except LabError as gone:
                notice = Text(f"{gone.problem}; what follows is old", style="red")
                live.update(Group(notice, shown), refresh=True)


def render(answer: Json, wall: float, width: int) -> RenderableType:
    """The whole of `status` for a terminal `width` columns wide; `wall` is the time now, seconds."""
    nodes: list[Json] = list(answer.get("nodes") or [])
    lab: Json = answer.get("lab") or {}
    parts: list[RenderableType] = [_header(lab, nodes), "", _table(nodes, wall, width), ""]
    parts += _vips(lab, nodes)
    parts += [_store(lab, nodes), *_versions(nodes), *_purges(nodes)]
    if lab.get("prometheus"):
        parts.append(_prometheus(lab["prometheus"]))
    over = passed_over(nodes)
    if over:
        parts += ["", Text("Backends passed over", style="bold"), *_passed(over, wall)]
    parts += [*health_view.pools(nodes), *resilience_view.resilience(nodes)]
    parts += [*traffic_view.traffic(nodes), *pins_view.pins(nodes)]
    parts += [*fault_view.degraded(nodes), *fault_view.faults(nodes)]
    return Group(*parts)


def _header(lab: Json, nodes: Sequence[Json]) -> Text:
    ready = sum(tables.state(node)[0] == "ready" for node in nodes)
    text = Text.assemble((str(lab.get("name") or "lab"), "bold"), f"  {ready} of {len(nodes)} nodes ready")
    if lab.get("page"):
        text.append(f"  {lab['page']}", style="dim")
    return text


def _table(nodes: Sequence[Json], wall: float, width: int) -> RenderableType:
    wide = width >= WIDE
    middle = ["req/s", "hit", "p50", "p99", "conn", "err"] if wide else ["req/s", "hit", "p99", "conn"]
    first = ["node", "tier", "place"] if wide else ["node", "place"]
    table = tables.plain_table(*first, "state", *middle, "since", "reason", right=[*middle, "since"])
    table.columns[-1].no_wrap = False
    table.columns[-1].ratio = 1
    table.expand = True
    holders = {name for vip in virtual_addresses({}, nodes) for name in [vip["holder"]]}
    for tier in [*tables.TIERS, None]:
        for node in (node for node in nodes if _tier(node) == tier):
            table.add_row(*_row(node, wide, tables.name(node) in holders, wall))
    return table


def _tier(node: Json) -> str | None:
    tier = node.get("tier")
    return tier if tier in tables.TIERS else None


def _row(node: Json, wide: bool, holds: bool, wall: float) -> list[str | Text]:
    word, reason = tables.state(node)
    alive = word in ("ready", "draining", "starting", "behind")
    requests: Json = (node.get("requests") or {}) if alive else {}
    latency: Json = (node.get("latency") or {}) if alive else {}
    row: list[str | Text] = [Text(tables.name(node), style="bold" if alive else "dim")]
    if wide:
        row.append(str(node.get("tier") or ""))
    row += [Text("VIP", style="blue bold") if holds else str(node.get("place") or "")]
    row += [tables.state_text(word)]
    row += [tables.rate(requests.get("per_second")), tables.percent(requests.get("hit_ratio"))]
    if wide:
        row.append(tables.millis(latency.get("p50")))
    row += [tables.millis(latency.get("p99")), tables.count(node.get("connections") if alive else None)]
    if wide:
        errors = (node.get("requests") or {}).get("errors")
        row.append(Text(tables.count(errors), style="red" if errors else ""))
    return [*row, Text(tables.ago(node.get("since"), wall), style="dim"), reason]


# ---- who holds the virtual addresses ----


def virtual_addresses(lab: Json, nodes: Sequence[Json]) -> list[dict[str, Any]]:
    """Who holds each VIP, from what live balancers say.

    Each is {"name", "address", "holder": node or None, "standby": [nodes], "token"}.
    """
    found: dict[str, dict[str, Any]] = {}

    def entry(vip: Json) -> dict[str, Any]:
        key = str(vip.get("name"))
        port = f":{vip['port']}" if vip.get("port") else ""
        address = f"{vip['address']}{port}" if vip.get("address") else key
        new: dict[str, Any] = {"name": key, "address": address, "holder": None, "standby": [], "token": None}
        return found.setdefault(key, new)

    for vip in lab.get("vips") or []:
        entry(vip)
    for node in nodes:
        if node.get("running") is False or node.get("paused"):
            continue
        for vip in node.get("vips") or []:
            if vip.get("state") == "active":
                entry(vip).update(holder=tables.name(node), token=vip.get("token"))
            else:
                entry(vip)["standby"].append(tables.name(node))
    return list(found.values())


def _vips(lab: Json, nodes: Sequence[Json]) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for vip in virtual_addresses(lab, nodes):
        line = Text.assemble(("VIP    ", "bold"), f"{vip['address']}  ")
        if vip["holder"]:
            line.append(f"held by {vip['holder']}", style="green")
        else:
            line.append("nobody holds it", style="red bold")
        if vip["token"] is not None:
            line.append(f" (token {vip['token']})", style="dim")
        if vip["standby"]:
            line.append(f", standby {', '.join(vip['standby'])}")
        lines.append(line)
    return lines


def _store(lab: Json, nodes: Sequence[Json]) -> Text:
    store: Json = lab.get("store") or {}
    cut = [
        tables.name(node)
        for node in nodes
        if node.get("running") is not False
        and not node.get("paused")
        and (node.get("store") or {}).get("state") in ("down", "away", "lost")
    ]
    gone = store.get("running") is False
    word = "" if store.get("kind") == "none" else str(store.get("state") or "up")
    text = Text.assemble(("Store  ", "bold"))
    text.append(str(store.get("kind") or store.get("url") or "embedded"))
    if gone:
        text.append("  away", style="red bold")
    elif cut:
        text.append(f"  not reached by {', '.join(cut)}", style="red")
    else:
        text.append(f"  {word}", style="green" if word == "up" else "yellow")
    return text


def _versions(nodes: Sequence[Json]) -> list[Text]:
    """Which version of the topology the nodes go by; nothing where it is the first at all of them."""
    found: dict[int, list[str]] = {}
    for node in nodes:
        version = (node.get("configuration") or {}).get("version")
        if version and node.get("running") is not False and not node.get("paused"):
            found.setdefault(int(version), []).append(tables.name(node))
    if not found.keys() - {1}:
        return []
    newest = max(found)
    line = Text.assemble(("Config ", "bold"), f"version {newest}")
    behind = [
        f"{name} ({version})" for version in sorted(found) if version != newest for name in found[version]
    ]
    if behind:
        line.append(f", but an older one at {', '.join(behind)}: cdnlab reload", style="yellow")
    return [line]


def _purges(nodes: Sequence[Json]) -> list[Text]:
    """The edges that may not have heard of every purge, and what each does meanwhile; nothing where all have."""
    lines = []
    for state, when_blind, words in _UNHEARD:
        said = [
            (tables.name(node), node.get("purges") or {})
            for node in nodes
            if node.get("running") is not False and not node.get("paused")
        ]
        named = [
            name
            for name, purges in said
            if purges.get("state") == state and when_blind in (None, purges.get("when_blind"))
        ]
        if named:
            lines.append(Text.assemble(("Purges ", "bold"), (f"{', '.join(named)}: {words}", "yellow")))
    return lines


_UNHEARD = (
    ("blind", "serve", "blind, and may serve what was purged elsewhere (edge.purge_when_blind: serve)"),
    ("blind", "revalidate", "blind: what is stored is validated before it is used"),
    ("behind", None, "behind: what is stored is validated before it is used"),
)


def _prometheus(one: Json) -> Text:
    state = str(one.get("state") or "")
    colour = {"up": "green", "starting": "cyan", "paused": "yellow"}.get(state, "red bold")
    line = Text.assemble(("Prom.  ", "bold"), f"{one.get('url')}  ", (state, colour))
    if one.get("running") is False:
        line.append(f" ({one.get('reason')})")
    return line


# ---- who is passed over, by whom and why ----


def passed_over(nodes: Sequence[Json]) -> list[dict[str, Any]]:
    """Backends that some node would not use now: [{"backend", "reason", "by": [nodes], "since"}]."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for node in nodes:
        if node.get("running") is False or node.get("paused"):
            continue
        for backend in node.get("backends") or []:
            if backend.get("usable") is not False:
                continue
            reason = str(backend.get("reason") or backend.get("state") or "not usable")
            key = (str(backend.get("name")), reason)
            new = {"backend": key[0], "reason": reason, "by": [], "since": backend.get("since")}
            found.setdefault(key, new)["by"].append(tables.name(node))
    return list(found.values())


def _passed(over: Sequence[Json], wall: float) -> list[RenderableType]:
    table = tables.plain_table("backend", "by", "why")
    table.show_header = False
    table.columns[-1].no_wrap = False
    for entry in over:
        why = Text(str(entry["reason"]))
        since = tables.ago(entry["since"], wall)
        if since:
            why.append(f" · since {since}", style="dim")
        table.add_row(Text(f"  {entry['backend']}", style="yellow"), ", ".join(entry["by"]), why)
    return [table]


class Look(NamedTuple):
    """One of the things that the command shows: what is asked, and how the answer is shown and told."""

    render: Callable[[Json, float, int], RenderableType]
    told: Callable[[Json], Any]
    asked: str = "/status"
    limits: tuple[int, int] | None = None
    """Entries for a terminal and for JSON."""

    def path(self, as_json: bool) -> str:
        """What to ask the lab for."""
        return self.asked if self.limits is None else f"{self.asked}?limit={self.limits[as_json]}"


def _as_it_is(answer: Json) -> Json:
    return answer


NODES = Look(render, _as_it_is)
POLICIES = Look(lambda answer, wall, width: policies_view.render(of_status(answer)), of_status)
FLOWS = Look(flows_view.render, _as_it_is, "/flows", (200, 5000))
