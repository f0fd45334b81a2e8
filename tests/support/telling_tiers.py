"""The `cdnlab` command whose nodes write into their logs each module they import after the fork."""

from __future__ import annotations

import sys

from cdnlab.lab import cli, programs, up


def node_main(tier: str) -> programs.NodeMain:
    """A tier's real entry point, watched."""
    main = programs.node_main(tier)
    sys.addaudithook(lambda event, facts: print("imports", facts[0]) if event == "import" else None)
    return main


if __name__ == "__main__":
    up.up.__defaults__ = (programs.Tiers(node_main),)
    cli.main()
