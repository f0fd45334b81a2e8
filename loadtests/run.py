"""One load test in one process: where users stand, what they ask for, what is remembered and counted.

Decides what a request is to the statistics: its name, whether it failed, and at whose place it is counted. Must not
know Locust but for one callback.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic, perf_counter
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

from cdnlab.plan.topology import Topology
from loadtests.checks import Checker, WrongBody
from loadtests.client import Answer, Broken, Client, Server, Unbindable
from loadtests.sites import DemoSite, OwnSite, Site, read_paths
from loadtests.standing import FIELD, Crowd, addresses, shares
from loadtests.tally import Tally
from loadtests.visits import Browser, Parsed, span

REDIRECTS = 5
COMPLAINTS = 20
"""Lines of the log about wrong bodies; statistics count all of them."""
HEAD = {"User-Agent": "cdnlab-load", "Accept": "*/*", "Accept-Encoding": "gzip"}

log = logging.getLogger("cdnlab.load")


class Report(Protocol):
    """Locust's request event."""

    def __call__(self, *, name: str, seconds: float, size: int, error: Exception | None) -> None:
        """One request has ended."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    places: str = ""
    paths: str = ""
    zipf: float = 0.9
    objects: int = 300
    seed: int = 1


class Failed(Exception):
    """An answer that is none: the text is one of a few."""


@dataclass(slots=True)
class Run:
    """Everything that the users of one process share."""

    server: Server
    crowd: Crowd
    options: Options
    tally: Tally
    report: Report
    number: int = 0
    """This process's number among several."""
    site: Site = field(init=False)
    by_field: bool = False
    """Whether clients say where they stand by Cdnlab-From; else by their address."""
    checker: Checker = field(default_factory=Checker)
    parsed: Parsed = field(default_factory=Parsed)
    complaints: int = 0
    visitors: int = 0

    def look(self) -> None:
        """One request from the last place: is it the demo site, and do addresses say where clients stand? Broken."""
        code = self.crowd.codes[-1]
        answer = self._stand(code)
        if answer.fields.get("cdnlab-place", code) != code:
            log.warning("Users cannot stand at their places there: neither addresses nor %s count.", FIELD)
        options = self.options
        if options.paths:
            self.site = OwnSite(read_paths(Path(options.paths).read_text().splitlines()), options.zipf)
        elif "cdnlab-origin" in answer.fields:
            self.site = DemoSite(options.objects, options.zipf, options.seed)
        else:
            self.site = OwnSite(("/",), options.zipf)
            log.info("Not the demo site: users ask for / and the files it names; --paths FILE names more.")

    def _stand(self, code: str) -> Answer:
        """The first answer, asked for in the way that counts there: from an address of the place, else by the field."""
        self.by_field = not (self.server.loopback and self.crowd.addressed)
        if not self.by_field:
            try:
                answer = self._first(code)
                if answer.fields.get("cdnlab-place", code) == code:
                    return answer
            except Unbindable:
                log.info("Addresses of the places are not this machine's: users say %s.", FIELD)
            # Through a port that a container engine publishes, every client has the engine's address.
            self.by_field = True
        return self._first(code)

    def _first(self, code: str) -> Answer:
        client = self.client(code)
        try:
            answer = client.ask("/")
        finally:
            client.close()
        self.tally.add(code, answer.fields, len(answer.body), answer.seconds, failed=answer.status >= 400)
        error = Failed(f"status {answer.status}") if answer.status >= 400 else None
        self.report(name=f"[{code}] /", seconds=answer.seconds, size=len(answer.body), error=error)
        return answer

    def client(self, code: str, language: str = "en") -> Client:
        """A client at a place, with an address of its own while there are enough."""
        head = {**HEAD, "Accept-Language": language}
        if self.by_field:
            return Client(self.server, None, {**head, FIELD: code})
        return Client(self.server, self.crowd.address(code), head)

    def chance(self) -> Random:
        """The next visitor's own source of chance, the same in each run of one seed."""
        self.visitors += 1
        return Random(f"{self.options.seed}/{self.number}/{self.visitors}")

    def complain(self, error: WrongBody, code: str, path: str, answer: Answer) -> None:
        """Say once what was wrong where; statistics only count."""
        self.complaints += 1
        if self.complaints <= COMPLAINTS:
            told = {name: answer.fields.get(name) for name in ("etag", "repr-digest", "via", "cache-status")}
            log.error("[%s] %s: %s. %d bytes, %s", code, path, error, len(answer.body), told)


def prepare(
    server: Server, options: Options, topology: Topology, tally: Tally, report: Report, number: int
) -> Run:
    """A run of users at the places of the options; BadPlaces or PlanError if they can't stand there."""
    wanted = shares(options.places, topology)
    places = {code: addresses(code, topology) for code in wanted}
    return Run(server, Crowd(wanted, places, number), options, tally, report, number)


