"""Sessions in this process's memory: bounded, and expiring.

Decides which session goes when there is no room, and when one has expired. Must not know the clock, HTTP or what a
session holds. Pure.
"""

from __future__ import annotations

from collections import OrderedDict

from origin.cart import Session

MAX_SESSIONS = 20_000
"""Anybody may log in, as often as he likes. A full cart takes about 5 KiB here, so all take at most 100 MiB."""


class Table:
    """Sessions by identity, the one used longest ago first. `now` and `lifetime` in seconds."""

    def __init__(self, lifetime: float, most: int = MAX_SESSIONS) -> None:
        self.lifetime = lifetime
        self.most = most
        self.evicted = 0
        self._held: OrderedDict[str, tuple[float, Session]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def add(self, identity: str, session: Session, now: float) -> None:
        """Keep a new session; where there is no room, the one used longest ago goes."""
        self.expire(now)
        while len(self._held) >= self.most:
            self._held.popitem(last=False)
            self.evicted += 1
        self._held[identity] = (now + self.lifetime, session)

    def get(self, identity: str, now: float) -> Session | None:
        """The session, which then lives on from now; None if there is none, or none any more."""
        self.expire(now)
        found = self._held.get(identity)
        if found is None:
            return None
        self._held[identity] = (now + self.lifetime, found[1])
        self._held.move_to_end(identity)
        return found[1]

    def remove(self, identity: str) -> None:
        """End a session, if it is there."""
        self._held.pop(identity, None)

    def expire(self, now: float) -> None:
        """Drop what has expired: they stand in that order, since all live equally long from their last use."""
        while self._held and next(iter(self._held.values()))[0] <= now:
            self._held.popitem(last=False)
