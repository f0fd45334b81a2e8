"""The command line of the origin, alone or as a node of a lab.

Decides what its options mean as a topology. Must not know what the origin does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from cdnlab.plan.errors import PlanError
from cdnlab.plan.origins import split_address
from cdnlab.plan.topology import Topology

MISCONFIGURED = 2

app = typer.Typer(add_completion=False, help="The demo and test origin.")


@app.command()
def origin(
    listen: Annotated[str, typer.Option(help="Address and port, such as 127.0.0.1:9001.")] = "127.0.0.1:9001",
    name: Annotated[str, typer.Option(help="The node's name, which its answers bear.")] = "origin",
    admin: Annotated[str, typer.Option(help="Address and port of the admin API, or off.")] = "off",
) -> None:
    """Serve the demo site alone, without a network in front of it."""
    try:
        topology = alone(listen, name=name, admin=admin)
    except PlanError as error:
        typer.echo(f"cdnlab: {error}", err=True)
        raise typer.Exit(MISCONFIGURED) from None
    typer.echo(f"{name} serves http://{listen}/", err=True)
    raise typer.Exit(node_main(topology, name, None, None, None))


def alone(listen: str, *, name: str = "origin", admin: str = "off") -> Topology:
    """The topology of one origin at `listen` (host:port); PlanError for what doesn't parse."""
    host, port = split_address(listen, "--listen")
    node: dict[str, object] = {"tier": "origin", "address": host}
    if admin == "off":
        node["admin_address"] = "off"
    else:
        node["admin_address"], node["admin_port"] = split_address(admin, "--admin")
    return Topology.build(
        {
            "name": name,
            "ports": {"base": port},
            "vips": [],
            "distance": {"enabled": False},
            "pools": {"origins": {"tier": "origin"}},
            "nodes": {name: node},
        }
    )


def node_main(
    topology: Topology,
    name: str,
    state: Path | None,
    inherited: Mapping[str, int] | None,
    ready_fd: int | None,
) -> int:
    """Be the origin `name` of `topology` until told to end; the exit code. See cdnlab.node.process.run."""
    from cdnlab.node.process import run
    from origin.app import build  # aiohttp and the site: not needed to print a usage message

    return run(topology, name, build, state=state, inherited=inherited, ready_fd=ready_fd)


def main() -> None:
    """`python -m origin`."""
    app(prog_name="python -m origin")
