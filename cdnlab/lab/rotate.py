"""`cdnlab rotate`: a new key for the cookies of sticky sessions.

It writes into the state directory; nodes look there each second, so nobody has to be told, and it works without a lab,
too. What two keys are for is said in cdnlab/node/secrets.py.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from cdnlab.lab.errors import LabError
from cdnlab.lab.state import StateDirectory
from cdnlab.node import secrets


def command(state: Annotated[Path | None, typer.Option(help="The lab's state directory.")] = None) -> None:
    """Make a new key for the cookies of sticky sessions. Those that were given under the one before stay good until the
    next rotation, and are replaced when they are shown.

    Example: cdnlab rotate
    """
    try:
        print(_rotated(StateDirectory(state).secrets))
    except LabError as error:
        print(f"cdnlab: {error}", file=sys.stderr)
        raise typer.Exit(error.code) from None


def _rotated(directory: Path) -> str:
    if not directory.is_dir():
        raise LabError(f"there are no secrets in {directory}", "start a lab first: cdnlab up")
    try:
        new, old = secrets.rotate(directory, time.time())
    except secrets.SecretsError as error:
        raise LabError(str(error)) from error
    gone = f"; cookies of key {', '.join(old)} are refused from now on" if old else ""
    return f"cookie key {new} is accepted at once, and signs in {secrets.STAGED:g} s{gone}"
