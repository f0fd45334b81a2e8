"""The ways of an audit to a site: by the lab's virtual address from a place, straight there, or past the cache.

It opens connections and sends what it is told; what is asked, by whom, and what follows is the audit's. Each answer
comes over a connection of its own, so that no cache or application takes two users for one by it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass

from cdnlab.lab.audit_jar import Jar
from cdnlab.lab.audit_leaks import Party
from cdnlab.lab.audit_sample import Sample, Taken, sample
from cdnlab.lab.errors import LabError
from cdnlab.lab.fetch import FetchFailed, Open, fetch

Field = tuple[str, str]

NO_CACHE: tuple[Field, ...] = (("Cache-Control", "no-cache, no-store"), ("Pragma", "no-cache"))
"""What asks a cache to look at the origin and to keep nothing of the answer (RFC 9111 §5.2.1.4, §5.2.1.5)."""
DEFAULTS: tuple[Field, ...] = (("User-Agent", "cdnlab-audit"), ("Accept", "*/*"))


@dataclass(frozen=True, slots=True)
class Page:
    """What is asked for: a URL in its parts."""

    scheme: str
    host: str
    """As the Host field bears it."""
    target: str
    """Path and query in canonical form."""

    @property
    def url(self) -> str:
        """The whole of it."""
        return f"{self.scheme}://{self.host}{self.target}"

    @property
    def name(self) -> str:
        """The host without its port, which is what cookies know."""
        return self.host.rpartition(":")[0].strip("[]") if _has_port(self.host) else self.host.strip("[]")


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and ":" in host and not host.endswith("]")


class User:
    """Somebody who asks: a cookie jar, and fields of its own."""

    def __init__(self, party: Party, fields: Iterable[Field] = ()) -> None:
        self.party = party
        self.jar = Jar()
        self.fields = tuple(fields)

    @property
    def name(self) -> str:
        """What the audit calls it."""
        return self.party.name


@dataclass(frozen=True, slots=True)
class Way:
    """How to reach a site: `place` is where the client then stands, in words; `code` the place's code."""

    open: Open
    place: str = ""
    code: str = ""
    past: bool = False
    """Whether no cache stands on it, or each is told to let the request through."""
    fields: tuple[Field, ...] = ()
    """What goes with every request: the wished place, or what an edge would add before an origin."""
    host: str | None = None
    """The Host that the origin expects, where it is another than clients send."""
    address: str = ""
    """host:port, for messages."""

    async def ask(
        self, user: User, page: Page, *more: Field, method: str = "GET", body: bytes = b""
    ) -> Sample:
        """Ask for a page as a user, who keeps the cookies. LabError if no answer comes."""
        taken = Taken()
        head = self._head(user, page, more, method, body)
        try:
            answer = await fetch(self.open, head + body, method.encode(), taken.add)
        except FetchFailed as error:
            raise LabError(f"{self.address or page.host}: {error}", "see whether it runs there") from None
        found = sample(user.name, self.place, self.past, answer, taken)
        user.jar.take(answer.fields, page.name, page.target, time.time())
        return found

    def _head(self, user: User, page: Page, more: Iterable[Field], method: str, body: bytes) -> bytes:
        given = [*user.fields, *self.fields, *more]
        names = {name.lower() for name, _ in given}
        cookies = user.jar.line(page.name, page.target)
        lines = [f"{method} {page.target} HTTP/1.1", f"Host: {self.host or page.host}"]
        fields = [*(one for one in DEFAULTS if one[0].lower() not in names), *given]
        if cookies and "cookie" not in names:
            fields.append(("Cookie", cookies))
        if method in ("POST", "PUT", "PATCH"):
            fields.append(("Content-Length", str(len(body))))
        lines += [f"{name}: {value}" for name, value in fields]
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode("utf-8")


def opener(host: str, port: int, *, source: str | None = None, tls: bool = False) -> Open:
    """Opens connections to a server, from the address `source` where it matters."""
    context = ssl.create_default_context() if tls else None
    return lambda factory: asyncio.get_running_loop().create_connection(
        factory,
        host,
        port,
        local_addr=(source, 0) if source else None,
        ssl=context,
        server_hostname=host if tls else None,
    )
