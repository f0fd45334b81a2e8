"""Replicas against a real server that is killed, frozen, emptied and made read-only: they come to the same again."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdnlab.net import tasks
from cdnlab.net.clock import now
from cdnlab.node import replica as module
from cdnlab.node import replica_record as record
from cdnlab.node.log import Events
from cdnlab.node.metrics import problems
from cdnlab.node.replica import Replica
from cdnlab.node.replica_metrics import REPLICA_METRICS, families
from cdnlab.node.store import Store
from tests.node.conftest import valkey as valkey

if TYPE_CHECKING:
    from tests.node.conftest import Valkey

LIFE = 600.0
T = TypeVar("T", bound="Table")


class Table:
    """A table of one node, and its replica."""

    def __init__(self, store: Store, **options: int) -> None:
        self.entries: dict[bytes, bytes] = {}
        self.ends: dict[bytes, float] = {}
        self.store = store
        self.replica = Replica(store, "test", "pins", self.merge, self.each, life=LIFE, **options)

    def merge(self, key: bytes, value: bytes, life: float) -> None:
        assert life <= LIFE
        if life:
            self.entries[key] = value
            self.ends[key] = now() + life
        else:
            self.entries.pop(key, None)

    def each(self) -> Iterator[tuple[bytes, bytes, float]]:
        for key in list(self.entries):
            if key in self.entries:
                yield key, self.entries[key], self.ends[key] - now()

    def put(self, key: bytes, value: bytes) -> None:
        self.entries[key] = value
        self.ends[key] = now() + LIFE
        self.replica.put(key, value, LIFE)

    def remove(self, key: bytes) -> None:
        self.entries.pop(key, None)
        self.replica.remove(key)


class Sharded(Table):
    """A table that may become large: a dict of 100,000 entries takes longer to grow than a loop may stand still."""

    def __init__(self, store: Store, **options: int) -> None:
        super().__init__(store, **options)
        self.shards: list[dict[bytes, bytes]] = [{} for _ in range(64)]

    def merge(self, key: bytes, value: bytes, life: float) -> None:
        self.shards[hash(key) & 63][key] = value

    def each(self) -> Iterator[tuple[bytes, bytes, float]]:
        for shard in self.shards:
            for key, value in list(shard.items()):
                yield key, value, LIFE / 2


@asynccontextmanager
async def tables(
    valkey: Valkey,
    count: int = 2,
    kind: type[T] = Table,
    **options: int,
) -> AsyncIterator[list[T]]:
    made = []
    for _ in range(count):
        store = Store(valkey.url, Events())
        await store.start()
        made.append(kind(store, **options))
        made[-1].replica.start()
    try:
        if made[0].store.up:
            for each in made:
                assert await each.replica.loaded(45)
        yield made
    finally:
        for each in made:
            each.replica.stop()
            await each.store.stop()
        await tasks.cancel_all()


async def started(valkey: Valkey, *options: str) -> None:
    valkey.start(*options)
    await valkey.answering()


async def until(condition: Callable[[], bool], seconds: float = 15) -> float:
    begun = now()
    while not condition():
        assert now() - begun < seconds, "not within the time"
        await asyncio.sleep(0.002)
    return now() - begun


async def test_a_change_is_everywhere_within_100_ms(valkey: Valkey) -> None:
    await started(valkey)
    async with tables(valkey, 3) as (a, b, c):
        took = []
        for number in range(20):
            key = b"key-%d" % number
            a.put(key, b"1")
            took.append(await until(lambda k=key: k in b.entries and k in c.entries))  # type: ignore[misc]
        assert sorted(took)[10] < 0.1  # half of them, since others run on the machine, too
        a.remove(b"key-3")
        await until(lambda: b"key-3" not in b.entries and b"key-3" not in c.entries)
        assert a.entries == b.entries == c.entries
        assert b.replica.age < 1
        spread = {one.name: one for one in families((b.replica,)) for one in one.samples}
        assert spread["cdnlab_replica_spread_seconds_count"].value >= 20


async def test_three_that_write_the_same_keys_come_to_the_same(valkey: Valkey) -> None:
    await started(valkey)
    async with tables(valkey, 3) as every:
        for turn in range(300):
            for place, table in enumerate(every):
                key = b"key-%d" % (turn % 7)
                table.put(key, b"%d-%d" % (place, turn))
                if (turn + place) % 13 == 0:
                    table.remove(key)
            if turn % 10 == 0:
                await asyncio.sleep(0.003)
        for number in range(7):
            every[number % 3].put(b"key-%d" % number, b"last-%d" % number)
        expected = {b"key-%d" % number: b"last-%d" % number for number in range(7)}
        await until(lambda: all(table.entries == expected for table in every))


async def test_the_newest_wins_also_if_it_arrives_first(valkey: Valkey) -> None:
    """An older write that was held up must not undo what was written since."""
    await started(valkey)
    async with tables(valkey, 2) as (a, b):
        a.put(b"k", b"old")
        late = a.replica._waiting.pop(b"k")
        await asyncio.sleep(0)
        b.put(b"k", b"new")
        await until(lambda: a.entries[b"k"] == b"new")
        a.replica._waiting[b"k"] = late
        a.replica._work.set()
        assert await a.replica.flushed(5)
        a.put(b"after", b"")
        await until(lambda: b"after" in b.entries)
        assert b.entries[b"k"] == b"new"
        held = await a.store.call("HGET", record.keys("test", "pins")[0], b"k")
        assert held.endswith(b"new")


async def test_own_newer_word_outlives_an_older_one_that_is_read_later(valkey: Valkey) -> None:
    await started(valkey)
    async with tables(valkey, 2) as (a, b):
        for turn in range(200):
            a.put(b"k", b"a-%d" % turn)
            b.put(b"k", b"b-%d" % turn)
            if turn % 20 == 0:
                await asyncio.sleep(0.025)
        await until(
            lambda: a.entries[b"k"] == b.entries[b"k"] and not a.replica.unsent and not b.replica.unsent
        )
        await asyncio.sleep(0.05)  # and stays so: nothing is under way any more
        assert a.entries == b.entries


async def test_who_starts_later_loads_everything_without_standing_still(valkey: Valkey) -> None:
    """Stalls are measured in time of this thread's own: others run on the machine, too."""
    await started(valkey)
    async with tables(valkey, 1) as (a,):
        stamp = int(time.time() * 1_000_000)
        names = [b"%08d" % number for number in range(100_000)]
        for at in range(0, len(names), 1000):
            pairs = [(name, record.packed(stamp, b"0" * 8, LIFE, name)) for name in names[at : at + 1000]]
            await a.store.call(
                "HSET", record.keys("test", "pins")[0], *(each for pair in pairs for each in pair)
            )
        a.replica.stop()
        longest, running = 0.0, True

        async def meter() -> None:
            nonlocal longest
            while running:
                begun = time.thread_time()
                await asyncio.sleep(0)
                longest = max(longest, time.thread_time() - begun)

        gc.collect()
        gc.disable()  # as a node does with full collections
        watching = asyncio.create_task(meter())
        async with tables(valkey, 1, Sharded) as (b,):
            gc.enable()
            running = False
            await watching
            assert sum(map(len, b.shards)) == len(names)
            assert longest < 0.005


