"""What is put comes back as it was, or not at all: objects, variants, large bodies, removals, restarts."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from cdnlab.net.clock import now
from edge.disk.directory import Directory
from edge.disk.found import Remote
from edge.disk.layout import PIECE
from edge.disk.reasons import Dropped
from edge.disk.storage import DiskStorage
from edge.object import StoredObject
from edge.vary import variant_key
from tests.edge.disk.support import (
    MIB,
    body,
    body_of,
    get,
    make,
    nothing,
    put_large,
    ready,
    settled,
    storage,
    until,
    whole,
)

LANGUAGE = (b"accept-language",)
SLOTS = ("key", "variant", "status", "start", "chain", "source", "open", "tags", "groups", "control")


def speaks(language: bytes):  # type: ignore[no-untyped-def]
    return lambda name: language if name == b"accept-language" else None


def same(one: StoredObject, other: StoredObject) -> None:
    for name in SLOTS:
        if name != "control":
            assert getattr(one, name) == getattr(other, name), name
    assert one.born == pytest.approx(other.born, abs=0.001)
    assert one.fresh_until == pytest.approx(other.fresh_until, abs=0.001)
    for name in type(one.control).__slots__:
        assert getattr(one.control, name) == getattr(other.control, name), name


async def test_an_object_comes_back_as_it_was_also_after_a_restart(tmp_path: Path) -> None:
    put = make(b"http shop/", 5000, age=7.5)
    async with storage(tmp_path / "d") as disk:
        assert disk.put(put, ())
        await settled(disk)
        found = await get(disk, put.key)
        assert found is not None
        same(found, put)
        assert not isinstance(found, Remote)
        assert found.body == put.body
        assert not found.soft
    async with storage(tmp_path / "d") as disk:
        await ready(disk)
        again = await get(disk, put.key)
        assert again is not None
        same(again, put)
        assert again.body == put.body
        assert not again.soft
        assert disk.objects == 1


async def test_it_is_found_before_it_is_written(tmp_path: Path) -> None:
    async with storage(tmp_path / "d") as disk:
        disk.put(make(b"k"), ())
        found = disk.select(b"k", nothing)
        assert found is not None
        loaded = await disk.load(found)
        assert loaded is not None
        assert loaded.body == body_of(b"k", 1000)


@pytest.mark.parametrize("size", [PIECE + 1, 3 * PIECE, 5 * PIECE + 77, MIB + 1])
async def test_a_large_body_is_read_in_pieces_and_in_ranges(tmp_path: Path, size: int) -> None:
    async with storage(tmp_path / "d") as disk:
        assert await put_large(disk, b"film", size)
        await settled(disk)
        for _ in range(2):
            loaded = await get(disk, b"film")
            assert isinstance(loaded, Remote)
            assert (loaded.length, loaded.body) == (size, b"")
            data = body_of(b"film", size)
            for start, end in [(0, 1), (size - 1, size), (PIECE - 1, PIECE + 1), (0, size), (7, size - 7)]:
                parts = [part async for part in loaded.pieces.stream(start, end)]
                assert b"".join(parts) == data[start:end]
                assert max(map(len, parts)) <= PIECE
    async with storage(tmp_path / "d") as disk:
        await ready(disk)
        assert await body(disk, b"film") == body_of(b"film", size)


async def test_a_large_body_that_leaves_memory_as_a_whole(tmp_path: Path) -> None:
    async with storage(tmp_path / "d") as disk:
        assert disk.put(make(b"big", 700_000), ())
        await settled(disk)
        assert await body(disk, b"big") == body_of(b"big", 700_000)


async def test_a_small_body_may_arrive_in_parts_too(tmp_path: Path) -> None:
    async with storage(tmp_path / "d") as disk:
        assert await put_large(disk, b"small", 10, part=3)
        assert await put_large(disk, b"empty", 0)
        await settled(disk)
        assert await body(disk, b"small") == body_of(b"small", 10)
        assert await body(disk, b"empty") == b""


async def test_variants_are_chosen_by_their_fields_and_survive(tmp_path: Path) -> None:
    async with storage(tmp_path / "d") as disk:
        for language in (b"ko", b"en"):
            variant = variant_key(LANGUAGE, speaks(language))
            disk.put(make(b"k", variant=variant, body=language, size=2), LANGUAGE)
        await settled(disk)
        assert disk.names(b"k") == LANGUAGE
    async with storage(tmp_path / "d") as disk:
        await ready(disk)
        assert await body(disk, b"k", speaks(b"ko")) == b"ko"
        assert await body(disk, b"k", speaks(b"en")) == b"en"
        assert await body(disk, b"k", speaks(b"fr")) is None
        disk.discard(make(b"k", variant=variant_key(LANGUAGE, speaks(b"ko"))))
        assert await body(disk, b"k", speaks(b"ko")) is None
        await settled(disk)
    async with storage(tmp_path / "d") as disk:
        await ready(disk)
        assert await body(disk, b"k", speaks(b"ko")) is None
        assert await body(disk, b"k", speaks(b"en")) == b"en"


async def test_what_varies_otherwise_overtakes(tmp_path: Path) -> None:
    async with storage(tmp_path / "d") as disk:
        disk.put(make(b"k"), ())
        await settled(disk)
        variant = variant_key(LANGUAGE, speaks(b"ko"))
        disk.overtaken(make(b"k", variant=variant))
        disk.put(make(b"k", variant=variant, body=b"ko", size=2), LANGUAGE)
        await settled(disk)
        assert await body(disk, b"k") is None
    async with storage(tmp_path / "d") as disk:
        await ready(disk)
        assert await body(disk, b"k") is None
        assert await body(disk, b"k", speaks(b"ko")) == b"ko"


@pytest.mark.parametrize("written", [True, False], ids=["on disk", "on its way"])
async def test_what_was_removed_stays_removed(tmp_path: Path, written: bool) -> None:
    async with storage(tmp_path / "d") as disk:
        disk.put(make(b"gone"), ())
        disk.put(make(b"stays"), ())
        if written:
            await settled(disk)
        assert disk.remove(b"gone") == 1
        assert disk.remove(b"gone") == 0
        assert disk.select(b"gone", nothing) is None
        await settled(disk)
        assert await body(disk, b"gone") is None
    async with storage(tmp_path / "d") as disk:
        await ready(disk)
        assert await body(disk, b"gone") is None
        assert await body(disk, b"stays") is not None


async def test_of_two_the_newer_counts(tmp_path: Path) -> None:
    async with storage(tmp_path / "d") as disk:
        disk.put(make(b"k", body=b"old", size=3), ())
        disk.overtaken(make(b"k"))
        disk.put(make(b"k", body=b"new", size=3), ())
        await settled(disk)
        assert await body(disk, b"k") == b"new"
    async with storage(tmp_path / "d") as disk:
        await ready(disk)
        assert await body(disk, b"k") == b"new"
        disk.overtaken(make(b"k"))
        assert await body(disk, b"k") is None
        await settled(disk)
    async with storage(tmp_path / "d") as disk:
        await ready(disk)
        assert await body(disk, b"k") is None


async def test_a_large_body_can_be_had_as_soon_as_it_is_complete(tmp_path: Path) -> None:
    async with storage(tmp_path / "d") as disk:
        assert await put_large(disk, b"film", 3 * PIECE)
        assert await body(disk, b"film") == body_of(b"film", 3 * PIECE)
        assert await put_large(disk, b"gone", 3 * PIECE)
        reading = asyncio.ensure_future(get(disk, b"gone"))
        await asyncio.sleep(0)
        disk.remove(b"gone")
        assert await reading is None


async def test_what_was_removed_while_it_was_read_is_not_given(tmp_path: Path) -> None:
    async with storage(tmp_path / "d") as disk:
        disk.put(make(b"k"), ())
        await settled(disk)
        found = disk.select(b"k", nothing)
        assert found is not None
        reading = asyncio.ensure_future(disk.load(found))
        await asyncio.sleep(0)
        disk.remove(b"k")
        assert await reading is None


async def test_lookups_and_removals_while_the_start_still_reads(tmp_path: Path) -> None:
    async with storage(tmp_path / "d") as disk:
        for number in range(300):
            disk.put(make(b"k%d" % number), ())
        await settled(disk)
    async with storage(tmp_path / "d") as disk:
        assert disk.upkeep.busy
        assert disk.select(b"k7", nothing) is None
        disk.remove(b"k7")
        disk.remove(b"k8", None)
        disk.put(make(b"k9", body=b"newer", size=5), ())
        await ready(disk)
        await settled(disk)
        assert await body(disk, b"k7") is None
        assert await body(disk, b"k9") == b"newer"
        assert await body(disk, b"k10") == body_of(b"k10", 1000)
        assert disk.objects == 298
    async with storage(tmp_path / "d") as disk:
        await ready(disk)
        assert await body(disk, b"k7") is None
        assert await body(disk, b"k8") is None
        assert await body(disk, b"k9") == b"newer"


async def test_a_random_play_agrees_with_a_model(tmp_path: Path) -> None:
    rng = random.Random(11)
    model: dict[bytes, bytes] = {}
    for _ in range(4):
        async with storage(tmp_path / "d", 64 * MIB) as disk:
            for step in range(400):
                key = b"k%d" % rng.randrange(40)
                act = rng.random()
                if act < 0.5:
                    size = rng.choice([0, 10, 1000, PIECE, PIECE + 1, 300_000])
                    data = rng.randbytes(size)
                    disk.overtaken(make(key))
                    assert disk.put(make(key, size, body=data), ())
                    model[key] = data
                elif act < 0.65:
                    disk.remove(key)
                    model.pop(key, None)
                else:
                    got = await body(disk, key)
                    assert got is None or got == model.get(key)
                    assert got is not None or key not in model or disk.upkeep.busy
                if step % 100 == 0:
                    await settled(disk)
            await settled(disk)
            for key in (b"k%d" % number for number in range(40)):
                assert await body(disk, key) == model.get(key)
            assert disk.objects == len(model)


async def test_what_is_not_taken(tmp_path: Path) -> None:
    async with storage(tmp_path / "d", 8 * MIB) as disk:
        assert not disk.put(make(b"k", 2 * MIB), ())
        assert not disk.put(make(b"k", lifetime=1, etag=b""), ())
        assert disk.put(make(b"stale", lifetime=1), ())
        assert disk.dropped[Dropped.TOO_LARGE] == 1
        assert disk.dropped[Dropped.WORTHLESS] == 1
        incoming = disk.begin()
        assert incoming is not None
        for _ in range(3):
            incoming.add(bytes(MIB))
        assert incoming.failed
        assert not incoming.commit(make(b"k", body=b""), ())
    assert not disk.put(make(b"late"), ())


async def test_a_body_may_be_larger_than_what_may_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.disk.storage.QUEUE_MAX", 3 * MIB)
    async with storage(tmp_path / "d", 64 * MIB) as disk:
        assert await put_large(disk, b"film", 7 * MIB)
        await settled(disk)
        assert await body(disk, b"film") == body_of(b"film", 7 * MIB)


async def test_a_body_that_is_given_up_is_not_found(tmp_path: Path) -> None:
    async with storage(tmp_path / "d") as disk:
        incoming = disk.begin()
        assert incoming is not None
        incoming.add(bytes(3 * PIECE))
        incoming.abort()
        assert not incoming.commit(make(b"k", body=b""), ())
        await settled(disk)
        assert disk.objects == 0
    async with storage(tmp_path / "d") as disk:
        await ready(disk)
        assert disk.objects == 0


async def test_marks_and_soft_purges_go_with_the_object(tmp_path: Path) -> None:
    class Marks:
        def pack(self, stored: StoredObject) -> bytes:
            return b"mark %d" % stored.mark  # type: ignore[str-bytes-safe, str-format]

        def unpack(self, raw: bytes) -> object:
            return int(raw.removeprefix(b"mark "))

    one, two = make(b"one"), make(b"two")
    one.mark, two.mark, two.soft = 41, 42, True
    async with storage(tmp_path / "d", marks=Marks()) as disk:
        disk.put(one, ())
        disk.put(two, ())
        await settled(disk)
    async with storage(tmp_path / "d", marks=Marks()) as disk:
        await ready(disk)
        first, second = await get(disk, b"one"), await get(disk, b"two")
        assert first is not None
        assert second is not None
        assert (first.mark, first.soft) == (41, False)
        assert (second.mark, second.soft) == (42, True)


async def test_age_goes_on_while_nobody_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with storage(tmp_path / "d") as disk:
        disk.put(make(b"k", age=5), ())
        await settled(disk)
    later = DiskStorage(Directory(tmp_path / "d"), 16 * MIB)
    later.wall_offset += (
        1000  # what wall time minus boot time is after a reboot: here, 1000 s were lost to it
    )
    later.start()
    await ready(later)
    found = await get(later, b"k")
    assert found is not None
    assert now() - found.born == pytest.approx(1005, abs=2)
    assert not found.soft
    await later.close()


async def test_one_from_the_future_is_validated_before_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import edge.disk.storage as module

    async with storage(tmp_path / "d") as disk:
        disk.put(make(b"k"), ())
        await settled(disk)
    before = module.wall
    monkeypatch.setattr(module, "wall", lambda: before() - 3600)
    async with storage(tmp_path / "d") as disk:
        await ready(disk)
        found = await get(disk, b"k")
        assert found is not None
        assert found.soft


async def test_the_oldest_segment_goes_and_what_was_asked_for_stays(tmp_path: Path) -> None:
    async with storage(tmp_path / "d", 4 * MIB) as disk:
        disk.put(make(b"hot", 20_000), ())
        disk.put(make(b"cold", 20_000), ())
        await settled(disk)
        for number in range(600):
            disk.put(make(b"filler %d" % number, 20_000), ())
            if number % 40 == 0:
                await settled(disk)
                assert await body(disk, b"hot") == body_of(b"hot", 20_000)
        await settled(disk)
        assert disk.upkeep.segments_evicted > 5
        assert disk.upkeep.kept > 2
        assert await body(disk, b"cold") is None
        assert await body(disk, b"filler 0") is None
        assert await body(disk, b"filler 599") is not None
        lying = sum(path.stat().st_size for path in (tmp_path / "d").glob("*.seg"))
        assert lying <= 4 * MIB
        assert disk.used == lying
        known = {place for _, _, place in disk.index if isinstance(place, int)}
        assert len(known) == disk.objects
    async with storage(tmp_path / "d", 4 * MIB) as disk:
        await ready(disk)
        assert await body(disk, b"hot") == body_of(b"hot", 20_000)
        assert await body(disk, b"cold") is None


async def test_a_smaller_capacity_after_a_restart_is_kept_to(tmp_path: Path) -> None:
    async with storage(tmp_path / "d", 8 * MIB) as disk:
        for number in range(350):
            disk.put(make(b"k%d" % number, 20_000), ())
            if number % 100 == 0:
                await settled(disk)
        await settled(disk)
    async with storage(tmp_path / "d", 3 * MIB) as disk:
        await ready(disk)
        await settled(disk)
        await until(lambda: sum(p.stat().st_size for p in (tmp_path / "d").glob("*.seg")) <= 3 * MIB)
        assert await body(disk, b"k349") is not None
        assert await body(disk, b"k0") is None


async def test_the_number_of_objects_is_bounded(tmp_path: Path) -> None:
    async with storage(tmp_path / "d", 8 * MIB, objects_max=2000) as disk:
        for number in range(6000):
            disk.put(make(b"k%d" % number, 300), ())
            if number % 500 == 0:
                await settled(disk)
        await settled(disk)
        assert disk.objects <= 4000  # one segment may be above, since segments go as a whole
        assert await body(disk, b"k5999") is not None


async def test_a_large_object_that_is_read_outlives_its_segments(tmp_path: Path) -> None:
    async with storage(tmp_path / "d", 4 * MIB) as disk:
        assert await put_large(disk, b"film", 400_000)
        await settled(disk)
        loaded = await get(disk, b"film")
        assert loaded is not None
        for number in range(600):
            disk.put(make(b"filler %d" % number, 20_000), ())
            if number % 40 == 0:
                await settled(disk)
        await settled(disk)
        assert await whole(loaded) == body_of(b"film", 400_000)
        assert await body(disk, b"film") is None


async def test_what_waits_to_be_written_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.disk.storage.QUEUE_MAX", 1_000_000)
    async with storage(tmp_path / "d", 64 * MIB) as disk:
        taken = sum(disk.put(make(b"k%d" % number, 50_000), ()) for number in range(100))
        assert taken < 25
        assert disk.dropped[Dropped.QUEUE] == 100 - taken
        await settled(disk)
        assert disk.put(make(b"later"), ())
