"""A lab of a demonstration's own: free ports, a directory of its own, and nothing left when it ends.

`cdnlab up` runs as a child that dies with us, and its own processes with it, so that a demonstration that is killed
leaves only a directory behind. What is shown is the demonstration's business; it must not know what runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cdnlab.lab import lifeline
from cdnlab.lab.ask import ask
from cdnlab.lab.errors import LabError
from cdnlab.lab.state import StateDirectory
from cdnlab.net.clock import now

OFFSETS = (0, 1, 2, 1010, 1020, 1021)
"""What a lab listens on, from its base."""
LOWEST, HIGHEST = 10000, 30000  # below the ports that the kernel gives to clients
READY, ENDED, LOOK = 60.0, 15.0, 0.02  # seconds: until ready, until ended, between two looks
TRIES = 3
"""Somebody may take a port between our look and the start."""


class Folder:
    """A directory below the temporary one, removed at the end. Its path is short: sockets lie in it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="cdnlab-demo-"))

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


class DemoLab:
    """A running `cdnlab up`, to be used with `async with`; LabError if it does not come up.

    `topology`: what would stand in the file, or None for the shipped one; `words`: further words for `up`.
    """

    def __init__(self, folder: Path, name: str, topology: Mapping[str, Any] | None, *words: str) -> None:
        self.base = 0
        """The HTTP port at 127.0.0.1."""
        self.state = StateDirectory(folder / name)
        self._file = folder / f"{name}.yaml"
        self._said = folder / f"{name}.out"
        self._words = words
        self._child: subprocess.Popen[bytes] | None = None
        if topology is not None:
            self._file.write_text(json.dumps(topology), encoding="utf-8")  # JSON is YAML
            self._words = (str(self._file), *words)

    async def __aenter__(self) -> Self:
        for last in (False,) * (TRIES - 1) + (True,):
            try:
                await self._start()
            except LabError:
                await self._end()
                if last or "is taken" not in self._said.read_text("utf-8", "replace"):
                    raise
            except BaseException:
                await self._end()
                raise
            else:
                break
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def ask(self, path: str, **body: Any) -> dict[str, Any]:
        """GET the lab's control API, or POST `body` to it."""
        return await asyncio.to_thread(ask, self.state, path, body or None)

    async def order(self, verb: str, node: str) -> None:
        """`cdnlab kill NODE`, pause, resume, start."""
        await self.ask(f"/{verb}", node=node)

    async def until_ready(self) -> None:
        """Wait until every node is ready. LabError if the lab ends instead, or never is."""
        end = now() + READY
        while not await self._ready():
            if self._child is None or self._child.poll() is not None:
                raise LabError(f"the demonstration's lab did not start: {self._last_words()}")
            if now() > end:
                raise LabError(
                    f"the demonstration's lab is not ready after {READY:.0f} s: {self._last_words()}"
                )
            await asyncio.sleep(LOOK)

    async def _ready(self) -> bool:
        try:
            nodes = (await self.ask("/lab"))["nodes"]
        except LabError:
            return False
        return all(node["ready"] for node in nodes)

    async def _start(self) -> None:
        self.base = free_base()
        parent = os.getpid()
        words = ["up", *self._words, "--port", str(self.base), "--state", str(self.state.path)]
        with self._said.open("wb") as said:
            self._child = subprocess.Popen(  # noqa: ASYNC220 - it must be this thread's child, and takes milliseconds
                [sys.executable, "-P", "-m", "cdnlab", *words],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment(),
                start_new_session=True, preexec_fn=lambda: lifeline.hold(parent),
            )  # fmt: skip
        await self.until_ready()

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.send_signal(signal.SIGTERM)
        end = now() + ENDED
        while child.poll() is None:
            if now() > end:
                child.kill()
            await asyncio.sleep(LOOK)

    def _last_words(self) -> str:
        """The last error that it printed, else its last line."""
        said = self._said.read_text("utf-8", "replace").strip()
        return (
            said.rpartition("cdnlab: ")[2]
            if "cdnlab: " in said
            else said.rpartition("\n")[2] or "it said nothing"
        )


def environment() -> dict[str, str]:
    """Ours, without what would steer a lab, and with this very cdnlab to import."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CDNLAB_")}
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}


def free_base() -> int:
    """A base whose ports nobody uses, at any address of this machine."""
    while True:
        base = random.randrange(LOWEST, HIGHEST)
        if all(_free(base + offset) for offset in OFFSETS):
            return base


def _free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                return False
    return True
