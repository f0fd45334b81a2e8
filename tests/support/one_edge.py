"""A `cdnlab edge` alone, as people start it: a process of its own on a free port, ended with the block."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.support.labs import environment, until
from tests.support.peers import free_port


def _open(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def one_edge(origin: str, *words: str) -> Iterator[str]:
    """Its URL; `words` are further options. An admin API is there only if one of them says where."""
    port = free_port()
    listen = f"127.0.0.1:{port}"
    given = () if "--admin" in words else ("--admin", "off")
    ports = [
        port,
        *(int(words[at + 1].rpartition(":")[2]) for at, word in enumerate(words) if word == "--admin"),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", "--listen", listen, "--origin", origin, *given, *words],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: process.poll() is not None or all(map(_open, ports)), "the edge's start")
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        yield f"http://{listen}"
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()
