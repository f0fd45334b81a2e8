"""Sessions in a real store: two servers write one cart, and the store goes, comes and forgets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cdnlab.node.store import Store, StoreAway
from origin import sessions
from origin.cart import Refusal, Refused, Session
from origin.sessions import Clustered, Keeper, Local
from tests.origin.test_items_shelf import Start, _until, stores

__all__ = ["stores"]
Stores = tuple[Store, Store, Start]


def put(number: int) -> Callable[[Session], None]:
    return lambda session: session.put(number)


async def refusal_of(what: Awaitable[object]) -> Refusal:
    with pytest.raises(Refused) as refused:
        await what
    return refused.value.refusal


async def test_what_one_server_keeps_the_other_knows(stores: Stores) -> None:
    one, other = Clustered(stores[0], "lab", 60), Clustered(stores[1], "lab", 60)
    identity = await one.make(Session("kim"))
    assert (await other.read(identity)).user == "kim"
    await other.change(identity, put(3))
    assert (await one.read(identity)).cart == {3: 1}
    assert identity not in str(await stores[0].call("KEYS", "*")), "the store holds no cookie"
    await other.end(identity)
    assert await refusal_of(one.read(identity)) is Refusal.UNKNOWN_SESSION
    assert await refusal_of(one.change(identity, put(1))) is Refusal.UNKNOWN_SESSION
    assert await stores[0].call("DBSIZE") == 0, "nothing is left of it"


async def test_two_servers_that_write_one_session_lose_no_item(stores: Stores) -> None:
    both = [Clustered(store, "lab", 60) for store in stores[:2]]
    identity = await both[0].make(Session("kim"))
    again = 0

    def counting(number: int) -> Callable[[Session], None]:
        def act(session: Session) -> None:
            nonlocal again
            again += 1
            session.put(number)

        return act

    for _ in range(4):
        await asyncio.gather(*(both[n % 2].change(identity, counting(n % 5 + 1)) for n in range(16)))
    found = await both[1].read(identity)
    assert found.pieces == 64
    assert found.version == 65
    assert again > 64, "they did come between one another"


async def test_a_writer_who_always_loses_is_told(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "TRIES", 3)
    one = Clustered(stores[0], "lab", 60)
    identity = await one.make(Session("kim"))
    key = one._key(identity)
    monkeypatch.setattr(
        sessions, "REPLACE", "redis.call('SET', KEYS[1], ARGV[1] .. ' ', 'KEEPTTL') return ARGV[1]"
    )
    assert await refusal_of(one.change(identity, put(1))) is Refusal.CONTENDED
    assert await stores[1].call("PTTL", key) > 0


async def test_sessions_in_the_store_expire_from_their_last_use(stores: Stores) -> None:
    keeper = Clustered(stores[0], "lab", 1.0)
    used, unused = await keeper.make(Session("a")), await keeper.make(Session("b"))
    async with asyncio.timeout(20):
        while True:
            await keeper.read(used)
            if await stores[0].call("EXISTS", keeper._key(unused)) == 0:
                break
            await asyncio.sleep(0.05)
    assert (await keeper.read(used)).user == "a"
    await keeper.make(Session("c"))
    assert await stores[0].call("ZCARD", keeper._index) == 2, "the index forgets what has expired"


async def test_sessions_in_the_store_are_bounded(stores: Stores) -> None:
    keeper = Clustered(stores[0], "lab", 60, most=3)
    made = []
    for name in "abcd":
        made.append(await keeper.make(Session(name)))
        await asyncio.sleep(0.002)  # the store's clock tells milliseconds, by which it knows the oldest
    assert keeper.evicted == 1
    assert await refusal_of(keeper.read(made[0])) is Refusal.UNKNOWN_SESSION
    assert [(await keeper.read(identity)).user for identity in made[1:]] == ["b", "c", "d"]
    assert await stores[0].call("DBSIZE") == 4


async def test_while_the_store_is_away_nothing_is_done_from_memory(stores: Stores) -> None:
    first, second, start = stores
    one, other = Clustered(first, "lab", 60), Clustered(second, "lab", 60)
    identity = await one.make(Session("kim"))
    with pytest.raises(StoreAway):
        await first.call("SHUTDOWN", "NOSAVE")
    for keeper in (one, other):
        for call in (keeper.read(identity), keeper.change(identity, put(1)), keeper.end(identity)):
            assert await refusal_of(call) is Refusal.STORE_AWAY
        assert await refusal_of(keeper.make(Session("lee"))) is Refusal.STORE_AWAY
    start()
    await _until(lambda: first.up and second.up)
    assert await refusal_of(one.read(identity)) is Refusal.UNKNOWN_SESSION, "that store kept nothing on disk"
    assert (await other.read(await one.make(Session("lee")))).user == "lee"


async def test_a_local_session_is_one_servers_own() -> None:
    keepers: list[Keeper] = [Local(60), Local(60)]
    identity = await keepers[0].make(Session("kim"))
    assert (await keepers[0].change(identity, put(2))).cart == {2: 1}
    assert await refusal_of(keepers[1].read(identity)) is Refusal.UNKNOWN_SESSION
    assert [len(keeper) for keeper in keepers] == [1, 0]
    await keepers[0].end(identity)
    assert await refusal_of(keepers[0].read(identity)) is Refusal.UNKNOWN_SESSION


async def test_a_change_that_is_refused_in_the_middle_leaves_a_local_session_alone() -> None:
    keeper = Local(60)
    identity = await keeper.make(Session("kim", {1: 1, 2: 999}))

    def act(session: Session) -> None:
        session.take(1)
        session.put(2)

    assert await refusal_of(keeper.change(identity, act)) is Refusal.FULL
    found = await keeper.read(identity)
    assert (found.cart, found.version) == ({1: 1, 2: 999}, 1)
