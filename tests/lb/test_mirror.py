"""Mirroring on real sockets: what a copy is, which requests get none, and that no copy ever touches its request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from lb import mirror as module
from lb.mirror import Copied, Mirror
from tests.support.balancers import Running, balancer, topology
from tests.support.peers import OK, Message, Origin, Script, Wire, until


async def plain(wire: Wire) -> None:
    while True:
        await wire.request()
        await wire.send(OK)


class Two:
    """A balancer, the pool that answers and the pool that gets copies."""

    def __init__(self, lb: Running, first: Origin, second: Origin) -> None:
        self.lb = lb
        self.first = first
        self.second = second

    @property
    def mirror(self) -> Mirror:
        assert self.lb.app.proxy is not None
        return next(self.lb.app.proxy.routes.mirrors())

    @property
    def counts(self) -> dict[str, int]:
        return {str(how): count for how, count in self.mirror.counts.items() if count}

    async def copies(self, count: int) -> list[Message]:
        """So many have reached the second pool, and nothing is under way any more."""
        await until(lambda: len(self.second.requests) >= count and not self.mirror.flying, f"{count} copies")
        return self.second.requests


@asynccontextmanager
async def two(
    second: Script = plain, first: Script = plain, share: float = 1.0, **more: Any
) -> AsyncIterator[Two]:
    async with Origin(first) as one, Origin(second) as other:
        pools = {
            name: {
                "backends": [{"name": name, "address": "127.0.0.1", "port": each.port}],
                "health": {"kind": "none"},
            }
            for name, each in (("main", one), ("shadow", other))
        }
        pools["shadow"].update(more.pop("shadow", {}))
        routes = [{"pool": "main", "mirror": {"pool": "shadow", "share": share}}]
        async with balancer(plan=topology(pools=pools, routes=routes, **more)) as lb:
            yield Two(lb, one, other)


def post(body: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join([b"POST /a?b HTTP/1.1", b"Host: a.test", *lines, b"", b""]) + body


async def test_a_copy_is_the_request_and_bears_a_mark() -> None:
    async with two() as made, await made.lb.client() as client:
        lines = (b"Cookie: a=b", b"Accept-Language: ko", b"Cdnlab-Mirrored: a lie")
        assert (await client.get(b"/x?y=1", *lines, host=b"shop.test")).status == 200
        (copy,) = await made.copies(1)
        (sent,) = made.first.requests
        assert copy.line == sent.line == b"GET /x?y=1 HTTP/1.1"
        assert copy.one(b"cdnlab-mirrored") == b"lb"
        assert sent.one(b"cdnlab-mirrored") is None
        assert [field for field in copy.fields if field[0] != b"cdnlab-mirrored"] == sent.fields
        assert copy.one(b"host") == b"shop.test"
        assert made.counts == {"answered": 1}
        assert made.lb.results() == ["ok"]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 5000, 60_000])
async def test_bodies_are_copied(size: int, chunked: bool) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with two() as made, await made.lb.client() as client:
        if chunked:
            pieces = b"%x\r\n%b\r\n" % (size, body) if size else b""
            await client.send(post(pieces + b"0\r\n\r\n", b"Transfer-Encoding: chunked"))
        else:
            await client.send(post(body, b"Content-Length: %d" % size))
        assert (await client.response()).status == 200
        (copy,) = await made.copies(1)
        assert (copy.body, made.first.requests[0].body) == (body, body)
        assert (await client.get()).status == 200
        assert len(await made.copies(2)) == 2


async def test_a_body_beyond_the_replay_buffer_is_not_copied() -> None:
    async with two(upstream={"replay_bytes": 1000}) as made, await made.lb.client() as client:
        await client.send(post(bytes(1001), b"Content-Length: 1001"))
        assert (await client.response()).status == 200
        assert made.counts == {"too_large": 1}
        await client.send(post(bytes(1000), b"Content-Length: 1000"))
        assert (await client.response()).status == 200
        (copy,) = await made.copies(1)
        assert len(copy.body) == 1000


async def test_expect_is_for_the_first_pool_only() -> None:
    async def careful(wire: Wire) -> None:
        message = await wire.request_head()
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await wire.body(message)
        await wire.send(OK)

    async with two(first=careful) as made, await made.lb.client() as client:
        await client.send(post(b"", b"Content-Length: 4", b"Expect: 100-continue"))
        assert (await client.interim()).status == 100
        await client.send(b"body")
        assert (await client.response()).status == 200
        (copy,) = await made.copies(1)
        assert copy.one(b"expect") is None
        assert made.first.requests[0].one(b"expect") == b"100-continue"
        assert copy.body == b"body"


async def test_half_a_body_is_not_copied() -> None:
    async with two() as made:
        async with await made.lb.client() as client:
            await client.send(post(b"half", b"Content-Length: 8"))
            await until(
                lambda: made.lb.app.forwarders["main"].pool.backends[0].live == 1, "the request is under way"
            )
        await until(lambda: made.counts == {"incomplete": 1}, "it is given up")
        assert not made.second.requests


async def test_an_upgrade_is_not_copied() -> None:
    async with two() as made, await made.lb.client() as client:
        assert (await client.get(b"/", b"Connection: Upgrade", b"Upgrade: chat")).status == 200
        assert made.counts == {"upgrade": 1}
        assert not made.second.requests


async def test_a_share_is_spread_evenly() -> None:
    async with two(share=0.25) as made, await made.lb.client() as client:
        for number in range(40):
            await client.get(b"/%d" % number)
        found = [int(copy.line[5:].split(b" ")[0]) for copy in await made.copies(10)]
        assert len(found) == 10
        assert {after - before for before, after in pairwise(found)} == {4}


@pytest.mark.parametrize("bad", ["silent", "resets", "garbage", "endless", "slow head", "101", "huge"])
async def test_nothing_that_the_second_pool_does_touches_the_request(
    bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 3)

    async def second(wire: Wire) -> None:
        await wire.request()
        match bad:
            case "resets":
                wire.reset()
            case "garbage":
                await wire.send(b"\x00\xff nonsense\r\n\r\n")
            case "endless":
                await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            case "slow head":
                await wire.send(b"HTTP/1.1 200")
            case "101":
                await wire.send(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\nConnection: Upgrade\r\n\r\n"
                )
            case "huge":
                await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + bytes(1000))
        if bad != "resets":
            await wire.rest()

    async with two(second) as made, await made.lb.client() as client:
        for number in range(12):
            assert (await client.get(b"/%d" % number)).body == b"ok"
        assert made.lb.results() == ["ok"] * 12
        if bad in ("silent", "endless", "slow head"):
            await until(lambda: len(made.mirror.flying) == 3, "as many as may be")
            assert made.counts["full"] == 9
        else:
            await until(lambda: not made.mirror.flying, "none is under way")
            assert set(made.counts) <= {"failed", "cut", "full"}
        assert sum(made.counts.values()) + len(made.mirror.flying) == 12
    assert not made.mirror.flying  # the end of the balancer is the end of them


async def test_a_second_pool_that_is_not_there_is_no_trouble() -> None:
    async with two() as made, await made.lb.client() as client:
        await made.second.__aexit__(None, None, None)
        assert [(await client.get()).status for _ in range(5)] == [200] * 5
        await until(lambda: made.counts == {"failed": 5}, "all have failed")
        made.lb.app.forwarders["shadow"].pool.drain("shadow")
        assert (await client.get()).status == 200
        assert made.counts == {"failed": 6}


async def test_an_old_copy_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    monkeypatch.setattr(module, "OLD", 0.0)

    async def silent(wire: Wire) -> None:
        await wire.request()
        await wire.rest()

    async with two(silent) as made, await made.lb.client() as client:
        for _ in range(6):
            await client.get()
        assert (made.counts, len(made.mirror.flying)) == ({"cut": 4}, 2)


async def test_a_request_that_fails_is_copied_all_the_same() -> None:
    async def broken(wire: Wire) -> None:
        await wire.request()
        wire.reset()

    async with two(first=broken) as made, await made.lb.client() as client:
        assert (await client.get()).status == 502
        await made.copies(1)
        made.lb.app.forwarders["main"].pool.drain("main")
        assert (await client.get()).status == 503
        assert len(await made.copies(2)) == 2


async def test_the_second_pool_has_its_own_host_and_scheme() -> None:
    shadow = {"origin_host": "shadow.test", "forwarded_proto": "https"}
    async with two(shadow=shadow) as made, await made.lb.client() as client:
        await client.get(b"/", host=b"shop.test")
        (copy,) = await made.copies(1)
        assert (copy.one(b"host"), copy.one(b"x-forwarded-proto")) == (b"shadow.test", b"https")
        assert copy.one(b"x-forwarded-host") == b"shop.test"
        assert made.first.requests[0].one(b"host") == b"shop.test"


async def test_pipelined_requests_are_copied_each_as_it_was() -> None:
    async with two() as made, await made.lb.client() as client:
        await client.send(
            b"".join(
                post(b"%04d" % number, b"Content-Length: 4", b"X-N: %d" % number) for number in range(20)
            )
        )
        for _ in range(20):
            assert (await client.response()).status == 200
        copies = await made.copies(20)
        assert sorted((copy.one(b"x-n"), copy.body) for copy in copies) == sorted(
            (b"%d" % number, b"%04d" % number) for number in range(20)
        )


@pytest.mark.parametrize("share", [1.0, 0.5, 0.3, 0.001])
def test_the_share_is_exact(share: float) -> None:
    mirror = Mirror("shadow", share)
    assert abs(sum(mirror.take() for _ in range(10_000)) - 10_000 * share) <= 1


def test_every_result_has_a_sentence() -> None:
    assert all(how.sentence for how in Copied)


async def test_copies_are_spread_as_their_requests_would_be() -> None:
    """A second pool that chooses by what is asked for has the key of each request."""
    async with Origin() as first, Origin() as one, Origin() as two_:
        pools = {
            name: {
                "backends": [
                    {"name": f"{name}-{number}", "address": "127.0.0.1", "port": each.port}
                    for number, each in enumerate(every)
                ],
                "health": {"kind": "none"},
                "algorithm": "maglev",
            }
            for name, every in (("main", [first]), ("shadow", [one, two_]))
        }
        plan = topology(
            first, pools=pools, routes=[{"pool": "main", "mirror": {"pool": "shadow", "share": 1.0}}]
        )
        async with balancer(plan=plan) as lb, await lb.client() as client:
            for number in range(24):
                assert (await client.get(b"/%d" % (number // 2))).status == 200
            await until(lambda: len(one.requests) + len(two_.requests) == 24, "all are copied")
            targets = [{request.line for request in each.requests} for each in (one, two_)]
            assert all(targets)
            assert not targets[0] & targets[1]
