"""Least connections, weighted: the backend with the fewest exchanges in flight for its weight.

Theory. A heap holds one current entry per backend: (load, turn, backend), load = (live + 1) / weight, so
that an idle backend of weight 2 comes before an idle one of weight 1; the weight is the one that counts now
(`Backend.share`). Live counts are plain integers that
requests change without telling anyone, so an entry's load may be too low; that is noticed when it reaches
the top, where it is put back with the true one. A load that *fell* would never be noticed, so an ended
exchange is reported (`released`) and gets a new entry if its current one says more. An entry that is no
longer its backend's current one is dropped when it is met. Equal loads go to whoever has waited longest, by
`turn`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush, heapreplace

from cdnlab.pool.algorithms.registry import Plain, Settings, register
from cdnlab.pool.backend import Backend
from cdnlab.pool.reasons import Reason

Entry = tuple[float, int, Backend]


@register("least_connections")
class LeastConnections(Plain):
    """Whoever has the fewest exchanges in flight for its weight; O(log n)."""

    __slots__ = ("current", "heap", "turn")

    def __init__(self, settings: Settings) -> None:
        """Begin without backends; the settings hold nothing that matters here."""
        self.heap: list[Entry] = []
        self.current: dict[Backend, Entry] = {}
        self.turn = 0

    def rebuild(self, backends: Sequence[Backend], members: Sequence[Backend] | None = None) -> None:
        """Start the heap afresh from the true loads; the order of waiting is kept for those that stay."""
        waited = self.current
        ranked = sorted(backends, key=lambda backend: waited[backend][1] if backend in waited else -1)
        self.current = {backend: self._entry(backend) for backend in ranked}
        self.heap = list(self.current.values())
        heapify(self.heap)

    def order(self, place: str, key: bytes = b"") -> Iterator[Backend]:
        """Yield the least loaded; then, if asked, the others by load."""
        if not self.current:
            return
        first = self._take()
        yield first
        # a share may have become 0 meanwhile, if another algorithm has taken this one's place
        others = [backend for backend in self.current if backend is not first and backend.share]
        turns = self.current
        others.sort(key=lambda backend: (_load(backend), turns[backend][1]))
        yield from others

    def released(self, backend: Backend) -> None:
        """Put the backend where its lower load belongs."""
        known = self.current.get(backend)
        if known is None or known[0] <= _load(backend):
            return
        entry = self.current[backend] = self._entry(backend)
        heappush(self.heap, entry)
        if len(self.heap) > 4 * len(self.current) + 64:  # entries that nobody met: drop them all at once
            self.heap = list(self.current.values())
            heapify(self.heap)

    def why_not(self, other: Backend, chosen: Backend, key: bytes) -> Reason:
        """It had more to do for its weight."""
        return Reason.BUSIER

    def _entry(self, backend: Backend) -> Entry:
        self.turn += 1
        return _load(backend), self.turn, backend

    def _take(self) -> Backend:
        heap = self.heap
        current = self.current
        while True:
            top = heap[0]
            load, _, backend = top
            if current[backend] is not top:
                heappop(heap)
                continue
            entry = current[backend] = self._entry(backend)
            heapreplace(heap, entry)
            if entry[0] <= load:
                return backend


def _load(backend: Backend) -> float:
    return (backend.live + 1) / backend.share
