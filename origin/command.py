"""The origin's command line: one node alone, and the entry by which a lab starts its nodes.

Decides what the options mean as a topology. Must not know what the origin does, and imports little before it knows
that it will run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cdnlab.plan.topology import Topology

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def node_main(
    topology: Topology,
    name: str,
    state: Path | None = None,
    inherited: Mapping[str, int] | None = None,
    ready_fd: int | None = None,
    store_url: str | None = None,
) -> int:
    """Be the origin `name` of `topology` until told to end; the exit code. See cdnlab.node.process.run."""
    from cdnlab.node.process import run
    from origin.app import build

    return run(
        topology, name, build, state=state, inherited=inherited, ready_fd=ready_fd, store_url=store_url
    )


@app.command()
def command(
    listen: Annotated[str, typer.Option(help="Where to listen, HOST:PORT.")] = "127.0.0.1:9001",
    name: Annotated[str, typer.Option(help="The name that its answers bear.")] = "origin",
    admin: Annotated[str, typer.Option(help="Admin API at HOST:PORT, or off.")] = "off",
    sessions: Annotated[
        str,
        typer.Option(metavar="local|clustered", help="Where logins and carts lie: here, or in the store."),
    ] = "local",
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="A Redis-protocol server that origins share.")
    ] = None,
) -> None:
    """The demo and test origin: a site that shows its own way through a network, and answers as told.

    Example: cdnlab origin --listen 127.0.0.1:9001
    """
    from cdnlab.plan.errors import PlanError

    try:
        topology = alone(listen, name=name, admin=admin, sessions=sessions, store=store)
    except PlanError as error:
        typer.echo(f"cdnlab: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"cdnlab origin: http://{listen}/; Ctrl-C ends it")
    raise typer.Exit(node_main(topology, name))


def alone(
    listen: str,
    *,
    name: str = "origin",
    admin: str = "off",
    sessions: str = "local",
    store: str | None = None,
) -> Topology:
    """The topology of one origin at `listen` (host:port); PlanError for what doesn't parse.

    Origins with a `store` are of one network, whatever they are called, and so find one another's sessions there.
    """
    from cdnlab.plan.errors import PlanError
    from cdnlab.plan.origins import split_address
    from cdnlab.plan.topology import Topology

    if sessions == "clustered" and store is None:
        raise PlanError(
            "clustered sessions lie in a store, and none is given", "--sessions", "add --store URL"
        )
    host, port = split_address(listen, "--listen")
    node: dict[str, object] = {"tier": "origin", "address": host, "data_port": port}
    if admin == "off":
        node["admin_address"] = "off"
    else:
        node["admin_address"], node["admin_port"] = split_address(admin, "--admin")
    return Topology.build(
        {
            "name": name if store is None else "origins",
            "vips": [],
            "distance": {"enabled": False},
            "pools": {"origins": {"tier": "origin"}},
            "nodes": {name: node},
            "origin": {"sessions": sessions},
            "store": {"url": store},
        }
    )
