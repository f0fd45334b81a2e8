"""`cdnlab demo sessions`: what stickiness and session clustering save, counted by clients on labs of its own.

Decides which labs there are, in which order, and what is done to them. What clients do is demo_sessions_clients.py's,
what counts as lost is demo_sessions_count.py's, a person's own application is demo_sessions_own.py's.

Exit code 0 when it was measured and shows what it is for; 1 when not, when a lab did not start, or when no client
could log in.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import typer

from cdnlab.lab import demo_sessions_own as own
from cdnlab.lab import demo_sessions_view as view
from cdnlab.lab.demo_lab import DemoLab, Folder
from cdnlab.lab.demo_sessions_clients import OURS, Act, Clients, Script, measured_row
from cdnlab.lab.demo_sessions_count import Row, busiest
from cdnlab.lab.demo_store import LoggedStore
from cdnlab.lab.errors import FAILED, MISUSED, LabError
from cdnlab.lab.tables import console

MOST_CLIENTS, MOST_ITEMS = 500, 50
WIDE = 120
"""Columns where nothing says how many there are."""


def command(
    clients: Annotated[
        int, typer.Option(metavar="N", min=1, max=MOST_CLIENTS, help="Clients in each line of the table.")
    ] = 30,
    items: Annotated[
        int, typer.Option(metavar="N", min=1, max=MOST_ITEMS, help="Items that each puts into its cart.")
    ] = 3,
    origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A server of your own application. At least twice."),
    ] = None,
    login: Annotated[
        str | None,
        typer.Option(metavar="'POST PATH BODY'", help="How a client logs in to it; {client} is its number."),
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(metavar="'GET PATH TEXT'", help="A page that holds TEXT for who is logged in."),
    ] = None,
    put: Annotated[
        str | None,
        typer.Option(metavar="'POST PATH BODY'", help="How an item gets into a cart; {n} is its number."),
    ] = None,
    cart: Annotated[
        str | None,
        typer.Option(metavar="'GET PATH TEXT'", help="A page that holds TEXT for each item {n} in the cart."),
    ] = None,
    kill: Annotated[
        str | None,
        typer.Option(metavar="COMMAND", help="What ends one of your servers; else it is cut off in between."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Count the logins and carts that a lost server costs, with and without stickiness and clustering.

    Example: cdnlab demo sessions
    """
    try:
        if origin:
            told = own.told(tuple(origin), login, check, put, cart, kill, items)
            rows, lessons = _run(own.measured(clients, told, _tell))
        else:
            if any(one is not None for one in (login, check, put, cart, kill)):
                raise LabError(
                    "--login, --check, --put, --cart and --kill are about --origin, and none is given",
                    "add --origin URL twice",
                    MISUSED,
                )
            rows, lessons = _run(ours(clients, replace(OURS, items=items)))
    except LabError as error:
        print(f"cdnlab: {error}", file=sys.stderr)
        raise typer.Exit(error.code) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps({"rows": [each.as_json() for each in rows]}, indent=2, ensure_ascii=False))
    else:
        shown = console()
        if not shown.is_terminal:
            shown.width = max(shown.width, WIDE)
        view.show(rows, lessons, shown)
    if OTHERWISE in lessons:
        raise typer.Exit(FAILED)


def _run(work: Any) -> tuple[list[Row], list[str]]:
    """Run it; a SIGTERM ends it as Ctrl-C does, and so with everything it began."""

    async def whole() -> tuple[list[Row], list[str]]:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        found: tuple[list[Row], list[str]] = await work
        return found

    return asyncio.run(whole())


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


Holds = Callable[[Row], bool]

