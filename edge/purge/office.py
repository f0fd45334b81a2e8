"""Everything about purges that an edge's process runs: the stream, the sweep, the file on disk, the admin API's desk.

Decides the order in which these start. What a purge means is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdnlab.net.clock import now
from cdnlab.net.tasks import spawn
from cdnlab.node.degrades import Feature
from cdnlab.node.metrics import Family, Histogram
from edge.purge import position_file, stats
from edge.purge.asked import TargetRule, as_written
from edge.purge.desk import Desk
from edge.purge.position import Standing, State
from edge.purge.purges import Purges
from edge.purge.rules import KEEP, KEEP_FOR_DISK
from edge.purge.stream import PurgeStream
from edge.purge.sweep import Sweep

if TYPE_CHECKING:
    from cdnlab.node.node import Node
    from cdnlab.node.store import Store
    from edge.cache import Cache

log = logging.getLogger("cdnlab.edge.purge")

LIFE = 8  # bytes of a process's random name


class Office:
    """One edge's. Made before the cache, which gets `purges`; started before the listener."""

    def __init__(self, node: Node, directory: Path | None = None, target: TargetRule = as_written) -> None:
        """`directory` is where objects lie on disk, if they do."""
        spec = node.topology.edge
        standing = Standing(
            alone=node.store is None,
            lag_max=spec.purge_lag_max,
            revalidates=spec.purge_when_blind == "revalidate",
        )
        self.purges = Purges(
            standing, secrets.token_bytes(LIFE), KEEP if directory is None else KEEP_FOR_DISK
        )
        self._directory = directory
        self._lags = Histogram(stats.LAG)
        self._stream: PurgeStream | None = None
        self._writing: asyncio.Task[None] | None = None
        self._written = self._wanted = 0
        if node.store is not None:
            self._stream = PurgeStream(
                self.purges, node.store, node.events, lab=node.topology.name, node=node.name, lags=self._lags
            )
        if directory is not None:
            kept = position_file.read(directory)
            self.purges.begin_from(kept)
            self.purges.on_kept = self._want
        desk = self._desk = Desk(
            self.purges, self._stream, node.name, target=target, durable=self._durable if directory else None
        )
        node.purge, node.purges = desk.purge, desk.look
        node.behind = lambda: self.purges.behind(now())
        node.degrades.register(Feature.PURGES, lambda: self._cut_off(node.store))

    def _cut_off(self, store: Store | None) -> bool:
        """A store that reads only would still tell of purges, but takes none."""
        return (store is not None and not store.up) or self.purges.state(now()) is State.BLIND

    async def start(self, cache: Cache) -> None:
        """Read the stream as far as it goes, for at most three quarters of `purge_lag_max`; then follow it, and sweep
        what the cache has in memory after each purge."""
        searches = cache.searches
        self.purges.equal = lambda key: place.key if (place := searches.find(key)) is not None else None
        Sweep(self.purges, cache.storage, cache.discard).start()
        if self._stream is not None:
            await self._stream.start()
        if self._directory is not None:
            await self._durable()

    def go_by(self, target: TargetRule) -> None:
        """What the routes leave of a target is another thing from now on."""
        self._desk.target = target

    # -- the file ------------------------------------------------------------------------------------------------------

    def _want(self) -> None:
        self._wanted += 1
        if self._writing is None or self._writing.done():
            self._writing = spawn(self._write(), "purge position")

    async def _write(self) -> None:
        assert self._directory is not None
        while self._written < self._wanted:
            wanted, kept = self._wanted, self.purges.kept()
            try:
                await asyncio.to_thread(position_file.write, self._directory, kept)
            except OSError as error:
                # what it said before stays true: the next start reads more of the stream again, or revalidates more
                log.warning("cannot write %s: %s", self._directory / position_file.NAME, error)
            self._written = wanted

    async def _durable(self) -> None:
        """Return when what is known now is in the file."""
        self._want()
        wanted = self._wanted
        while self._written < wanted and self._writing is not None:
            await asyncio.shield(self._writing)

    # -- what people see -----------------------------------------------------------------------------------------------

    def status(self) -> Mapping[str, Any]:
        """The "purges" of /status."""
        return self.purges.status(now())

    def families(self) -> Iterator[Family]:
        """The metrics."""
        return stats.families(self.purges, now(), self._lags)
