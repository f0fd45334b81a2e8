"""`cdnlab node`: one node of a topology, started apart from a lab: in a container, or on a host of its own.

Decides which topology and which node are meant, and sees to the secrets that all nodes of the lab share. What a node
does is its tier's business. Nobody supervises it: that is the container engine's part, or systemd's.

Whoever starts nodes apart starts many of them, and each must come to the same topology. So all that changes one comes
from the environment (choices.py), which a compose file gives to every node alike.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdnlab.lab.errors import MISUSED, LabError

if TYPE_CHECKING:
    from cdnlab.plan.topology import Topology

NAME = "CDNLAB_NODE"
#: A file that tells a health check where the node's admin API is: HOST:PORT.
READY_FILE = "CDNLAB_READY_FILE"


def command(
    name: Annotated[
        str | None, typer.Argument(help=f"The node's name in the topology; else ${NAME}.", show_default=False)
    ] = None,
    topology: Annotated[
        Path | None, typer.Option(help="The topology file; else $CDNLAB_TOPOLOGY, else the shipped one.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="The directory that the lab's nodes share, for its secrets.")
    ] = None,
) -> None:
    """Be one node of a topology until told to end. Nodes that are started apart share a state directory and a store.

    Example: cdnlab node edge-icn --topology my.yaml --state /var/lib/cdnlab
    """
    from cdnlab.lab.up import refuse
    from cdnlab.plan.errors import PlanError

    try:
        code = run(name, topology, state)
    except (LabError, PlanError) as error:
        code = refuse(error)
    raise typer.Exit(code)


def run(name: str | None, file: Path | None, state: Path | None) -> int:
    """Be the node; the exit code. LabError or PlanError where it can't be started."""
    from cdnlab.lab.choices import ENVIRONMENT, choose, from_environment
    from cdnlab.lab.programs import node_main
    from cdnlab.lab.state import StateDirectory
    from cdnlab.node import versions

    name = name or os.environ.get(NAME)
    if not name:
        raise LabError("which node?", f"cdnlab node NAME, or set {NAME}", MISUSED)
    choices = from_environment(file)
    topology = choose(choices, ENVIRONMENT)
    if name not in topology.nodes and choices.origins and _was_there(choices.topology, name):
        print(f"cdnlab: {name} has nothing to do: {ENVIRONMENT.origin} stands in its place")
        return 0
    tier = topology.node(name).tier
    if tier == "lb":
        check_apart(topology)
    directory = StateDirectory(state).path
    _share_secrets(directory)
    versions.source = lambda: choose(from_environment(file), ENVIRONMENT)
    ready = _announce(topology, name)
    try:
        return node_main(tier)(topology, name, directory, None, None)
    finally:
        if ready is not None:
            with suppress(OSError):
                ready.unlink()


def check_apart(topology: Topology) -> None:
    """LabError if several balancers can't share the VIPs without a lab that opens the sockets for them."""
    if len(topology.tier("lb")) < 2:
        return
    for index, vip in enumerate(topology.vips):
        if vip.provider == "lab":
            raise LabError(
                f"vips[{index}].provider is lab, and no lab has opened {vip.name}'s socket for this balancer",
                "start the lab with cdnlab up, or write provider: reuseport",
                MISUSED,
            )
    if topology.store.url is None:
        raise LabError(
            "the balancers share a VIP, and have no store in which to agree who holds it",
            "give the topology a store, such as {url: redis://127.0.0.1:6379/0}, or set CDNLAB_STORE",
            MISUSED,
        )


def _was_there(file: Path | None, name: str) -> bool:
    from cdnlab.plan.load import load

    return name in load(file).nodes


def _share_secrets(directory: Path) -> None:
    """The first node makes them; every further one finds them there."""
    from cdnlab.node import secrets

    try:
        secrets.make(directory / "secrets")
    except secrets.SecretsError as error:
        raise LabError(str(error)) from error


def _announce(topology: Topology, name: str) -> Path | None:
    """Write where the admin API will be, for a health check that imports nothing of ours."""
    from cdnlab.lab.addresses import show

    file, address = os.environ.get(READY_FILE), topology.admin_address(name)
    if not file or address is None:
        return None
    path = Path(file)
    try:
        path.write_text(f"{show(address)}\n")
    except OSError as error:
        raise LabError(f"${READY_FILE}: cannot write {path}: {error.strerror}", "name another file") from None
    return path
