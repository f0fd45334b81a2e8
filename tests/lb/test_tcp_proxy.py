"""TCP through the balancer at layer 4, on real sockets: what is carried, how it ends, and who is tried."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest

from cdnlab.net.clock import now
from lb.flow_entry import Ended
from lb.l4_linked import Linked
from lb.l4_stats import Refused
from lb.tcp_proxy import TcpProxy
from tests.support.balancers import Running, balancer
from tests.support.peers import Origin, Wire, dial, free_port, until

BIG = os.urandom(1 << 20) * 6

#: Where the bytes go through sockets of ours, and where through a link: the backend 12 ms away.
NEAR: dict[str, Any] = {"distance": {"enabled": False}}
FAR: dict[str, Any] = {"distance": {"enabled": True}, "place": "nrt"}
BOTH = pytest.mark.parametrize("where", [NEAR, FAR], ids=["near", "far"])


def l4(
    *origins: Origin | int,
    where: dict[str, Any] = NEAR,
    pool: dict[str, Any] | None = None,
    sections: dict[str, Any] | None = None,
    **spec: Any,
) -> Any:
    """A balancer with one port at layer 4 before `origins`."""
    backends = [
        {
            "name": f"server-{number}",
            "address": "127.0.0.1",
            "port": each if isinstance(each, int) else each.port,
            **({"place": where["place"]} if "place" in where else {}),
        }
        for number, each in enumerate(origins, 1)
    ]
    around = {
        "ports": {"base": 0},
        "distance": where["distance"],
        "l4": {"tcp": {"protocol": "tcp", "pool": "servers"} | spec},
    }
    return balancer(pool={"backends": backends} | (pool or {}), **around, **(sections or {}))


def proxy(running: Running) -> TcpProxy:
    assert running.app.layer4 is not None
    return running.app.layer4.tcp[0]


async def client(running: Running, source: str | None = None, receive: int = 0, port: int = 0) -> Wire:
    if not port:
        return await dial(proxy(running).address[1], source=source, receive=receive)
    sock = socket.socket()
    sock.setblocking(False)
    sock.bind(("127.0.0.1", port))
    await asyncio.get_running_loop().sock_connect(sock, proxy(running).address)
    return Wire(sock)


async def echo(wire: Wire) -> None:
    while data := await wire.some():
        await wire.send(data)


async def over(running: Running, why: Ended, count: int = 1) -> None:
    await until(lambda: proxy(running).ends[why] >= count, f"a flow ends: {why}; {proxy(running).status()}")


# -- what is carried ------------------------------------------------------------------------------------------------


@BOTH
async def test_bytes_go_both_ways_at_once_and_none_is_lost(where: dict[str, Any]) -> None:
    async with Origin(echo) as origin, l4(origin, where=where) as lb, await client(lb) as wire:
        sending = asyncio.ensure_future(wire.send(BIG))
        assert await wire.exactly(len(BIG)) == BIG
        await sending
        wire.half_close()
        assert await wire.rest() == b""
        await over(lb, Ended.DONE)
        assert (proxy(lb).up, proxy(lb).down) == (len(BIG), len(BIG))


async def test_what_is_large_never_enters_the_process_and_what_is_small_does() -> None:
    async with Origin(echo) as origin, l4(origin) as lb, await client(lb) as wire:
        relay = proxy(lb).relay
        assert relay is not None
        for _ in range(20):
            await wire.send(b"x" * 1000)
            assert await wire.exactly(1000) == b"x" * 1000
        assert relay.spliced == 0
        sending = asyncio.ensure_future(wire.send(BIG))
        assert await wire.exactly(len(BIG)) == BIG
        await sending
        assert relay.spliced > len(BIG) // 4  # of both directions; how much comes at a time is the kernel's
        await wire.send(b"y")
        assert await wire.exactly(1) == b"y"


async def test_without_pipes_it_is_copied_and_as_right() -> None:
    async with Origin(echo) as origin, l4(origin) as lb, await client(lb) as wire:
        relay = proxy(lb).relay
        assert relay is not None
        relay.pipes.most = 0
        sending = asyncio.ensure_future(wire.send(BIG))
        assert await wire.exactly(len(BIG)) == BIG
        await sending
        assert relay.spliced == 0


@BOTH
@pytest.mark.parametrize("size", [10, 300_000])
async def test_a_byte_that_is_marked_as_urgent_is_carried_and_holds_nothing_up(
    where: dict[str, Any], size: int
) -> None:
    async with Origin(echo) as origin, l4(origin, where=where) as lb, await client(lb) as wire:
        sending = asyncio.ensure_future(wire.send(BIG[:size]))
        assert await wire.exactly(size) == BIG[:size]
        await sending
        wire.sock.send(b"!", socket.MSG_OOB)
        sending = asyncio.ensure_future(wire.send(BIG[:size]))
        assert await wire.exactly(size + 1) == b"!" + BIG[:size]
        await sending
        sending = asyncio.ensure_future(wire.send(BIG[:size]))
        assert await wire.exactly(size // 2) == BIG[: size // 2]
        await sending
        wire.sock.send(b"!", socket.MSG_OOB)
        wire.half_close()
        assert await wire.rest() == BIG[size // 2 : size] + b"!"


@BOTH
async def test_a_server_may_speak_first(where: dict[str, Any]) -> None:
    async def greet(wire: Wire) -> None:
        await wire.send(b"220 hello\r\n")
        await wire.rest()

    async with Origin(greet) as origin, l4(origin, where=where) as lb, await client(lb) as wire:
        assert await wire.until(b"\r\n") == b"220 hello\r\n"


# -- half-close and resets ------------------------------------------------------------------------------------------


@BOTH
async def test_the_client_ends_its_half_and_still_gets_the_answer(where: dict[str, Any]) -> None:
    heard = []

    async def answer_at_the_end(wire: Wire) -> None:
        heard.append(await wire.rest())
        await wire.send(BIG)

    async with Origin(answer_at_the_end) as origin, l4(origin, where=where) as lb, await client(lb) as wire:
        await wire.send(b"question")
        wire.half_close()
        assert await wire.rest() == BIG
        assert heard == [b"question"]
        await over(lb, Ended.DONE)


@BOTH
async def test_the_server_ends_its_half_and_still_hears_the_client(where: dict[str, Any]) -> None:
    heard = []

    async def done_speaking(wire: Wire) -> None:
        await wire.send(b"last words")
        wire.half_close()
        heard.append(await wire.rest())

    async with Origin(done_speaking) as origin, l4(origin, where=where) as lb, await client(lb) as wire:
        assert await wire.rest() == b"last words"
        await wire.send(BIG)
        wire.half_close()
        await over(lb, Ended.DONE)
        await until(lambda: heard, "the server has heard all")
        assert heard == [BIG]


@BOTH
async def test_a_reset_stays_a_reset(where: dict[str, Any]) -> None:
    """An end in order would tell the other side that it has everything."""
    ends = []

    async def script(wire: Wire) -> None:
        if await wire.some() == b"reset":
            wire.reset()
        else:
            ends.append(await wire.ended())

    async with Origin(script) as origin, l4(origin, where=where) as lb:
        async with await client(lb) as wire:
            await wire.send(b"reset")
            assert await wire.ended() == "reset"
        await over(lb, Ended.BACKEND)
        wire = await client(lb)
        await wire.send(b"wait")
        await until(lambda: len(origin.wires) == 2, "the second connection")
        await until(lambda: proxy(lb).flows, "a flow")
        await asyncio.sleep(0.05)
        wire.reset()
        await over(lb, Ended.CLIENT)
        await until(lambda: ends, "the server hears of it")
        assert ends == ["reset"]


# -- back-pressure --------------------------------------------------------------------------------------------------


async def test_an_answer_before_the_end_of_the_request_reaches_the_client() -> None:
    """The balancer hears of the next bytes to send first, and then that nobody takes them."""
    servers: list[Wire] = []

    async def wait(wire: Wire) -> None:
        servers.append(wire)
        await asyncio.Event().wait()

    async with Origin(wait) as origin, l4(origin) as lb, await client(lb) as wire:
        await wire.send(b"x" * 1000)
        flows = proxy(lb).flows
        await until(lambda: any(each.carrier and each.carrier.up == 1000 for each in flows), "it was relayed")
        await until(lambda: bool(servers), "the server knows its client")
        wire.sock.send(b"more")
        servers[0].sock.send(b"413 too large")
        servers[0].sock.close()  # with bytes unread: a reset
        assert await wire.exactly(13) == b"413 too large"
        await over(lb, Ended.BACKEND)
        assert lb.backend().streak == 0


@BOTH
async def test_a_client_that_never_reads_holds_the_server_up_and_is_ended(where: dict[str, Any]) -> None:
    sent = 0

    async def pour(wire: Wire) -> None:
        nonlocal sent
        loop = asyncio.get_running_loop()
        while True:
            await loop.sock_sendall(wire.sock, BIG[: 1 << 18])
            sent += 1 << 18

    async with Origin(pour) as origin, l4(origin, where=where, idle_timeout=0.4) as lb:
        wire = await client(lb, receive=4096)
        await over(lb, Ended.IDLE)
        assert sent < 64 << 20  # what kernels hold, and the balancer a buffer or a pipe of it
        assert proxy(lb).flows == set()
        relay = proxy(lb).relay
        assert relay is not None
        assert relay.pipes.made == len(relay.pipes._free)
        wire.close()


@BOTH
async def test_one_that_reads_slowly_gets_all(where: dict[str, Any]) -> None:
    async def pour(wire: Wire) -> None:
        await wire.send(BIG)

    async with Origin(pour) as origin, l4(origin, where=where) as lb, await client(lb, receive=65536) as wire:
        got = bytearray()
        while len(got) < len(BIG):
            got += await wire.some(200_000)
            await asyncio.sleep(0)
        assert got == BIG


# -- idle, and servers that mean no good ------------------------------------------------------------------------------


@BOTH
async def test_a_server_that_never_answers_is_waited_for_as_long_as_a_flow_may_be_idle(
    where: dict[str, Any],
) -> None:
    async def silence(wire: Wire) -> None:
        await wire.rest()

    async with (
        Origin(silence) as origin,
        l4(origin, where=where, idle_timeout=0.3) as lb,
        await client(lb) as wire,
    ):
        await wire.send(b"anybody there?")
        assert await wire.ended() in ("closed", "reset")
        await over(lb, Ended.IDLE)


async def test_a_byte_now_and_then_keeps_a_flow() -> None:
    async def trickle(wire: Wire) -> None:
        for _ in range(12):
            await wire.send(b".")
            await asyncio.sleep(0.1)

    async with Origin(trickle) as origin, l4(origin, idle_timeout=0.5) as lb, await client(lb) as wire:
        assert await wire.rest() == b"." * 12
        assert proxy(lb).ends[Ended.IDLE] == 0


async def test_resets_before_a_byte_count_against_a_server_until_it_is_left_out() -> None:
    async def reset(wire: Wire) -> None:
        wire.reset()

    async with (
        Origin(reset) as bad,
        Origin(echo) as good,
        l4(bad, good, pool={"algorithm": "round_robin"}) as lb,
    ):
        for _ in range(12):
            async with await client(lb) as wire:
                try:
                    await wire.send(b"x")
                    await wire.some()
                except ConnectionError:
                    pass
        server = lb.backend(0)
        assert server.ejected_until > 0
        assert not server.usable
        async with await client(lb) as wire:
            await wire.send(b"x")
            assert await wire.exactly(1) == b"x"


# -- choosing and connecting ------------------------------------------------------------------------------------------


async def test_who_refuses_is_passed_over_for_the_next() -> None:
    async with Origin(echo) as origin, l4(free_port(), origin) as lb:
        for _ in range(2):
            async with await client(lb) as wire:
                await wire.send(b"x")
                assert await wire.exactly(1) == b"x"
        assert proxy(lb).retries >= 1
        assert lb.backend(0).failures >= 1
        assert lb.backend(0).live == 0


async def test_who_does_not_take_the_connection_is_passed_over_in_time() -> None:
    """Its backlog is full, so the kernel drops every SYN, as a host that is gone does."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        fill = [socket.socket() for _ in range(3)]
        for each in fill:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        pool = {"algorithm": "first"}
        async with Origin(echo) as origin, l4(port, origin, pool=pool, connect_timeout=0.2) as lb:
            async with await client(lb) as wire:
                await wire.send(b"x")
                assert await wire.exactly(1) == b"x"
            assert proxy(lb).retries == 1
        for each in fill:
            each.close()


