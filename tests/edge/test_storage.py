"""The memory storage: what lies where, in how many bytes, and what goes first."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections import OrderedDict

import pytest

from edge.eviction.lru import Lru
from edge.eviction.policy import REGISTRY
from edge.object import OVERHEAD, StoredObject
from edge.storage_memory import MemoryStorage

START = b"HTTP/1.1 200 OK\r\n" + b"X-Padding: %b\r\n" % (b"p" * 300)


def make(key: bytes, size: int = 100, variant: bytes | None = None) -> StoredObject:
    return StoredObject(
        key=key,
        variant=variant,
        status=200,
        start=bytes(bytearray(START)),
        chain=b"",
        body=bytes(size),
        born=random.random(),
        fresh_until=random.random() + 60,
        date=1_800_000_000,
        etag=bytes(bytearray(b'"0123456789"')),
        last_modified=bytes(bytearray(b"Sun, 06 Nov 1994 08:49:37 GMT")),
        open=True,
        source="max-age",
    )


def nothing(name: bytes) -> bytes | None:
    return None


def test_it_stays_within_its_bytes_and_drops_what_was_used_longest_ago() -> None:
    storage = MemoryStorage(100_000, Lru())
    model: OrderedDict[bytes, StoredObject] = OrderedDict()
    rng = random.Random(7)
    for _ in range(5000):
        key = b"k%d" % rng.randrange(200)
        found = storage.find(key)
        assert found is model.get(key)
        action = rng.random()
        if isinstance(found, StoredObject) and action < 0.5:
            storage.touch(found)
            model.move_to_end(key)
        elif isinstance(found, StoredObject) and action < 0.55:
            storage.discard(found)
            del model[key]
        elif isinstance(found, StoredObject) and action < 0.6:
            assert storage.remove(key) == 1
            del model[key]
        else:
            stored = make(key, rng.randrange(3000))
            assert storage.put(stored, ())
            model.pop(key, None)
            model[key] = stored
            while sum(each.size for each in model.values()) > 100_000:
                model.popitem(last=False)
        assert storage.used == sum(each.size for each in model.values())
        assert storage.objects == len(model)
    assert storage.evictions > 100
    assert set(storage) == set(model.values())


def test_variants_lie_under_one_key() -> None:
    storage = MemoryStorage(1 << 20, Lru(), variants_max=3)
    names = (b"accept",)
    for number in range(5):
        assert storage.put(make(b"k", variant=b"%d" % number), names)
    assert storage.objects == 3
    assert storage.select(b"k", lambda name: b"4") is not None
    assert storage.select(b"k", lambda name: b"0") is None
    assert storage.remove(b"k") == 3
    assert (storage.objects, storage.used) == (0, 0)


def test_other_names_replace_the_old_variants_and_no_names_all_of_them() -> None:
    storage = MemoryStorage(1 << 20, Lru())
    storage.put(make(b"k", variant=b"a"), (b"accept",))
    storage.put(make(b"k", variant=b"b"), (b"accept-language",))
    assert storage.objects == 1
    plain = make(b"k")
    storage.put(plain, ())
    assert storage.select(b"k", nothing) is plain
    storage.put(make(b"k", variant=b"b"), (b"accept",))
    storage.discard(plain)
    assert storage.objects == 1
    for stored in list(storage):
        storage.discard(stored)
        storage.discard(stored)
    assert (storage.objects, storage.used, storage.find(b"k")) == (0, 0, None)


def test_evicting_a_variant_leaves_its_siblings() -> None:
    one, two = make(b"k", 400, b"1"), make(b"k", 400, b"2")
    storage = MemoryStorage(2 * one.size + 500, Lru())
    storage.put(one, (b"accept",))
    storage.put(two, (b"accept",))
    storage.touch(one)
    storage.put(make(b"other", 10), ())
    assert storage.select(b"k", lambda name: b"1") is one
    assert storage.select(b"k", lambda name: b"2") is None


def test_reserved_room_is_kept_free() -> None:
    storage = MemoryStorage(20_000, Lru())
    for number in range(10):
        storage.put(make(b"%d" % number, 500), ())
    assert storage.reserve(10_000)
    assert storage.used <= 10_000
    assert not storage.reserve(1)
    assert not storage.put(make(b"big", 10_000), ())
    storage.release(10_000)
    assert storage.reserved == 0


def test_what_an_object_is_reckoned_to_take_is_what_it_takes() -> None:
    storage = MemoryStorage(1 << 30, Lru())
    count = 4000
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            stored = make(b"http://shop.example/catalogue/%d" % number, 1024)
            storage.put(stored, ())
            stored.renew_head(stored.born + 1, b"edge-icn")
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken <= storage.used
    assert storage.used - taken <= count * OVERHEAD * 0.6, "the reckoning wastes room"


def test_the_cost_of_an_eviction_does_not_grow() -> None:
    """Counted in the policy's steps, not in time."""
    policy = Lru()
    objects = [make(b"%d" % number, 1) for number in range(1000)]
    for stored in objects:
        policy.added(stored)
    for stored in objects:
        assert policy.victim() is stored
        policy.removed(stored)
        policy.touched(stored)
    assert policy.victim() is None


def test_policies_are_known_by_name() -> None:
    assert REGISTRY["lru"] is Lru


@pytest.mark.parametrize("now", [100.0, 100.9, 101.0, 159.5])
def test_a_head_is_true_for_its_second(now: float) -> None:
    stored = make(b"k")
    stored.born, stored.fresh_until = 100.0, 160.0
    stored.renew_head(now, b"edge")
    age = int(now - 100)
    assert b"Age: %d\r\nCache-Status: edge; hit; ttl=%d\r\n" % (age, int(160 - now)) in stored.head
    assert now < stored.head_until <= min(now + 1, 160.0)
