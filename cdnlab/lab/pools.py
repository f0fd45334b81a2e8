"""`cdnlab pool`, `drain`, `enable`: what an operator changes in pools while requests run.

Each change is told to every node that has the pool, one after the other; which nodes those are, and whether it makes
sense, the nodes say. What is told here holds until a node starts anew or `cdnlab reload` is run: the file lasts.

Exit code 0 when every node that has the pool did it, 1 when one could not be told, 2 for what makes no sense.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cdnlab.lab import tables
from cdnlab.lab.ask import no_lab
from cdnlab.lab.client import run, topology_of
from cdnlab.lab.errors import FAILED, MISUSED, LabError
from cdnlab.lab.state import StateDirectory
from cdnlab.lab.tell import NoAnswer, admin_token, tell
from cdnlab.plan.errors import PlanError, did_you_mean
from cdnlab.plan.origins import parse_origin, split_address
from cdnlab.plan.topology import Topology

Json = dict[str, Any]

app = typer.Typer(
    name="pool",
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=False,
    invoke_without_command=True,
    help="Show the pools, or change one while requests run.",
)

State = Annotated[Path | None, typer.Option("--state", help="The lab's state directory.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]
Nodes = Annotated[
    list[str] | None, typer.Option("--node", metavar="NODE", help="At this node only. Repeatable.")
]
PoolName = Annotated[str, typer.Argument(metavar="POOL", help="The pool's name in the topology.")]
BackendName = Annotated[str, typer.Argument(metavar="BACKEND", help="The backend's name in the pool.")]


@app.callback()
def show(context: typer.Context, as_json: AsJson = False, state: State = None) -> None:
    """Show the pools, or change one while requests run. Nothing that runs is cut.

    Example: cdnlab pool weight origins origin-2 5
    """
    if context.invoked_subcommand is None:
        run(state, lambda where: _show(where, as_json))


@app.command()
def weight(
    pool: PoolName,
    backend: BackendName,
    number: Annotated[int, typer.Argument(metavar="WEIGHT", help="0 to 1000; 0 sends it nothing new.")],
    node: Nodes = None,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Give a backend another weight.

    Example: cdnlab pool weight origins origin-2 5
    """
    _change(state, pool, {"do": "weight", "backend": backend, "weight": number}, node, as_json)


