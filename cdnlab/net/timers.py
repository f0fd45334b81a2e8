"""One coarse sweep instead of a timer per request.

Every connection keeps one float, the instant (BOOTTIME) at which it should be looked at; the sweep looks at all of
them a few times a second. A loop timer per request costs about a microsecond to make and another to cancel; a sweep
over 10,000 connections costs about a millisecond, four times a second. Timeouts are therefore late by up to one
period, which is what timeouts of seconds can afford.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from cdnlab.net.clock import now

log = logging.getLogger("cdnlab.net")

PERIOD = 0.25
#: Connections looked at in one go: bounds the stall of one sweep to about half a millisecond.
BATCH = 2000


class Timed(Protocol):
    """What a sweep looks at."""

    due: float
    """The instant at which `expire` is called; infinity means never."""

    def expire(self, now: float) -> None:
        """The instant has passed: act, and set a new `due` or close."""


class Sweep:
    """Calls `expire` on each member whose `due` has passed, within one PERIOD."""

    __slots__ = ("_handle", "_loop", "_pending", "members", "ticks")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.members: set[Timed] = set()
        self.ticks: list[Callable[[float], None]] = []
        """Called once a PERIOD with the instant: upkeep that needs no timer of its own."""
        self._pending: list[Timed] = []
        self._handle: asyncio.TimerHandle | None = loop.call_later(PERIOD, self._run)

    def _run(self) -> None:
        instant = now()
        if not self._pending:
            for tick in tuple(self.ticks):
                try:
                    tick(instant)
                except Exception:  # one pool's upkeep must not end every connection's timeouts
                    log.exception("a tick of the sweep failed")
            self._pending = list(self.members)
        batch = self._pending[-BATCH:]
        del self._pending[-BATCH:]
        for member in batch:
            if member.due <= instant and member in self.members:
                member.expire(instant)
        self._handle = self._loop.call_later(0.001 if self._pending else PERIOD, self._run)

    def stop(self) -> None:
        """End the sweep; members stay as they are."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
