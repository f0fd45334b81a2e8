"""Programs that the bench starts: pinned to a core, waited for, ended by their own pid however it goes."""

from __future__ import annotations

import http.client
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from bench.cost import family

ROOT = Path(__file__).resolve().parents[1]
_PATIENCE = 30.0


class NotStarted(Exception):
    """A program ended, or did not answer in time."""


def find_program(name: str) -> str | None:
    """Path of an installed program; Debian puts servers where an ordinary user's PATH doesn't look."""
    places = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    return shutil.which(name, path=places)


def free_port() -> int:
    """A free TCP port below the ephemeral range, from which wrk's own connections take theirs."""
    while True:
        port = random.randrange(10000, 30000)
        with closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def two_cores() -> tuple[int, int] | None:
    """(the servers' core, the load's core) of those this process may use; None where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else None


@contextmanager
def running(words: Sequence[str], cores: Sequence[int], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program pinned to `cores`, its output in `log`; ended when the block is left."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, cores)), *words],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL for it and its descendants."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        for pid in reversed(family(process.pid)):
            os.kill(pid, 9)
        process.wait()


def wait_for_answer(process: subprocess.Popen[bytes], port: int, path: str, log: Path) -> int:
    """Length of the first 200's body from 127.0.0.1:`port`; NotStarted with the program's last words."""
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            status, length = ask(port, path)
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
            continue
        if status == 200:
            return length
        time.sleep(0.1)
    words = log.read_text(errors="replace").strip()[-300:] or "it said nothing"
    raise NotStarted(f"no 200 for {path} on port {port}; the program's last words: {words}")


def ask(port: int, path: str) -> tuple[int, int]:
    """(status, length of the body) of one GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with closing(connection):
        connection.request("GET", path, headers={"Host": "www.example.com"})
        response = connection.getresponse()
        return response.status, len(response.read())
