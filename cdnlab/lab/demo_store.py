"""A store of a demonstration's own that writes a log before it answers, and so survives being killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from cdnlab.lab import embedded_store, lifeline
from cdnlab.lab.errors import LabError
from cdnlab.net.clock import now

STARTED, LOOK = 15.0, 0.01  # seconds until it answers, and between two looks


class LoggedStore:
    """The embedded store's server with an append-only file; to be used with `async with`."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "logged.sock"
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{quote(str(self._socket))}"

    async def __aenter__(self) -> Self:
        self._start()
        await self._until_answers()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()

    async def restart(self, _: object = None) -> None:
        """Kill it (SIGKILL), start it anew, and wait until it answers."""
        self._kill()
        self._start()
        await self._until_answers()

    async def _until_answers(self) -> None:
        end = now() + STARTED
        while not embedded_store.answers(self._socket):
            if now() > end:
                raise LabError("the demonstration's store does not start")
            await asyncio.sleep(LOOK)

    def _start(self) -> None:
        words = embedded_store.arguments(self._socket, self._folder)
        words[words.index("--appendonly") + 1] = "yes"
        parent = os.getpid()
        self._child = subprocess.Popen(
            [*words, "--appendfsync", "always"], executable=embedded_store.find_binary(),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=lambda: lifeline.hold(parent),
        )  # fmt: skip

    def _kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None
