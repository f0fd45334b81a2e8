"""A full disk, a broken one, and one that is slow: memory goes on, once said, and it is tried again."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import thread_time

import pytest

from edge.disk.directory import Directory
from edge.disk.files import Files
from edge.disk.index import Index
from edge.disk.reasons import Dropped, State
from edge.disk.storage import DiskStorage
from tests.edge.disk.support import (
    MIB,
    Quota,
    body,
    body_of,
    get,
    make,
    ready,
    settled,
    storage,
    until,
)


class Clock:
    """Upkeep's clock, which the test turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        from cdnlab.net.clock import now

        monkeypatch.setattr("edge.disk.upkeep.now", lambda: now() + self.ahead)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def fill(disk: DiskStorage, name: bytes, count: int, size: int = 20_000) -> int:
    """Put so many objects; how many were taken."""
    taken = 0
    for number in range(count):
        taken += disk.put(make(b"%b %d" % (name, number), size), ())
        if number % 20 == 0:
            await until(lambda: not disk.queued)
    await settled(disk)
    return taken


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
async def test_a_disk_that_refuses_writes_is_said_once_and_tried_again(
    tmp_path: Path, clock: Clock, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    system, said = Quota(), []
    async with storage(tmp_path / "d", files=system, say=said.append) as disk:
        disk.put(make(b"before"), ())
        await settled(disk)
        system.broken = number
        with caplog.at_level(logging.ERROR, "cdnlab.disk"):
            assert disk.put(make(b"one"), ())
            await settled(disk)
            writes = system.writes
            assert not any(disk.put(make(b"k%d" % n), ()) for n in range(100))
            assert disk.begin() is None
            await settled(disk)
        assert system.writes == writes, "nobody tries a broken disk for each object"
        assert disk.state is (State.FULL if number in (errno.ENOSPC, errno.EDQUOT) else State.FAILING)
        assert disk.dropped[Dropped.FAILING] == 102
        assert len(said) == len(caplog.records) == 1
        assert os.strerror(number) in said[0]
        assert await body(disk, b"before") == body_of(b"before", 1000)
        assert await body(disk, b"one") is None

        clock.ahead = 6
        disk.put(make(b"two"), ())
        await settled(disk)
        assert not disk.put(make(b"three"), ()), "still broken, so the pause is longer"
        clock.ahead = 12
        assert not disk.put(make(b"three"), ())
        system.broken = None
        clock.ahead = 18
        assert disk.put(make(b"four"), ())
        await settled(disk)
        assert disk.state is State.READY
        assert len(said) == 2
        assert "takes objects again" in said[1]
        assert await body(disk, b"four") == body_of(b"four", 1000)
    async with storage(tmp_path / "d") as disk:
        await ready(disk)
        assert await body(disk, b"before") == body_of(b"before", 1000)
        assert await body(disk, b"four") == body_of(b"four", 1000)


async def full_disk(disk: DiskStorage, clock: Clock, path: Path) -> None:
    """Fill until it is full; it settles below the disk's size and goes on taking objects."""
    refused = 0
    for turn in range(6):
        taken = await fill(disk, b"turn %d" % turn, 80)
        refused += 80 - taken
        clock.ahead += 100
    assert disk.upkeep.failures >= 1
    newest = b"turn 5 79"
    disk.put(make(newest, 20_000), ())
    await settled(disk)
    assert await body(disk, newest) == body_of(newest, 20_000)
    assert disk.upkeep.failures <= 3, "once it has learnt the disk's size it stays below"


async def test_a_quota_below_the_capacity_is_settled_into(tmp_path: Path, clock: Clock) -> None:
    async with storage(tmp_path / "d", 64 * MIB, files=Quota(5 * MIB)) as disk:
        await full_disk(disk, clock, tmp_path)
    async with storage(tmp_path / "d", 64 * MIB) as disk:
        await ready(disk)
        assert not disk.bad["head"]
        assert await body(disk, b"turn 5 79") == body_of(b"turn 5 79", 20_000)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "small"
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "none", str(path)], capture_output=True)
    if done.returncode:
        pytest.skip("only root may mount a file system, and not everywhere")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


async def test_a_real_file_system_that_is_full(small_disk: Path, clock: Clock) -> None:
    async with storage(small_disk / "d", 64 * MIB) as disk:
        await full_disk(disk, clock, small_disk)


async def test_a_start_on_a_full_disk_serves_what_lies_there(small_disk: Path, clock: Clock) -> None:
    async with storage(small_disk / "d", 64 * MIB) as disk:
        await fill(disk, b"a", 30)
    with contextlib.suppress(OSError), (small_disk / "other").open("wb", buffering=0) as other:
        while other.write(bytes(4096)):
            pass
    async with storage(small_disk / "d", 64 * MIB) as disk:
        await ready(disk)
        assert await body(disk, b"a 29") == body_of(b"a 29", 20_000)
        disk.put(make(b"more"), ())
        await settled(disk)
    async with storage(small_disk / "new", 64 * MIB) as disk:
        disk.put(make(b"more"), ())
        await settled(disk)
        assert disk.state is State.FULL
    (small_disk / "other").unlink()
    async with storage(small_disk / "d", 64 * MIB) as disk:
        await ready(disk)
        found = await get(disk, b"a 5")
        assert found is not None
        assert found.body == body_of(b"a 5", 20_000)


