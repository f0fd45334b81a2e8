"""A client of the store that does to its commands what a set of faults says.

It stands below everything that asks the store, also what goes past the node's own idea of whether the store is up. To
its callers it looks as if the server did it: what they do about it is theirs.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import ResponseError

from cdnlab.net.faults import Fault, Faults


class FaultyClient(Redis):
    """A client that may be told to meet faults; without any, a command costs one look at an attribute."""

    faults: Faults | None = None
    done: dict[Fault, int]

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """As the library's."""
        faults = self.faults
        if faults is None:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        if faults.refuse:
            self.done[Fault.REFUSE] += 1
            raise NoConnection("connection refused, by a fault that was set")
        if faults.hang:
            self.done[Fault.HANG] += 1
            await self._until_other_than(faults)
            return await self.execute_command(*args, **options)
        if faults.reset:
            self.done[Fault.RESET] += 1
            raise NoConnection("connection reset, by a fault that was set")
        if faults.errors and random.random() < faults.errors:
            self.done[Fault.ERRORS] += 1
            raise ResponseError("a fault that was set")
        answer = await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        if faults.delay:
            # a slow server has done what was asked, also where nobody waits for its answer any more
            self.done[Fault.DELAY] += 1
            await asyncio.sleep(faults.delay)
        return answer

    async def _until_other_than(self, faults: Faults) -> None:
        """Each caller has a time of its own, at which it ends this wait."""
        while self.faults is faults:  # noqa: ASYNC110 - nobody waits here for longer than a command may take
            await asyncio.sleep(0.02)