async def test_who_is_given_up_while_he_is_connected_for_leaves_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        fill = [socket.socket() for _ in range(3)]
        for each in fill:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        async with l4(port) as lb, await client(lb) as wire:
            await until(lambda: lb.backend().live == 1, "it is connected for")
            proxy(lb).abort_all("a test")
            assert await wire.ended() == "reset"
            await until(lambda: lb.backend().live == 0, "the backend is free")
            assert (proxy(lb).flows, proxy(lb).around.flows, proxy(lb).per_client) == (set(), 0, {})
        for each in fill:
            each.close()


async def test_flows_for_which_there_are_no_descriptors_are_refused_and_no_backend_is_blamed() -> None:
    async with Origin(echo) as origin, l4(origin) as lb, await client(lb) as one:
        await one.send(b"x")
        assert await one.exactly(1) == b"x"
        proxy(lb).around.most = 1
        try:
            async with await client(lb) as two:
                ended = await two.ended()
        except ConnectionError:
            ended = "reset"
        assert ended == "reset"
        assert proxy(lb).refusals[Refused.SYSTEM] == 1
        assert lb.backend().failures == 0


async def test_where_nobody_can_be_reached_the_client_is_reset() -> None:
    async with l4(free_port(), free_port()) as lb, await client(lb) as wire:
        assert await wire.ended() == "reset"
        assert proxy(lb).refusals[Refused.UNREACHABLE] == 1
        assert [lb.backend(number).live for number in (0, 1)] == [0, 0]


