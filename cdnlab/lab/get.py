"""`cdnlab get`: fetch a path as a client at some place, and explain the way it went.

It decides in which order things are asked and what the exit code is. What is typed is read in get_request.py, the
answer in fetch.py, the explanation in explain_view.py, redirects in redirects.py; get_view.py prints.

Exit code 0 when an answer came; 1 when none came, when it is a 5xx, when it breaks off, or when it redirects in a
loop; 2 for bad usage.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cdnlab.forward.explain import Hop, mark, parse_hops
from cdnlab.lab import explain_view, get_direct, get_view
from cdnlab.lab.ask import ask
from cdnlab.lab.client import run, topology_of
from cdnlab.lab.errors import FAILED, MISUSED, LabError
from cdnlab.lab.fetch import Answer, FetchFailed, Open, fetch
from cdnlab.lab.get_request import Request, build, source_of
from cdnlab.lab.redirects import Around, Kind, Verdict, authority, judge
from cdnlab.lab.state import StateDirectory
from cdnlab.node import secrets
from cdnlab.plan.topology import Topology
from cdnlab.wire.errors import Malformed

MARK_LIFE = 60
"""Seconds for which the mark that asks for an explanation holds."""
MOST_REDIRECTS = 10
"""How far a chain of redirects is followed to see where it ends; browsers give up after 20."""


def command(
    path: Annotated[str, typer.Argument(help="A path such as /, or http://HOST/path to ask for that host.")],
    place: Annotated[str | None, typer.Option("--from", help="Where the client stands, such as icn.")] = None,
    direct: Annotated[bool, typer.Option("--direct", help="Also ask the origin without the CDN.")] = False,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", metavar="NAME:VALUE", help="A field to send. Repeatable."),
    ] = None,
    method: Annotated[str, typer.Option("--method", "-X", help="The request method.")] = "GET",
    body: Annotated[
        bool, typer.Option("--body", help="Print the body; the explanation goes to stderr.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as one JSON object.")] = False,
    state: Annotated[Path | None, typer.Option("--state", help="The lab's state directory.")] = None,
) -> None:
    """Fetch PATH through the virtual address as a client somewhere, and explain each hop."""

    def work(where: StateDirectory) -> int:
        site = _site(ask(where, "/lab"))
        topology = topology_of(where)
        request = build(path, method, header or (), topology, place, site)
        visit = Visit(topology, request, _key(where), keep=body or as_json, site=site)
        asyncio.run(visit.run(direct))
        if as_json:
            print(json.dumps(visit.as_json(with_body=body), indent=2, ensure_ascii=False))
        else:
            visit.show(body)
        return visit.code

    run(state, work)


def _site(lab: dict[str, Any]) -> tuple[str, int] | None:
    """What people call the VIP where that is not its own address: in containers, it is published elsewhere."""
    site = lab.get("published")
    return (str(site["address"]), int(site["port"])) if site else None


def _key(state: StateDirectory) -> bytes:
    try:
        return secrets.load(state.secrets).explain_key
    except secrets.SecretsError as error:
        raise LabError(f"no explanation can be asked for: {error}", "", MISUSED) from None


class Visit:
    """One `get`: the request, its answer and what was found out about it."""

    def __init__(
        self,
        topology: Topology,
        request: Request,
        key: bytes,
        *,
        keep: bool,
        site: tuple[str, int] | None = None,
    ) -> None:
        """`site`: what people call the VIP; else the address at which it is reached."""
        self.topology = topology
        self.site = site or topology.dial_address(topology.vips[0])
        self.request = request
        self.address, self.wish = source_of(topology, request.place)
        self.answer: Answer
        self.hops: list[Hop] = []
        self.path: list[explain_view.Station] = []
        self.redirect: Verdict | None = None
        self.chain: list[str] = []
        """The URLs that a chain of redirects went through, this one first."""
        self.origin: get_direct.Origin | None = None
        self.direct: Answer | FetchFailed | None = None
        self.body: list[bytes] = []
        self._key = key
        self._keep = keep

    # ---- asking ----

    async def run(self, direct: bool) -> None:
        """Ask the lab, see where a redirect leads, and with `direct` ask the origin too. LabError without an answer."""
        self.answer = await self._ask(self.request, self.body.append if self._keep else _drop)
        self.hops = _hops(self.answer)
        waited = self.answer.first_byte - self.answer.connect
        source = self.address or "by Cdnlab-From"
        self.path = explain_view.stations(self.hops, self.topology, self.request.place, source, waited)
        await self._follow()
        if direct:
            await self._ask_directly()

    async def _ask(self, request: Request, on_data: Callable[[bytes], object]) -> Answer:
        expiry = int(time.time()) + MARK_LIFE
        extra = [(b"Cdnlab-Explain", mark(self._key, request.method, request.target, expiry))]
        if self.wish:
            extra.append((b"Cdnlab-From", self.wish.encode()))
        try:
            return await fetch(self._opener(), request.wire(extra), request.method, on_data)
        except FetchFailed as error:
            host, port = self.topology.dial_address(self.topology.vips[0])
            raise LabError(f"{host}:{port}: {error}", "see who holds it, and why: cdnlab status") from None

    def _opener(self) -> Open:
        host, port = self.topology.dial_address(self.topology.vips[0])
        source = (self.address, 0) if self.address else None
        return lambda factory: asyncio.get_running_loop().create_connection(
            factory, host, port, local_addr=source
        )

    async def _ask_directly(self) -> None:
        edge = next((hop for hop in self.hops if hop.tier == "edge"), None)
        host = self.request.host
        self.origin = get_direct.choose(
            self.topology, edge.choice if edge else None, self.request.place, host
        )
        window = self.topology.distance.window
        try:
            request = self.request.for_host(self.origin.host).wire()
            self.direct = await get_direct.ask(self.origin, request, self.request.method, window)
        except FetchFailed as error:
            self.direct = error

    # ---- redirects ----

    async def _follow(self) -> None:
        """Judge a redirect; follow it within the lab, as a browser would, to see whether it ends."""
        request, answer = self.request, self.answer
        cookies: dict[str, str] = {}
        seen: set[tuple[str, str]] = set()
        self.chain = [request.url]
        while 300 <= answer.status < 400 and answer.field("location"):
            seen.add((request.url, str(cookies)))
            verdict = judge(answer.field("location"), self._around(request))
            fresh = _cookies(answer)
            changed = bool(fresh.items() - cookies.items())
            cookies |= fresh
            self.chain.append(verdict.url)
            self.redirect = verdict
            if verdict.kind is Kind.LOOP and not changed:
                return
            if verdict.kind not in (Kind.WITHIN, Kind.LOOP) or request.method not in (b"GET", b"HEAD"):
                return
            self.redirect = Verdict(Kind.WITHIN, verdict.url)  # also to itself, where a new cookie may help
            try:
                request = request.for_url(verdict.url, cookies)
                if (request.url, str(cookies)) in seen or len(self.chain) > MOST_REDIRECTS:
                    self.redirect = judge(
                        request.url, self._around(request)
                    )  # to itself, in more than one step
                    return
                answer = await self._ask(request, _drop)
            except (LabError, Malformed):
                return

    def _around(self, request: Request) -> Around:
        topology = self.topology
        pool = topology.pool(topology.edge.pool)
        host, port = self.site
        names = {host, "localhost"} | {f"{code}.localhost" for code in topology.place_codes()}
        origins = {f"{b.address.lower()}:{b.port}" for b in topology.backends(topology.edge.pool)}
        if pool.origin_host:
            scheme = "https" if any(b.tls for b in topology.backends(topology.edge.pool)) else "http"
            origins |= {authority(f"{scheme}://{pool.origin_host}"), authority(f"http://{pool.origin_host}")}
        return Around(
            url=request.url,
            lab=frozenset(f"{name}:{port}" for name in names),
            origins=frozenset(origins),
            origin_host=pool.origin_host or "",
            forwarded_proto=pool.forwarded_proto or "",
        )

    # ---- telling ----

    @property
    def code(self) -> int:
        """The exit code."""
        broken = self.answer.status >= 500 or bool(self.answer.cut) or isinstance(self.direct, FetchFailed)
        looping = self.redirect is not None and self.redirect.kind in (Kind.LOOP, Kind.TO_HTTPS)
        return FAILED if broken or looping else 0

    def show(self, body: bool) -> None:
        """Print it for a person: the body, if wanted, to standard output and the explanation beside it."""
        if body:
            sys.stdout.buffer.writelines(self.body)
            sys.stdout.buffer.flush()
        get_view.show(self, stderr=body)

    def as_json(self, *, with_body: bool) -> dict[str, Any]:
        """Everything as plain data; times in seconds."""
        found = get_view.as_json(self)
        if with_body:
            found["body"] = b"".join(self.body).decode("utf-8", "replace")
        return found


def _drop(data: bytes) -> None:
    pass


def _hops(answer: Answer) -> list[Hop]:
    try:
        return parse_hops(answer.field("cdnlab-hop").encode("latin-1"))
    except ValueError:
        return []


def _cookies(answer: Answer) -> dict[str, str]:
    """name -> value of the cookies that the answer sets; attributes don't matter for the next second."""
    pairs: Sequence[str] = [value.partition(";")[0] for name, value in answer.fields if name == "set-cookie"]
    return {name.strip(): value.strip() for name, _, value in (pair.partition("=") for pair in pairs)}