@app.command()
def algorithm(
    pool: PoolName,
    name: Annotated[str, typer.Argument(metavar="ALGORITHM", help="As in the topology: docs/balancing.md.")],
    inner: Annotated[
        str | None, typer.Option(help="For `nearest`: how to choose among the backends of one place.")
    ] = None,
    node: Nodes = None,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Choose among a pool's backends in another way.

    Example: cdnlab pool algorithm origins power_of_two
    """
    _change(state, pool, {"do": "algorithm", "algorithm": name, "inner": inner}, node, as_json)


@app.command()
def add(
    pool: PoolName,
    backend: BackendName,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="HOST:PORT or a URL.")],
    weight: Annotated[int, typer.Option(help="Its weight.")] = 1,
    place: Annotated[str | None, typer.Option(help="Where it stands.")] = None,
    node: Nodes = None,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Add a backend to a pool; it is checked at once.

    Example: cdnlab pool add origins app-3 127.0.0.1:3003
    """
    try:
        said = _described(backend, address, weight, place)
    except PlanError as error:
        typer.echo(f"cdnlab: {error}", err=True)
        raise typer.Exit(MISUSED) from None
    _change(state, pool, {"do": "add", "backend": said}, node, as_json)


@app.command()
def remove(
    pool: PoolName, backend: BackendName, node: Nodes = None, as_json: AsJson = False, state: State = None
) -> None:
    """Take a backend out of a pool; it finishes what it has.

    Example: cdnlab pool remove origins app-3
    """
    _change(state, pool, {"do": "remove", "backend": backend}, node, as_json)


def drain(
    name: Annotated[str, typer.Argument(metavar="BACKEND", help="A backend's name, in whichever pools.")],
    pool: Annotated[str | None, typer.Option(help="In this pool only.")] = None,
    node: Nodes = None,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Send a backend nothing new; it finishes what it has, and keeps the clients pinned to it.

    Example: cdnlab drain origin-2
    """
    _everywhere(state, "drain", name, pool, node, as_json)


def enable(
    name: Annotated[str, typer.Argument(metavar="BACKEND", help="A backend's name, in whichever pools.")],
    pool: Annotated[str | None, typer.Option(help="In this pool only.")] = None,
    node: Nodes = None,
    as_json: AsJson = False,
    state: State = None,
) -> None:
    """Use a drained or ejected backend again.

    Example: cdnlab enable origin-2
    """
    _everywhere(state, "enable", name, pool, node, as_json)


def _described(name: str, address: str, weight: int, place: str | None) -> Json:
    """The backend as the topology would have it. PlanError."""
    if "://" in address:
        said = parse_origin(address, name, place).model_dump(exclude_unset=True)
    else:
        host, port = split_address(address, "ADDRESS")
        said = {"name": name, "address": host, "port": port}
    return {**said, "weight": weight, **({"place": place} if place is not None else {})}


def _show(where: StateDirectory, as_json: bool) -> int:
    rows, silent = [], []
    for node, status in _ask_all(where, None):
        if isinstance(status, str):
            silent.append(f"{node}: {status}")
        else:
            rows += [{"node": node, **row} for row in status.get("backends") or []]
    if as_json:
        print(json.dumps({"backends": rows, "silent": silent}, ensure_ascii=False))
    else:
        console = tables.console()
        console.print(_table(rows, _topology(where)))
        for line in silent:
            console.print(f"not reached: {line}", style="yellow")
    return FAILED if silent else 0


def _table(rows: list[Json], topology: Topology) -> Any:
    table = tables.plain_table("pool", "backend", "weight", "live", "state", "at", right=["weight", "live"])
    found: dict[tuple[str, str, str, int], list[Json]] = {}
    for row in rows:
        key = (str(row["pool"]), str(row["name"]), str(row["state"]), int(row["weight"]))
        found.setdefault(key, []).append(row)
    for (pool, name, state, weight), same in sorted(found.items(), key=lambda each: each[0]):
        live = sum(int(row["live"]) for row in same)
        nodes = who([str(row["node"]) for row in same], topology)
        table.add_row(pool, name, str(weight), str(live), tables.state_text(state), nodes)
    return table


def _change(state: Path | None, pool: str, body: Json, nodes: list[str] | None, as_json: bool) -> None:
    run(state, lambda where: _tell(where, [(pool, body)], nodes, as_json))


def _everywhere(
    state: Path | None, do: str, name: str, pool: str | None, nodes: list[str] | None, as_json: bool
) -> None:
    def work(where: StateDirectory) -> int:
        has: set[str] = set()
        names: set[str] = set()
        for _, status in _ask_all(where, nodes):
            if not isinstance(status, str):
                rows = status.get("backends") or []
                names |= {str(row["name"]) for row in rows}
                has |= {str(row["pool"]) for row in rows if row["name"] == name}
        wanted = sorted(has if pool is None else has & {pool})
        if not wanted:
            in_it = f" in pool {pool}" if pool is not None else ""
            raise LabError(f"there is no backend {name}{in_it}", did_you_mean(name, sorted(names)), MISUSED)
        return _tell(where, [(each, {"do": do, "backend": name}) for each in wanted], nodes, as_json)

    run(state, work)


def _tell(
    where: StateDirectory, orders: list[tuple[str, Json]], nodes: list[str] | None, as_json: bool
) -> int:
    """Every node that has one of these pools does what it is told. Those without it refuse, and are not shown."""
    rows: list[Json] = []
    refused: LabError | None = None
    token, topology = admin_token(where), _topology(where)
    for node in _asked(topology, nodes):
        for pool, body in orders:
            try:
                answer = tell(node, topology.admin_address(node), "/pools", {"pool": pool, **body}, token)
                rows.append({"node": node, "pool": pool, "done": answer["done"], "why": ""})
            except NoAnswer as error:
                rows.append({"node": node, "pool": pool, "done": None, "why": str(error)})
            except LabError as error:
                if "this node has no pool" not in error.problem or refused is None:
                    refused = error
    done = [row for row in rows if row["done"]]
    if not done and refused is not None:
        pool = orders[0][0]
        if pool not in topology.pools and "this node has no pool" in refused.problem:
            raise LabError(f"there is no pool {pool}", did_you_mean(pool, topology.pools), MISUSED)
        raise refused
    print(json.dumps({"nodes": rows}, ensure_ascii=False) if as_json else _lines(rows, topology))
    if refused is not None and "this node has no pool" not in refused.problem:
        raise refused
    return FAILED if len(done) < len(rows) or not rows else 0


def _lines(rows: list[Json], topology: Topology) -> str:
    """One line for all nodes that say the same."""
    said: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        words = row["done"] or f"not reached: {row['why']}"
        said.setdefault((str(row["pool"]), str(words)), []).append(str(row["node"]))
    return "\n".join(f"{pool}: {words}  ({who(at, topology)})" for (pool, words), at in said.items())


def who(nodes: list[str], topology: Topology) -> str:
    """The nodes' names; `all edges` and the like where they are a whole tier."""
    left, parts = list(dict.fromkeys(nodes)), []
    for tier, words in (("lb", "all balancers"), ("edge", "all edges")):
        names = topology.tier(tier)  # type: ignore[arg-type]
        if len(names) > 1 and set(names) <= set(left):
            parts.append(words)
            left = [name for name in left if name not in names]
    return ", ".join([*parts, *left])


def _ask_all(where: StateDirectory, nodes: list[str] | None) -> list[tuple[str, Json | str]]:
    """(node, its status, or why there is none) of every node with pools."""
    token, topology = admin_token(where), _topology(where)
    found: list[tuple[str, Json | str]] = []
    for node in _asked(topology, nodes):
        try:
            found.append((node, tell(node, topology.admin_address(node), "/status", None, token)))
        except NoAnswer as error:
            found.append((node, str(error)))
    return found


def _asked(topology: Topology, nodes: list[str] | None) -> list[str]:
    known = (*topology.tier("lb"), *topology.tier("edge"))
    for node in nodes or ():
        if node not in known:
            raise LabError(f"no balancer or edge is called {node}", did_you_mean(node, known), MISUSED)
    return list(dict.fromkeys(nodes or known))


def _topology(where: StateDirectory) -> Topology:
    if not where.topology.exists():
        raise no_lab(where)
    return topology_of(where)
