"""What the lab says when it cannot do what was asked: one message, one remedy, one exit code.

It decides nothing. Exit codes: 1 when the thing asked about failed (a port taken, a node that is dead), 2 when the
usage or the configuration is wrong and the same command can never work.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

FAILED = 1
MISUSED = 2


class LabError(Exception):
    """A refusal a person reads: `problem` names the thing and where it is, `remedy` says what to do."""

    def __init__(self, problem: str, remedy: str = "", code: int = FAILED) -> None:
        super().__init__(problem, remedy, code)
        self.problem = problem
        self.remedy = remedy
        self.code = code

    def __str__(self) -> str:
        return f"{self.problem}\n  {self.remedy}" if self.remedy else self.problem


def unknown_node(name: str, known: Iterable[str], what: str = "node") -> LabError:
    """The error for a node name that the running lab lacks; names the nearest ones, else all. `what` it should be."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    remedy = (
        f"did you mean {' or '.join(near)}?"
        if near
        else f"the {'lab has' if what == 'node' else f'{what}s are'} {', '.join(names)}"
    )
    return LabError(f"no {what} named {name!r}", remedy, MISUSED)
