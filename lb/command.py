"""The balancer's command line: one node alone, and the entry by which a lab starts its nodes."""

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
    """Be the balancer `name` of `topology`; the exit code. `inherited`: listening sockets by VIP name."""
    from cdnlab.node.process import DRAIN, run
    from lb.app import Balancer

    # a second more than flows get, so that they are ended with their reason and not with the process
    drain = max([DRAIN, *(spec.drain + 1.0 for spec in topology.l4.values())])
    return run(
        topology,
        name,
        Balancer,
        state=state,
        inherited=inherited,
        ready_fd=ready_fd,
        store_url=store_url,
        drain=drain,
    )


@app.command()
def command(
    listen: Annotated[str, typer.Option(help="Where to listen, HOST:PORT.")],
    backend: Annotated[
        list[str],
        typer.Option(
            metavar="ADDRESS",
            help="A server behind it: HOST:PORT or URL[,weight=N][,priority=N][,name=NAME].",
        ),
    ],
    mode: Annotated[str, typer.Option(help="http, or at layer 4: tcp, udp.")] = "http",
    algorithm: Annotated[
        str,
        typer.Option(
            help="round_robin, random, least_connections, power_of_two, source_hash, ring_hash, maglev, bounded_load "
            "or first."
        ),
    ] = "round_robin",
    sticky: Annotated[
        str, typer.Option(help="off, cookie, source, or learn:NAME with the application's cookie.")
    ] = "off",
    health: Annotated[str, typer.Option(help="tcp, tls, none, http or http:/PATH.")] = "tcp",
    interval: Annotated[
        str | None, typer.Option(metavar="TIME", help="From one check to the next; 2s by default.")
    ] = None,
    accept_proxy: Annotated[
        bool, typer.Option("--accept-proxy", help="Clients begin with a PROXY header (--mode tcp).")
    ] = False,
    send_proxy: Annotated[
        str, typer.Option(help="The PROXY header that servers get (--mode tcp): off, v1 or v2.")
    ] = "off",
    trust: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="A proxy in front whose word about clients counts. Repeatable."),
    ] = None,
    admin: Annotated[
        str | None, typer.Option(help="Admin API at HOST:PORT, or off. Default: 1021 above the port.")
    ] = None,
) -> None:
    """A load balancer in front of any servers.

    Example: cdnlab lb --listen 127.0.0.1:8080 --backend 127.0.0.1:9001 --backend 127.0.0.1:9002 --sticky cookie
    """
    from cdnlab.plan.errors import PlanError
    from cdnlab.plan.single import single_lb

    try:
        topology = single_lb(
            listen,
            backend,
            mode=mode,
            algorithm=algorithm,
            sticky=sticky,
            health=health,
            interval=interval,
            accept_proxy=accept_proxy,
            send_proxy=send_proxy,
            trusted=trust or (),
            admin=admin,
        )
    except PlanError as error:
        typer.echo(f"cdnlab: {error}", err=True)
        raise typer.Exit(2) from None
    _say(topology, listen, backend, mode)
    raise typer.Exit(node_main(topology, "lb"))


def _say(topology: Topology, listen: str, backends: list[str], mode: str) -> None:
    """One line on what was asked for; what cannot be done follows on standard error."""
    address = topology.admin_address("lb")
    admin = f", admin at http://{address[0]}:{address[1]}" if address else ""
    typer.echo(f"cdnlab lb: {mode}://{listen} -> {', '.join(backends)}{admin}; Ctrl-C ends it")
