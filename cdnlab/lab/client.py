"""What the commands that look at a lab share: find it, follow its lists, say one sentence if it is away.

It must not know what the answers mean, nor how they are shown.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from cdnlab.lab.ask import ask
from cdnlab.lab.errors import MISUSED, LabError
from cdnlab.lab.state import StateDirectory
from cdnlab.plan.errors import PlanError
from cdnlab.plan.load import load
from cdnlab.plan.topology import Topology

Json = dict[str, Any]


class Follower:
    """Reads a numbered list (`/requests` or `/events`) again and again; each entry once, oldest first."""

    def __init__(self, state: StateDirectory, kind: str, node: str | None = None) -> None:
        self._state = state
        self._kind = kind
        self._node = f"&node={node}" if node else ""
        self._after = 0

    def more(self) -> list[Json]:
        """What came since the last look. LabError if the lab is away."""
        answer = ask(self._state, f"/{self._kind}?after={self._after}{self._node}")
        self._after = int(answer["next"])
        entries: list[Json] = answer[self._kind]
        return entries


def topology_of(state: StateDirectory) -> Topology:
    """The topology with which the lab in `state` was started. LabError if it can't be read."""
    try:
        return load(state.topology)
    except PlanError as error:
        raise LabError(str(error), "start the lab anew: cdnlab down, cdnlab up") from None


def run(state: Path | None, work: Callable[[StateDirectory], int | None]) -> None:
    """Run one command's `work` for the lab in `state`, and end with its exit code (None is 0).

    A LabError or PlanError becomes one message on standard error and its own code. Ctrl-C ends a command that
    follows something without a word.
    """
    try:
        code = work(StateDirectory(state)) or 0
    except LabError as error:
        print(f"cdnlab: {error}", file=sys.stderr)
        code = error.code
    except PlanError as error:
        print(f"cdnlab: {error}", file=sys.stderr)
        code = MISUSED
    except KeyboardInterrupt:
        code = 0
    except BrokenPipeError:  # `cdnlab log | head` has read enough; what is still buffered has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    if code:
        raise typer.Exit(code)
