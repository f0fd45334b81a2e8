"""`python -m origin`: the origin alone."""

from __future__ import annotations

from origin.command import app

if __name__ == "__main__":
    app(prog_name="python -m origin")
