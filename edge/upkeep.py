"""What the storage needs between requests, and what may be changed in it while it runs: its policy.

Decides when; what is done in one step, and how much, is the storage's. It must not know how requests are answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cdnlab.net.clock import now
from cdnlab.node.metrics import Family, MetricSpec, family
from cdnlab.node.node import BadRequest
from edge.eviction.registry import make, names
from edge.shadows import Score, Shadows
from edge.storage_memory import MemoryStorage

TICK = 0.05  # seconds: hits reach the policy this late at most, but for the last before an object arrives

POLICY = MetricSpec(
    "cdnlab_edge_policy", "gauge", ("policy",), "1 for the eviction policy that decides, 0 for the others."
)
SHADOW_REQUESTS = MetricSpec(
    "cdnlab_edge_shadow_requests_total",
    "counter",
    ("policy", "result"),
    "Requests that would have been a hit or a miss under each shadow's policy, and under the real one as `real`; of "
    "the keys that are looked at.",
)
SHADOW_BYTES = MetricSpec(
    "cdnlab_edge_shadow_bytes_total", "counter", ("policy", "result"), "Body bytes of those requests."
)
SHADOW_OBJECTS = MetricSpec(
    "cdnlab_edge_shadow_objects", "gauge", ("policy",), "Objects that each shadow holds."
)
SHADOW_EVICTIONS = MetricSpec(
    "cdnlab_edge_shadow_evictions_total",
    "counter",
    ("policy",),
    "Objects that had to go in each shadow, scaled to all keys.",
)
SHADOW_SAMPLE = MetricSpec(
    "cdnlab_edge_shadow_sample", "gauge", (), "Share of the keys that shadows look at."
)
SHADOW_MEMORY = MetricSpec("cdnlab_edge_shadow_memory_bytes", "gauge", (), "Memory that all shadows take.")
TABLE = (
    POLICY, SHADOW_REQUESTS, SHADOW_BYTES, SHADOW_OBJECTS, SHADOW_EVICTIONS, SHADOW_SAMPLE, SHADOW_MEMORY,
)  # fmt: skip


def storage_of(memory: int, policy: str, variants_max: int, shadows: Iterable[str]) -> MemoryStorage:
    """A storage of `memory` bytes with its policy and its shadows, by their names."""
    beside = Shadows(tuple(dict.fromkeys(shadows)), memory, make)
    return MemoryStorage(memory, make(policy, memory), variants_max, beside if beside.shadows else None)


class Upkeep:
    """The ticks of one storage."""

    __slots__ = ("_storage",)

    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage

    async def run(self) -> None:
        """Tick until cancelled. What is too much for one tick goes on at once, after whoever waits for the loop."""
        storage = self._storage
        while True:
            storage.tick(now())
            await asyncio.sleep(0 if storage.behind else TICK)

    def change(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """POST /policy: {"policy": its name}. BadRequest for one that there is not."""
        name, storage = asked.get("policy"), self._storage
        if not isinstance(name, str) or name not in names():
            raise BadRequest(f"there is no policy {name!r}", f"known: {', '.join(names())}")
        before = storage.policy.name
        if name != before and not storage.use(make(name, storage.capacity)):
            raise BadRequest("the last change of the policy is still going on", "ask again in a few seconds")
        return {"policy": name, "before": before}

    def status(self) -> dict[str, Any]:
        """What /status says of the storage: bytes, the policy, and how each shadow fares."""
        storage = self._storage
        return {
            "objects": storage.objects,
            "bytes": storage.used,
            "arriving": storage.reserved,
            "capacity": storage.capacity,
            "evictions": storage.evictions,
            "policy": storage.policy.name,
            "changing": storage.changing,
            "policies": None if storage.shadows is None else _policies(storage, storage.shadows),
        }

    def metrics(self) -> Iterator[Family]:
        """The table, filled."""
        storage, shadows = self._storage, self._storage.shadows
        yield family(POLICY, [((name,), int(name == storage.policy.name)) for name in names()])
        if shadows is None:
            return
        scores = [("real", shadows.real), *((each.name, each.score) for each in shadows.shadows)]
        yield family(SHADOW_REQUESTS, [row for name, score in scores for row in _requests(name, score)])
        yield family(SHADOW_BYTES, [row for name, score in scores for row in _bytes(name, score)])
        yield family(SHADOW_OBJECTS, [((each.name,), len(each)) for each in shadows.shadows])
        yield family(SHADOW_EVICTIONS, [((each.name,), each.evictions) for each in shadows.shadows])
        yield family(SHADOW_SAMPLE, [((), 1 / shadows.one_in)])
        yield family(SHADOW_MEMORY, [((), shadows.memory)])


def _requests(name: str, score: Score) -> list[tuple[tuple[str, str], int]]:
    return [((name, "hit"), score.hits), ((name, "miss"), score.misses)]


def _bytes(name: str, score: Score) -> list[tuple[tuple[str, str], int]]:
    return [((name, "hit"), score.hit_bytes), ((name, "miss"), score.miss_bytes)]


def _policies(storage: MemoryStorage, shadows: Shadows) -> dict[str, Any]:
    """The objects of a shadow that looks at fewer keys are scaled to all of them, as its evictions are."""
    real = {"objects": storage.objects, "evictions": storage.evictions}
    return {
        "one_in": shadows.one_in,
        "memory": shadows.memory,
        "real": {"policy": storage.policy.name, **shadows.real.ratios(), **real},
        "shadows": [
            {
                "policy": each.name,
                **each.score.ratios(),
                "objects": len(each) * shadows.one_in,
                "evictions": each.evictions,
            }
            for each in shadows.shadows
        ],
    }
