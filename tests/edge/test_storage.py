"""The memory storage: what lies where, in how many bytes, what goes first, and that nothing takes long at once."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections import OrderedDict
from math import inf
from typing import Any

import pytest

from edge import storage_memory
from edge.directives import ResponseControl
from edge.eviction.lru import Lru
from edge.eviction.registry import make as make_policy
from edge.eviction.registry import names as policies
from edge.freshness import Source
from edge.object import OVERHEAD, StoredObject, Variants
from edge.storage_memory import EVICTIONS, FLUSHED, SHARDS, VARIANTS_COST, MemoryStorage

START = b"HTTP/1.1 200 OK\r\n" + b"X-Padding: %b\r\n" % (b"p" * 300)
CONTROL = ResponseControl({})


def make(key: bytes, size: int = 100, variant: bytes | None = None, tags: Any = ()) -> StoredObject:
    return StoredObject(
        key=key,
        variant=variant,
        status=200,
        start=bytes(bytearray(START)),
        chain=b"",
        body=bytes(size),
        born=random.random(),
        fresh_until=random.random() + 60,
        control=CONTROL,
        source=next(iter(Source)),
        open=True,
        tags=tags,
    )


def nothing(name: bytes) -> bytes | None:
    return None


def hit(storage: MemoryStorage, stored: StoredObject) -> None:
    storage.touched.append(stored)


# -- what lies where -------------------------------------------------------------------------------------------------


def test_it_stays_within_its_bytes_and_drops_what_was_used_longest_ago() -> None:
    storage = MemoryStorage(100_000, Lru(100_000))
    model: OrderedDict[bytes, StoredObject] = OrderedDict()
    rng = random.Random(7)
    for _ in range(5000):
        key = b"k%d" % rng.randrange(200)
        found = storage.find(key)
        assert found is model.get(key)
        action = rng.random()
        if isinstance(found, StoredObject) and action < 0.5:
            hit(storage, found)
            model.move_to_end(key)
        elif isinstance(found, StoredObject) and action < 0.55:
            storage.discard(found)
            del model[key]
        elif isinstance(found, StoredObject) and action < 0.6:
            assert storage.remove(key) == 1
            del model[key]
        elif isinstance(found, StoredObject) and action < 0.65:
            storage.flush()
            storage.resize(found, rng.randrange(2000))
            if not storage.holds(found):
                break
            while sum(each.size for each in model.values()) > 100_000:
                model.popitem(last=False)
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


@pytest.mark.parametrize("name", policies())
def test_the_sums_hold_whatever_happens(name: str) -> None:
    """Hits, arrivals, variants, new sizes, removals, room for bodies and changes of the policy, in any order."""
    capacity = 120_000
    storage = MemoryStorage(capacity, make_policy(name, capacity), variants_max=4)
    gone: list[StoredObject] = []
    storage.evicted = lambda stored, names: gone.append(stored)
    rng = random.Random(name)
    for step in range(4000):
        number = rng.randrange(120)
        key, varies = b"k%d" % number, number % 4 == 0
        here = [each for each in storage if each.key == key] if step % 7 == 0 else []
        action = rng.random()
        if action < 0.45:
            found = storage.select(key, lambda _: b"%d" % rng.randrange(6))
            if found is not None:
                hit(storage, found)
        elif action < 0.8:
            variant = b"%d" % rng.randrange(6) if varies else None
            stored = make(key, rng.randrange(2500), variant)
            storage.put(stored, (b"accept",) if varies else ())
        elif action < 0.85:
            storage.remove(key)
        elif action < 0.9 and here:
            storage.resize(rng.choice(here), rng.randrange(1000))
        elif action < 0.93 and here:
            storage.discard(rng.choice(here))
        elif action < 0.95:
            if storage.reserve(5000):
                storage.release(5000)
        elif action < 0.97:
            storage.tick(float(step))
        elif action < 0.98:
            storage.use(make_policy(rng.choice(policies()), capacity))
        assert storage.used <= capacity
        if step % 50 == 0:
            _check(storage)
    _check(storage)
    assert len(gone) > 100
    assert not set(gone) & set(storage)
    held = set(storage)
    assert {storage._policy.victim() for _ in range(len(held))} == held, "the policy knows the same objects"
    assert storage._policy.victim() is None


def _check(storage: MemoryStorage) -> None:
    held = list(storage)
    records = [found for shard in storage.shards for found in shard.values() if isinstance(found, Variants)]
    assert storage.objects == len(held)
    assert storage.used == sum(each.size for each in held) + VARIANTS_COST * len(records)
    assert all(storage.holds(each) for each in held)


def test_variants_lie_under_one_key() -> None:
    storage = MemoryStorage(1 << 20, Lru(1 << 20), variants_max=3)
    names = (b"accept",)
    for number in range(5):
        assert storage.put(make(b"k", variant=b"%d" % number), names)
    assert storage.objects == 3
    assert storage.select(b"k", lambda name: b"4") is not None
    assert storage.select(b"k", lambda name: b"0") is None
    assert storage.remove(b"k") == 3
    assert (storage.objects, storage.used) == (0, 0)


def test_ten_thousand_variants_of_one_key_are_as_many_as_the_cap() -> None:
    storage = MemoryStorage(1 << 28, Lru(1 << 28), variants_max=32)
    for number in range(10_000):
        assert storage.put(make(b"k", variant=b"%d" % number), (b"user-agent",))
        assert storage.objects <= 32
    assert {each.variant for each in storage} == {b"%d" % number for number in range(9968, 10_000)}
    assert storage.evictions == 10_000 - 32
    _check(storage)


def test_other_names_replace_the_old_variants_and_no_names_all_of_them() -> None:
    storage = MemoryStorage(1 << 20, Lru(1 << 20))
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
    capacity = 2 * one.size + 2 * VARIANTS_COST
    storage = MemoryStorage(capacity, Lru(capacity))
    storage.put(one, (b"accept",))
    storage.put(two, (b"accept",))
    storage.touch(one)
    storage.put(make(b"other", 10), ())
    assert storage.select(b"k", lambda name: b"1") is one
    assert storage.select(b"k", lambda name: b"2") is None


def test_what_goes_for_want_of_room_is_handed_on_with_the_names_of_its_vary() -> None:
    size = make(b"0", 10, b"v").size
    storage = MemoryStorage(2 * size + VARIANTS_COST + 2, Lru(2 * size + VARIANTS_COST + 2), variants_max=1)
    gone: list[tuple[bytes, bytes | None, tuple[bytes, ...]]] = []
    storage.evicted = lambda stored, names: gone.append((stored.key, stored.variant, names))
    storage.put(make(b"0", 10, b"v"), (b"accept",))
    storage.put(make(b"1", 10), ())
    storage.put(make(b"2", 10), ())
    assert gone == [(b"0", b"v", (b"accept",))]
    storage.remove(b"1")
    storage.put(make(b"2", 10), ())
    assert len(gone) == 1, "what is removed or replaced has not gone for want of room"


def test_reserved_room_is_kept_free() -> None:
    storage = MemoryStorage(20_000, Lru(20_000))
    for number in range(10):
        storage.put(make(b"%d" % number, 500), ())
    assert storage.reserve(10_000)
    assert storage.used <= 10_000
    assert not storage.reserve(1)
    assert not storage.put(make(b"big", 10_000), ())
    storage.release(10_000)
    assert storage.reserved == 0


def test_a_sweep_finds_every_object_once() -> None:
    storage = MemoryStorage(1 << 26, Lru(1 << 26))
    for number in range(3000):
        varies = number % 3 == 0
        storage.put(make(b"%d" % number, 1, b"v" if varies else None), (b"accept",) if varies else ())
    found: list[StoredObject] = []
    cursor, calls = 0, 0
    while True:
        batch, cursor = storage.sweep(cursor, 100)
        assert len(batch) < 200
        found += batch
        calls += 1
        if not cursor:
            break
    assert calls > 15
    assert len(found) == 3000
    assert set(found) == set(storage)


# -- hits and the policy ---------------------------------------------------------------------------------------------


def test_hits_count_before_anything_has_to_go() -> None:
    size = make(b"0", 10).size
    storage = MemoryStorage(3 * size, Lru(3 * size))
    first, second, third = (make(b"%d" % number, 10) for number in range(3))
    for stored in (first, second, third):
        storage.put(stored, ())
    hit(storage, second)
    hit(storage, first)
    storage.put(make(b"3", 10), ())
    storage.put(make(b"4", 10), ())
    assert set(storage) == {first, *(each for each in storage if each.key in (b"3", b"4"))}
    hit(storage, first)
    assert storage.reserve(size)
    assert storage.find(first.key) is first, "for a body that arrives, too"


def test_a_flush_passes_on_so_many_in_their_order_and_keeps_the_list_itself() -> None:
    seen: list[StoredObject] = []

    class Watching(Lru):
        __slots__ = ()

        def touched(self, entries: Any) -> None:
            assert len(entries) <= FLUSHED
            seen.extend(entries)

    storage = MemoryStorage(1 << 20, Watching(1 << 20))
    append = storage.touched.append
    sent = [make(b"%d" % (number % 50)) for number in range(2 * FLUSHED + 10)]
    for stored in sent:
        append(stored)
    storage.flush()
    assert storage.behind
    storage.flush()
    assert not storage.behind, "a few hits may wait for the next tick: under load there are always some"
    storage.flush()
    append(sent[0])
    storage.flush()
    assert seen == [*sent, sent[0]]


def test_a_change_of_policy_goes_on_in_slices_and_keeps_the_order() -> None:
    capacity = 1000 * make(b"0", 10).size
    storage = MemoryStorage(capacity, make_policy("lru", capacity))
    objects = [make(b"%03d" % number, 7) for number in range(1000)]
    for stored in objects:
        storage.put(stored, ())
    for number in (5, 17, 3):
        hit(storage, objects[number])
    assert storage.use(make_policy("fifo", capacity))
    assert storage.policy.name == "fifo"
    assert not storage.use(make_policy("sieve", capacity)), "one change at a time"
    assert not storage.advance(400)
    hit(storage, objects[600])  # still in the hands of the old one: it goes last of those
    hit(storage, objects[0])  # the new one's: first in, first out
    late = make(b"late", 7)
    storage.remove(b"900")
    storage.put(late, ())
    assert not storage.advance(598)
    assert storage.advance(2)
    order = [objects[number] for number in range(1000) if number not in (5, 17, 3, 600, 900)]
    going = [storage.policy.victim() for _ in range(1000)]
    last = [objects[number] for number in (5, 17, 3, 600)]
    assert going == [*order[:400], late, *order[400:], *last]


@pytest.mark.parametrize("name", ["sieve", "s3fifo"])
def test_no_slice_of_a_change_goes_through_all_that_was_asked_for(name: str) -> None:
    """Each object has its second chance to lose, which the old policy takes back one after the other."""
    capacity = 1 << 30
    old = make_policy(name, capacity)
    storage = MemoryStorage(capacity, old)
    objects = [make(b"%04d" % number, 0) for number in range(2000)]
    for stored in objects:
        storage.put(stored, ())
    storage.touched.extend(objects)
    storage.flush()
    storage.use(make_policy("lru", capacity))
    ranks = {stored: stored.rank for stored in objects}
    assert not storage.advance(50)
    assert sum(stored.rank != ranks[stored] for stored in objects) <= 50 + 50
    while not storage.advance(50):
        pass
    assert {storage.policy.victim() for _ in objects} == set(objects)


def test_a_large_object_displaces_so_many_at_once_and_finds_its_room_later() -> None:
    small = make(b"0", 0).size
    capacity = 4 * EVICTIONS * small
    storage = MemoryStorage(capacity, Lru(capacity))
    for number in range(5 * EVICTIONS):
        storage.put(make(b"%d" % number, 0), ())
    before = storage.evictions
    big = make(b"big", 2 * EVICTIONS * small + small)
    assert not storage.put(big, ())
    assert storage.evictions - before == EVICTIONS
    for _ in range(3):
        before = storage.evictions
        storage.tick(0.0)
        assert storage.evictions - before <= EVICTIONS
    assert storage.put(big, ())
    before = storage.evictions
    storage.tick(0.0)
    assert storage.evictions == before, "the room was wanted once"
    assert storage.used <= capacity


def test_the_head_of_an_object_that_nobody_asks_for_is_given_up() -> None:
    storage = MemoryStorage(1 << 20, Lru(1 << 20))
    cold, warm = make(b"cold"), make(b"warm")
    for stored in (cold, warm):
        stored.born, stored.fresh_until = 100.0, 1000.0
        storage.put(stored, ())
        stored.renew_head(100.0, b"edge")
    for tick in range(SHARDS):
        if tick % 10 == 0:
            warm.renew_head(200.0, b"edge")
        storage.tick(200.0)
    assert (cold.head, cold.head_until) == (b"", -inf)
    assert warm.head
    assert warm.head_until == 201.0


# -- memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", policies())
def test_what_an_object_is_reckoned_to_take_is_what_it_takes(name: str) -> None:
    """And beside the bytes of its head and body, sent or stored, that is at most 700, the key included."""
    storage = MemoryStorage(1 << 30, make_policy(name, 1 << 30))
    count = 20_000 if name == "lru" else 2000
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            stored = make(b"http://shop.example/catalogue/%d" % number, 1024)
            storage.put(stored, ())
            hit(storage, stored)
            stored.renew_head(stored.born + 1, b"edge-icn")
        storage.flush()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    payload = sum(len(each.start) + len(each.head) + len(each.body) for each in storage)
    assert taken - payload <= 700 * count
    assert taken <= storage.used
    assert storage.used - taken <= count * OVERHEAD * 0.5, "the reckoning wastes room"


def test_tags_are_reckoned_with() -> None:
    bare = make(b"k").size
    tags = tuple(b"tag-%d" % number for number in range(1000))
    assert make(b"k", tags=tags).size - bare >= sum(len(tag) + 33 + 8 for tag in tags)


def test_no_table_grows_where_growing_would_be_felt() -> None:
    """A dict of 100,000 entries takes some 4 ms to grow; at ten million objects a shard has a tenth of that."""
    assert 10_000_000 / SHARDS < 100_000 / 10
    assert storage_memory.SHARDS & (SHARDS - 1) == 0


@pytest.mark.parametrize("now", [100.0, 100.9, 101.0, 159.5])
def test_a_head_is_true_for_its_second(now: float) -> None:
    stored = make(b"k")
    stored.born, stored.fresh_until = 100.0, 160.0
    stored.renew_head(now, b"edge")
    age = int(now - 100)
    assert b"Age: %d\r\nCache-Status: edge; hit; ttl=%d\r\n" % (age, int(160 - now)) in stored.head
    assert now < stored.head_until <= min(now + 1, 160.0)