async def test_somebody_else_fills_the_disk_and_makes_room_again(small_disk: Path, clock: Clock) -> None:
    said: list[str] = []
    async with storage(small_disk / "d", 64 * MIB, say=said.append) as disk:
        await fill(disk, b"a", 30)
        with contextlib.suppress(OSError), (small_disk / "other").open("wb", buffering=0) as other:
            while other.write(bytes(4096)):
                pass
        taken = await fill(disk, b"b", 60)
        assert taken < 60
        assert disk.state is State.FULL
        assert "No space left on device" in said[0]
        assert await body(disk, b"a 29") == body_of(b"a 29", 20_000)
        (small_disk / "other").unlink()
        clock.ahead = 100
        assert await fill(disk, b"c", 20) == 20
        assert disk.state is State.READY
        assert await body(disk, b"c 19") == body_of(b"c 19", 20_000)


async def test_the_system_limits_a_files_size(tmp_path: Path, clock: Clock) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with storage(tmp_path / "d") as disk:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
        try:
            await fill(disk, b"k", 20)
            assert disk.state is State.FULL
            assert not disk.put(make(b"refused"), ())
            clock.ahead = 100
            assert disk.put(make(b"again"), ())
            await settled(disk)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert disk.state is State.READY
        assert await body(disk, b"again") == body_of(b"again", 1000)


async def test_some_of_the_disk_is_left_to_others(tmp_path: Path) -> None:
    class Nearly(Files):
        def free(self, path: Path) -> int:
            return 10 * MIB

    async with storage(tmp_path / "d", files=Nearly(), keep_free=20 * MIB) as disk:
        disk.put(make(b"k"), ())
        await settled(disk)
        assert disk.state is State.FULL
    async with storage(tmp_path / "d", files=Nearly(), keep_free=5 * MIB) as disk:
        disk.put(make(b"k"), ())
        await settled(disk)
        assert await body(disk, b"k") == body_of(b"k", 1000)


async def test_a_removal_that_cannot_be_written_holds_all_the_same(tmp_path: Path) -> None:
    system = Quota()
    async with storage(tmp_path / "d", files=system) as disk:
        disk.put(make(b"gone"), ())
        await settled(disk)
        system.broken = errno.EIO
        disk.remove(b"gone")
        await settled(disk)
    async with storage(tmp_path / "d") as disk:
        await ready(disk)
        assert await body(disk, b"gone") is None


async def test_a_removal_that_finds_room_is_not_taken_for_a_disk_that_takes_objects(
    tmp_path: Path, clock: Clock
) -> None:
    system, said = NoRoomForBodies(), []
    async with storage(tmp_path / "d", files=system, say=said.append) as disk:
        for number in range(3):
            disk.put(make(b"small %d" % number, 100), ())
        await settled(disk)
        disk.put(make(b"large", 20_000), ())
        await settled(disk)
        assert disk.state is State.FULL
        disk.remove(b"small 0")
        await settled(disk)
        assert (disk.state, len(said)) == (State.FULL, 1)
        clock.ahead = 6
        disk.put(make(b"large again", 20_000), ())
        disk.remove(b"small 1")
        await settled(disk)
        clock.ahead = 12  # the second pause is ten seconds, and no shorter for the removals
        assert not disk.put(make(b"small 3", 100), ())
        clock.ahead = 18
        assert disk.put(make(b"small 4", 100), ())
        await settled(disk)
        assert (disk.state, len(said)) == (State.READY, 2)


async def test_a_removal_that_cannot_be_written_while_the_start_reads(tmp_path: Path) -> None:
    async with storage(tmp_path / "d") as disk:
        disk.put(make(b"gone"), ())
        await settled(disk)
    system = Quota()
    system.broken = errno.ENOSPC
    async with storage(tmp_path / "d", files=system) as disk:
        disk.remove(b"gone")
        await settled(disk)
        assert await body(disk, b"gone") is None
    async with storage(tmp_path / "d") as disk:
        await ready(disk)
        assert await body(disk, b"gone") is None


async def test_a_write_that_is_cut_short_is_completed_or_cut_off(tmp_path: Path) -> None:
    class Short(Quota):
        def write(self, fd: int, parts: Sequence[bytes | memoryview], offset: int) -> int:
            return super().write(fd, [b"".join(parts)[:333]], offset)

    system = Short()
    async with storage(tmp_path / "d", files=system) as disk:
        disk.put(make(b"k", 10_000), ())
        await settled(disk)
        assert await body(disk, b"k") == body_of(b"k", 10_000)
        system.room = 2000
        disk.put(make(b"half", 10_000), ())
        await settled(disk)
        assert await body(disk, b"half") is None
    async with storage(tmp_path / "d") as disk:
        await ready(disk)
        assert await body(disk, b"k") == body_of(b"k", 10_000)
        assert await body(disk, b"half") is None
        assert not any(disk.bad.values())
        assert disk.directory.doubtful == 0


