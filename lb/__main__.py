"""`python -m lb`: the balancer's command line."""

from lb.command import app

app()
