"""Algorithms on real sockets: who is asked by which client, and what a change of algorithm does to open connections."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest

from cdnlab.node.node import BadRequest
from tests.support.balancers import Running, balancer
from tests.support.peers import Origin, Wire, until

CLIENTS = [f"127.0.{number}.9" for number in range(10, 40)]


def answering(name: str) -> Any:
    """A server that says its name, whatever is asked."""

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%b" % name.encode())

    return script


async def three(stack: AsyncExitStack, **pool: Any) -> Running:
    """A balancer before servers that answer a, b and c."""
    servers = [await stack.enter_async_context(Origin(answering(name))) for name in "abc"]
    return await stack.enter_async_context(
        balancer(*servers, pool=pool, clients={"trusted": ["127.0.0.77", "127.0.0.78"]})
    )


async def ask(wire: Wire, target: bytes = b"/", extra: bytes = b"") -> str:
    await wire.send(b"GET %b HTTP/1.1\r\nHost: a.test\r\n%b\r\n" % (target, extra))
    return (await wire.response()).body.decode()


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "source_hash"},
        {"algorithm": "maglev", "hash_on": "source"},
        {"algorithm": "ring_hash", "hash_on": "source"},
        {"algorithm": "nearest", "inner": "source_hash"},
    ],
)
async def test_a_client_finds_its_server_again_whatever_it_asks_for(settings: dict[str, Any]) -> None:
    async with AsyncExitStack() as stack:
        lb = await three(stack, **settings)
        found = {}
        for address in CLIENTS:
            asked = set()
            for number in range(2):
                async with await lb.client(source=address) as client:
                    asked |= {await ask(client, b"/%d" % number), await ask(client, b"/again")}
            assert len(asked) == 1
            found[address] = asked.pop()
        assert len(set(found.values())) == 3


async def test_behind_a_trusted_peer_the_client_is_who_that_peer_says() -> None:
    """The rightmost address that is not trusted; what a stranger writes there counts for nothing."""
    async with AsyncExitStack() as stack:
        lb = await three(stack, algorithm="source_hash")
        direct = {}
        for address in CLIENTS[:8]:
            async with await lb.client(source=address) as client:
                direct[address] = await ask(client)
        assert len(set(direct.values())) > 1
        async with await lb.client(source="127.0.0.77") as peer:
            for address, name in direct.items():
                chain = b"X-Forwarded-For: 203.0.113.1, %b, 127.0.0.78\r\n" % address.encode()
                assert await ask(peer, extra=chain) == name
        async with await lb.client(source=CLIENTS[0]) as stranger:
            for address in direct:
                assert (
                    await ask(stranger, extra=b"X-Forwarded-For: %b\r\n" % address.encode())
                    == direct[CLIENTS[0]]
                )


async def test_keys_are_targets_by_default() -> None:
    async with AsyncExitStack() as stack:
        lb = await three(stack, algorithm="maglev")
        async with await lb.client() as client:
            found = {target: await ask(client, b"/%d" % target) for target in range(20)}
            assert len(set(found.values())) == 3
        async with await lb.client(source=CLIENTS[0]) as client:
            assert {target: await ask(client, b"/%d" % target) for target in range(20)} == found


async def test_open_connections_learn_of_another_algorithm() -> None:
    """What a connection remembers of its last request must not outlive the way in which the pool chose."""
    async with AsyncExitStack() as stack:
        lb = await three(stack)
        async with await lb.client() as client:
            assert Counter([await ask(client) for _ in range(6)]) == {"a": 2, "b": 2, "c": 2}
            pool = lb.app.forwarders["servers"].pool
            pool.set_algorithm("maglev")
            found = {target: await ask(client, b"/%d" % target) for target in range(20)}
            assert {target: await ask(client, b"/%d" % target) for target in range(20)} == found
            assert len(set(found.values())) == 3
            pool.set_algorithm("source_hash")
            assert len({await ask(client, b"/%d" % target) for target in range(20)}) == 1
            pool.set_algorithm("round_robin")
            assert Counter([await ask(client) for _ in range(6)]) == {"a": 2, "b": 2, "c": 2}


async def test_the_quicker_server_gets_most() -> None:
    """Power of two choices hears of the time to each response's head."""
    async with AsyncExitStack() as stack:
        lb = await three(stack, algorithm="power_of_two")
        async with await lb.client() as client:
            for _ in range(12):
                await ask(client)
            slow = lb.backend(0)
            assert all(lb.backend(number).ewma > 0 for number in range(3))
            slow.ewma, slow.ewma_at = 30.0, lb.app.forwarders["servers"].pool.algorithm.now
            assert "a" not in {await ask(client) for _ in range(30)}


async def test_the_standby_serves_while_the_active_one_is_away_and_no_longer() -> None:
    async with AsyncExitStack() as stack:
        lb = await three(stack, algorithm="first")
        async with await lb.client() as client:
            assert {await ask(client) for _ in range(4)} == {"a"}
            pool = lb.app.forwarders["servers"].pool
            pool.drain("server-1")
            assert {await ask(client) for _ in range(4)} == {"b"}
            pool.enable("server-1")
            await until(lambda: lb.backend(0).usable, "the active one is usable")
            assert {await ask(client) for _ in range(4)} == {"a"}


@pytest.mark.parametrize("algorithm", ["first", "least_connections", "power_of_two", "random", "maglev"])
async def test_who_was_drained_since_the_first_attempt_is_not_the_second(algorithm: str) -> None:
    """The candidates were lined up before; a retry must not be what a draining server gets as new."""
    asked = []

    def dying(name: str) -> Any:
        async def script(wire: Wire) -> None:
            await wire.request()
            asked.append(name)
            if (
                len(asked) == 2
            ):  # only the third one answers; meanwhile all who were not asked are drained but one
                pool = lb.app.forwarders["servers"].pool
                left = [f"server-{number}" for number in range(1, 6) if f"server-{number}" not in asked]
                for other in left[:-1]:
                    pool.drain(other)
            if len(asked) < 3:
                wire.reset()
            else:
                await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        return script

    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(Origin(dying(f"server-{number}"))) for number in range(1, 6)
        ]
        lb = await stack.enter_async_context(balancer(*servers, pool={"algorithm": algorithm}))
        async with await lb.client() as client:
            await client.send(b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n")
            assert (await client.response()).status == 200
        (served,) = asked[2:]
        drained = {backend.name for backend in lb.app.forwarders["servers"].pool.backends if backend.draining}
        assert len(drained) == 2
        assert served not in drained


@pytest.mark.parametrize("do", [None, 1, [], ["drain"], {}, "dance"])
async def test_an_order_that_is_none_is_refused(do: Any) -> None:
    async with Origin() as origin, balancer(origin) as lb:
        assert lb.node.pools is not None
        with pytest.raises(BadRequest, match="a pool can't"):
            lb.node.pools({"pool": "servers", "do": do, "backend": "server-1"})
