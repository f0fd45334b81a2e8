"""Limits that count for all balancers together, against a real store that is killed, frozen and started again."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from cdnlab.net import tasks
from cdnlab.net.clock import now
from cdnlab.node.log import Events
from cdnlab.node.node import Node
from cdnlab.node.store import Store
from cdnlab.plan.routes import RateLimitSpec
from lb.app import Balancer
from lb.rate_limit import RateLimit
from lb.rate_share import RateShare
from tests.node.conftest import Valkey, valkey  # noqa: F401
from tests.support.balancers import Running, topology
from tests.support.peers import Origin, until

NEVER = 0.0001
"""Requests per second that come to nothing while a test runs."""


class Side:
    """One balancer's limit and its tie to the others."""

    def __init__(self, store: Store, limit: RateLimit) -> None:
        self.store = store
        self.limit = limit
        self.share = RateShare(store, "test")
        self.share.serve([limit])
        self.share.start()

    def spend(self, count: int, client: bytes = b"\x7f\x00\x00\x01") -> int:
        """So many requests at once; how many passed."""
        return sum(self.limit.wait(client, now()) == 0 for _ in range(count))

    async def told(self) -> None:
        """Everything that passed is known to the store, or given up."""
        limit = self.limit
        await until(lambda: self.share.told + limit.untold == limit.passed, "the batch is told")


@asynccontextmanager
async def sides(
    valkey: Valkey,  # noqa: F811
    rate: float = NEVER,
    burst: int = 10,
    count: int = 2,
) -> AsyncIterator[list[Side]]:
    valkey.start()
    await valkey.answering()
    made = []
    for _ in range(count):
        store = Store(valkey.url, Events())
        await store.start()
        spec = RateLimitSpec(requests=rate, burst=burst, shared=True)
        made.append(Side(store, RateLimit("shop.example/api", spec)))
    try:
        yield made
    finally:
        for each in made:
            each.share.stop()
            await each.store.stop()
        await tasks.cancel_all()


async def test_what_one_has_let_through_counts_at_the_other(valkey: Valkey) -> None:  # noqa: F811
    async with sides(valkey) as (one, other):
        assert one.spend(15) == 10
        await one.told()
        assert other.spend(1) == 1  # nothing is asked before a request is let through
        await other.told()
        assert other.spend(5) == 0
        assert other.spend(5, b"another client") == 5


async def test_the_sum_is_exact_but_for_what_one_batch_lets_through(valkey: Valkey) -> None:  # noqa: F811
    async with sides(valkey, burst=50, count=3) as made:
        passed = 0
        for turn in range(60):
            side = made[turn % 3]
            passed += side.spend(3)
            await side.told()
        assert 50 <= passed <= 50 + 3 * 3


async def test_many_clients_are_told_in_several_batches(valkey: Valkey) -> None:  # noqa: F811
    async with sides(valkey, burst=1) as (one, other):
        clients = [b"client %d" % number for number in range(700)]
        assert sum(one.spend(2, client) for client in clients) == 700
        await one.told()
        assert sum(other.spend(1, client) for client in clients) == 700
        await other.told()
        assert sum(other.spend(1, client) for client in clients) == 0
        ahead = [other.limit.gcra.ahead(client, now()) for client in clients]
        assert min(ahead) > 1.9 / NEVER  # both requests of each count


async def test_nothing_is_left_of_clients_that_are_quiet(valkey: Valkey) -> None:  # noqa: F811
    async with sides(valkey, rate=1000, burst=5) as (one, _):
        for number in range(50):
            one.spend(5, b"client %d" % number)
        await one.told()
        left = [1]

        async def look() -> bool:
            left[0] = await one.store.call("DBSIZE")
            return left[0] == 0

        deadline = now() + 10
        while not await look():
            assert now() < deadline, f"{left[0]} keys are left"


async def test_killed_each_counts_for_itself_and_afterwards_together_again(valkey: Valkey) -> None:  # noqa: F811
    async with sides(valkey) as (one, other):
        valkey.stop()
        assert (one.spend(15), other.spend(15)) == (10, 10)
        await one.told()
        await other.told()
        assert one.limit.untold == 10
        assert one.share.told == 0
        valkey.start()
        await until(lambda: one.store.up and other.store.up, "the store is back")
        assert one.spend(4, b"new") == 4
        await one.told()
        assert other.spend(7, b"new") == 7
        await other.told()
        assert other.spend(1, b"new") == 0


async def test_frozen_nothing_waits_and_thawed_it_goes_on(valkey: Valkey) -> None:  # noqa: F811
    async with sides(valkey) as (one, other):
        valkey.signal(signal.SIGSTOP)
        assert one.spend(15) == 10
        await one.told()
        assert one.limit.untold == 10
        valkey.signal(signal.SIGCONT)
        await until(lambda: one.store.up and other.store.up, "the store answers again")
        assert one.spend(10, b"new") == 10
        await one.told()
        assert one.share.told == 10
        assert other.spend(1, b"new") == 1
        await other.told()
        assert other.spend(1, b"new") == 0


async def test_a_store_with_other_things_under_our_keys_harms_nobody(valkey: Valkey) -> None:  # noqa: F811
    async with sides(valkey) as (one, _):
        key = "cdnlab:test:rate:shop.example/api:" + b"odd".hex()
        await one.store.call("RPUSH", key, "a", "list")
        assert one.spend(3, b"odd") == 3
        await one.told()
        assert one.limit.untold == 3
        assert one.store.up
        await one.store.set("cdnlab:test:rate:shop.example/api:" + b"word".hex(), "not a number")
        assert one.spend(3, b"word") == 3
        await one.told()
        assert one.share.told == 3


async def test_two_balancers_and_one_client(valkey: Valkey) -> None:  # noqa: F811
    valkey.start()
    await valkey.answering()
    limit = {"requests": NEVER, "burst": 6, "shared": True}
    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(Origin())
        plan = topology(origin, routes=[{"pool": "servers", "rate_limit": limit}])
        running = []
        for _ in range(2):
            store = Store(valkey.url, Events())
            await store.start()
            stack.push_async_callback(store.stop)
            node = Node(plan, "lb", store=store)
            app = Balancer(node)
            node.serve(app)
            await app.start()
            stack.push_async_callback(app.stop)
            running.append(Running(node, app))
        one, other = running
        statuses = []
        async with await one.client() as client:
            statuses += [(await client.get()).status for _ in range(6)]
            share = one.app.proxy and one.app.proxy.rate_share
            assert share is not None
            await until(lambda: share.told == 6, "the first balancer has told")
        async with await other.client() as client:
            statuses.append((await client.get()).status)
            heard = other.app.proxy and other.app.proxy.rate_share
            assert heard is not None
            await until(lambda: heard.told == 1, "the second balancer has heard")
            statuses.append((await client.get()).status)
        assert statuses == [200] * 7 + [429]
        valkey.stop()
        await until(lambda: not (one.node.store and one.node.store.up), "the store is away")
        assert [row["feature"] for row in one.node.degrades.status()] == ["rate_limits"]
    await tasks.cancel_all()
