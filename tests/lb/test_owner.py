"""The balancer chooses by the edge's key where the pool does: the same backend for the same key, whoever asks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from cdnlab.forward.key import key_prefix
from cdnlab.forward.owner import edge_key, owner, sharing
from tests.support.balancers import Running, balancer
from tests.support.peers import OK, Origin, Wire, until


async def serve(wire: Wire) -> None:
    while True:
        await wire.request()
        await wire.send(OK)


@asynccontextmanager
async def origins(count: int) -> AsyncIterator[list[Origin]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Origin(serve)) for _ in range(count)]


def served_by(running: Running) -> list[str]:
    return [row["backend"] for row in running.rows()]


def expected(running: Running, key: bytes) -> str:
    """The owner by the function that edges use, too."""
    backends = running.app.forwarders["servers"].pool.backends
    found = owner(sharing("same", backends, running.node.secrets.hash_key), key)
    assert found is not None
    return found.name


def key(target: bytes, host: bytes = b"example.test", scheme: bytes = b"http") -> bytes:
    return edge_key(key_prefix(scheme, host), target)


@pytest.mark.parametrize("algorithm", ["ring_hash", "bounded_load"])
async def test_each_key_goes_to_its_owner(algorithm: str) -> None:
    async with origins(3) as servers, balancer(*servers, pool={"algorithm": algorithm}) as running:
        async with await running.client() as client:
            for number in range(60):
                target = b"/%d?q=1" % number
                assert (await client.get(target)).status == 200
                assert served_by(running)[-1] == expected(running, key(target))
            await client.get(b"/0?q=1", host=b"Other.Test:81")
            assert served_by(running)[-1] == expected(running, key(b"/0?q=1", b"other.test:81"))
        assert len(Counter(served_by(running))) == 3


async def test_the_keys_own_spelling_counts_and_not_the_clients() -> None:
    """What is one key to an edge is one to the balancer: canonical target, host, what a route's rule leaves."""
    plan = {"routes": [{"pool": "servers", "query": {"drop": ["utm_*"], "sort": True}}]}
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(origins(5))
        running = await stack.enter_async_context(balancer(*servers, pool={"algorithm": "ring_hash"}, **plan))
        async with await running.client() as client:
            for number in range(20):
                plain = b"/a%d?b=2&c=3" % number
                for target in (plain, b"/a%d?utm_source=x&c=3&b=2" % number, b"/./%%61%d?b=2&c=3" % number):
                    await client.get(target, b"Accept: %d" % number)
                    assert served_by(running)[-1] == expected(running, key(plain)), target
                await client.get(b"http://example.test" + plain, host=b"ignored.test")
                assert served_by(running)[-1] == expected(running, key(plain))


async def test_the_key_has_the_scheme_and_host_that_are_sent_on() -> None:
    pool = {"algorithm": "ring_hash", "origin_host": "App.test", "forwarded_proto": "https"}
    async with (
        origins(5) as servers,
        balancer(*servers, pool=pool) as running,
        await running.client() as client,
    ):
        for number in range(20):
            await client.get(b"/%d" % number)
            assert served_by(running)[-1] == expected(running, key(b"/%d" % number, b"app.test", b"https"))


async def test_who_cannot_be_reached_is_followed_by_the_next_on_the_ring() -> None:
    async with origins(3) as servers, balancer(*servers, pool={"algorithm": "bounded_load"}) as running:
        pool = running.app.forwarders["servers"].pool
        gone = servers[1]
        name = pool.backends[1].name
        await gone.__aexit__(None, None, None)
        async with await running.client() as client:
            for number in range(30):
                target = b"/%d" % number
                order = [backend.name for backend in pool.candidates(key=key(target))]
                assert (await client.get(target)).status == 200
                wanted = order[1] if order[0] == name else order[0]
                assert served_by(running)[-1] == wanted


async def test_an_owner_with_more_than_its_share_in_flight_is_spared() -> None:
    release = asyncio.Event()

    async def slow(wire: Wire) -> None:
        while True:
            await wire.request()
            await release.wait()
            await wire.send(OK)

    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(Origin(slow)) for _ in range(4)]
        running = await stack.enter_async_context(balancer(*servers, pool={"algorithm": "bounded_load"}))
        pool = running.app.forwarders["servers"].pool
        clients = [await stack.enter_async_context(await running.client()) for _ in range(16)]
        asking = [asyncio.ensure_future(client.get(b"/hot")) for client in clients]
        await until(lambda: sum(backend.live for backend in pool.backends) == 16, "all are in flight")
        assert max(backend.live for backend in pool.backends) == 5  # 1.25 x 16 / 4
        release.set()
        assert {(await each).status for each in asking} == {200}


async def test_a_pool_that_does_not_choose_by_key_makes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> bytes:
        raise AssertionError("a key was made for nothing")

    monkeypatch.setattr("lb.http_proxy.edge_key", never)
    nearest = {"algorithm": "nearest", "inner": "bounded_load"}
    for count, pool in ((1, {"algorithm": "bounded_load"}), (2, {}), (1, nearest)):
        async with AsyncExitStack() as stack:
            servers = await stack.enter_async_context(origins(count))
            running = await stack.enter_async_context(balancer(*servers, pool=pool))
            client = await stack.enter_async_context(await running.client())
            assert (await client.get(b"/")).status == 200
            assert (await client.get(b"/")).status == 200


async def test_what_our_nodes_tell_each_other_is_taken_from_no_stranger() -> None:
    """An edge believes it of a balancer: that a sibling asks, how far purges were followed, and what else there is."""
    said = (b"Cdnlab-Sibling: edge-a", b"Cdnlab-Purged: x-1", b"Cdnlab-Whatever: 1", b"Cdnlab-Hop: x")
    async with origins(1) as servers:
        async with balancer(*servers) as running, await running.client() as client:
            await client.get(b"/", *said)
        assert not [name for name, _ in servers[0].requests[0].fields if name.startswith(b"cdnlab-")]
