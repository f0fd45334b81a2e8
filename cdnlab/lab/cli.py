"""The `cdnlab` command: every subcommand's name, one sentence, and where its code is.

Nothing is imported until it is asked for, so that `cdnlab up` spends its first second on the network. A command is a
typed function for typer, or a tier's typer app with one command. What a command does is its own file's business.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
import typer.main
from typer.core import TyperGroup

from cdnlab.lab.errors import LabError


class Entry(NamedTuple):
    """One subcommand: `module:attribute` and its line in the list of commands."""

    where: str
    sentence: str


COMMANDS = {
    "up": Entry("cdnlab.lab.cli:up", "Bring up the whole network, and stay until Ctrl-C."),
    "down": Entry("cdnlab.lab.orders:down", "End the lab."),
    "status": Entry("cdnlab.lab.status:command", "Show every node: state, reason, traffic."),
    "get": Entry(
        "cdnlab.lab.get:command", "Fetch a path as a client somewhere, and explain the way it went."
    ),
    "explain": Entry("cdnlab.lab.explain:command", "Say what an edge would do with a request now."),
    "audit": Entry(
        "cdnlab.lab.audit:command", "Ask pages as two users, and see whether a cache mixes them up."
    ),
    "log": Entry("cdnlab.lab.log:command", "Show the last requests."),
    "events": Entry("cdnlab.lab.events:command", "Show what changed, and why."),
    "policy": Entry("cdnlab.lab.policy:command", "Show or change the edges' eviction policy."),
    "purge": Entry("cdnlab.lab.purge:command", "Drop what the edges have stored."),
    "kill": Entry("cdnlab.lab.orders:kill", "Kill a node (SIGKILL)."),
    "pause": Entry("cdnlab.lab.orders:pause", "Freeze a node (SIGSTOP)."),
    "resume": Entry("cdnlab.lab.orders:resume", "Let a frozen node run on."),
    "start": Entry("cdnlab.lab.orders:start", "Start a node that is dead."),
    "fault": Entry("cdnlab.lab.fault:command", "Make a node fail on purpose while it runs."),
    "drain": Entry("cdnlab.lab.pools:drain", "Send a backend nothing new."),
    "enable": Entry("cdnlab.lab.pools:enable", "Use a drained backend again."),
    "pool": Entry("cdnlab.lab.pools:app", "Show the pools, or change one while requests run."),
    "reload": Entry("cdnlab.lab.reload:command", "Have the lab go by a changed topology."),
    "rotate": Entry("cdnlab.lab.rotate:command", "Make a new key for the cookies of sticky sessions."),
    "check": Entry("cdnlab.lab.check:command", "Check a topology file."),
    "node": Entry("cdnlab.lab.node_command:command", "Run one node of a topology, apart from a lab."),
    "observe": Entry("cdnlab.lab.observe:command", "Serve the page for nodes that run elsewhere."),
    "demo": Entry("cdnlab.lab.demo:app", "Run a demonstration, or list them and the lessons."),
    "edge": Entry("edge.command:app", "Run one edge cache in front of any server."),
    "lb": Entry("lb.command:app", "Run one load balancer in front of any servers."),
    "origin": Entry("origin.command:app", "Run the demo site."),
}
SETTINGS = {"help_option_names": ["-h", "--help"]}


class Lazy(TyperGroup):
    """A group whose commands are imported when they are run, and not when they are listed."""

    entries = COMMANDS
    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the order of the table."""
        return list(self.entries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command called `cmd_name`; None if there is none."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        return _stub(cmd_name, entry) if self._listing else _load(cmd_name, entry)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """What --help prints."""
        self._listing = True
        super().format_help(ctx, formatter)


def _load(name: str, entry: Entry) -> Any:
    module, _, attribute = entry.where.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    return _command(name, found, entry)


def _stub(name: str, entry: Entry) -> Any:
    def nothing() -> None:
        """Only listed."""

    return _command(name, nothing, entry)


def _command(name: str, found: Any, entry: Entry) -> Any:
    if not isinstance(found, typer.Typer):
        function, found = found, typer.Typer(add_completion=False)
        found.command(name, short_help=entry.sentence)(function)
    found.rich_markup_mode = None  # one look for all, and rich need not be imported for it
    found.info.context_settings = SETTINGS
    command = typer.main.get_command(found)
    command.name = name
    return command


app = typer.Typer(
    cls=Lazy,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=SETTINGS,
)


@app.callback()
def cdnlab() -> None:
    """A whole content-delivery network on one laptop: balancers, edges, origins, and a laboratory to break it."""


def up(
    topology: Annotated[
        Path | None, typer.Argument(help="A topology file; without one, the shipped default.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return once the lab is ready; it stays.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(metavar="BASE", min=1, max=65535, help="The HTTP port; the page is at BASE + 1020."),
    ] = None,
    state: Annotated[Path | None, typer.Option(help="The lab's state directory.")] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Your application, in the demo site's place. Repeatable."),
    ] = None,
    origin_host: Annotated[
        str | None, typer.Option(metavar="HOST", help="The Host your application expects; else the client's.")
    ] = None,
    forwarded_proto: Annotated[
        str | None,
        typer.Option(
            metavar="https", help="What X-Forwarded-Proto says, for applications that redirect to https."
        ),
    ] = None,
    origin_place: Annotated[
        str,
        typer.Option(metavar="PLACE", help="Where your application stands, such as iad; none: no distance."),
    ] = "iad",
    distance: Annotated[str | None, typer.Option(metavar="on|off", help="Whether distance is felt.")] = None,
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="A Redis-protocol server instead of the embedded one.")
    ] = None,
    sessions: Annotated[
        str | None,
        typer.Option(
            metavar="local|clustered", help="Where the demo site's logins lie; else as the topology."
        ),
    ] = None,
    sticky: Annotated[
        str | None,
        typer.Option(
            metavar="off|cookie|source|learn:NAME",
            help="How clients stay with an origin; else as the topology, by default off.",
        ),
    ] = None,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Start a Prometheus beside the lab, at BASE + 1010.")
    ] = False,
) -> None:
    """Bring up the whole network, show what runs where, and stay until Ctrl-C (or, with -d, until `cdnlab down`)."""
    from cdnlab.lab import up as lab
    from cdnlab.lab.choices import Choices, on_off
    from cdnlab.plan.errors import PlanError

    try:
        choices = Choices(
            topology=topology,
            detach=detach,
            port=port,
            state=state,
            origins=tuple(origin or ()),
            origin_host=origin_host,
            forwarded_proto=forwarded_proto,
            origin_place=None if origin_place == "none" else origin_place,
            distance=on_off(distance, "--distance"),
            store=store,
            sessions=sessions,
            sticky=sticky,
            prometheus=prometheus,
        )
        code = lab.up(choices)
    except (LabError, PlanError) as error:
        code = lab.refuse(error)
    except KeyboardInterrupt:
        code = 130
    raise typer.Exit(code)


def main() -> None:
    """The console script."""
    app(prog_name="cdnlab")