class NoRoomForBodies(Files):
    """A disk on which little records still fit."""

    def write(self, fd: int, parts: Sequence[bytes | memoryview], offset: int) -> int:
        if sum(len(part) for part in parts) > 10_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(fd, parts, offset)


class Stuck(Files):
    """A disk that answers no write until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()

    def write(self, fd: int, parts: Sequence[bytes | memoryview], offset: int) -> int:
        assert self.go.wait(30)
        return super().write(fd, parts, offset)


async def test_a_disk_that_hangs_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.disk.storage.QUEUE_MAX", 2_000_000)
    system = Stuck()
    async with storage(tmp_path / "d", 64 * MIB, files=system) as disk:
        disk.put(make(b"before"), ())
        await settled(disk)
        system.go.clear()
        worst, loop = 0.0, asyncio.get_running_loop()
        for number in range(200):
            started = loop.time()
            disk.put(make(b"k%d" % number, 50_000, body=bytes(50_000)), ())
            worst = max(worst, loop.time() - started)
        assert disk.queued < 2_200_000
        assert disk.dropped[Dropped.QUEUE] > 100
        assert await body(disk, b"before") == body_of(b"before", 1000)
        system.go.set()
        await settled(disk)
        assert await body(disk, b"k0") is not None
        assert worst < 0.05


class SlowSync(Files):
    """Its first sync waits to be let go."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.synced = 0

    def sync(self, fd: int) -> None:
        self.may.wait(30.0)
        super().sync(fd)
        self.synced += 1


async def test_segments_that_go_before_they_are_synced_do_not_end_the_syncing(tmp_path: Path) -> None:
    system = SlowSync()
    async with storage(tmp_path / "d", files=system) as disk:
        await fill(disk, b"round", 2500)  # three times as much as there is room for
        await until(lambda: not disk.upkeep.busy and not disk.leaving, "what went is closed")
        assert disk.upkeep.segments_evicted > 20
        system.may.set()
    assert system.synced > 10, "the segments that are left are synced, and so is the newest at the end"


async def test_a_large_body_holds_its_sender_back_when_the_disk_is_slow(tmp_path: Path) -> None:
    system, room = Stuck(), asyncio.Event()
    async with storage(tmp_path / "d", 256 * MIB, files=system) as disk:
        incoming = disk.begin()
        assert incoming is not None
        incoming.on_room = room.set
        system.go.clear()
        sent = 0
        while incoming.add(bytes(100_000)):
            sent += 100_000
            assert sent < 10 * MIB
        assert not room.is_set()
        system.go.set()
        await asyncio.wait_for(room.wait(), 10)
        assert not incoming.failed
        system.go.clear()
        for _ in range(100):
            incoming.add(bytes(100_000))
        assert incoming.failed, "a sender that goes on all the same is not remembered without bound"
        assert room.is_set()
        system.go.set()
        await settled(disk)
        assert disk.queued == 0


async def test_close_does_not_wait_for_a_disk_that_hangs(tmp_path: Path) -> None:
    system = Stuck()
    disk = DiskStorage(Directory(tmp_path / "d"), 16 * MIB, files=system)
    disk.start()
    system.go.clear()
    disk.put(make(b"k"), ())
    await asyncio.wait_for(disk.close(0.05), 5)
    system.go.set()


async def test_the_start_takes_small_turns_of_the_loop(tmp_path: Path) -> None:
    """Measured in the loop's own time on a processor, which others on the machine do not change."""
    path, count = tmp_path / "d", 12_000
    async with storage(path, 64 * MIB) as disk:
        for number in range(count):
            disk.put(make(b"k%d" % number, 300, body=bytes(300)), ())
            if number % 200 == 0:
                await asyncio.sleep(0)
        await settled(disk)
        assert disk.objects == count
    turns: list[float] = []
    async with storage(path, 64 * MIB) as disk:
        while disk.upkeep.busy:
            before = thread_time()
            await asyncio.sleep(0)
            turns.append(thread_time() - before)
        assert disk.objects == count
    turns.sort()
    assert len(turns) > 50
    assert turns[len(turns) * 99 // 100] < 0.005


def test_an_object_takes_little_memory() -> None:
    import gc
    import tracemalloc

    from edge.disk.index import key_hash
    from edge.disk.place import place

    index, count = Index(), 60_000
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(count):
        index.put(
            key_hash(b"http://shop/%d" % number),
            None,
            (),
            place(1 + number // 4096, number % 4096 * 512, 500),
        )
    each = (tracemalloc.get_traced_memory()[0] - before) / count
    tracemalloc.stop()
    assert index.objects == count
    assert each < 160, each
    largest = max(len(shard) for shard in index._shards)
    assert largest < 3 * count / len(index._shards)
    assert not any(gc.is_tracked(shard) for shard in index._shards), (
        "the collector must not walk a million places"
    )
