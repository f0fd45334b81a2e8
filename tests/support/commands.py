"""Runs a command of the lab in this process, as typer would, and keeps what it printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result


class Typed:
    """Types one command again and again for the lab in `state`."""

    def __init__(
        self, command: Callable[..., Any] | typer.Typer, state: Path | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`command`: a function, or a group of them."""
        if isinstance(command, typer.Typer):
            self._app = command
        else:
            self._app = typer.Typer()
            self._app.command()(command)
        self._state = [] if state is None else ["--state", str(state)]
        self._monkeypatch = monkeypatch

    def __call__(self, *words: str, columns: int = 120) -> Result:
        """The result of typing `words` in a terminal `columns` wide."""
        self._monkeypatch.setenv("COLUMNS", str(columns))
        return CliRunner().invoke(self._app, [*words, *self._state])