async def test_killed_and_restarted_empty_it_is_filled_again(valkey: Valkey) -> None:
    await started(valkey)
    async with tables(valkey, 2) as (a, b):
        for number in range(1000):
            a.put(b"a%d" % number, b"1")
            b.put(b"b%d" % number, b"2")
        await until(lambda: len(a.entries) == len(b.entries) == 2000)
        valkey.stop()
        await until(lambda: not a.store.up and not b.store.up)
        a.put(b"meanwhile", b"a")
        b.remove(b"a7")
        assert a.replica.status()["state"] == "away"
        await started(valkey)
        await until(lambda: a.entries == b.entries and b"meanwhile" in b.entries and b"a7" not in a.entries)
        async with tables(valkey, 1) as (c,):
            await until(lambda: c.entries == a.entries)
            assert len(c.entries) == 2000


async def test_while_it_is_away_both_change_one_key_and_the_later_change_wins(valkey: Valkey) -> None:
    await started(valkey)
    async with tables(valkey, 2) as (a, b):
        a.put(b"k", b"0")
        await until(lambda: b"k" in b.entries)
        valkey.stop()
        await until(lambda: not a.store.up and not b.store.up)
        a.put(b"k", b"first")
        await asyncio.sleep(0.002)
        b.put(b"k", b"second")
        await started(valkey)
        await until(lambda: a.entries[b"k"] == b"second")
        assert b.entries[b"k"] == b"second"