LESSONS: tuple[tuple[str, Holds], ...] = (
    (
        "Each request meets another server, and only one was told of the login.",
        lambda row: row.logins_lost > 0,
    ),
    ("Each client meets one server again and again.", lambda row: row.logins_lost == row.carts_lost == 0),
    (
        "Stickiness held clients to a server that is gone: their sessions were in its memory.",
        lambda row: 0 < row.logins_lost == row.there,
    ),
    (
        "The sessions are in the store: another server goes on.",
        lambda row: row.logins_lost == row.carts_lost == 0,
    ),
    (
        "Now the store must not die: it held all sessions in its memory.",
        lambda row: row.logins_lost == row.logged_in,
    ),
    (
        "Any server will do: several that change one cart at the same moment lose nothing.",
        lambda row: row.logins_lost == row.carts_lost == 0,
    ),
    ("A store that writes a log brings them back.", lambda row: row.logins_lost == row.carts_lost == 0),
)
"""A sentence for each row, and the numbers it is about."""
OTHERWISE = "It came out otherwise than it should: nothing is shown by this line."


async def ours(count: int, script: Script) -> tuple[list[Row], list[str]]:
    """The rows on the demo origin, and a sentence for each. LabError."""
    rows: list[Row] = []

    async def measure(
        lab: DemoLab, sticky: bool, clustered: bool, event: str, act: Act | None = None
    ) -> None:
        words = ("cookie" if sticky else "off", "clustered" if clustered else "local")
        _tell(f"{len(rows) + 1} of {len(LESSONS)}: stickiness {words[0]}, sessions {words[1]}; {event}")
        rows.append(await measured_row(Clients(count, script, ("127.0.0.1", lab.base)), words, event, act))

    with Folder() as folder:
        async with DemoLab(folder, "a", topology(sticky=False, clustered=False)) as lab:
            await measure(lab, False, False, "nothing")
        async with DemoLab(folder, "b", topology(sticky=True, clustered=False)) as lab:
            await measure(lab, True, False, "nothing")
            await measure(lab, True, False, "a server killed", _killing(lab))
        async with DemoLab(folder, "c", topology(sticky=True, clustered=True)) as lab:
            await measure(lab, True, True, "a server killed", _killing(lab))
            await measure(lab, True, True, "store restarted, empty", _restarting(lab))
        async with (
            LoggedStore(folder) as store,
            DemoLab(folder, "d", topology(sticky=False, clustered=True, store=store.url)) as lab,
        ):
            await measure(lab, False, True, "nothing")
            await measure(lab, False, True, "store restarted, log", store.restart)
    said = zip(LESSONS, rows, strict=True)
    return rows, [sentence if holds(row) else OTHERWISE for (sentence, holds), row in said]


def _killing(lab: DemoLab) -> Act:
    """Kill the server with most clients."""

    async def kill(clients: Clients) -> str | None:
        server = busiest(clients.fates)
        assert server is not None, "the demo origin says its name"
        await lab.order("kill", server)
        return server

    return kill


def _restarting(lab: DemoLab) -> Act:
    """Kill the lab's own store, and start it anew: it keeps nothing on disk."""

    async def restart(_: Clients) -> None:
        await lab.order("kill", "store")
        await lab.order("start", "store")

    return restart


def topology(*, sticky: bool, clustered: bool, store: str | None = None) -> dict[str, Any]:
    """One balancer, one edge, three origins, no distance: what is shown does not depend on more."""
    origins = {
        f"origin-{number}": {"tier": "origin", "place": "icn", "address": f"127.82.1.{20 + number}"}
        for number in (1, 2, 3)
    }
    return {
        "name": "demo",
        "distance": {"enabled": False},
        "nodes": {
            "lb-a": {"tier": "lb", "address": "127.0.1.10"},
            "edge-icn": {"tier": "edge", "place": "icn", "address": "127.82.1.10"},
            **origins,
        },
        "pools": {
            "edges": {"tier": "edge", "algorithm": "nearest"},
            "origins": {"tier": "origin", "sticky": {"mode": "cookie" if sticky else "off"}},
        },
        "origin": {"sessions": "clustered" if clustered else "local"},
        **({"store": {"url": store}} if store else {}),
    }