class Visitor:
    """One person with one browser at one place: a few pages on one connection, then gone."""

    def __init__(self, run: Run, code: str) -> None:
        self.run, self.code = run, code
        self.chance = run.chance()
        korean = self.chance.random() < (0.9 if code == "icn" else 0.05)
        self.browser = Browser("ko" if korean else "en")
        self.client = run.client(code, self.browser.language)
        self.pages_left = min(20, 1 + int(self.chance.expovariate(1 / 5)))
        self.lost = False
        """Whether the last page ended without an answer."""

    def view(self, going_on: Callable[[], bool]) -> None:
        """One page, the files it names, and what is looked at besides; ends early once `going_on` is false."""
        run, chance = self.run, self.chance
        self.pages_left -= 1
        self.lost = False
        page = run.site.page(chance)
        names = self._get(page)
        reload = chance.random() < 0.1
        for path in (*names, *run.site.more(chance)):
            if self.lost or not going_on():
                return
            if reload or not self.browser.fresh(path, monotonic()):
                self._get(path)
        part_of = run.site.part_of(chance, tuple(run.checker.wholes))
        if part_of is not None and not self.lost and going_on():
            self._part(part_of)

    def leave(self) -> None:
        """Close the browser."""
        self.client.close()

    def _get(self, path: str) -> tuple[str, ...]:
        """Ask for a path and follow its redirects on the same host; the files that the page names."""
        for _ in range(1 + REDIRECTS):
            names, onward = self._once(path)
            if onward is None:
                return names
            path = onward
        return ()

    def _once(self, path: str) -> tuple[tuple[str, ...], str | None]:
        conditions = self.browser.conditions(path)
        answer, error = self._ask(path, conditions)
        names: tuple[str, ...] = ()
        if answer is not None and error is None:
            try:
                names = self._take(path, answer, conditions)
            except (WrongBody, Failed) as found:
                error = found
        self._count(self.run.site.name(path), path, answer, error)
        redirected = error is None and answer is not None and answer.status in (301, 302, 303, 307, 308)
        if not redirected or answer is None:
            return names, None
        return names, _onward(self.run.server.authority, path, answer.fields.get("location", ""))

    def _take(self, path: str, answer: Answer, conditions: Mapping[str, str]) -> tuple[str, ...]:
        """Check an answer and keep it; the files it names."""
        if answer.status == 304:
            if not conditions:
                raise Failed("304 to a request without a condition")
            named, said = conditions.get("If-None-Match"), answer.fields.get("etag")
            if named and said and named.removeprefix("W/") != said.removeprefix("W/"):  # RFC 9110 §13.1.2
                raise Failed("304 under another entity-tag than If-None-Match named")
            return self.browser.confirm(path, answer.fields, monotonic())
        if answer.status != 200:
            return ()
        summed = self.run.checker.whole(path, answer.fields, answer.body)
        names = self.run.parsed.names(path, answer.fields, answer.body, summed)
        self.browser.keep(path, answer.fields, names, monotonic())
        return names

    def _part(self, path: str) -> None:
        """A part of something large; all of it while it has not been seen whole, since a part is checked by it."""
        whole = self.run.checker.wholes.get(path)
        if whole is None:
            self._get(path)
            return
        first, end, asked = span(self.chance, len(whole.body))
        fields = {"Range": asked, **({"If-Range": whole.etag} if self.chance.random() < 0.5 else {})}
        answer, error = self._ask(path, fields)
        if error is not None:
            self.run.checker.wholes.pop(path, None)  # it may have changed: see it whole again
        if answer is not None and error is None:
            try:
                self._take_part(path, answer, (first, end), fields.get("If-Range"))
            except (WrongBody, Failed) as found:
                error = found
        self._count(f"{self.run.site.name(path)} (part)", path, answer, error)

    def _take_part(self, path: str, answer: Answer, asked: tuple[int, int], only: str | None) -> None:
        checker = self.run.checker
        if answer.status == 206:
            checker.part(path, answer.fields, answer.body, asked, only)
        elif answer.status == 200:
            checker.whole(path, answer.fields, answer.body)
        else:
            raise Failed(f"status {answer.status} to a range")

    def _ask(self, path: str, fields: Mapping[str, str]) -> tuple[Answer | None, Exception | None]:
        self._began = perf_counter()
        try:
            answer = self.client.ask(path, fields)
        except Broken as broken:
            self.lost = True
            return None, broken
        fine = answer.status < 400 or self.run.site.expects(path, answer.status)
        return answer, None if fine else Failed(f"status {answer.status}")

    def _count(self, name: str, path: str, answer: Answer | None, error: Exception | None) -> None:
        run, size = self.run, len(answer.body) if answer else 0
        seconds = answer.seconds if answer else perf_counter() - self._began
        if isinstance(error, WrongBody) and answer is not None:
            run.complain(error, self.code, path, answer)
        fields: Mapping[str, Any] | None = answer.fields if answer else None
        run.tally.add(self.code, fields, size, seconds, failed=error is not None)
        run.report(name=f"[{self.code}] {name}", seconds=seconds, size=size, error=error)


def _onward(authority: str, path: str, location: str) -> str | None:
    """Where a redirect leads on this host; None if it leads elsewhere."""
    target = urlsplit(urljoin(f"http://{authority}{path}", location))
    if not location or target.netloc != authority or target.scheme != "http":
        return None
    return (target.path or "/") + (f"?{target.query}" if target.query else "")
