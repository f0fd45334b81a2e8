"""Shadows: what the hit ratio would have been, in the real one's own numbers, within bounds of memory and time."""

from __future__ import annotations

import gc
import random
import tracemalloc

import pytest

from edge import shadows as module
from edge.eviction.registry import make as make_policy
from edge.eviction.registry import names as policies
from edge.object import StoredObject
from edge.shadows import BURST, NOTE_BYTES, SLICE, Shadow, Shadows
from edge.storage_memory import MemoryStorage
from tests.edge.eviction_models import Simulation, play, sizes_of, traces, zipf
from tests.edge.test_storage import make as stored_object

TRACES = dict(traces())


def make(key: bytes, size: int, until: float = 1e9, variant: bytes | None = None) -> StoredObject:
    stored = stored_object(key, size, variant)
    stored.born, stored.fresh_until = 0.0, until
    return stored


def storage_of(name: str, capacity: int, beside: tuple[str, ...] = policies()) -> MemoryStorage:
    shadows = Shadows(beside, capacity, make_policy)
    return MemoryStorage(capacity, make_policy(name, capacity), 32, shadows)


def ask(storage: MemoryStorage, key: bytes, size: int, now: float = 0.0, lifetime: float = 1e9) -> bool:
    """What a cache does: answer from the storage while it is fresh, else fetch and store."""
    found = storage.find(key)
    if isinstance(found, StoredObject) and now < found.fresh_until:
        storage.touched.append(found)
        return True
    storage.put(make(key, size, now + lifetime), ())
    return False


def shadow_of(storage: MemoryStorage, name: str) -> Shadow:
    assert storage.shadows is not None
    return next(each for each in storage.shadows.shadows if each.name == name)


@pytest.mark.parametrize("name", policies())
def test_a_shadow_of_the_real_policy_agrees_with_the_real_one(name: str) -> None:
    """To the hit, the byte and the eviction, with objects that go stale and objects that are purged."""
    storage = storage_of(name, 300_000, (name, "lru" if name != "lru" else "fifo"))
    shadows = storage.shadows
    assert shadows is not None
    rng = random.Random(name)
    hits = hit_bytes = 0
    for step, number in enumerate(zipf(rng, 600, 12_000, 0.8)):
        now, size = step * 0.01, number * 37 % 4000
        if step % 25 == 0:
            storage.tick(now)
        if step % 100 == 0:
            storage.remove(b"k%d" % rng.randrange(100))
        if ask(storage, b"k%d" % number, size, now, lifetime=5 + number % 40):
            hits, hit_bytes = hits + 1, hit_bytes + size
    storage.flush()
    real, shadow = shadows.real, shadow_of(storage, name)
    assert hits > 2000
    assert (real.hits, real.hit_bytes) == (hits, hit_bytes)
    assert real.hits + real.misses == 12_000
    for figure in ("hits", "misses", "hit_bytes", "miss_bytes"):
        assert getattr(shadow.score, figure) == getattr(real, figure), figure
    assert shadow.evictions == storage.evictions > 1000
    assert len(shadow) == storage.objects
    assert shadow.used == storage.used
    assert shadow.score.ratios() == real.ratios()
    other = shadows.shadows[1]
    assert other.score.hits != shadow.score.hits, "another policy comes to other numbers"


@pytest.mark.parametrize("trace", ["scans", "favourites that change"])
def test_every_shadow_says_what_its_policy_would_have_done(trace: str) -> None:
    """Under an LRU; each shadow comes to the hits of a simulation of its policy alone over the same requests."""
    requests = TRACES[trace][:5000]
    overhead = make(b"00000", 0).size
    sizes = {key: overhead + size for key, size in sizes_of(requests, 300).items()}
    storage = storage_of("lru", 150 * overhead)
    for key in requests:
        ask(storage, b"%05d" % key, sizes[key] - overhead)
    storage.flush()
    found = {name: shadow_of(storage, name).score.hits for name in policies()}
    alone = {
        name: sum(play(Simulation(make_policy(name, 150 * overhead)), requests, sizes)) for name in policies()
    }
    assert len(set(alone.values())) > 4
    for name in policies():
        # W-TinyLFU's sketch is small here, and which keys collide in it is chance
        assert abs(found[name] - alone[name]) <= (100 if name == "wtinylfu" else 0), name


