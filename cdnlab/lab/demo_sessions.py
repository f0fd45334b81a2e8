"""`cdnlab demo sessions`: what stickiness and session clustering save, counted."""

from __future__ import annotations

import typer


def command() -> None:
    """Count the logins and carts that a lost server costs, with and without stickiness and clustering."""
    typer.echo("not built yet", err=True)
    raise typer.Exit(1)
