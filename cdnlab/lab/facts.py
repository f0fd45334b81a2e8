"""What /lab says of a lab and what never changes while it runs: its name, its places, its VIPs, where its page is."""

from __future__ import annotations

import os
import time
from typing import Any

from cdnlab.lab.state import StateDirectory
from cdnlab.node.node import our_version
from cdnlab.plan.topology import Topology


def facts(topology: Topology, state: StateDirectory, page: str, command: str) -> dict[str, Any]:
    """`page` is the page's URL; `command` is what a person types for `cdnlab`, so that what is shown can be pasted."""
    vips = [(vip.name, topology.vip_address(vip)) for vip in topology.vips]
    return {
        "name": topology.name,
        "version": our_version(),
        "state_dir": str(state.path),
        "pid": os.getpid(),
        "started": time.time(),
        "page": page,
        "distance": topology.distance.enabled,
        "command": command,
        "places": [{"code": code, "city": place.city} for code, place in topology.all_places.items()],
        "vips": [{"name": name, "address": host, "port": port} for name, (host, port) in vips],
    }
