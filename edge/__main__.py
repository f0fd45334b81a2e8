"""`python -m edge`: the edge's command line."""

from edge.command import app

app()
