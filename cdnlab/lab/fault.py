"""`cdnlab fault`: do to a node on purpose what servers do when they fail, and end it.

Decides whom to tell: the node; or every node, for the store, whose faults are met in their clients. What a fault means
is the nodes' to say. The store's faults are written down first, so that a node that starts meanwhile meets them, too.

Exit code 0 when every node that was meant has been told, 1 when one could not be, 2 when what was typed makes no sense.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cdnlab.lab.ask import no_lab
from cdnlab.lab.client import run, topology_of
from cdnlab.lab.errors import FAILED, MISUSED, LabError, unknown_node
from cdnlab.lab.fault_view import shown
from cdnlab.lab.state import StateDirectory
from cdnlab.lab.tell import NoAnswer, admin_token, tell
from cdnlab.plan.topology import Topology

Json = dict[str, Any]

STORE = "store"


def command(
    node: Annotated[
        str | None,
        typer.Argument(metavar="NODE", help="A node's name as `cdnlab status` shows it, or store."),
    ] = None,
    delay: Annotated[
        str | None, typer.Option(metavar="TIME", help="Requests wait so long, such as 300ms.")
    ] = None,
    errors: Annotated[
        str | None, typer.Option(metavar="SHARE", help="This share of requests is answered 503, such as 20%.")
    ] = None,
    hang: Annotated[bool, typer.Option("--hang", help="Requests are not answered.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="The connection of each request is reset.")] = False,
    refuse: Annotated[bool, typer.Option("--refuse", help="Connections are refused.")] = False,
    slow_body: Annotated[
        str | None, typer.Option(metavar="RATE", help="Bodies come at this rate, such as 10kB/s.")
    ] = None,
    for_: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="End after this time, such as 30s.")
    ] = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="End the faults of NODE; without one, all of them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    state: Annotated[Path | None, typer.Option("--state", help="The lab's state directory.")] = None,
) -> None:
    """Set faults at a node while it runs, in the place of those that are set there; without options, show them.

    Example: cdnlab fault origin-1 --errors 50% --delay 300ms --for 30s
    """

    def work(where: StateDirectory) -> int:
        asked = _asked(delay, errors, hang, reset, refuse, slow_body, for_)
        if clear and asked:
            raise LabError("--clear stands alone", "clear first, then set others", MISUSED)
        if asked and node is None:
            raise LabError("no node is named", "name one: cdnlab fault NODE …", MISUSED)
        if not where.topology.exists():
            raise no_lab(where)
        topology = topology_of(where)
        if node not in (None, STORE) and node not in topology.nodes:
            raise unknown_node(node, [*topology.nodes, STORE])
        if clear or asked:
            rows = _order(where, topology, node, {"clear": True} if clear else asked)
        else:
            named = [node] if node in topology.nodes else list(topology.nodes)
            rows = [_look(where, topology, str(each)) for each in named]
        print(json.dumps({"nodes": rows}, ensure_ascii=False) if as_json else shown(rows, node == STORE))
        return FAILED if any(row["why"] for row in rows) else 0

    run(state, work)


def _asked(
    delay: str | None,
    errors: str | None,
    hang: bool,
    reset: bool,
    refuse: bool,
    slow_body: str | None,
    for_: str | None,
) -> Json:
    """The body of POST /faults. LabError for what is no time, share or rate."""
    asked: Json = {name: True for name, given in _flags(hang, reset, refuse) if given}
    if delay is not None:
        asked["delay"] = _seconds("--delay", delay)
    if errors is not None:
        asked["errors"] = _share(errors)
    if slow_body is not None:
        asked["slow_body"] = _rate(slow_body)
    if for_ is not None:
        asked["for"] = _seconds("--for", for_)
    return asked


def _flags(hang: bool, reset: bool, refuse: bool) -> list[tuple[str, bool]]:
    return [("hang", hang), ("reset", reset), ("refuse", refuse)]


def _seconds(option: str, text: str) -> float:
    from cdnlab.plan.units import parse_duration

    try:
        return float(parse_duration(text))  # type: ignore[arg-type]
    except ValueError:
        raise LabError(f'{option} is "{text}"', "write a time such as 300ms, 2s or 5m", MISUSED) from None


def _share(text: str) -> float:
    number, percent, rest = text.strip().partition("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = -1.0
    if rest or not 0 < share <= 1:
        raise LabError(
            f'--errors is "{text}"', "write a share such as 20%, above 0 % and at most 100 %", MISUSED
        )
    return share


def _rate(text: str) -> int:
    from cdnlab.plan.units import parse_size

    try:
        return int(parse_size(text.strip().removesuffix("/s")))  # type: ignore[call-overload,no-any-return]
    except ValueError:
        raise LabError(f'--slow-body is "{text}"', "write a rate such as 10kB/s or 1MiB/s", MISUSED) from None


def _order(where: StateDirectory, topology: Topology, node: str | None, asked: Json) -> list[Json]:
    """Tell each node that is meant; one row for each."""
    if node not in (None, STORE):
        return [_told(where, topology, str(node), asked)]
    if node == STORE or node is None:
        _write_down(where, asked)
    rows = [_told(where, topology, each, {**asked, "store": True}) for each in topology.nodes]
    if node is None:
        rows = [row if row["why"] else _told(where, topology, row["node"], asked) for row in rows]
    return rows


def _write_down(where: StateDirectory, asked: Json) -> None:
    from cdnlab.net.faults import BadFaults, parse
    from cdnlab.node.faults import write

    try:
        faults, seconds = (None, None) if "clear" in asked else parse(asked, store=True)
        write(where.path, faults, seconds)
    except BadFaults as bad:
        raise LabError(bad.error, bad.remedy, MISUSED) from None
    except OSError as error:
        raise LabError(f"cannot write in {where.path}: {error.strerror}", "make room there") from None


def _told(where: StateDirectory, topology: Topology, name: str, asked: Json) -> Json:
    return _row(where, topology, name, "/faults", asked)


def _look(where: StateDirectory, topology: Topology, name: str) -> Json:
    return _row(where, topology, name, "/status", None)


def _row(where: StateDirectory, topology: Topology, name: str, path: str, asked: Json | None) -> Json:
    """{"node", "faults", "store_faults": as /status has them, "why": it could not be told or asked}."""
    try:
        said = tell(name, topology.admin_address(name), path, asked, admin_token(where))
    except NoAnswer as error:
        return {"node": name, "faults": None, "store_faults": None, "why": str(error)}
    return {"node": name, "faults": said["faults"], "store_faults": said["store_faults"], "why": ""}