@pytest.mark.parametrize("bound", ["requests", "connections"])
async def test_a_backend_has_no_more_flows_than_its_limit(bound: str) -> None:
    pool = {"algorithm": "first", "breaker": {bound: 1}}
    async with Origin(echo) as one, Origin(echo) as two, l4(one, two, pool=pool) as lb:
        wires = []
        for _ in range(2):
            wires.append(await client(lb))
            await wires[-1].send(b"x")
            assert await wires[-1].exactly(1) == b"x"
        assert (one.connections, two.connections) == (1, 1)
        async with await client(lb) as wire:
            assert await wire.ended() == "reset"
        assert proxy(lb).refusals[Refused.NO_BACKEND] == 1
        for wire in wires:
            wire.close()


async def test_a_drained_backend_keeps_its_flows_and_gets_no_new_ones() -> None:
    async with Origin(echo) as one, Origin(echo) as two, l4(one, two, pool={"algorithm": "first"}) as lb:
        async with await client(lb) as before:
            await before.send(b"x")
            assert await before.exactly(1) == b"x"
            lb.app.forwarders["servers"].pool.drain("server-1")
            async with await client(lb) as after:
                await after.send(b"y")
                assert await after.exactly(1) == b"y"
            await before.send(b"z")
            assert await before.exactly(1) == b"z"
        assert (one.connections, two.connections) == (1, 1)


