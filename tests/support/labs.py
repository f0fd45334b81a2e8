"""Real labs for tests: on ports of their own, with a state directory of their own, and never a process left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from cdnlab.lab.ask import ask
from cdnlab.lab.errors import LabError
from cdnlab.lab.state import StateDirectory

ROOT = Path(__file__).parents[2]
#: Offsets from the base that a lab uses.
OFFSETS = (0, 1, 2, 1010, 1020, 1021)
#: Seconds for anything a loaded machine may be slow at.
PATIENCE = 45.0

SMALL = """
name: small
nodes:
  lb-a: {tier: lb, address: 127.0.1.10}
  lb-b: {tier: lb, address: 127.0.1.11}
  edge-icn: {tier: edge, place: icn, address: 127.82.1.10}
  edge-fra: {tier: edge, place: fra, address: 127.49.1.10}
  origin-1: {tier: origin, place: iad, address: 127.1.1.20}
pools:
  edges: {tier: edge, algorithm: nearest}
  origins: {tier: origin}
"""


def free_base() -> int:
    """A port base below the ephemeral range whose ports are free on every address of this machine."""
    while True:
        base = random.randrange(10000, 30000)
        try:
            for offset in OFFSETS:
                with closing(socket.socket()) as probe:
                    probe.bind(("0.0.0.0", base + offset))
        except OSError:
            continue
        return base


def alive(pid: int) -> bool:
    """Whether a process is there and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """Pids of a process's children."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    return [pid, *(member for child in children(pid) for member in family(child))]


def until(condition: Callable[[], Any], what: str) -> Any:
    """The condition's first true value; AssertionError after PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.01)
    return value


class RunningLab:
    """A `cdnlab up` in the foreground."""

    def __init__(self, process: subprocess.Popen[str], state: Path, base: int) -> None:
        self.process = process
        self.directory = state
        self.state = StateDirectory(state)
        self.base = base

    def ask(self, path: str, **body: Any) -> dict[str, Any]:
        """GET the control API, or POST `body`."""
        return ask(self.state, path, body or None)

    def ready(self) -> RunningLab:
        """Wait until all nodes are ready."""

        def ready() -> bool:
            assert self.process.poll() is None, f"up ended: {self.process.communicate()}"
            try:
                return all(node["ready"] for node in self.ask("/lab")["nodes"])
            except LabError:
                return False

        until(ready, "the lab's start")
        return self

    def node(self, name: str) -> dict[str, Any]:
        """What the supervisor sees of a node."""
        found: dict[str, Any] = next(node for node in self.ask("/lab")["nodes"] if node["name"] == name)
        return found

    def get(self, path: str = "/", client: str = "127.0.0.1") -> tuple[int, bytes]:
        """(status, body) of a GET through the VIP."""
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self.base, 10, source_address=(client, 0))
        with closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()

    def cdnlab(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another `cdnlab` command against this lab."""
        return cdnlab(*words, "--state", str(self.directory))


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what would steer a lab."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CDNLAB_")}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def cdnlab(*words: str, module: str = "cdnlab", **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd="/",
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@contextmanager
def state_directory() -> Iterator[Path]:
    """A short path: Unix sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="lab", ignore_cleanup_errors=True) as path:
        yield Path(path)


def write(directory: Path, topology: str = SMALL) -> Path:
    """A topology file beside the state directory."""
    path = directory.with_suffix(".yaml")
    path.write_text(topology)
    return path


@contextmanager
def lab(
    *words: str, module: str = "tests.support.stub_tiers", topology: str | None = SMALL, **env: str
) -> Iterator[RunningLab]:
    """A lab in the foreground, of stub nodes unless `module` is cdnlab; killed at the end however it went."""
    base = free_base()
    with state_directory() as state:
        file = [str(write(state, topology))] if topology else []
        process = subprocess.Popen(
            [sys.executable, "-m", module, "up", *file, "--port", str(base), "--state", str(state), *words],
            cwd="/",
            env=environment(**env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield RunningLab(process, state, base)
        finally:
            pids = family(process.pid)
            process.kill()
            process.communicate()
            for pid in pids[1:]:
                if alive(pid) and str(state) in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(pid, signal.SIGKILL)
            state.with_suffix(".yaml").unlink(missing_ok=True)


def dump(data: Any) -> str:
    """For messages of assertions."""
    return json.dumps(data, indent=1)
