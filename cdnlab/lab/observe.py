"""`cdnlab observe`: page and control API for nodes that run elsewhere, in containers or on other hosts.

It starts nothing, so nothing ends with it. What it knows, the nodes' admin APIs say; its topology comes to it as to the
nodes, from a file and the environment (choices.py). Page and commands are the same as beside `cdnlab up`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

import typer

from cdnlab.lab import monitor
from cdnlab.lab.addresses import find_holder, show
from cdnlab.lab.choices import ENVIRONMENT, choose, from_environment
from cdnlab.lab.control import HOST, HOSTS, Control
from cdnlab.lab.errors import MISUSED, LabError
from cdnlab.lab.facts import facts
from cdnlab.lab.gather import Gather
from cdnlab.lab.node_api import NodeApi
from cdnlab.lab.observe_nodes import Observer
from cdnlab.lab.observe_orders import COMPOSE
from cdnlab.lab.reach import NOT_STARTED, check_origins
from cdnlab.lab.state import StateDirectory, unwritable
from cdnlab.lab.up import refuse
from cdnlab.lab.welcome import COMMAND, tell
from cdnlab.lab.welcome import command as as_typed
from cdnlab.node.store import redacted
from cdnlab.plan.errors import PlanError
from cdnlab.plan.origins import split_address
from cdnlab.plan.topology import BackendSpec, Topology

Address = tuple[str, int]

#: What to do about an application that does not answer, where the nodes are in containers.
REACH = (
    "start the application; on Linux let it listen on 0.0.0.0 rather than 127.0.0.1, "
    "since containers reach this machine as host.docker.internal"
)


@dataclass(frozen=True, slots=True)
class Where:
    """Where the page listens, its URL for a person, the VIP as people outside reach it, and Prometheus' file."""

    page: Address
    page_url: str
    site: Address | None
    targets: Path | None


def command(
    topology: Annotated[
        Path | None, typer.Argument(help="The topology file; else $CDNLAB_TOPOLOGY, else the shipped one.")
    ] = None,
    page: Annotated[
        str | None,
        typer.Option(
            envvar="CDNLAB_PAGE", metavar="HOST:PORT", help="Where the page listens; else on 127.0.0.1."
        ),
    ] = None,
    published: Annotated[
        str | None,
        typer.Option(
            envvar="CDNLAB_PUBLISHED", metavar="HOST:PORT", help="The VIP as people outside reach it."
        ),
    ] = None,
    published_page: Annotated[
        str | None,
        typer.Option(
            envvar="CDNLAB_PUBLISHED_PAGE", metavar="HOST:PORT", help="The page as people outside reach it."
        ),
    ] = None,
    targets: Annotated[
        Path | None,
        typer.Option(
            envvar="CDNLAB_TARGETS", metavar="FILE", help="Where to write whom a Prometheus is to scrape."
        ),
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="The state directory, which the nodes share.")
    ] = None,
) -> None:
    """Serve page and control API for nodes that run elsewhere, and start none.

    Example: cdnlab observe my.yaml --state /var/lib/cdnlab --page 0.0.0.0:9100
    """
    try:
        choices = from_environment(topology)
        plan = choose(choices, ENVIRONMENT)
        where = _where(plan, page, published, published_page, targets)
        code = observe(plan, StateDirectory(state), where, choices.origins)
    except (LabError, PlanError) as error:
        code = refuse(error)
    except KeyboardInterrupt:
        code = 130
    raise typer.Exit(code)


def _where(
    topology: Topology, page: str | None, site: str | None, page_outside: str | None, targets: Path | None
) -> Where:
    listens = split_address(page, "--page") if page else (HOST, topology.ports.page)
    if listens[1] == 0:
        raise LabError("--page with port 0: nobody would know which that is", "give a port", MISUSED)
    outside = split_address(page_outside, "--published-page") if page_outside else _local(listens)
    if outside[0] not in HOSTS:
        raise LabError(
            f"--published-page {page_outside}: the page answers to the hosts {' and '.join(HOSTS)} only",
            f"publish it there, and write {HOST}:{outside[1]}",
            MISUSED,
        )
    reached = split_address(site, "--published") if site else _reached(topology)
    return Where(listens, f"http://{show(outside)}/", reached, targets)


def _local(address: Address) -> Address:
    """An address to listen on, as this machine calls it: the page knows no IPv6 address by its number."""
    return ("localhost" if ":" in address[0] else HOST), address[1]


