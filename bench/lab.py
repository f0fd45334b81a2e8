"""Times of a whole lab: how soon it answers, and how long a request waits when the active balancer fails."""

from __future__ import annotations

import http.client
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.programs import NotStarted, running
from cdnlab.lab.ask import ask
from cdnlab.lab.errors import LabError
from cdnlab.lab.state import StateDirectory

#: Offsets from the base port that a lab uses.
_OFFSETS = (0, 1, 2, 1020, 1021)
_PATIENCE = 30.0
#: Seconds after which the client gives a connection up and asks on a new one: what a frozen balancer has accepted
#: already stays with it.
_CLIENT_TIMEOUT = 1.0
#: How long requests go on after the failure: several times what a takeover may take.
_WATCHED = 4.0


@dataclass(frozen=True)
class _Lab:
    base: int
    state: StateDirectory
    #: Seconds from the start of `cdnlab up` to the first 200.
    answered: float


def first_answer(directory: Path, cores: tuple[int, int]) -> float:
    """Seconds from starting `cdnlab up` to the first 200 through the VIP."""
    with running_lab(directory, cores) as lab:
        return lab.answered


def takeover_after_kill(directory: Path, cores: tuple[int, int]) -> float:
    """The longest wait of a request for a 200, in seconds, while the active balancer is killed."""
    return _takeover(directory, cores, "/kill")


def takeover_after_freeze(directory: Path, cores: tuple[int, int]) -> float:
    """The same, while the active balancer is stopped (SIGSTOP); the client gives up a silent connection after 1 s."""
    return _takeover(directory, cores, "/pause")


def _takeover(directory: Path, cores: tuple[int, int], how: str) -> float:
    with running_lab(directory, cores) as lab:
        holder = _holder(lab)
        asking = _Asking(lab.base)
        asking.start()
        time.sleep(0.5)  # not waiting for anything: requests before the failure are part of what is watched
        ask(lab.state, how, {"node": holder})
        time.sleep(_WATCHED)
        return asking.end()


class _Asking(threading.Thread):
    """Asks for the front page again and again, each time until a 200 came, and keeps the longest wait."""

    def __init__(self, base: int) -> None:
        super().__init__(daemon=True)
        self._base = base
        self._ended = threading.Event()
        self._longest = 0.0

    def run(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            while _status(self._base) != 200 and time.monotonic() < began + _PATIENCE:
                time.sleep(0.005)
            self._longest = max(self._longest, time.monotonic() - began)

    def end(self) -> float:
        """Stop; the longest wait so far, in seconds."""
        self._ended.set()
        self.join(_PATIENCE)
        return self._longest


def _status(base: int) -> int:
    """Status of one GET / on a new connection; 0 if it got none."""
    connection = http.client.HTTPConnection("127.0.0.1", base, timeout=_CLIENT_TIMEOUT)
    with closing(connection):
        try:
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException):
            return 0
        return response.status


def _holder(lab: _Lab) -> str:
    """Name of the balancer that holds the VIP. NotStarted if nobody says so in time."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        for node in ask(lab.state, "/status")["nodes"]:
            if any(vip["state"] == "active" for vip in node.get("vips") or ()):
                return str(node["name"])
        time.sleep(0.05)
    raise NotStarted("no balancer says that it holds the VIP")


@contextmanager
def running_lab(directory: Path, cores: tuple[int, int]) -> Iterator[_Lab]:
    """The default lab on free ports, on both cores, until the block is left."""
    base, state, log = _free_base(), directory / "lab", directory / "log"
    words = [sys.executable, "-m", "cdnlab", "up", "--port", str(base), "--state", str(state)]
    began = time.monotonic()
    with running(words, cores, log) as process:
        while _status(base) != 200:
            if process.poll() is not None or time.monotonic() > began + _PATIENCE:
                raise NotStarted(f"no 200 through the VIP: {log.read_text(errors='replace').strip()[-300:]}")
            time.sleep(0.005)
        answered = time.monotonic() - began
        _all_ready(StateDirectory(state))
        yield _Lab(base, StateDirectory(state), answered)


def _all_ready(state: StateDirectory) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            if all(node["ready"] for node in ask(state, "/lab")["nodes"]):
                return
        except LabError:  # it answers for its nodes a moment after they do
            pass
        time.sleep(0.02)
    raise NotStarted("not every node of the lab got ready")


def _free_base() -> int:
    """A port base whose ports are free on every address of this machine."""
    while True:
        base = random.randrange(10000, 30000)
        try:
            for offset in _OFFSETS:
                with closing(socket.socket()) as probe:
                    probe.bind(("0.0.0.0", base + offset))
        except OSError:
            continue
        return base
