"""How soon a purge is applied at every edge of a whole lab: from before it is posted to the last edge's word."""

from __future__ import annotations

import http.client
import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.lab import running_lab
from bench.programs import NotStarted
from cdnlab.plan.load import load
from cdnlab.plan.topology import Topology

#: Purges that are posted one after the other, each to the next edge.
PURGES = 300
#: Seconds between two: far from what edges can take, so that none waits for another.
PAUSE = 0.01
_PATIENCE = 10.0


def reach(directory: Path, cores: tuple[int, int]) -> float:
    """The 99th percentile, in seconds, of the time until the last of the default lab's six edges has applied a purge.

    The clock is the machine's: it is read before the purge is posted, and by each edge once it has applied it.
    """
    with running_lab(directory, cores) as lab:
        topology = load(lab.state.topology)
        token = (lab.state.secrets / "admin_token").read_text().strip()
        edges = [_Edge(topology, name, token) for name in topology.tier("edge")]
        posted = [_post(edges[number % len(edges)], number) for number in range(PURGES)]
        took = sorted(max(edge.applied(purge) for edge in edges) - began for purge, began in posted)
        for edge in edges:
            edge.connection.close()
    return took[min(len(took) - 1, len(took) * 99 // 100)]


class _Edge:
    """One edge's admin API, on a connection that stays."""

    def __init__(self, topology: Topology, name: str, token: str) -> None:
        address = topology.admin_address(name)
        assert address is not None
        self.headers = {"Host": name, "Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.connection = http.client.HTTPConnection(*address, timeout=_PATIENCE)

    def ask(self, method: str, path: str, body: str | None = None) -> dict[str, Any]:
        self.connection.request(method, path, body, self.headers)
        with closing(self.connection.getresponse()) as response:
            answer: dict[str, Any] = json.loads(response.read())
        if response.status >= 300:
            raise NotStarted(f"an edge answered {response.status} to {path}: {answer}")
        return answer

    def applied(self, purge: str) -> float:
        """When it was applied here, in seconds of the calendar."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            answer = self.ask("GET", f"/purges?id={purge}")
            if answer["applied"]:
                return float(answer["wall"])
        raise NotStarted(f"an edge has not applied {purge} within {_PATIENCE:g} s")


def _post(edge: _Edge, number: int) -> tuple[str, float]:
    time.sleep(PAUSE)  # the pace, and no condition
    began = time.time()
    return str(edge.ask("POST", "/purge", json.dumps({"tags": [f"bench-{number}"]}))["id"]), began
