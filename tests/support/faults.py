"""Commands of the lab in this process, which is ten times as quick as another interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.testing import CliRunner

from cdnlab.lab import fault
from tests.support.labs import RunningLab


def typed(command: Callable[..., Any], running: RunningLab, *words: str) -> str:
    """What a command prints for this lab; AssertionError unless it is done."""
    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, [*words, "--state", str(running.directory)])
    assert done.exit_code == 0, done.output
    return done.output


def order(running: RunningLab, *words: str) -> str:
    """`cdnlab fault WORDS`."""
    return typed(fault.command, running, *words)
