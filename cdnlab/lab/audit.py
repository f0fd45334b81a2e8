"""`cdnlab audit`: ask pages as two users from two places, and see whether a cache gives one what is the other's.

It decides in which order things are asked of whom, and the exit code. What is typed is read in audit_request.py and
audit_login.py, one page's questions are audit_page.py's, judging is audit_leaks.py's and audit_surprises.py's;
audit_view.py prints.

Exit code 1 if one user received the other's body or cookie, or if a page gave no answer; 2 for bad usage; else 0.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cdnlab.lab import audit_view
from cdnlab.lab.ask import ask
from cdnlab.lab.audit_leaks import SECRET_LENGTH, Party
from cdnlab.lab.audit_login import Login, log_in, parse
from cdnlab.lab.audit_page import Asking, PageAudit, Report
from cdnlab.lab.audit_request import Lab, Target, header, origin_url, target
from cdnlab.lab.audit_way import Field, Page, User
from cdnlab.lab.client import run, topology_of
from cdnlab.lab.errors import FAILED, MISUSED, LabError
from cdnlab.lab.purge_round import Edge, Round
from cdnlab.lab.state import StateDirectory
from cdnlab.node.secrets import SecretsError
from cdnlab.node.secrets import load as load_secrets
from cdnlab.plan.errors import PlanError
from cdnlab.plan.load import load
from cdnlab.plan.topology import Topology

PURGE_WITHIN = 5.0
"""Seconds in which every edge is to have purged a page; else its first answers are as cold as they happen to be."""


def command(
    urls: Annotated[
        list[str],
        typer.Argument(help="Pages: paths of the running lab, or URLs of any site.", metavar="URL..."),
    ],
    login: Annotated[
        list[str] | None,
        typer.Option(
            "--login", metavar="'POST PATH BODY'", help="How a user logs in. Twice, once for each user."
        ),
    ] = None,
    each: Annotated[
        list[str] | None,
        typer.Option(
            "--as", metavar="NAME:VALUE", help="A field that one user sends. Twice, once for each user."
        ),
    ] = None,
    place: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="PLACE", help="Where the users stand, such as icn. Up to twice."),
    ] = None,
    header_: Annotated[
        list[str] | None,
        typer.Option(
            "--header", "-H", metavar="NAME:VALUE", help="A field that both users send. Repeatable."
        ),
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option("--origin", metavar="URL", help="The server behind the cache, to compare with."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as one JSON object.")] = False,
    state: Annotated[Path | None, typer.Option("--state", help="The lab's state directory.")] = None,
) -> None:
    """Ask pages as two users from two places, and say what a shared cache does with them.

    Example: cdnlab audit / /account --login 'POST /login user=a&pw=b' --login 'POST /login user=c&pw=d'
    """

    def work(where: StateDirectory) -> int:
        told = Told(
            tuple(urls),
            tuple(parse(text) for text in _twice(login, "--login")),
            tuple(header(text, "--as") for text in _twice(each, "--as")),
            tuple(_places(place)),
            tuple(header(text, "--header") for text in header_ or ()),
            None if origin is None else origin_url(origin),
        )
        audit = Audit(told, _lab(where), _forgetter(where))
        asyncio.run(audit.run())
        names = [user.name for user in audit.users]
        if as_json:
            print(json.dumps(audit_view.as_json(audit.reports, names), indent=2, ensure_ascii=False))
        else:
            audit_view.show(audit.reports, names)
        return audit.code

    run(state, work)


@dataclass(frozen=True, slots=True)
class Told:
    """What was typed."""

    urls: tuple[str, ...]
    logins: tuple[Login, ...]
    each: tuple[Field, ...]
    places: tuple[str, ...]
    headers: tuple[Field, ...]
    origin: str | None


class Audit:
    """One audit: its pages, its two users, its reports."""

    def __init__(self, told: Told, lab: Lab | None, forgetter: Forgetter | None = None) -> None:
        ours = forgetter.sites if forgetter is not None else frozenset()
        self.told = told
        self.users = [_user(told, number) for number in (0, 1)]
        self.targets: list[Target] = [
            target(url, lab, told.places, told.origin, told.headers, ours) for url in dict.fromkeys(told.urls)
        ]
        self.forget = forgetter.forget if forgetter is not None else None
        self.reports: list[Report] = []

    async def run(self) -> None:
        """Log the users in, then ask page after page. LabError if a login fails."""
        first = self.targets[0]
        for user, login in zip(self.users, self.told.logins, strict=False):
            await log_in(user, login, first.ways[0], first.page)
        asking = Asking(self.users, bool(self.told.logins or self.told.each), self.forget)
        self.reports = [await PageAudit(asking, each, time.time()).run() for each in self.targets]

    @property
    def code(self) -> int:
        """The exit code."""
        return FAILED if any(report.leaks or report.failed for report in self.reports) else 0


class Forgetter:
    """Makes the edges of a topology forget a page: those of the lab, or the one that shares a state directory."""

    def __init__(self, topology: Topology, token: str) -> None:
        names = topology.tier("edge")
        self._round = Round([Edge(name, topology.admin_address(name)) for name in names], token, PURGE_WITHIN)
        self.sites = frozenset(
            f"{host}:{port}" for host, port in (topology.data_address(name) for name in names)
        )
        """host:port of each edge."""

    async def forget(self, page: Page) -> bool:
        """Purge a page; whether every edge has applied it."""
        try:
            said = await asyncio.to_thread(self._round.run, [{"urls": [page.url]}])
        except LabError:
            return False
        return all(edge["applied"] for edge in said.edges)


def _forgetter(where: StateDirectory) -> Forgetter | None:
    """Who can purge what is audited: whoever has the secrets of the edges in the state directory."""
    try:
        return Forgetter(load(where.topology), load_secrets(where.secrets).admin_token)
    except (PlanError, SecretsError, OSError):
        return None


def _user(told: Told, number: int) -> User:
    fields = told.each[number : number + 1]
    party = Party(f"user {number + 1}")
    party.secrets |= {word for _, value in fields for word in value.split() if len(word) >= SECRET_LENGTH}
    return User(party, fields)


def _twice(given: Sequence[str] | None, option: str) -> Sequence[str]:
    if given and len(given) != 2:
        raise LabError(f"{option} is given once" if len(given) == 1 else f"{option} is given {len(given)} times",
                       "give it twice, once for each of the two users", MISUSED)  # fmt: skip
    return given or ()


def _places(given: Sequence[str] | None) -> Sequence[str]:
    if given and len(given) > 2:
        raise LabError(f"--from is given {len(given)} times", "an audit asks from two places", MISUSED)
    return list(dict.fromkeys(given or ()))


def _lab(where: StateDirectory) -> Lab | None:
    """The lab that runs, if one does."""
    try:
        said = ask(where, "/lab")
    except LabError:
        return None
    site = said.get("published")
    return Lab(topology_of(where), (str(site["address"]), int(site["port"])) if site else None)
