"""The stream in a real store: followed by several edges, lost in every way a store can lose it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cdnlab.net.clock import now
from cdnlab.net.tasks import cancel_all
from cdnlab.node.log import Events
from cdnlab.node.metrics import Histogram
from cdnlab.node.store import Store, StoreAway
from edge.purge import scripts, stats
from edge.purge.position import EARLY, Lost, Standing, State
from edge.purge.purges import Purges
from edge.purge.rules import Kind, Rule
from edge.purge.stream import PurgeStream
from edge.purging import Verdict
from tests.edge.purge.test_purges import stored
from tests.node.conftest import Valkey

SOON = 0.005
LAG = 0.8
URL = Rule(Kind.URL, b"http://h/a")


async def until(condition: Callable[[], object], within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - much of it happens in another process
            await asyncio.sleep(SOON)


class Follower:
    """One edge that follows, and its own connections."""

    def __init__(self, url: str, name: str, lag: float = LAG) -> None:
        self.events = Events(name)
        self.store = Store(url, self.events)
        self.purges = Purges(Standing(alone=False, lag_max=lag), name.encode().ljust(8, b"."))
        self.lags = Histogram(stats.LAG)
        self.stream = PurgeStream(self.purges, self.store, self.events, lab="lab", node=name, lags=self.lags)

    async def start(self) -> Follower:
        await self.store.start()
        await self.stream.start()
        return self

    @property
    def state(self) -> State:
        return self.purges.state(now())

    @property
    def id(self) -> str | None:
        return self.purges.place.id if self.purges.place is not None else None

    def told(self) -> list[str]:
        return [
            event["facts"].get("state") or event["facts"]["reason"]
            for event in self.events.after(0)["entries"]
            if event["kind"] == "purge"
        ]


@pytest_asyncio.fixture
async def server(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Valkey]:
    monkeypatch.setattr("edge.purge.stream.APPEND_WITHIN", 10.0)  # a busy machine is no store that is away
    valkey.start()
    await valkey.answering()
    yield valkey
    await cancel_all()


@asynccontextmanager
async def edges(server: Valkey, *names: str, lag: float = LAG) -> AsyncIterator[list[Follower]]:
    made = [Follower(server.url, name, lag) for name in names]
    try:
        yield [await one.start() for one in made]
    finally:
        await cancel_all()
        for one in made:
            await one.store.stop()


async def test_a_purge_reaches_every_edge_and_is_acknowledged(server: Valkey) -> None:
    async with edges(server, "a", "b", "c") as followers:
        assert [one.state for one in followers] == [State.CONFIRMED] * 3
        assert len({one.id for one in followers}) == 1, "one of them made the generation, all follow it"
        held = [stored(one.purges.mark()) for one in followers]
        purge = await followers[0].stream.append((URL,))
        await until(lambda: all(one.id == purge for one in followers))
        for one, found in zip(followers, held, strict=True):
            assert one.purges.judge(found) is Verdict.GONE
            assert one.purges.applied[-1].id == purge
            assert one.purges.by_kind["url", "hard"] == 1
        assert sum(one.lags.tallies[()].count for one in followers) == 3


async def test_many_purges_at_once_arrive_in_order_and_once(server: Valkey) -> None:
    async with edges(server, "a", "b") as (a, b):
        sent = [one.stream.append((Rule(Kind.TAG, b"%d" % n),)) for n in range(150) for one in (a, b)]
        ids = await asyncio.gather(*sent)
        assert sorted(int(one.rpartition("-")[2]) for one in ids) == list(range(1, 301))
        await until(lambda: a.id == b.id and a.purges.place is not None and a.purges.place.sequence == 300)
        for one in (a, b):
            assert one.purges.by_kind["tag", "hard"] == 300
            assert [int(each.id.rpartition("-")[2]) for each in one.purges.applied] == list(range(1, 301))


async def test_who_joins_later_starts_where_the_stream_ends(server: Valkey) -> None:
    async with edges(server, "a") as (a,):
        purge = await a.stream.append((URL,))
        await until(lambda: a.id == purge)
        async with edges(server, "b") as (b,):
            assert (b.id, b.state) == (purge, State.CONFIRMED)
            assert b.purges.rules.number == 0


async def test_what_a_response_invalidated_reaches_the_others(server: Valkey) -> None:
    async with edges(server, "a", "b") as (a, b):
        held = stored(b.purges.mark(), groups=(b"news",))
        a.purges.invalidate_groups(b"http://h", [b"news"])
        await until(lambda: b.purges.rules.number)
        assert b.purges.judge(held) is Verdict.GONE
        await until(lambda: a.id == b.id)
        assert a.purges.by_kind["group", "hard"] == 1, "its own word, come back, is not applied again"


async def lost(follower: Follower, reason: Lost) -> None:
    await until(lambda: follower.purges.lost[reason] == 1)
    await until(lambda: follower.state is State.CONFIRMED)
    assert sum(follower.purges.lost.values()) == 1
    assert reason.value in follower.told()


async def test_a_store_that_forgot_everything_carries_another_generation(server: Valkey) -> None:
    async with edges(server, "a", "b") as (a, b):
        await a.stream.append((URL,))
        await until(lambda: a.id == b.id != None)  # noqa: E711
        held, before = stored(b.purges.mark()), b.id
        await a.store.call("FLUSHALL")
        await lost(a, Lost.GENERATION)
        await lost(b, Lost.GENERATION)
        assert a.id == b.id != before
        assert b.purges.judge(held) is Verdict.SOFT


async def test_the_first_purge_of_a_new_generation_wakes_who_waits_in_the_old_one(server: Valkey) -> None:
    async with edges(server, "a", "b", lag=30.0) as (a, b):
        await a.stream.append((URL,))
        await until(lambda: a.id == b.id)
        await a.store.call("FLUSHALL")
        await a.stream.append((URL,))
        await until(lambda: b.purges.lost[Lost.GENERATION] and a.id == b.id, within=5.0)  # confirms every 7 s


async def test_a_gap_is_noticed_although_a_trimmed_stream_reads_as_nothing(server: Valkey) -> None:
    async with edges(server, "a") as (a,):
        held = stored(a.purges.mark())
        await cancel_all()  # it hears nothing for a while
        other = await Follower(server.url, "b").start()
        for _ in range(3):
            last = await other.stream.append((URL,))
        stream = scripts.keys("lab")[1]
        assert await other.store.call("XTRIM", stream, "MAXLEN", 0) == 4
        assert not await a.store.wait("XREAD", "BLOCK", 1, "STREAMS", stream, "0-0", within=5.0)
        await a.stream.start()
        assert a.purges.lost[Lost.GAP] == 1
        assert (a.id, a.state) == (last, State.CONFIRMED)
        assert a.purges.judge(held) is Verdict.SOFT
        await cancel_all()
        await other.store.stop()


async def test_more_than_one_answer_holds_is_read_to_the_end_before_it_counts(server: Valkey) -> None:
    async with edges(server, "a") as (a,):
        await cancel_all()
        other = await Follower(server.url, "b").start()
        for ten in range(45):
            await asyncio.gather(
                *(other.stream.append((Rule(Kind.TAG, b"%d" % (ten * 10 + n)),)) for n in range(10))
            )
        a.purges.heard(asked=0.0, now=now(), current=False)
        a.purges.standing.until = now()  # frozen until now
        assert a.state is State.BEHIND
        await a.stream.start()
        assert (a.id, a.state) == (f"{other.purges.place.generation}-450", State.CONFIRMED)  # type: ignore[union-attr]
        assert a.purges.by_kind["tag", "hard"] == 450
        await cancel_all()
        await other.store.stop()


@pytest.mark.parametrize("newer", [0, 1, 3])
async def test_an_older_copy_of_the_store_is_noticed(server: Valkey, tmp_path: Path, newer: int) -> None:
    """A snapshot is restored that lacks the last two purges, and `newer` others are posted before the edge looks."""
    keys = scripts.keys("lab")
    async with edges(server, "a") as (a,):
        await a.stream.append((URL,))
        saved = [await a.store.call("DUMP", key) for key in keys]
        for _ in range(2):
            last = await a.stream.append((URL,))
        await until(lambda: a.id == last)
        held = stored(a.purges.mark())
        await cancel_all()
        await a.store.call("FLUSHALL")
        for key, dump in zip(keys, saved, strict=True):
            await a.store.call("RESTORE", key, 0, dump)
        other = await Follower(server.url, "b").start()
        assert other.id == f"{last.rpartition('-')[0]}-1", "to a newcomer nothing is odd about it"
        for _ in range(newer):
            await other.stream.append((Rule(Kind.TAG, b"x"),))
        await a.stream.start()
        assert a.purges.lost[Lost.ROLLED_BACK] == 1
        assert a.purges.judge(held) is Verdict.SOFT
        # the others may never have heard of what was lost: they are told by a new generation
        await until(lambda: other.purges.lost[Lost.GENERATION] == 1 and other.id == a.id)
        await cancel_all()
        await other.store.stop()


async def test_what_nobody_understands_makes_everything_stale(server: Valkey) -> None:
    async with edges(server, "a") as (a,):
        await a.store.eval(scripts.APPEND, scripts.keys("lab"), ["g", "l", b'{"rules": [["newer"]]}', 100])
        await until(lambda: a.purges.lost[Lost.UNREADABLE] == 1)
        assert a.purges.place is not None
        assert a.purges.place.sequence == 1
        last = await a.stream.append((URL,))
        await until(lambda: a.id == last)


async def test_a_stream_that_does_not_fit_its_state_is_made_anew(server: Valkey) -> None:
    state, stream = scripts.keys("lab")
    async with edges(server, "a") as (a,):
        await a.store.call("XADD", stream, "99999999999999-0", "somebody", "meddled")
        purge = await a.stream.append((URL,))
        await until(lambda: a.id == purge)
        assert a.purges.lost[Lost.GENERATION] == 1
        await a.store.call("DEL", state)
        await until(lambda: a.purges.lost[Lost.GENERATION] == 2)


async def test_the_store_keeps_a_bounded_stream(server: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.purge.stream.STREAM_MAX", 100)
    async with edges(server, "a") as (a,):
        for _ in range(5):
            await asyncio.gather(*(a.stream.append((URL,)) for _ in range(100)))
        assert await a.store.call("XLEN", scripts.keys("lab")[1]) <= 200


class Watch:
    """Looks at an edge's state each millisecond."""

    def __init__(self, follower: Follower) -> None:
        self._seen: set[State] = set()
        self._late = 0.0
        self._task = asyncio.ensure_future(self._look(follower))

    async def _look(self, follower: Follower) -> None:
        while True:
            before = now()
            self._seen.add(follower.state)
            await asyncio.sleep(0.001)
            self._late = max(self._late, now() - before)

    def saw(self, expected: set[State]) -> None:
        """These states and no others; but a loop that stood still for longer than a read is early may be behind."""
        self._task.cancel()
        allowed = {State.BEHIND} if self._late > EARLY * LAG / 2 else set()
        assert expected <= self._seen <= expected | allowed


