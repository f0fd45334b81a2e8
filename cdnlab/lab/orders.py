"""`down`, `kill`, `pause`, `resume`, `start`: what a person does to a running lab.

They speak to lab.sock and print one line. `down` also works when the supervisor does not answer any more: the lab's
lock names it, and all its processes end with it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cdnlab.lab.ask import Refused, ask, no_lab
from cdnlab.lab.errors import LabError
from cdnlab.lab.state import StateDirectory

#: Seconds for a lab to end in order; its nodes drain for two of them.
END = 8.0
#: Seconds for a lab to agree to end: it does so at once, unless it is hung or frozen.
AGREE = 2.0

State = Annotated[Path | None, typer.Option("--state", help="The lab's state directory.")]
Name = Annotated[
    str, typer.Argument(metavar="NODE", help="A node's name as `cdnlab status` shows it, or store.")
]


def down(state: State = None) -> None:
    """End the lab: every process of it, frozen ones too."""
    _told(lambda: _down(StateDirectory(state)))


def kill(node: Name, state: State = None) -> None:
    """Kill a node at once (SIGKILL). It stays dead until `cdnlab start`."""
    _told(lambda: _order("kill", node, state, "killed"))


def pause(node: Name, state: State = None) -> None:
    """Freeze a node (SIGSTOP): it holds its connections and answers nothing."""
    _told(lambda: _order("pause", node, state, "frozen"))


def resume(node: Name, state: State = None) -> None:
    """Let a frozen node run on (SIGCONT)."""
    _told(lambda: _order("resume", node, state, "runs on"))


def start(node: Name, state: State = None) -> None:
    """Start a node that is dead."""
    _told(lambda: _order("start", node, state, "started"))


def _told(work: Callable[[], str]) -> None:
    try:
        print(work())
    except LabError as error:
        print(f"cdnlab: {error}", file=sys.stderr)
        raise typer.Exit(error.code) from None


def _order(verb: str, node: str, state: Path | None, done: str) -> str:
    answer = ask(StateDirectory(state), f"/{verb}", {"node": node})
    pid = f" (pid {answer['pid']})" if answer.get("pid") else ""
    return f"{node}: {done}{pid}"


def _down(state: StateDirectory) -> str:
    pid = state.holder()
    if pid is None:
        raise no_lab(state)
    try:
        ask(state, "/down", {}, within=AGREE)
    except Refused:
        raise
    except LabError:
        if pid:  # it may be starting, hung or frozen: ask by signal, which a frozen one hears when it runs on
            _send(pid, signal.SIGTERM)
            _send(pid, signal.SIGCONT)
    if not _ended(state, END):
        if pid:
            _send(pid, signal.SIGKILL)
        if not _ended(state, END):
            raise LabError(
                f"the lab in {state.path} does not end (pid {pid or 'unknown'})", "see `ps` for what holds it"
            )
    return f"The lab in {state.path} has ended."


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _ended(state: StateDirectory, seconds: float) -> bool:
    """Wait until no process of the lab is left."""
    deadline = time.monotonic() + seconds
    while state.holder() is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
