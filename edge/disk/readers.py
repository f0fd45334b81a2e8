"""Threads that read, and nothing else.

Not a ThreadPoolExecutor: the end of a process waits for those threads, and one that hangs on a dead disk would hold it
up for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Readers(Executor):
    """`count` threads, begun with the first work there is."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._begun = False
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Do it in one of the threads. From the loop's thread only."""
        if not self._begun:
            self._begun = True
            for number in range(self._count):
                threading.Thread(target=self._run, name=f"disk reader {number}", daemon=True).start()
        future: Future[T] = Future()
        self._work.put((future, lambda: fn(*args, **kwargs)))
        return future

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            future, work = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
            del item, future, work  # or the last result would stay until the next

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """No more work; what is under way ends by itself, and nobody waits for it."""
        for _ in range(self._count):
            self._work.put(None)