async def appended(follower: Follower) -> str:
    """Post a purge as soon as the store is there."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await follower.stream.append((URL,))
            except StoreAway:
                await asyncio.sleep(SOON)


# -- the store goes and comes ------------------------------------------------------------------------------------------


async def test_without_the_store_an_edge_is_blind_and_never_behind_and_catches_up_before_it_is_confirmed(
    server: Valkey,
) -> None:
    async with edges(server, "a") as (a,):
        watch = Watch(a)
        server.stop()
        await until(lambda: a.state is State.BLIND)
        with pytest.raises(StoreAway):
            await a.stream.append((URL,))
        server.start()
        await server.answering()
        await until(lambda: a.state is State.CONFIRMED)
        watch.saw({State.CONFIRMED, State.BLIND})
        assert a.purges.lost[Lost.GENERATION] == 1, "the new server has another memory"
        told = a.told()
        assert (told[:2], told[-2:]) == (["confirmed", "blind"], ["generation", "confirmed"])


async def test_a_frozen_store_makes_blind_and_its_thaw_confirms(server: Valkey) -> None:
    async with edges(server, "a") as (a,):
        watch = Watch(a)
        server.signal(signal.SIGSTOP)
        begun = now()
        await until(lambda: a.state is State.BLIND)
        assert now() - begun < LAG * 3
        assert a.purges.confirmed_until > now(), "it serves"
        server.signal(signal.SIGCONT)
        await until(lambda: a.state is State.CONFIRMED)
        watch.saw({State.CONFIRMED, State.BLIND})
        assert not any(a.purges.lost.values())
        purge = await a.stream.append((URL,))
        await until(lambda: a.id == purge)


async def test_a_store_that_starts_anew_at_once_is_not_missed(server: Valkey, tmp_path: Path) -> None:
    """Within the time that a word is good, with its memory on disk: nothing happens."""
    server.stop()
    server.start("--appendonly", "yes", "--appendfsync", "always")
    await server.answering()
    async with edges(server, "a", lag=20.0) as (a,):
        purge = await a.stream.append((URL,))
        await until(lambda: a.id == purge)
        server.stop()
        server.start("--appendonly", "yes", "--appendfsync", "always")
        await server.answering()
        purge = await appended(a)
        await until(lambda: a.id == purge)
        assert a.told() == ["confirmed"]
        assert not any(a.purges.lost.values())


async def test_an_edge_that_starts_without_the_store_is_blind_after_one_read(valkey: Valkey) -> None:
    follower = Follower(valkey.url, "a")
    assert follower.state is State.BEHIND
    begun = now()
    await follower.start()
    assert follower.state is State.BLIND
    assert now() - begun < LAG
    valkey.start()
    await valkey.answering()
    await until(lambda: follower.state is State.CONFIRMED)
    assert not any(follower.purges.lost.values()), "nothing was stored before that could be stale"
    await cancel_all()
    await follower.store.stop()


async def test_a_store_that_answers_slowly_confirms_or_not_but_leaves_nobody_behind(
    server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer takes two thirds of the lag: the next read is due when it comes, and has to be quicker."""
    async with edges(server, "a") as (a,):
        ask = a.store.ask

        async def slowly(*command: Any, within: float) -> Any:
            begun = now()
            async with asyncio.timeout(within):
                await asyncio.sleep(LAG * 2 / 3)
                return await ask(*command, within=max(0.01, begun + within - now()))

        async def or_away(*command: Any, within: float) -> Any:
            try:
                return await slowly(*command, within=within)
            except TimeoutError:
                raise StoreAway("too slow") from None

        monkeypatch.setattr(a.store, "ask", or_away)
        watch = Watch(a)
        for state in (State.BLIND, State.CONFIRMED, State.BLIND):
            await until(lambda wanted=state: a.state is wanted)  # type: ignore[misc]
        watch.saw({State.CONFIRMED, State.BLIND})
