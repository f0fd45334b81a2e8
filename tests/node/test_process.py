"""A node's life in a real process: ready, told to end once, told twice, and every way not to start."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cdnlab.node.process import StartError, binding
from cdnlab.node.secrets import make

if TYPE_CHECKING:
    from tests.node.conftest import Valkey

SAMPLE = Path(__file__).with_name("sample_node.py")


class Sample:
    """One started sample node; `ready` is the whole line it wrote about its readiness."""

    def __init__(self, behaviour: str, listen: str, admin: str, state: str, store: str) -> None:
        heard, told = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, str(SAMPLE), behaviour, listen, admin, state, store, str(told)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=(told,),
            env={**os.environ, "PYTHONPATH": str(SAMPLE.parents[2])},
        )
        os.close(told)
        self._heard = os.fdopen(heard)

    @property
    def ready(self) -> str:
        return self._heard.readline()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> tuple[int, str, str]:
        """Wait until it has ended: exit code, the rest of what it said, its log."""
        said, log = self.process.communicate(timeout=20)
        self._heard.close()
        return self.process.returncode, said, log


Start = Callable[..., Sample]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Sample] = []

    def one(
        behaviour: str = "serve",
        listen: str = "127.0.0.1:0",
        admin: str = "off",
        state: str = "",
        store: str = "",
    ) -> Sample:
        started.append(Sample(behaviour, listen, admin, state, store))
        return started[-1]

    yield one
    for sample in started:
        if sample.process.returncode is None:
            sample.process.kill()
            sample.end()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def connect(port: str) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", int(port)), 10)
    client.sendall(b"x")
    assert client.recv(1) == b"x"
    return client


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_once_it_finishes_what_runs(start: Start, number: signal.Signals) -> None:
    sample = start()
    assert sample.ready == "ready\n"
    port = sample.line()
    client = connect(port)
    sample.process.send_signal(number)
    assert sample.line() == "draining True True"  # frozen, and no automatic full collections
    with pytest.raises(ConnectionRefusedError):
        connect(port)
    client.sendall(b"y")
    assert client.recv(1) == b"y"  # what was open goes on
    client.close()
    code, said, log = sample.end()
    assert (code, said) == (0, "stopped 0\n")
    assert f"told to end ({number.name})" in log


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_told_twice_it_ends_now(start: Start, second: signal.Signals) -> None:
    sample = start()
    client = connect(sample.line())
    assert sample.ready == "ready\n"
    sample.process.send_signal(signal.SIGTERM)
    assert sample.line().startswith("draining")
    sample.process.send_signal(second)
    code, said, _ = sample.end()
    assert (code, said) == (128 + second, "")
    client.close()


def test_a_drain_that_takes_too_long_is_cut_off(start: Start) -> None:
    sample = start("stubborn")
    client = connect(sample.line())
    assert sample.ready == "ready\n"
    sample.process.send_signal(signal.SIGTERM)
    code, said, log = sample.end()
    assert (code, said.splitlines()[1]) == (0, "stopped 1")
    assert "not all was finished within 0.1 s" in log
    client.close()


def test_told_while_it_starts_it_ends_in_order(start: Start, valkey: Valkey) -> None:
    valkey.start()
    sample = start(store=valkey.url)
    sample.line()
    sample.process.send_signal(signal.SIGTERM)
    code, said, _ = sample.end()
    assert (code, said.splitlines()[-1]) == (0, "stopped 0")


def test_a_forked_child_lives_its_own_life(start: Start) -> None:
    sample = start("forked")
    child = int(sample.line())
    port = sample.line()
    assert sample.ready == "ready\n"
    try:
        connect(port).close()
    finally:
        os.kill(child, signal.SIGTERM)
    code, said, _ = sample.end()
    assert (code, said.splitlines()[-1]) == (0, "stopped 0")


def test_admin_api_secrets_and_store_of_a_whole_node(start: Start, tmp_path: Path, valkey: Valkey) -> None:
    valkey.start()
    secrets = make(tmp_path / "secrets")
    port = free_port()
    sample = start(admin=f"127.0.0.1:{port}", state=str(tmp_path), store=valkey.url)
    assert sample.ready == "ready\n"
    client = connect(sample.line())
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=10) as answer:
        status = json.load(answer)
    assert (status["state"], status["connections"], status["store"]["url"]) == ("ready", 1, valkey.url)
    drain = urllib.request.Request(
        f"http://127.0.0.1:{port}/drain", b"", {"Authorization": f"Bearer {secrets.admin_token}"}
    )
    with urllib.request.urlopen(drain, timeout=10) as answer:
        assert json.load(answer)["state"] == "draining"
    client.sendall(b"z")  # draining by order still serves
    assert client.recv(1) == b"z"
    client.close()
    sample.process.send_signal(signal.SIGTERM)
    assert sample.end()[0] == 0


def test_a_missing_store_does_not_keep_a_node_from_starting(start: Start, valkey: Valkey) -> None:
    sample = start(store=valkey.url)
    assert sample.ready == "ready\n"
    sample.process.send_signal(signal.SIGTERM)
    code, _, log = sample.end()
    assert code == 0
    assert "the store is away" in log


@pytest.mark.parametrize("which", ["listen", "admin"])
def test_a_taken_port_is_named_with_the_remedy(start: Start, which: str) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = f"127.0.0.1:{holder.getsockname()[1]}"
        sample = start(**{which: taken})
        line = sample.ready
        code, _, log = sample.end()
    assert code == 2
    assert line.startswith(f"failed: cannot listen on {taken}: address already in use; stop the program")
    assert f"--{which}" in line
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        ({"behaviour": "misconfigured"}, 2, "failed: edge.memory is more than the machine has; give less\n"),
        ({"behaviour": "broken"}, 1, "failed: edge failed: RuntimeError: out of cheese\n"),
        ({"listen": "192.0.2.1:8080"}, 2, "failed: cannot listen on 192.0.2.1:8080: cannot assign"),
        ({"state": "/nonexistent"}, 2, "failed: there is no cookie key /nonexistent/secrets"),
        ({"store": "http://127.0.0.1/"}, 2, 'failed: store URL "http://127.0.0.1/"'),
    ],
)
def test_what_keeps_a_node_from_starting(start: Start, options: dict[str, str], code: int, line: str) -> None:
    sample = start(**options)
    assert sample.ready.startswith(line)
    ended, _, log = sample.end()
    assert ended == code
    assert ("Traceback" in log) == (code == 1)


def test_other_errors_of_the_system_pass_through_a_binding() -> None:
    with pytest.raises(FileNotFoundError), binding("h", 1):
        raise FileNotFoundError(2, "No such file")
    with (
        pytest.raises(StartError, match=r"\[::1\]:80: permission denied; ports below 1024"),
        binding("::1", 80),
    ):
        raise PermissionError(13, "Permission denied")
