"""What the balancers' clients have spent of the limits that count for all balancers together, through the store.

Decides when others are told and when they are heard; what a limit is stands in `lb/rate_limit.py`. A request never
waits for any of this: it is judged by the table of its own node. What was let through is told behind, in batches, and
the answer to each batch says how far its clients' theoretical arrival times lie ahead by everybody's count, this node's
included. So a client that spreads its requests over two balancers gets at most what each lets through in one batch's
time more than its due, and that counts against it: the sum in the long run is exact.

One script call reads, adds and writes, by the store's own clock, so that nobody's clock has to agree. A key lives as
long as its time lies ahead; nothing is left of a client that is quiet.

What was weighed: a table replicated by newest word (cdnlab/node/replica.py) would lose one of two sums that are added
to at the same time; a counter per node and client would have to be read from all nodes.

Without the store each node counts for itself. What it could not tell is dropped: told late it would punish a client for
what is long past.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from cdnlab.net.clock import now
from cdnlab.net.tasks import spawn
from cdnlab.node.store import Store, StoreAway

if TYPE_CHECKING:
    from lb.rate_limit import RateLimit

BATCH_TIME = 0.030
"""Seconds that a count waits for others."""

BATCH = 256
"""Clients of one call: about half a millisecond of the server's time."""

WITHIN = 0.25
"""Seconds for a call. What takes longer is of no use any more."""

#: KEYS: a client's time each. ARGV: the interval in microseconds, then how many requests each. Returns how many
#: microseconds each time lies ahead now.
SPEND = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local ahead = {}
for at, key in ipairs(KEYS) do
  local arrival = math.max(tonumber(redis.call('GET', key) or '0') or 0, now) + ARGV[1] * ARGV[at + 1]
  redis.call('SET', key, string.format('%.0f', arrival), 'PX', math.ceil((arrival - now) / 1000) + 1)
  ahead[at] = math.floor(arrival - now)
end
return ahead
"""


class RateShare:
    """One balancer's side."""

    def __init__(self, store: Store, lab: str) -> None:
        self._store = store
        self._prefix = f"cdnlab:{lab}:rate:"
        self._limits: tuple[RateLimit, ...] = ()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.told = 0
        """Requests that the others know of."""

    def start(self) -> None:
        """Tell and hear from now on."""
        self._task = spawn(self._run(), "rate limits")

    def stop(self) -> None:
        """No more."""
        if self._task is not None:
            self._task.cancel()

    def serve(self, limits: Iterable[RateLimit]) -> None:
        """Tell of these from now on; only shared ones matter."""
        self._limits = tuple(limit for limit in limits if limit.spent is not None)
        for limit in self._limits:
            limit.wake = self._woken.set

    async def _run(self) -> None:
        while True:
            await self._woken.wait()
            await asyncio.sleep(BATCH_TIME)
            self._woken.clear()
            for limit in self._limits:
                while limit.spent:
                    await self._tell(limit)

    async def _tell(self, limit: RateLimit) -> None:
        """One batch of one limit."""
        spent = limit.spent or {}
        batch = list(islice(spent.items(), BATCH))
        for client, _ in batch:
            del spent[client]
        interval = limit.gcra.interval
        keys = [f"{self._prefix}{limit.name}:{client.hex()}" for client, _ in batch]
        counts = [count for _, count in batch]
        try:
            ahead = await self._store.eval(SPEND, keys, (round(interval * 1e6, 3), *counts), within=WITHIN)
        except StoreAway:
            limit.untold += sum(counts)
            return
        self.told += sum(counts)
        instant = now()
        for (client, _), microseconds in zip(batch, ahead, strict=True):
            since = spent.get(client, 0)
            limit.gcra.at_least(client, microseconds / 1e6 + since * interval, instant)
