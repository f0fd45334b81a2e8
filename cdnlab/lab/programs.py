"""What each forked child becomes: a node of one of the tiers, or a program beside them, such as the store's server.

`warm` imports in the nursery everything a node needs, so that the forks share it. This is the one place where the lab
knows the tiers' entry points; everything else knows names.
"""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

from cdnlab.lab.state import StateDirectory
from cdnlab.node import versions
from cdnlab.plan.load import load
from cdnlab.plan.topology import Topology

NodeMain = Callable[[Topology, str, Path | None, dict[str, int] | None, int | None], int]
"""A tier's entry point: (topology, node, state directory, inherited VIP sockets by VIP name, ready descriptor)."""

TIERS = ("lb", "edge", "origin")

WARM = (
    *(f"{tier}.{room}" for tier in TIERS for room in ("command", "app")),
    "aiohttp.web",
    "cdnlab.net.server",
    "cdnlab.node.admin",
    "cdnlab.node.process",
    "cdnlab.node.store",
    "encodings.idna",
    "redis.asyncio",
    "ssl",
    "uvloop",
)
"""Modules imported before the fork. A test lists what a node imports after it."""


def warm(modules: Iterable[str]) -> None:
    """Import what the nodes will need, and call each module's own `warm`. Starts neither a thread nor a loop."""
    for name in modules:
        own: Callable[[], None] | None = getattr(importlib.import_module(name), "warm", None)
        if own is not None:
            own()


def node_main(tier: str) -> NodeMain:
    """The entry point of a tier."""
    main: NodeMain = importlib.import_module(f"{tier}.command").node_main
    return main


class Tiers(NamedTuple):
    """The tiers as the lab starts them; tests put small ones in their place."""

    main: Callable[[str], NodeMain] = node_main
    modules: tuple[str, ...] = WARM


REAL = Tiers()


class Beside(NamedTuple):
    """A program beside the nodes: its file, and its command line with the name it goes by first."""

    binary: Path
    arguments: list[str]


class Programs:
    """Runs a child by name: called in the child, see nursery.Run."""

    def __init__(
        self,
        topology: Topology,
        state: StateDirectory,
        vips: Mapping[str, int],
        lock: int,
        beside: Mapping[str, Beside],
        tiers: Tiers = REAL,
    ) -> None:
        self._topology = topology
        self._state = state
        self._vips = dict(vips)
        self._lock = lock
        self._beside = dict(beside)
        self._tiers = tiers

    @property
    def names(self) -> tuple[str, ...]:
        """Every child, those beside the nodes first."""
        return (*self._beside, *self._topology.nodes)

    def __call__(self, name: str, ready: int) -> int:
        if name in self._beside:
            self._become(self._beside[name])
        tier = self._topology.node(name).tier
        vips = self._vips if tier == "lb" else None
        if vips is None:
            for descriptor in self._vips.values():
                os.close(descriptor)
        versions.source = lambda: load(self._state.topology)
        return self._tiers.main(tier)(self._now(), name, self._state.path, vips, ready)

    def _now(self) -> Topology:
        """The topology as it was last reloaded: this process was forked from one that knows the first only."""
        if versions.first_number(self._state.path) == 1:
            return self._topology
        return load(self._state.topology).with_store_of(self._topology)

    def _become(self, program: Beside) -> NoReturn:
        """Be that program. It keeps the lab's lock, so that the lock tells whether all are gone."""
        os.set_inheritable(self._lock, True)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(
                number, signal.SIG_DFL
            )  # Python ignores these, and what is ignored stays so across exec
        os.execv(program.binary, program.arguments)
