"""The image's health check, as a container runs it: what it asks, what it prints, how it ends."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy/compose/healthy.py"


def check(*words: str, ready: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run it."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(SCRIPT), *words],
        capture_output=True,
        text=True,
        env={} if ready is None else {"CDNLAB_READY_FILE": str(ready)},
        timeout=30,
        check=False,
    )


@contextmanager
def server(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """HOST:PORT of one that answers a single connection, and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                asked.append(connection.recv(4096))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}", asked
        thread.join(10)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n", 0),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\ndraining\n", 1),
        (b"", 1),
        (b"SSH-2.0 200 OK\r\n", 1),
    ],
)
def test_a_node_is_asked_where_its_file_says(answer: bytes, code: int, tmp_path: Path) -> None:
    file = tmp_path / "ready"
    with server(answer) as (address, asked):
        file.write_text(f"{address}\n")
        done = check(ready=file)
    assert done.returncode == code
    assert asked[0].startswith(f"GET /readyz HTTP/1.1\r\nHost: {address}\r\n".encode())
    assert done.stdout.startswith(f"{address}/readyz: {answer.decode().partition(chr(13))[0]}")


def test_another_address_and_path_may_be_named() -> None:
    with server(b"HTTP/1.1 200 OK\r\n\r\n") as (address, asked):
        assert check(address, "/").returncode == 0
    assert asked[0].startswith(b"GET / HTTP/1.1\r\n")


def test_nobody_there_and_nothing_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    file = tmp_path / "ready"
    file.write_text(f"127.0.0.1:{port}\n")
    refused = check(ready=file)
    assert (refused.returncode, "Connection refused" in refused.stdout) == (1, True)
    for missing in (tmp_path / "nothing", None):
        starting = check(ready=missing)
        assert starting.returncode == 1
        assert starting.stderr.startswith("not ready: ")
        assert "Traceback" not in starting.stderr
