"""`demo sessions --origin A --origin B`: the same lesson on a person's own application.

Decides what is measured there and how a server is lost: other people's processes are not ours to kill. Each server
stands behind a relay that passes bytes on, and cutting the relay is, for all who ask, what a killed server is: no
connection can be made to it, and those that were there break off.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from cdnlab.lab.audit_login import Login, parse
from cdnlab.lab.demo_lab import DemoLab, Folder
from cdnlab.lab.demo_sessions_clients import NUMBER, Act, Clients, Script, measured_row
from cdnlab.lab.demo_sessions_count import Row
from cdnlab.lab.errors import MISUSED, LabError

KILL_WITHIN, CONNECT = 60.0, 3.0  # seconds that --kill may take, and a connection to a server
PIECE = 65536

LINES = 3


def lessons(rows: Sequence[Row]) -> list[str]:
    """What the numbers say of the application."""
    apart, pinned, lost = (row.logins_lost for row in rows)
    return [
        "Each request met another server, and the servers do not know one another's logins."
        if apart
        else "Each request met another server, and no login was lost: your servers share them, or cookies hold them.",
        "Each client met one server again and again, and yet logins were lost: does --check ask the right thing?"
        if pinned
        else "Each client met one server again and again: a server need not know what others know.",
        f"A server is gone, and {lost} logins with it: they were in its memory."
        if lost
        else "A server is gone, and no login with it: your servers share them, or cookies hold them.",
    ]


@dataclass(frozen=True, slots=True)
class Told:
    """What was typed, understood."""

    origins: tuple[str, ...]
    script: Script
    kill: str | None


def told(
    origins: tuple[str, ...],
    login: str | None,
    check: str | None,
    put: str | None,
    cart: str | None,
    kill: str | None,
    items: int,
) -> Told:
    """The options of the command. LabError for what does not go together."""
    if len(origins) < 2:
        raise LabError(
            "--origin is given once", "a lesson about several servers needs two: give it twice", MISUSED
        )
    if login is None or check is None:
        raise LabError(
            "--origin needs --login and --check",
            "add such as --login 'POST /login user=a&password=b' --check 'GET /account Hello, a'",
            MISUSED,
        )
    if (put is None) is not (cart is None):
        raise LabError("--put and --cart go together", "give both, or neither", MISUSED)
    script = Script(
        login=parse(login),
        check=_question(check, "--check", "GET /account Hello, a"),
        items=items if put is not None else 0,
        put=None if put is None else parse(put, "--put", f"POST /cart item={NUMBER}"),
        cart=None if cart is None else _question(cart, "--cart", f"GET /cart item {NUMBER}"),
    )
    for url in origins:
        _checked(url, cut=kill is None)
    return Told(origins, script, kill)


def _question(text: str, option: str, example: str) -> Login:
    found = parse(text, option, example)
    if not found.body:
        raise LabError(
            f"{option} {text}: the text is missing that proves it", f"write such as '{example}'", MISUSED
        )
    return found


def _checked(url: str, *, cut: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise LabError(f"--origin {url}: it is no server", "write such as http://127.0.0.1:3000", MISUSED)
    if cut and parts.scheme == "https":
        raise LabError(
            f"--origin {url}: what is cut off in between must speak http://",
            "say how the server is ended: --kill COMMAND",
            MISUSED,
        )


async def measured(count: int, told: Told, tell: Callable[[str], None]) -> tuple[list[Row], list[str]]:
    """The rows on the application, and a sentence for each. LabError."""
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(Folder())
        relays = [] if told.kill else [await stack.enter_async_context(Relay(url)) for url in told.origins]
        urls = [relay.url for relay in relays] or list(told.origins)
        loss = _loss(told, relays)
        plan: dict[str, list[tuple[str, Act | None]]] = {
            "off": [("nothing", None)],
            "cookie": [("nothing", None), loss],
        }
        for sticky, acts in plan.items():
            words = [word for url in urls for word in ("--origin", url)]
            async with DemoLab(folder, sticky, topology(sticky), *words, "--origin-place", "none") as lab:
                for done, act in acts:
                    tell(f"{len(rows) + 1} of {LINES}: stickiness {sticky}; {done}")
                    clients = Clients(count, told.script, ("127.0.0.1", lab.base))
                    rows.append(await measured_row(clients, (sticky, "your own"), done, act))
    return rows, lessons(rows)


def _loss(told: Told, relays: Sequence[Relay]) -> tuple[str, Act]:
    """What is done to a server, in words, and how."""
    command = told.kill
    if command is None:
        return f"{urlsplit(told.origins[0]).netloc} cut off", lambda _: relays[0].cut()
    return "killed by your command", lambda _: asyncio.to_thread(_kill, command)


def _kill(command: str) -> None:
    try:
        done = subprocess.run(["/bin/sh", "-c", command], timeout=KILL_WITHIN, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise LabError(f"--kill {command}: it did not end within {KILL_WITHIN:.0f} s") from None
    if done.returncode:
        raise LabError(f"--kill {command}: it ended with {done.returncode}", "try it in a shell")


def topology(sticky: str) -> dict[str, Any]:
    """One balancer and one edge; the servers come with --origin."""
    return {
        "name": "demo",
        "distance": {"enabled": False},
        "nodes": {
            "lb-a": {"tier": "lb", "address": "127.0.1.10"},
            "edge-icn": {"tier": "edge", "place": "icn", "address": "127.82.1.10"},
            "origin-1": {"tier": "origin", "place": "icn", "address": "127.82.1.21"},
        },
        "pools": {
            "edges": {"tier": "edge", "algorithm": "nearest"},
            "origins": {"tier": "origin", "sticky": {"mode": sticky}},
        },
    }


class Relay:
    """Passes bytes on to the server at `url`, from a port of its own at 127.0.0.1, until it is cut."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._given = url
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        """LabError if the server does not answer: behind a relay nobody else would see that."""
        try:
            async with asyncio.timeout(CONNECT):
                _, writer = await asyncio.open_connection(self._host, self._port)
        except OSError as error:
            why = (
                "no connection in time" if isinstance(error, TimeoutError) else os.strerror(error.errno or 0)
            )
            raise LabError(
                f"origin {self._given} does not answer: {why}",
                "start the application first, or correct --origin",
            ) from None
        writer.close()
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()

    async def cut(self) -> None:
        """Take no connection any more, and break off those that there are."""
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, back}
        try:
            await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
        finally:
            self._open -= {writer, back}
            for each in (writer, back):
                each.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the end, which is passed on too; a connection that broke off takes the other along."""
    try:
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
    except (OSError, RuntimeError):
        writer.transport.abort()
