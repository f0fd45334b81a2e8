"""How long a purge by tag of many objects keeps an edge's loop from running anything else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from bench.alone import PATH, Alone, edge_alone, longest_stall
from bench.fill import fill
from bench.programs import NotStarted
from bench.run import Bench

OBJECTS = 100_000
_TAG = "bench"
#: Seconds within which every object is to be gone. A sweep takes a fifth of the loop: about a second for all.
_PATIENCE = 30.0


def purge_of_a_tag(bench: Bench, directory: Path) -> Mapping[str, float]:
    """The longest stall in seconds, from the purge of a tag that all objects bear until the sweep has removed them."""
    objects = min(OBJECTS, bench.objects)
    with edge_alone(directory, (bench.server_core, bench.load_core), objects, _TAG) as edge:
        fill(edge.port, PATH, objects)
        held, stalls = edge.storage()["objects"], edge.stalls()
        if held < objects:
            raise NotStarted(f"of {objects:,} objects the edge holds {held:,}")
        began = time.monotonic()
        edge.ask("POST", "/purge", {"tags": [_TAG]})
        _emptied(edge)
        longest = longest_stall(edge, stalls, partial(bench.complain, "purge-tag"))
        bench.say(f"  purge-tag: {held:,} objects were gone after {time.monotonic() - began:.2f} s")
        return {"purge-tag": longest}


def _emptied(edge: Alone) -> None:
    deadline = time.monotonic() + _PATIENCE
    while left := edge.storage()["objects"]:
        if time.monotonic() > deadline:
            raise NotStarted(f"{left:,} purged objects are still there after {_PATIENCE:g} s")
        time.sleep(0.05)
