"""How one page is audited: who asks, by which way, in which order.

    past the cache    two visitors without cookies, each user once, then the users as audit_leaks.ORDER says
    through it        cold, then warm, so that each user is once the one who fills the cache (at the second place, or
                      after a second purge); visitors too, since cookies are set for who has none
    further           what Vary names, a condition, compression, a parameter that nobody reads

A cold answer is had by telling the lab's own edges to forget the page. Where that cannot be, nothing is added to the
URL to make it new: another URL is another page. The first answer then is as cold as it happens to be, and the audit
says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from cdnlab.lab.audit_leaks import ORDER, Kind, Leak, Owned, Party, leaks, learn_secrets, owned
from cdnlab.lab.audit_request import THROUGH, Target
from cdnlab.lab.audit_rules import Ruling, rule
from cdnlab.lab.audit_sample import Sample
from cdnlab.lab.audit_surprises import Evidence, Finding, surprises, was_cached, why_not, worth_coding
from cdnlab.lab.audit_way import Page, User, Way
from cdnlab.lab.errors import LabError

Forget = Callable[[Page], Awaitable[bool]]
"""Makes the caches forget a page; whether they did."""

#: Other values of request fields that Vary often names: a phone's browser, languages, a script's requests.
VALUES: dict[str, tuple[str, ...]] = {
    "user-agent": ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile Safari", "Googlebot/2.1"),
    "accept-language": ("ko", "de", "fr", "es", "ja", "en"),
    "accept": ("text/html", "application/json", "image/avif,image/webp"),
    "origin": ("https://example.org",),
    "referer": ("https://example.org/",),
    "x-requested-with": ("XMLHttpRequest",),
    "save-data": ("on",),
    "sec-fetch-mode": ("navigate", "cors"),
    "sec-fetch-dest": ("document", "empty"),
    "sec-fetch-site": ("cross-site",),
}
CODINGS = ("Accept-Encoding", "gzip, br, zstd")
FORMS, FORM_TIME = 4, 0.1
"""How often a compressed body is asked for again, and after how many seconds: a megabyte takes a tenth of one."""
NOISE = "utm_source=cdnlab-audit"


@dataclass(slots=True)
class Report:
    """What came out for one page."""

    target: Target
    failed: str = ""
    """Why there is no answer to judge, or ""."""
    cold: str = ""
    past: str = ""
    """How the cache was passed, in words; "" where it would not be."""
    status: int = 0
    cached: bool = False
    """Whether a cache answered the users, or anybody where the users are strangers."""
    strangers_only: bool = False
    """Whether it answered only those who had no cookie."""
    ruling: Ruling | None = None
    reason: str = ""
    sentence: str = ""
    leaks: list[Leak] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    asked: int = 0


class Asking:
    """The two users, and what is known of everybody who asked; for all pages of an audit."""

    def __init__(self, users: Sequence[User], logged_in: bool, forget: Forget | None) -> None:
        self.users = users
        self.logged_in = logged_in
        self.forget = forget
        self.parties: dict[str, Party] = {user.name: user.party for user in users}
        self.first: dict[tuple[str, str], str] = {}
        """Who was the first to be set a cookie, by its name and value."""
        self.asked = 0

    def begin(self) -> None:
        """The next page: its visitors are others."""
        users = {user.name for user in self.users}
        self.parties = {name: party for name, party in self.parties.items() if name in users}
        self.first = {cookie: name for cookie, name in self.first.items() if name in users}

    def visitor(self) -> User:
        """Somebody who comes for the first time."""
        party = Party(f"visitor {len(self.parties) - len(self.users) + 1}")
        self.parties[party.name] = party
        return User(party)

    async def ask(self, user: User, way: Way, page: Page, *more: tuple[str, str]) -> Sample:
        """Ask, and remember whose the cookies are that come."""
        self.asked += 1
        found = await way.ask(user, page, *more)
        for cookie in found.cookies:
            if way.past:
                user.party.own.add(cookie)
            if self.first.setdefault(cookie, user.name) == user.name:
                user.party.given.add(cookie)
        return found


class PageAudit:
    """One page."""

    def __init__(self, asking: Asking, target: Target, wall: float) -> None:
        self.asking = asking
        self.target = target
        self.page = target.page
        self.past = target.past
        self.wall = wall
        users = frozenset(user.name for user in asking.users)
        self.evidence = Evidence(users, logged_in=asking.logged_in)
        self.report = Report(target, past=target.past_name)

    async def run(self) -> Report:
        """Ask everything, judge."""
        report, asking = self.report, self.asking
        before = asking.asked
        asking.begin()
        try:
            await self._past()
            await self._through()
            own = await self._judge_leaks()
            ruling = report.ruling = self._ruling()
            await self._further(ruling)
        except LabError as error:
            report.failed = error.problem
            return report
        finally:
            report.asked = asking.asked - before
        report.status = self.evidence.cached[-1].status
        report.cached = was_cached(self.evidence)
        report.strangers_only = not report.cached and any(one.told.hit for one in self.evidence.cached)
        report.reason, report.sentence = why_not(self.evidence, ruling)
        report.findings = surprises(self.evidence, ruling, own)
        if report.leaks:  # that it is stored is the lesser half of it
            report.findings = [one for one in report.findings if one.kind != "private-stored"]
        return report

    # ---- past the cache ----

    async def _past(self) -> None:
        asking, evidence = self.asking, self.evidence
        visitors = [asking.visitor(), asking.visitor()]
        # the first visit of a user sets cookies, and may read differently
        order = [*asking.users, *visitors] if asking.logged_in else [*visitors, *asking.users]
        first = [await self._first_reference(order[0]), *[await self._reference(user) for user in order[1:]]]
        names = {visitor.name for visitor in visitors}
        evidence.strangers = [one for one in first if one.who in names]
        await self._references()
        if any(one.told.hit for one in first + evidence.references):
            # all of them went through the cache then, and are evidence of another kind
            evidence.cached = first + evidence.references
            evidence.references, evidence.strangers, self.report.past = [], [], ""
            for party in asking.parties.values():
                party.own.clear()

    async def _first_reference(self, user: User) -> Sample:
        """An answer past the cache; where nobody is on that way, by asking the cache to be let through."""
        try:
            return await self._reference(user)
        except LabError:
            if self.past is self.target.through:
                raise
            self.past, self.report.past = self.target.through, THROUGH
            return await self._reference(user)

    async def _references(self) -> None:
        users = self.asking.users
        self.evidence.references += [await self._reference(users[turn]) for turn in ORDER]

    async def _reference(self, user: User) -> Sample:
        return await self.asking.ask(user, self.past, self.page)

    # ---- through the cache ----

    async def _through(self) -> None:
        one, other = self.asking.users
        first, *further = self.target.ways
        purged = await self._cold()
        visitors = [self.asking.visitor(), self.asking.visitor()]
        if further:
            await self._ask(first, one, other, one)
            await self._ask(further[0], *visitors, other, one)
            if purged:
                await self._cold()
                await self._ask(further[0], other, one)
        elif purged:
            await self._ask(first, one, other, one)
            await self._cold()
            await self._ask(first, other, one)
            await self._cold()
            await self._ask(first, *visitors)
        elif self.asking.logged_in:
            await self._ask(first, one, other, one, other, *visitors)
        else:
            await self._ask(first, *visitors, one, other, one)
        cold = self.evidence.cached[0]
        stored = (
            f"it was stored already, Age {cold.told.age or 0} s"
            if cold.told.hit
            else "it was not stored before"
        )
        self.report.cold = "purged, so that the first answers were cold" if purged else stored

    async def _cold(self) -> bool:
        return self.target.ours and self.asking.forget is not None and await self.asking.forget(self.page)

    async def _ask(self, way: Way, *users: User) -> None:
        self.evidence.cached += [await self.asking.ask(user, way, self.page) for user in users]

    # ---- judging ----

    async def _judge_leaks(self) -> Owned:
        """What leaked. A body is judged twice: what two users' answers differed by for a while is no user's own."""
        asking, evidence = self.asking, self.evidence
        names = [user.name for user in asking.users]
        learn_secrets(asking.parties.values(), evidence.references + evidence.strangers)
        own = owned(evidence.references, names)
        found = leaks(evidence.cached, asking.parties, own)
        if any(leak.kind is Kind.BODY for leak in found):
            await self._references()
            own = owned(evidence.references, names)
            found = leaks(evidence.cached, asking.parties, own)
        self.report.leaks = found
        return own

    def _ruling(self) -> Ruling | None:
        evidence = self.evidence
        sample = (evidence.references or evidence.cached)[-1]
        fields = [*self.asking.users[0].fields, *self.target.ways[0].fields]
        authorized = any(name.lower() == "authorization" for name, _ in fields)
        return rule(sample, self.page.url, authorized, self.wall)

    # ---- further questions ----

    async def _further(self, ruling: Ruling | None) -> None:
        asking, evidence, way = self.asking, self.evidence, self.target.ways[0]
        user = asking.users[0]
        evidence.coded = await self._coded(user, way)
        if not was_cached(evidence) and (ruling is None or ruling.refused):
            return
        for name in ruling.vary if ruling is not None else ():
            if evidence.references and name in VALUES:
                evidence.varied[name] = [
                    await asking.ask(user, self.past, self.page, (name.title(), value))
                    for value in VALUES[name]
                ]
        condition = _condition(evidence.cached[-1])
        if condition is not None:
            evidence.conditional = await asking.ask(user, way, self.page, condition)
        mark = "&" if "?" in self.page.target else "?"
        noisy = replace(self.page, target=f"{self.page.target}{mark}{NOISE}")
        if was_cached(evidence):
            evidence.noisy_query = await asking.ask(user, way, noisy)

    async def _coded(self, user: User, way: Way) -> Sample:
        """The answer for a client that takes compressed bodies. A cache that compresses makes the form after it has
        been asked for it, so it is asked a few times."""
        found = await self.asking.ask(user, way, self.page, CODINGS)
        for _ in range(FORMS):
            if not worth_coding(found):
                break
            await asyncio.sleep(FORM_TIME)
            found = await self.asking.ask(user, way, self.page, CODINGS)
        return found


def _condition(sample: Sample) -> tuple[str, str] | None:
    """The field with which a client that holds an answer asks again (RFC 9110 §13.1.2, §13.1.3)."""
    if sample.answer.field("etag"):
        return "If-None-Match", sample.answer.field("etag")
    if sample.answer.field("last-modified"):
        return "If-Modified-Since", sample.answer.field("last-modified")
    return None
