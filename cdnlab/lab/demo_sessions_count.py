"""What `demo sessions` counts: one client's fate, and the row of the table that many make. Pure.

Decides when a login and a cart are lost. Must not know HTTP, labs, or how the table looks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(slots=True)
class Fate:
    """What became of one client, as it saw it itself."""

    logged_in: bool = False
    server: str = ""
    """Who answered last before something was done to a server; "" where answers do not say."""
    tried: int = 0
    put: int = 0
    """Items it tried to put into its cart, and those that the server took."""
    errors: int = 0
    """Requests that got a 5xx, or no answer at all."""
    still_in: bool | None = None
    """Whether the server still knew it at the end; None: never asked, or no answer to the end."""
    whole: bool | None = None
    """Whether all it tried to put into its cart was there at the end; None where carts are not looked at."""

    @property
    def login_lost(self) -> bool:
        """It was logged in, and at the end the server does not know it. Silence to the end is a loss too."""
        return self.logged_in and not self.still_in

    @property
    def cart_lost(self) -> bool:
        """Something that it wanted in its cart is not there, whether it was refused or forgotten."""
        return self.logged_in and self.whole is False


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: how sessions were kept, what was done, and what it cost."""

    sticky: str
    sessions: str
    event: str
    clients: int
    logged_in: int
    there: int | None
    """Clients that were with the server to which it was done; None where it was done to none."""
    tried: int
    put: int
    logins_lost: int
    carts_lost: int | None
    """None where carts are not looked at."""
    errors: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


def row(
    fates: Sequence[Fate], *, sticky: str, sessions: str, event: str, there: int | None, seconds: float
) -> Row:
    """The row of all clients."""
    carts = [fate.cart_lost for fate in fates if fate.whole is not None]
    return Row(
        sticky=sticky,
        sessions=sessions,
        event=event,
        clients=len(fates),
        logged_in=sum(fate.logged_in for fate in fates),
        there=there,
        tried=sum(fate.tried for fate in fates),
        put=sum(fate.put for fate in fates),
        logins_lost=sum(fate.login_lost for fate in fates),
        carts_lost=sum(carts) if carts else None,
        errors=sum(fate.errors for fate in fates),
        seconds=round(seconds, 2),
    )


def busiest(fates: Iterable[Fate]) -> str | None:
    """The server with most clients, by name where several have as many; None where answers do not say."""
    found = Counter(fate.server for fate in fates if fate.server)
    return min(found, key=lambda name: (-found[name], name), default=None)
