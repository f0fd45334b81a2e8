"""Passes over what is stored after a purge, in slices, to give the memory of purged objects back and to let rules be
forgotten.

Decides how much of the loop a pass takes: a slice of about a millisecond, then a pause, whatever a purge hits. Nothing
waits for it: an object that no slice has reached yet is judged when it is used. What the rules say is theirs to decide.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from cdnlab.net.clock import now
from cdnlab.net.tasks import spawn
from edge.object import StoredObject
from edge.purge.purges import Purges
from edge.purging import Verdict

SLICE = 0.001
"""Seconds of one slice; about 500 objects."""
BATCH = 64
"""Objects between two looks at the clock: 0.1 ms when all are kept, twice that when all go."""
PAUSE = 0.004
"""Seconds between slices: a pass takes a fifth of the loop."""
REST = 1.0
"""Seconds between passes: purges that come one by one are swept together."""

_GONE = Verdict.GONE


class Stored(Protocol):
    """A storage, as a pass sees it."""

    def sweep(self, cursor: int, count: int) -> tuple[list[StoredObject], int]:
        """About `count` objects from a cursor on, and the next cursor: 0 begins, and 0 is the end. What was stored
        before the pass began, and still is, comes at least once."""


class Sweep:
    """One edge's passes."""

    def __init__(
        self,
        purges: Purges,
        storage: Stored,
        discard: Callable[[StoredObject], None],
        *,
        rest: float = REST,
    ) -> None:
        """`discard` removes an object if it still lies there. `rest`: seconds between passes."""
        self._purges = purges
        self._storage = storage
        self._discard = discard
        self._rest = rest
        self._due = asyncio.Event()
        self.passes = 0

    def start(self) -> None:
        """Sweep after each change from now on."""
        self._purges.on_change(self._due.set)
        spawn(self._run(), "purge sweep")

    async def _run(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            await self.once()
            await asyncio.sleep(self._rest)

    async def once(self) -> None:
        """One pass."""
        number, cursor = self._purges.rules.number, 0
        until = now() + SLICE
        while True:
            found, cursor = self._storage.sweep(cursor, BATCH)
            while found:
                self._look_at(found)
                if now() >= until:
                    await asyncio.sleep(PAUSE)
                    until = now() + SLICE
            if not cursor:
                break
        self.passes += 1
        self._purges.swept(number)

    def _look_at(self, found: list[StoredObject]) -> None:
        """Take some off the list. They may be gone by now, or have a successor, which does no harm."""
        judge = self._purges.judge
        for stored in found[-BATCH:]:
            if judge(stored) is _GONE:
                self._discard(stored)
        del found[-BATCH:]