async def test_without_a_store_at_the_start_it_comes_later(valkey: Valkey) -> None:
    async with tables(valkey, 2) as (a, b):
        a.put(b"k", b"1")
        assert not await a.replica.loaded(0.05)
        assert a.replica.age == float("inf")
        assert a.replica.status()["age"] is None
        await started(valkey)
        await until(lambda: b.entries == {b"k": b"1"})
        assert await a.replica.loaded(5)


async def test_frozen_nothing_waits_and_thawed_nothing_is_lost(valkey: Valkey) -> None:
    await started(valkey)
    async with tables(valkey, 2) as (a, b):
        a.put(b"before", b"1")
        await until(lambda: b"before" in b.entries)
        valkey.signal(signal.SIGSTOP)
        try:
            begun = now()
            for number in range(1000):
                a.put(b"%d" % number, b"1")
            assert now() - begun < 0.1
            await until(lambda: not a.store.up)
            assert a.replica.unsent == 1000
            await until(lambda: a.replica.age > 0.6)
        finally:
            valkey.signal(signal.SIGCONT)
        await until(lambda: len(b.entries) == 1001)
        assert a.replica.loads == 1  # it is the same one, so nobody loaded it again


async def test_a_store_that_may_not_be_written_to_is_read_on(valkey: Valkey) -> None:
    await started(valkey)
    async with tables(valkey, 2) as (a, b):
        a.put(b"k", b"1")
        await until(lambda: b"k" in b.entries)
        admin = Store(valkey.url, Events())
        await admin.start()
        await admin.call("REPLICAOF", "127.0.0.1", "1")
        a.put(b"k", b"2")
        await until(lambda: any(tally.value for tally in errors(a.store)))
        assert a.replica.unsent <= 1
        await admin.ask("REPLICAOF", "NO", "ONE")
        await until(lambda: b.entries[b"k"] == b"2")
        await admin.stop()


def errors(store: Store) -> list[object]:
    return [
        sample
        for each in store.families()
        for sample in each.samples
        if each.spec.name == "cdnlab_store_errors_total"
    ]


async def test_what_waits_is_bounded_and_offered_as_a_whole_later(valkey: Valkey) -> None:
    async with tables(valkey, 2, outbox=100) as (a, b):
        for number in range(1000):
            a.put(b"%d" % number, b"1")
        assert a.replica.unsent == 100
        assert a.replica.overflowed == 900
        await started(valkey)
        await until(lambda: len(b.entries) == 1000)


async def test_the_store_holds_so_many_and_tells_the_rest(valkey: Valkey) -> None:
    await started(valkey)
    async with tables(valkey, 2, most=100) as (a, b):
        for number in range(150):
            a.put(b"%d" % number, b"1")
        await until(lambda: len(b.entries) == 150 and a.replica.full >= 50)  # more, if a write took too long
        assert await a.store.call("HLEN", record.keys("test", "pins")[0]) == 100


