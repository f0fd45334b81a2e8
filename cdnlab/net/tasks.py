"""The one place that creates tasks.

The loop keeps only weak references to tasks, and a task that fails unobserved says so when it is collected,
if ever. Here each one is kept until it is done, bears a name, has its failure logged at once, and is ended
at shutdown. It knows nothing of what the tasks do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger("cdnlab.tasks")

_running: set[asyncio.Task[Any]] = set()


def spawn(coro: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Start `coro` on the running loop under `name`; the caller may drop the task, await or cancel it."""
    task = asyncio.get_running_loop().create_task(coro, name=name)
    _running.add(task)
    task.add_done_callback(_ended)
    return task


def running() -> tuple[str, ...]:
    """Names of the running loop's tasks that are not done, sorted: for tests, and for a drain that hangs."""
    loop = asyncio.get_running_loop()
    return tuple(sorted(task.get_name() for task in _running if task.get_loop() is loop))


async def cancel_all(grace: float = 1.0) -> tuple[str, ...]:
    """Cancel the running loop's tasks but the caller; names of those alive after `grace` seconds."""
    loop, caller = asyncio.get_running_loop(), asyncio.current_task()
    mine = {task for task in _running if task.get_loop() is loop and task is not caller}
    for task in mine:
        task.cancel()
    if not mine:
        return ()
    _, alive = await asyncio.wait(mine, timeout=grace)
    return tuple(sorted(task.get_name() for task in alive))


def forget_inherited() -> None:
    """In a forked child: the parent's tasks live on the parent's loop, which does not run here."""
    _running.clear()


def _ended(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if task.cancelled():
        return
    error = task.exception()
    if error is not None:
        log.error("task %s failed: %s: %s", task.get_name(), type(error).__name__, error, exc_info=error)
