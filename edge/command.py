"""The edge's command line: one node alone, and the entry by which a lab starts its nodes."""

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
    """Be the edge `name` of `topology`; the exit code."""
    from cdnlab.node.process import run
    from edge.app import Edge

    return run(topology, name, Edge, state=state, inherited=inherited, ready_fd=ready_fd, store_url=store_url)


@app.command()
def command(
    listen: Annotated[str, typer.Option(help="Where to listen, HOST:PORT.")],
    origin: Annotated[list[str], typer.Option(help="The server to cache, a URL; repeatable.")],
    origin_host: Annotated[
        str | None, typer.Option(help="The Host that the origin receives. Default: the client's, unchanged.")
    ] = None,
    forwarded_proto: Annotated[
        str | None,
        typer.Option(help="X-Forwarded-Proto for the origin, http or https. Default: as the client came."),
    ] = None,
    memory: Annotated[str, typer.Option(help="What may be stored.")] = "256MiB",
    admin: Annotated[
        str | None, typer.Option(help="Admin API at HOST:PORT, or off. Default: 1021 above the port.")
    ] = None,
    origin_place: Annotated[
        str, typer.Option(help="Where the origin stands, to be felt as distance: a place's code, or none.")
    ] = "none",
    query_drop: Annotated[
        list[str] | None,
        typer.Option(
            help="A query parameter that neither key nor origin gets: a name, or such as utm_*; repeatable."
        ),
    ] = None,
    query_sort: Annotated[
        bool, typer.Option("--query-sort", help="Order query parameters by name, for key and origin.")
    ] = False,
    cookies: Annotated[
        str | None,
        typer.Option(
            help="rfc: cookies prevent nothing. pass: what bears one goes past. strip: taken out both ways."
        ),
    ] = None,
    disk: Annotated[
        str | None,
        typer.Option(
            help="A directory for what overflows memory or is too large for it, DIR or DIR:SIZE (1GiB). "
            "Default: memory only.",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="The node's name in Via and Cache-Status.")] = "edge",
    state: Annotated[
        Path | None,
        typer.Option(help="A directory for its secrets, by which purge, explain, policy and audit find it."),
    ] = None,
) -> None:
    """A shared HTTP cache in front of any server.

    Example: cdnlab edge --listen 127.0.0.1:8080 --origin http://127.0.0.1:3000
    """
    from cdnlab.plan.errors import PlanError
    from cdnlab.plan.single import single_edge

    try:
        topology = single_edge(
            listen,
            origin,
            name=name,
            origin_host=origin_host,
            forwarded_proto=forwarded_proto,
            memory=memory,
            admin=admin,
            origin_place=origin_place,
            query_sort=query_sort,
            query_drop=query_drop or (),
            cookies=cookies,
            disk=disk,
        )
        if state is not None:
            _share(state, topology)
    except PlanError as error:
        typer.echo(f"cdnlab: {error}", err=True)
        raise typer.Exit(2) from None
    _say(topology, name, listen, origin)
    raise typer.Exit(node_main(topology, name, state))


def _share(state: Path, topology: Topology) -> None:
    """Leave in a directory what a command needs to speak to this edge. PlanError."""
    from cdnlab.node.secrets import SecretsError, make
    from cdnlab.plan.errors import PlanError

    if (state / "lock").exists():
        raise PlanError(f"{state} is a lab's state directory", "--state", "give one of this edge's own")
    try:
        make(state / "secrets")
        (state / "topology.yaml").write_text(topology.dump())
    except SecretsError as error:
        raise PlanError(str(error), "--state") from None
    except OSError as error:
        where = error.filename or state
        raise PlanError(
            f"cannot write {where}: {error.strerror}", "--state", "give a directory of yours"
        ) from None


def _say(topology: Topology, name: str, listen: str, origins: list[str]) -> None:
    """One line on what was asked for; what cannot be done follows on standard error."""
    address = topology.admin_address(name)
    admin = f", admin at http://{address[0]}:{address[1]}" if address else ""
    typer.echo(f"cdnlab edge: http://{listen} -> {', '.join(origins)}{admin}; Ctrl-C ends it")