async def test_a_source_that_the_table_knows_goes_where_it_went() -> None:
    """As after a takeover: the entry came from the other balancer."""
    async with Origin(echo) as one, Origin(echo) as two, l4(one, two, pool={"algorithm": "first"}) as lb:
        layer4 = lb.app.layer4
        assert layer4 is not None
        table, vip = layer4.flows.table, proxy(lb).address
        for drained, expected in ((False, (0, 1)), (True, (0, 2))):
            if drained:
                lb.app.forwarders["servers"].pool.drain("server-2")
            port = free_port()
            handle = table.open(("127.0.0.1", port), vip, ("127.0.0.1", 1), lb.backend(1), "tcp", now())
            assert handle is not None
            table.close(handle, now(), Ended.LOST)
            async with await client(lb, port=port) as wire:
                await wire.send(b"x")
                assert await wire.exactly(1) == b"x"
            assert (one.connections, two.connections) == expected


async def test_one_source_has_one_backend() -> None:
    pool = {"algorithm": "source_hash"}
    async with Origin(echo) as one, Origin(echo) as two, l4(one, two, pool=pool) as lb:
        for source in ("127.0.0.1", "127.9.0.7"):
            before = (one.connections, two.connections)
            for _ in range(6):
                async with await client(lb, source=source) as wire:
                    await wire.send(b"x")
                    assert await wire.exactly(1) == b"x"
            grown = sorted((one.connections - before[0], two.connections - before[1]))
            assert grown == [0, 6]


# -- the flow table -------------------------------------------------------------------------------------------------


@BOTH
async def test_the_table_has_both_four_tuples_and_the_bytes(where: dict[str, Any]) -> None:
    seen = []

    async def tell(wire: Wire) -> None:
        seen.append("{}:{}".format(*wire.sock.getpeername()))
        await wire.send(b"12345")
        await wire.rest()

    async with (
        Origin(tell) as origin,
        l4(origin, where=where, idle_timeout=0.9) as lb,
        await client(lb) as wire,
    ):
        await wire.exactly(5)
        (flow,) = proxy(lb).flows
        assert isinstance(flow.carrier, Linked) is (where is FAR)
        await wire.send(b"123")
        layer4 = lb.app.layer4
        assert layer4 is not None
        await until(lambda: layer4.flows.shown()["rows"][0]["up"] == 3, "the bytes stand in the table")
        row = layer4.flows.shown()["rows"][0]
        assert row["client"] == "{}:{}".format(*wire.sock.getsockname())
        assert row["vip"] == f"127.0.0.1:{proxy(lb).address[1]}"
        assert row["local"] == seen[0]
        assert row["remote"] == f"127.0.0.1:{origin.port}"
        assert (row["backend"], row["state"], row["down"]) == ("server-1", "active", 5)
        wire.half_close()
        assert await wire.rest() == b""
        await over(lb, Ended.DONE)
        assert layer4.flows.shown()["rows"][0]["state"] != "active"
