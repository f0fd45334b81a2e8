"""The clients of `demo sessions`: each logs in with cookies of its own, fills a cart, and looks later what is left.

Decides what a client asks and how it reads the answers. Must not know what is done to the servers meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from cdnlab.lab.audit_leaks import Party
from cdnlab.lab.audit_login import FORM, Login, log_in, parse
from cdnlab.lab.audit_sample import Sample
from cdnlab.lab.audit_way import NO_CACHE, Page, User, Way, opener
from cdnlab.lab.demo_sessions_count import Fate, Row, row
from cdnlab.lab.errors import LabError
from cdnlab.net.clock import now

AT_ONCE = 16
"""Clients that ask at the same moment."""
PATIENCE, PAUSE = 15.0, 0.1
"""Seconds for which a client asks again where it is answered 5xx or not at all, and the pause before each time."""

CLIENT, NUMBER, ITEMS = "{client}", "{n}", "{items}"
"""What stands in a request for the client's number, an item's number, and the count of items."""


@dataclass(frozen=True, slots=True)
class Script:
    """What each client does, with placeholders: requests as typed, `METHOD PATH BODY`; in questions the body is the
    text that the answer must hold."""

    login: Login
    check: Login
    """A question: whether somebody is logged in."""
    items: int = 0
    put: Login | None = None
    cart: Login | None = None
    """A question: whether all is in the cart; asked once for each item if it names one."""
    together: bool = False
    """Whether a client sends its items at the same moment, and not one after the other."""
    kinds: int = 0
    """How many numbers of items there are, which come again and again; 0: as many as items."""


OURS = Script(
    login=parse("POST /login user=client-{client}&password=any"),
    check=parse('GET /cart "user": "client-{client}"'),
    items=3,
    put=parse("POST /cart item={n}"),
    cart=parse('GET /cart "pieces": {items},'),
    together=True,
    kinds=5,
)
"""The demo origin, which answers programs in JSON."""


class Clients:
    """Some clients of one site at `address` (host, port), all with the same script."""

    def __init__(self, count: int, script: Script, address: tuple[str, int]) -> None:
        host, port = address
        self.fates = [Fate() for _ in range(count)]
        self._users = [User(Party(f"client {number}")) for number in range(1, count + 1)]
        self._script = script
        self._way = Way(opener(host, port), address=f"{host}:{port}")
        self._site = Page("http", f"{host}:{port}", "/")
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def begin(self) -> None:
        """Each logs in and fills its cart."""
        await self._each(self._begin(number) for number in range(len(self.fates)))

    async def look(self) -> None:
        """Each looks whether it is still logged in, and what its cart holds."""
        await self._each(self._look(number) for number in range(len(self.fates)))

    async def _each(self, works: Iterable[Awaitable[None]]) -> None:
        async def one(work: Awaitable[None]) -> None:
            async with self._turn:
                await work

        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(one(work))

    async def _begin(self, number: int) -> None:
        fate, user, script = self.fates[number], self._users[number], self._script
        try:
            await log_in(user, self._said(script.login, number), self._way, self._site)
        except LabError:
            return
        fate.logged_in = True
        if script.put is not None:
            puts = [self._put(number, script.put, item) for item in range(1, script.items + 1)]
            if script.together:
                await asyncio.gather(*puts)
            else:
                for put in puts:
                    await put
        # so that each says who serves it before anything is done
        await self._send(number, self._said(script.check, number))

    async def _put(self, number: int, put: Login, item: int) -> None:
        fate, request = self.fates[number], self._said(put, number, item)
        fate.tried += 1
        answer = await self._send(number, request, request.body)
        fate.put += answer is not None and self._taken(answer)

    async def _look(self, number: int) -> None:
        fate, script = self.fates[number], self._script
        if not fate.logged_in:
            return
        fate.still_in = await self._holds(number, script.check)
        if script.cart is not None:
            items = range(1, script.items + 1) if NUMBER in script.cart.body + script.cart.path else (0,)
            fate.whole = all([await self._holds(number, script.cart, item) for item in items])

    async def _holds(self, number: int, question: Login, item: int = 0) -> bool:
        """Whether an answer holds the text. A 5xx is no answer: it is asked again, until there is one or time is up."""
        said = self._said(question, number, item)
        end = now() + PATIENCE
        while (answer := await self._send(number, said)) is None:
            if now() > end:
                return False
            await asyncio.sleep(PAUSE)
        return answer.status == 200 and said.body.encode() in answer.body

    async def _send(self, number: int, request: Login, body: str = "") -> Sample | None:
        """The answer; None, and counted, for a 5xx and for none at all."""
        fate, page = self.fates[number], replace(self._site, target=request.path)
        kind = "application/json" if request.json else FORM
        more = (("Content-Type", kind), *NO_CACHE) if body else NO_CACHE
        try:
            answer = await self._way.ask(
                self._users[number], page, *more, method=request.method, body=body.encode()
            )
        except LabError:
            fate.errors += 1
            return None
        if answer.status >= 500:
            fate.errors += 1
            return None
        fate.server = answer.answer.field("cdnlab-origin") or fate.server
        return answer

    def _taken(self, answer: Sample) -> bool:
        """Whether an item was put in: answered well, and not by being sent to log in."""
        to = urlsplit(answer.answer.field("location")).path
        return answer.status < 400 and to != self._script.login.path

    def _said(self, request: Login, number: int, item: int = 0) -> Login:
        def filled(text: str) -> str:
            kind = (item - 1) % self._script.kinds + 1 if self._script.kinds else item
            known = {CLIENT: number + 1, NUMBER: kind, ITEMS: self._script.items}
            for placeholder, value in known.items():
                text = text.replace(placeholder, str(value))
            return text

        return replace(request, path=filled(request.path), body=filled(request.body))


Act = Callable[[Clients], Awaitable[str | None]]
"""Does something to a server or to the store; the server's name if the clients can tell which it was."""


async def measured_row(clients: Clients, words: tuple[str, str], event: str, act: Act | None = None) -> Row:
    """One row: clients begin, something is done, clients look. LabError if none could log in."""
    started, there = now(), None
    await clients.begin()
    if not any(fate.logged_in for fate in clients.fates):
        raise LabError(
            "no client could log in",
            "see whether --login works, such as with curl; its answer must set a cookie",
        )
    server = await act(clients) if act is not None else None
    if server is not None:
        there = sum(fate.server == server for fate in clients.fates)
    await clients.look()
    sticky, sessions = words
    seconds = now() - started
    return row(clients.fates, sticky=sticky, sessions=sessions, event=event, there=there, seconds=seconds)
