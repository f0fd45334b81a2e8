"""`python -m bench.storage`: what a million small objects cost an edge's storage, in memory and in time at once.

It fills the storage under each policy, asks for objects at random, changes the policy, and puts one large object into
the full storage. Every call is timed in CPU seconds of this process, since a machine that does something else beside it
would look like a stall. Nothing is sent anywhere.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
import time
from collections.abc import Callable
from functools import partial

from edge.directives import ResponseControl
from edge.eviction.registry import make, names
from edge.freshness import Source
from edge.object import StoredObject
from edge.shadows import Shadows
from edge.storage_memory import HANDED_OVER, MemoryStorage

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nCache-Control: max-age=3600\r\n"
    b'ETag: "0123456789abcdef"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nVia: 1.1 edge-icn\r\n'
)
BODY = 512
LARGE = 4 << 20
HITS = 200_000
BATCH = 500  # hits between two ticks
CAPACITY = 1 << 36
GOAL_BYTES, GOAL_SECONDS = 700, 0.005


def main() -> int:
    """Print a line per policy; 0 if the goals are met."""
    parser = argparse.ArgumentParser(prog="python -m bench.storage", description=__doc__)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--policy", nargs="*", default=names(), choices=names())
    parser.add_argument("--shadows", action="store_true", help="with all shadows beside it")
    choices = parser.parse_args()
    gc.disable()
    print(
        f"{choices.objects:,} objects of {BODY} bytes. Goals: {GOAL_BYTES} bytes beside head and body, 5 ms per call"
    )
    print(
        f"{'policy':9} bytes each  worst ms: put  flush  change  large  hit at 1,000  at {choices.objects:,} (ns)"
    )
    met = [_measure(policy, choices.objects, choices.shadows) for policy in choices.policy]
    return 0 if all(met) else 1


def _measure(policy: str, count: int, beside: bool) -> bool:
    """In a process of its own, so that each policy begins with an empty heap."""
    child = os.fork()
    if not child:
        try:
            met = _run(policy, count, beside)
            sys.stdout.flush()
        finally:
            os._exit(0 if met else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _run(policy: str, count: int, beside: bool) -> bool:
    storage = _storage(policy, beside)
    few = _hits(_storage(policy, beside), [_object(number) for number in range(1000)], fill=True)[0]
    gc.collect()
    before, payload, put = _resident(), 0, 0.0
    objects = []
    for number in range(count):
        stored = _object(number)
        stored.renew_head(stored.born, b"edge-icn")
        put = max(put, _timed(partial(storage.put, stored, ())))
        payload += len(stored.start) + len(stored.head) + BODY
        objects.append(stored)
    each = (_resident() - before - payload - 8 * count) / count
    many, flush = _hits(storage, objects)
    del objects
    storage.use(make("sieve" if policy != "sieve" else "lru", CAPACITY))
    change = 0.0
    while storage.changing:
        change = max(change, _timed(lambda: storage.advance(HANDED_OVER)))
    large = _large(storage)
    worst = max(put, flush, change, large)
    print(
        f"{policy:9} {each:10.0f} {put * 1e3:14.2f} {flush * 1e3:6.2f} {change * 1e3:7.2f} {large * 1e3:6.2f}"
        f" {few * 1e9:13.0f} {many * 1e9:{len(f'{count:,}') + 8}.0f}"
    )
    return each <= GOAL_BYTES and worst <= GOAL_SECONDS


def _storage(policy: str, beside: bool) -> MemoryStorage:
    shadows = Shadows(names(), CAPACITY, make) if beside else None
    return MemoryStorage(CAPACITY, make(policy, CAPACITY), 32, shadows)


def _object(number: int) -> StoredObject:
    return StoredObject(
        key=b"http://shop.example.com/catalogue/item/%d" % number,
        variant=None,
        status=200,
        start=HEAD + b"Date: Sun, 22 Nov 2026 20:00:%02d GMT\r\nContent-Length: 512\r\n" % (number % 60),
        chain=b"",
        body=bytes(BODY),
        born=1000.0 + number * 1e-3,
        fresh_until=4600.0 + number * 1e-3,
        control=_CONTROL,
        source=Source.MAX_AGE,
        open=False,
    )


_CONTROL = ResponseControl({})


def _hits(storage: MemoryStorage, objects: list[StoredObject], fill: bool = False) -> tuple[float, float]:
    """What a hit costs the policy in seconds, and the longest flush. Each object is read first, as an answer does."""
    for stored in objects if fill else ():
        storage.put(stored, ())
    rng, total, worst = random.Random(1), 0.0, 0.0
    for _ in range(HITS // BATCH):
        for stored in rng.choices(objects, k=BATCH):
            if stored.head_until < 0.0 and not stored.body:
                raise AssertionError
            storage.touched.append(stored)
        took = _timed(storage.flush)
        total, worst = total + took, max(worst, took)
    return total / HITS, worst


def _large(storage: MemoryStorage) -> float:
    """The longest call until an object of 4 MiB has found room among the small ones."""
    storage.capacity = storage.used
    large = _object(-1)
    large.size += LARGE
    worst, stored = 0.0, False

    def put() -> None:
        nonlocal stored
        stored = storage.put(large, ())

    while not stored:
        worst = max(worst, _timed(put), _timed(lambda: storage.tick(0.0)))
    return worst


def _timed(call: Callable[[], object]) -> float:
    began = time.thread_time()
    call()
    return time.thread_time() - began


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


if __name__ == "__main__":
    sys.exit(main())