async def test_news_that_were_missed_are_noticed(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that stood still while the stream was cut must not go on as if nothing had been."""
    await started(valkey)
    monkeypatch.setattr(module, "NEWS", 1)
    async with tables(valkey, 2) as (a, b):
        a.put(b"k", b"1")
        await until(lambda: b"k" in b.entries)
        stands_still = asyncio.Event()

        async def read() -> None:
            await stands_still.wait()
            del b.replica._read  # type: ignore[method-assign]

        b.replica._read = read  # type: ignore[method-assign]
        await until(lambda: b.replica.age > 0.3)
        for number in range(500):
            a.put(b"%d" % number, b"1")
            await a.replica._flush()
        await a.store.call("XTRIM", record.keys("test", "pins")[1], "MAXLEN", 3)
        assert len(b.entries) < 500
        stands_still.set()
        await until(lambda: len(b.entries) == 501 and b.replica.loads == 2)


async def test_what_others_write_wrongly_is_passed_over(valkey: Valkey) -> None:
    await started(valkey)
    async with tables(valkey, 2) as (a, b):
        hash_key, stream = record.keys("test", "pins")
        future = record.packed(2**55, b"0" * 8, LIFE, b"poison")
        await a.store.call("HSET", hash_key, b"odd", b"nonsense", b"far", future, b"", b"")
        last = (await a.store.call("XREVRANGE", stream, "+", "-", "COUNT", 1) or [(b"0-0", {})])[0][0]
        await a.store.call("XADD", stream, "*", "", last, b"k", b"\xff\x00", b"far", future)
        await until(lambda: b.replica.unreadable >= 2)
        a.put(b"far", b"1")
        a.put(b"odd", b"1")
        await until(lambda: b.replica.age < 0.2)
        a.put(b"fine", b"1")
        await until(lambda: b"fine" in b.entries)
        assert b"poison" not in b.entries.values()
        async with tables(valkey, 1) as (c,):
            assert b"fine" in c.entries


async def test_lives_end_in_the_store_too(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP_PAUSE", 0.01)
    await started(valkey)
    async with tables(valkey, 1) as (a,):
        for number in range(1000):
            a.replica.put(b"%d" % number, b"1", 0.05 if number % 2 else LIFE)
        assert await a.replica.flushed(5)
        count: list[int] = []
        while not count or count[-1] != 500:
            count.append(await a.store.call("HLEN", record.keys("test", "pins")[0]))
            await asyncio.sleep(0.01)


def test_its_metrics_keep_the_rules() -> None:
    assert problems(REPLICA_METRICS) == []


@given(st.integers(0, 2**50), st.floats(0.001, record.LONGEST), st.one_of(st.none(), st.binary()))
def test_a_record_says_what_was_packed(stamp: int, life: float, value: bytes | None) -> None:
    said = record.unpacked(record.packed(stamp, b"0123abcd", life, value), 2.0**50 / 1e6)
    assert (said.stamp, said.writer, said.removed, said.value) == (
        stamp,
        b"0123abcd",
        value is None,
        value or b"",
    )
    assert abs(said.life - life) <= 0.001


@given(st.binary(max_size=80))
def test_any_bytes_are_a_record_or_a_value_error(raw: bytes) -> None:
    try:
        record.unpacked(raw, 0.0)
    except ValueError:
        pass


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 100))))
def test_a_clock_never_steps_back(turns: list[tuple[bool, int]]) -> None:
    clock, last = record.Clock(), 0
    for ticks, number in turns:
        if ticks:
            stamp = clock.tick(number / 1e6)
            assert stamp > last
            last = stamp
        else:
            clock.seen(number)
            last = max(last, number)


async def test_a_store_without_room_refuses_and_is_tried_again(valkey: Valkey) -> None:
    await started(valkey, "--maxmemory", "1", "--maxmemory-policy", "noeviction")
    async with tables(valkey, 2) as (a, b):
        a.put(b"k", b"1")
        await until(lambda: any(sample.value for sample in errors(a.store)))  # type: ignore[attr-defined]
        assert a.replica.unsent == 1 or a.replica._sent
        await a.store.ask("CONFIG", "SET", "maxmemory", "0")
        await until(lambda: b.entries == {b"k": b"1"})


async def test_flushed_means_written(valkey: Valkey) -> None:
    await started(valkey)
    async with tables(valkey, 1) as (a,):
        for number in range(1000):
            a.put(b"%d" % number, b"1")
        assert await a.replica.flushed(10)
        assert await a.store.call("HLEN", record.keys("test", "pins")[0]) == 1000
