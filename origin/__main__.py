"""`python -m origin`: the origin alone."""

from __future__ import annotations

from origin.command import main

if __name__ == "__main__":
    main()
