"""Where sessions are kept: in this server's memory (`local`), or in the store that all servers share (`clustered`).

Decides identities and what keeping means; each way has a class. Must not know HTTP or what a session holds.

A session is kept under a digest of its identity, so that who reads the store learns no cookie. Clustered sessions are
changed by compare-and-set: read, change, and write only if it is still what was read; otherwise again, from what is
there now. Counters in the store (HINCRBY) would do for a cart but for nothing else that applications keep in a
session, and a lock would be held by a server that dies. While the store is away nothing is done from memory: two
servers would then each have a session of their own under one cookie, and a logout could be undone.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from cdnlab.net import clock
from cdnlab.node.degrades import Feature
from cdnlab.node.node import Node
from cdnlab.node.store import Store, StoreAway
from origin.cart import Refusal, Refused, Session
from origin.sessions_table import MAX_SESSIONS, Table

IDENTITY_BYTES = 32  # OWASP asks for at least 8 of entropy
LONGEST_IDENTITY = 64  # characters; a longer cookie is none of ours
TRIES = 32
"""Changes of one session that come between reading and writing are gone through again so often. Each round of any
number of writers has one that succeeds, so 32 at once always do."""

MAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local dropped = 0
while redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[3]) do
  redis.call('DEL', redis.call('ZPOPMIN', KEYS[2])[1])
  dropped = dropped + 1
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', KEYS[2], now + ARGV[2], KEYS[1])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return dropped
"""
"""Keep a new session. The index holds all by their expiry, so the one used longest ago goes where there is no room."""

READ = """
local held = redis.call('GET', KEYS[1])
if not held then return false end
local time = redis.call('TIME')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1], KEYS[1])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return held
"""
"""The session, which then lives on from now."""

REPLACE = """
local held = redis.call('GET', KEYS[1])
if not held then return false end
if held ~= ARGV[1] then return held end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
"""
"""1: replaced. Else what is there now; nothing if it has gone."""

END = """
redis.call('ZREM', KEYS[2], KEYS[1])
return redis.call('DEL', KEYS[1])
"""


class Keeper(Protocol):
    """Where sessions are kept. Each call may raise Refused(STORE_AWAY); identities are what the cookie says."""

    clustered: bool

    @property
    def evicted(self) -> int:
        """Sessions that this server dropped for want of room."""

    def __len__(self) -> int:
        """How many lie in this server's memory."""

    async def make(self, session: Session) -> str:
        """Keep a new session; its identity, which nobody can guess."""

    async def read(self, identity: str) -> Session:
        """The session; the caller does not change it. Raises Refused(UNKNOWN_SESSION)."""

    async def change(self, identity: str, act: Callable[[Session], None]) -> Session:
        """The session after `act`, which may be called several times, each with the session as it is by then.

        Raises Refused(UNKNOWN_SESSION | CONTENDED); what `act` raises leaves the session alone.
        """

    async def end(self, identity: str) -> None:
        """Forget a session."""


class Local:
    """Sessions in this process: gone with it, and unknown to every other server."""

    clustered = False

    def __init__(self, lifetime: float) -> None:
        self.table = Table(lifetime)

    @property
    def evicted(self) -> int:
        """See Keeper."""
        return self.table.evicted

    def __len__(self) -> int:
        self.table.expire(clock.now())
        return len(self.table)

    async def make(self, session: Session) -> str:
        """See Keeper."""
        identity = secrets.token_urlsafe(IDENTITY_BYTES)
        self.table.add(identity, session, clock.now())
        return identity

    async def read(self, identity: str) -> Session:
        """See Keeper."""
        found = self.table.get(identity, clock.now())
        if found is None:
            raise Refused(Refusal.UNKNOWN_SESSION)
        return found

    async def change(self, identity: str, act: Callable[[Session], None]) -> Session:
        """See Keeper. Nothing is awaited between reading and writing, so nobody comes between."""
        session = await self.read(identity)
        changed = replace(session, cart=dict(session.cart))
        act(changed)
        session.cart, session.version = changed.cart, changed.version
        return session

    async def end(self, identity: str) -> None:
        """See Keeper."""
        self.table.remove(identity)


class Clustered:
    """Sessions in the store: whichever server is asked knows them."""

    clustered = True

    def __init__(self, store: Store, lab: str, lifetime: float, most: int = MAX_SESSIONS) -> None:
        self.evicted = 0
        self._store = store
        self._prefix = f"cdnlab:{{{lab}}}:session:"
        self._index = f"cdnlab:{{{lab}}}:sessions"
        self._lifetime = max(1, round(lifetime * 1000))
        self._most = most

    def __len__(self) -> int:
        return 0

    async def make(self, session: Session) -> str:
        """See Keeper."""
        identity = secrets.token_urlsafe(IDENTITY_BYTES)
        self.evicted += int(await self._eval(MAKE, identity, session.dump(), self._lifetime, self._most))
        return identity

    async def read(self, identity: str) -> Session:
        """See Keeper."""
        return Session.load(await self._read(identity))

    async def change(self, identity: str, act: Callable[[Session], None]) -> Session:
        """See Keeper."""
        held = await self._read(identity)
        for _ in range(TRIES):
            session = Session.load(held)
            act(session)
            answer = await self._eval(REPLACE, identity, held, session.dump())
            if answer == 1:
                return session
            held = _known(answer)
        raise Refused(Refusal.CONTENDED)

    async def end(self, identity: str) -> None:
        """See Keeper."""
        await self._eval(END, identity)

    async def _read(self, identity: str) -> bytes:
        return _known(await self._eval(READ, identity, self._lifetime))

    async def _eval(self, script: str, identity: str, *arguments: bytes | float) -> Any:
        try:
            return await self._store.eval(script, (self._key(identity), self._index), arguments)
        except StoreAway:
            raise Refused(Refusal.STORE_AWAY) from None

    def _key(self, identity: str) -> str:
        return self._prefix + hashlib.sha256(identity.encode()).hexdigest()


def _known(answer: object) -> bytes:
    if not isinstance(answer, bytes):
        raise Refused(Refusal.UNKNOWN_SESSION)
    return answer


def keeper(node: Node) -> Keeper:
    """Where the topology says that sessions are kept."""
    spec = node.topology.origin
    if spec.sessions == "clustered" and node.store is not None:
        node.degrades.register(Feature.SESSIONS)
        return Clustered(node.store, node.topology.name, spec.session_lifetime)
    return Local(spec.session_lifetime)
