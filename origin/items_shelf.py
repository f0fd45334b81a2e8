"""Where the shop's table lies: in the store, so that every origin sells the same goods, or in this process.

Decides when the process's own copy is used: without a store, while the store is away, and by readers while it is slow;
then each origin goes on with what it saw last, and what the store holds counts again once it is back. Must not know
HTTP or what an item is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from cdnlab.net.tasks import spawn
from cdnlab.node.store import Store, StoreAway
from origin.items import Items

T = TypeVar("T")

KEPT = 24 * 3600  # seconds a table stays in the store after the last change; then the shop is as new
PATIENCE = 0.05  # seconds that a reader waits for the store, which else answers in a hundredth of that
TRIES = 8  # changes that come between reading and writing are tried again so often

REPLACE = """
local held = redis.call('GET', KEYS[1])
if (held or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""


class Contended(Exception):
    """Others changed the table each time between our reading and writing."""


class Shelf:
    """The table, wherever it lies. `shared` says whether the last answer came from the store."""

    def __init__(self, store: Store | None, key: str) -> None:
        self.items = Items()
        self.shared = False
        self._store = store
        self._key = key
        self._changes = 0
        self._late: asyncio.Task[bytes] | None = None

    async def read(self) -> Items:
        """The table as it is now; the caller does not change it."""
        if self._store is None or (self._late is not None and not self._late.done()):
            return self.items  # a slow store is asked by one reader at a time, and nobody else waits
        fetch = spawn(self._fetch(), "the shop's table")
        done, _ = await asyncio.wait({fetch}, timeout=PATIENCE)
        self._late = None if done else fetch
        return self.items

    async def change(self, act: Callable[[Items], T]) -> T:
        """What `act` returns after it changed the table; what it raises leaves the table alone."""
        for _ in range(TRIES):
            held = await self._fetch()
            items = _table(held) if self.shared else Items.load(self.items.dump())
            result = act(items)
            if await self._replace(held, items):
                self.items = items
                self._changes += 1
                return result
        raise Contended

    async def _fetch(self) -> bytes:
        """The store's text of the table (b"" if it has none); self.items follows it."""
        if self._store is None:
            return b""
        changes = self._changes
        try:
            held = await self._store.get(self._key)
        except StoreAway:
            self.shared = False
            return b""
        self.shared = True
        if changes == self._changes:  # else an answer that came late is older than what was changed meanwhile
            self.items = _table(held)
        return held or b""

    async def _replace(self, held: bytes, items: Items) -> bool:
        if self._store is None or not self.shared:
            return True
        try:
            return bool(await self._store.eval(REPLACE, (self._key,), (held, items.dump(), KEPT)))
        except StoreAway:
            self.shared = False
            return True


def _table(held: bytes | None) -> Items:
    """The table in what the store holds; the shop as new where it holds none."""
    return Items.load(held) if held else Items()