def _reached(topology: Topology) -> Address | None:
    """A VIP on every address is called by this machine's, as far as nobody says otherwise."""
    if not topology.vips:
        return None
    host, port = topology.vip_address(topology.vips[0])
    everywhere = ip_address(host)
    return ("::1" if everywhere.version == 6 else HOST, port) if everywhere.is_unspecified else None


def observe(topology: Topology, state: StateDirectory, where: Where, origins: Sequence[str]) -> int:
    """Observe until told to end; the exit code. `origins` are the URLs that a person gave. LabError."""
    lock = state.claim(shared=True)
    try:
        _save(topology, state, where.targets)
        return asyncio.run(_live(topology, state, where, origins))
    finally:
        state.socket.unlink(missing_ok=True)
        os.close(lock)


def _save(topology: Topology, state: StateDirectory, targets: Path | None) -> None:
    """Write the topology as the nodes have it, for `get`, and whom a Prometheus is to scrape."""
    file = targets or state.prometheus / monitor.TARGETS
    try:
        state.topology.write_text(topology.dump(), encoding="utf-8")
        file.parent.mkdir(parents=True, exist_ok=True)
        monitor.write_targets(topology, file)
    except OSError as error:
        raise unwritable(file, error) from error


async def _live(topology: Topology, state: StateDirectory, where: Where, origins: Sequence[str]) -> int:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _end, ended, number)
    api = NodeApi(topology)
    observer = Observer(topology, api, COMPOSE)
    told = _facts(topology, state, where)
    gather = Gather(observer, topology, told, redacted(topology.store.url or ""))
    control = Control(observer, gather)
    try:
        await _open(control, state, where.page)
        tell(f"Observing {len(topology.nodes)} nodes. Page {where.page_url}  site {_sites(told)}")
        observer.events.listeners.append(_tell_event)
        _check_origins(topology, origins)
        await _until(ended, observer)
        tell(f"Ending: {ended.result()}. The nodes run on.")
    finally:
        await control.close()
        await gather.close()
        await api.close()
    return 0


async def _until(ended: asyncio.Future[str], observer: Observer) -> None:
    """Observe until `ended` is done; raises what goes wrong."""
    watching = asyncio.create_task(observer.run())
    await asyncio.wait((watching, ended), return_when=asyncio.FIRST_COMPLETED)
    if not ended.done():
        await watching  # it failed; or no node has an admin API, and there is nothing to watch
        await ended
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


async def _open(control: Control, state: StateDirectory, page: Address) -> None:
    try:
        await control.open(state.socket, page[1], page[0])
    except OSError as error:
        raise _not_opened(page, error) from error


def _not_opened(page: Address, error: OSError) -> LabError:
    if isinstance(error, socket.gaierror):
        why = f"the name does not resolve ({error.strerror})"
    else:
        holder = find_holder(page) if error.errno == errno.EADDRINUSE else None
        why = (
            f"is taken by {holder[1]} (pid {holder[0]})" if holder else os.strerror(error.errno or 0).lower()
        )
    return LabError(f"{show(page)}, needed for the page: {why}", "give another address with --page HOST:PORT")


def _facts(topology: Topology, state: StateDirectory, where: Where) -> dict[str, Any]:
    told = facts(topology, state, where.page_url, os.environ.get(COMMAND) or as_typed(state, ""))
    told["orders"] = dict(COMPOSE.verbs)
    if where.site and told["vips"]:
        told["published"] = {"address": where.site[0], "port": where.site[1]}
        told["vips"][0] |= told["published"]
    return told


def _sites(told: dict[str, Any]) -> str:
    return "  ".join(f"http://{show((vip['address'], vip['port']))}/" for vip in told["vips"])


def _end(ended: asyncio.Future[str], number: signal.Signals) -> None:
    if not ended.done():
        ended.set_result({signal.SIGINT: "Ctrl-C"}.get(number, signal.Signals(number).name))


def _tell_event(event: dict[str, Any]) -> None:
    tell(f"{time.strftime('%H:%M:%S', time.localtime(event['time']))} {event['subject']}: {event['text']}")


def _check_origins(topology: Topology, origins: Sequence[str]) -> None:
    """Say on standard error which of the person's origins do not answer. In a thread, since it may take seconds."""
    if origins:
        backends = topology.backends(topology.edge.pool)
        threading.Thread(target=_reach, args=(backends, origins), daemon=True).start()


def _reach(backends: Sequence[BackendSpec], origins: Sequence[str]) -> None:
    for backend, url in zip(backends, origins, strict=True):
        try:
            check_origins([backend], [url])
        except LabError as error:
            remedy = REACH if error.remedy == NOT_STARTED else error.remedy
            tell(f"cdnlab: {error.problem}; {remedy}", failed=True)