def test_what_was_stale_is_nobodys_hit_and_what_was_evicted_may_be_a_shadows() -> None:
    size = make(b"a", 0).size
    storage = storage_of("fifo", 2 * size + size // 2, ("fifo", "lru"))
    assert storage.shadows is not None
    for key in (b"a", b"b", b"a", b"c", b"a"):  # FIFO loses a to c, LRU loses b
        ask(storage, key, 0, now=0.0, lifetime=10.0)
    storage.flush()
    assert [shadow_of(storage, name).score.hits for name in ("fifo", "lru")] == [1, 2]
    storage.tick(20.0)
    ask(storage, b"a", 0, now=20.0, lifetime=10.0)  # stale for everybody, the storage has it
    assert [shadow_of(storage, name).score.hits for name in ("fifo", "lru")] == [1, 2]
    storage.tick(20.1)
    ask(storage, b"c", 0, now=20.1)
    ask(storage, b"d", 0, now=20.1)
    storage.tick(40.0)
    before = shadow_of(storage, "lru").score.hits
    ask(storage, b"a", 0, now=40.0)  # gone from the storage, and stale in the shadow if it is there
    assert shadow_of(storage, "lru").score.hits == before


@pytest.mark.parametrize("how", ["remove", "discard"])
def test_what_was_hit_just_before_it_was_removed_does_not_come_back(how: str) -> None:
    """Hits are told in batches, removals at once: the hits come first."""
    storage = storage_of("lru", 1_000_000, ("lru",))
    stored = make(b"k", 100)
    storage.put(stored, ())
    storage.touched.append(stored)
    storage.remove(b"k") if how == "remove" else storage.discard(stored)
    storage.flush()
    shadow = shadow_of(storage, "lru")
    assert (len(shadow), shadow.used) == (storage.objects, storage.used) == (0, 0)
    assert (shadow.score.hits, shadow.score.misses) == (1, 1)


def test_what_is_removed_is_removed_for_all() -> None:
    storage = storage_of("lru", 1 << 20, ("lru", "sieve"))
    ask(storage, b"a", 10)
    for number in range(3):
        storage.put(make(b"v", 10, variant=b"%d" % number), (b"accept",))
    assert [len(shadow_of(storage, name)) for name in ("lru", "sieve")] == [4, 4]
    storage.remove(b"a")
    storage.remove(b"v")
    assert [len(shadow_of(storage, name)) for name in ("lru", "sieve")] == [0, 0]
    assert [shadow_of(storage, name).used for name in ("lru", "sieve")] == [0, 0]


def test_a_change_of_policy_begins_the_ratios_anew() -> None:
    storage = storage_of("lru", 1 << 20, ("lru",))
    shadows = storage.shadows
    assert shadows is not None
    for _ in range(4):
        ask(storage, b"a", 10)
    storage.use(make_policy("sieve", 1 << 20))
    assert shadows.real.ratios() == {"requests": 0, "hit_ratio": None, "byte_hit_ratio": None}
    assert shadows.real.hits == 3, "the totals go on"
    ask(storage, b"a", 10)
    storage.flush()
    assert shadows.real.ratios() == {"requests": 1, "hit_ratio": 1.0, "byte_hit_ratio": 1.0}


# -- bounds ----------------------------------------------------------------------------------------------------------


def test_notes_are_bounded_and_so_is_what_one_call_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million keys could come: the keys that are looked at are halved until their notes fit."""
    most = 2048
    monkeypatch.setattr(module, "NOTES", most)
    storage = storage_of("fifo", 1 << 30)
    shadows = storage.shadows
    assert shadows is not None
    instant = 0.0
    for number in range(5 * most):
        storage.put(make(b"k%d" % number, 0), ())
        assert max(map(len, shadows.shadows)) <= most + 1
        if number % 50 == 0:
            storage.tick(instant := instant + 0.05)
    for _ in range(8 * most // SLICE + 2):
        storage.tick(instant)
    assert shadows.one_in in (4, 8, 16)
    counts = [len(each) for each in shadows.shadows]
    assert all(most // 8 < count <= most for count in counts)
    assert all(each.capacity == (1 << 30) // shadows.one_in for each in shadows.shadows)
    assert shadows.memory <= len(counts) * (most * NOTE_BYTES + (6 << 20))


@pytest.mark.parametrize("name", policies())
def test_an_estimate_from_fewer_keys_is_near(name: str) -> None:
    """A hundredth or two beside all keys'; the real one is counted over the same keys, so differences are nearer."""
    rng = random.Random(8)
    requests = zipf(rng, 12_000, 15_000, 0.7)
    overhead = make(b"000000", 0).size
    every = storage_of(name, 2000 * overhead, (name,))
    some = storage_of(name, 2000 * overhead, (name,))
    assert every.shadows is not None
    assert some.shadows is not None
    some.shadows._coarsen()
    some.tick(0.0)
    for storage in (every, some):
        for number, key in enumerate(requests):
            ask(storage, b"%06d" % key, 0)
            if number % 10 == 0:
                storage.tick(0.0)
        storage.flush()
    assert (every.shadows.one_in, some.shadows.one_in) == (1, 2)
    exact, near = (shadow_of(each, name).score.ratios()["hit_ratio"] for each in (every, some))
    beside = some.shadows.real.ratios()["hit_ratio"]
    assert exact is not None
    assert near is not None
    assert beside is not None
    assert abs(exact - near) < 0.05
    assert abs(near - beside) < 0.03


def test_a_burst_costs_so_much_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = storage_of("lru", 1 << 24, ("lru", "arc"))
    shadows = storage.shadows
    assert shadows is not None
    seen = 0

    def counted(entry: object) -> int:
        nonlocal seen
        seen += 1
        return original(entry)  # type: ignore[arg-type]

    original = module.identity
    monkeypatch.setattr(module, "identity", counted)
    objects = [make(b"%d" % number, 0) for number in range(1000)]
    for stored in objects:
        storage.put(stored, ())
    for _ in range(60):
        storage.touched.extend(objects)
        seen = 0
        storage.flush()
        assert seen <= BURST
        storage.tick(0.0)
    assert shadows.one_in in (4, 8, 16), "the first flush alone asks for 4"
    assert 1000 / shadows.one_in / 2 < len(shadow_of(storage, "lru")) < 1000 / shadows.one_in * 2
    hits = shadow_of(storage, "lru").score.hits
    assert hits == shadows.real.hits > 0


def test_many_requests_a_second_halve_the_keys_and_few_do_not() -> None:
    for per_tick, one_in in ((module.BUSY // module.TICKS, 1), (module.BUSY // module.TICKS + 1, 2)):
        storage = storage_of("lru", 1 << 24, ("lru",))
        shadows = storage.shadows
        assert shadows is not None
        stored = make(b"k", 0)
        for _ in range(module.TICKS):
            storage.touched.extend([stored] * per_tick)
            storage.flush()
            storage.tick(0.0)
        assert shadows.one_in == one_in


def test_what_the_gone_leave_behind_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few large objects that stay, and many small ones that pass: more ghosts than notes."""
    monkeypatch.setattr(module, "MEMORY", 300_000)
    storage = storage_of("lru", 1 << 22, ("arc", "s3fifo"))
    shadows = storage.shadows
    assert shadows is not None
    for number in range(30_000):
        storage.put(make(b"%d" % number, 0), ())
        if number % 50 == 0:
            storage.tick(0.0)
    assert shadows.one_in > 1
    assert shadows.memory <= 300_000 + 100_000


def test_a_large_object_displaces_so_many_notes_at_once() -> None:
    size = make(b"0000", 0).size
    storage = storage_of("lru", 2000 * size, ("lru",))
    shadow = shadow_of(storage, "lru")
    for number in range(2000):
        storage.put(make(b"%04d" % number, 0), ())
    storage.put(make(b"big!", 1000 * size), ())
    assert shadow.evictions == module.EVICTIONS
    for _ in range(20):
        storage.tick(0.0)
    assert shadow.used <= shadow.capacity
    assert shadow.evictions == 1001


def test_a_note_takes_what_is_told() -> None:
    capacity = 1 << 30
    for name in policies():
        shadows = Shadows((name,), capacity, make_policy)
        objects = [make(b"http://shop.example/%d" % number, 0, until=number * 1.5) for number in range(4000)]
        gc.collect()
        tracemalloc.start()
        try:
            for stored in objects:
                shadows.stored(stored, stale=False)
            taken = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert taken <= len(shadows.shadows[0]) * NOTE_BYTES + 200_000, name
        assert taken <= shadows.memory + 200_000, name
