"""Before there is a flow at layer 4: PROXY headers, ClientHellos, limits, a VIP that is not held, a drain."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cdnlab.net.clock import now
from cdnlab.wire import proxy_protocol
from lb.flow_entry import Ended
from lb.l4_names import ServerNames
from lb.l4_stats import Refused
from tests.lb.test_tcp_proxy import client, echo, l4, over, proxy
from tests.support.balancers import Running, balancer
from tests.support.certificates import self_signed
from tests.support.peers import Origin, Wire, dial, until

TRUSTED = "127.0.0.5"
SOURCE, DESTINATION = ("203.0.113.7", 4711), ("198.51.100.1", 443)
V1 = proxy_protocol.build_v1(SOURCE, DESTINATION)
V2 = proxy_protocol.build_v2(SOURCE, DESTINATION, checksum=True)
SHORT: dict[str, Any] = {"limits": {"header_timeout": 0.3}}


async def turned_away(running: Running, source: str = "127.0.0.1", data: bytes = b"") -> None:
    """A client is reset: while it still connects, when it speaks, or when it listens."""
    try:
        async with await client(running, source) as wire:
            await wire.send(data)
            got = await wire.some()
    except ConnectionError:
        return
    raise AssertionError(f"it was let in, and got {got!r}")


def refused(running: Running, why: Refused) -> int:
    return proxy(running).refusals[why]


@asynccontextmanager
async def expecting(
    *origins: Origin, pool: dict[str, Any] | None = None, **spec: Any
) -> AsyncIterator[Running]:
    """A balancer that requires PROXY headers from TRUSTED."""
    backends = [
        {"name": f"server-{number}", "address": "127.0.0.1", "port": each.port}
        for number, each in enumerate(origins, 1)
    ]
    entry = {"protocol": "tcp", "pool": "servers", "accept_proxy": True} | spec
    async with balancer(
        pool={"backends": backends} | (pool or {}),
        ports={"base": 0},
        l4={"tcp": entry},
        clients={"trusted": [TRUSTED]},
        **SHORT,
    ) as running:
        yield running


# -- PROXY headers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("step", [1, 7, 1000])
async def test_a_header_says_who_the_client_is_wherever_it_is_cut(header: bytes, step: int) -> None:
    async with Origin(echo) as origin, expecting(origin) as lb, await client(lb, TRUSTED) as wire:
        data = header + b"hello"
        for at in range(0, len(data), step):
            await wire.send(data[at : at + step])
        assert await wire.exactly(5) == b"hello"
        (flow,) = proxy(lb).flows
        assert (flow.client, flow.vip) == (SOURCE, DESTINATION)
        assert proxy(lb).per_client == {SOURCE[0]: 1}


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", proxy_protocol.build_v2(None, None)])
async def test_a_header_without_a_client_leaves_the_peer(header: bytes) -> None:
    async with Origin(echo) as origin, expecting(origin) as lb, await client(lb, TRUSTED) as wire:
        await wire.send(header + b"x")
        assert await wire.exactly(1) == b"x"
        (flow,) = proxy(lb).flows
        assert flow.client[0] == TRUSTED


LIES = {
    "no header": b"GET / HTTP/1.1\r\n\r\n",
    "a port that is none": b"PROXY TCP4 203.0.113.7 198.51.100.1 70000 443\r\n",
    "another family than it says": b"PROXY TCP6 203.0.113.7 198.51.100.1 4711 443\r\n",
    "a line without an end": b"PROXY TCP4 " + b"1" * 120,
    "a checksum of something else": V2[:-1] + bytes([V2[-1] ^ 1]),
    "a length that ends in the addresses": proxy_protocol.SIGNATURE + b"\x21\x11\x00\x05abcde",
    "a length beyond all use": proxy_protocol.SIGNATURE + b"\x21\x11\xff\xff",
    "a datagram": proxy_protocol.build_v2(SOURCE, DESTINATION, datagram=True),
    "version 3": proxy_protocol.SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_header_with_a_lie_in_it_is_refused(lie: str) -> None:
    async with Origin(echo) as origin, expecting(origin) as lb, await client(lb, TRUSTED) as wire:
        await wire.send(LIES[lie])
        assert await wire.ended() == "reset"
        assert refused(lb, Refused.PROXY_HEADER) == 1
        assert origin.connections == 0


@pytest.mark.parametrize("part", [b"", V1[:20], V2[:14], V2[:20]])
async def test_a_header_that_is_cut_in_half_is_waited_for_and_then_refused(part: bytes) -> None:
    async with Origin(echo) as origin, expecting(origin) as lb, await client(lb, TRUSTED) as wire:
        if part:
            await wire.send(part)
        assert await wire.ended() == "reset"
        assert refused(lb, Refused.PROXY_LATE) == 1
        assert (origin.connections, proxy(lb).flows, proxy(lb).per_client) == (0, set(), {})


async def test_whoever_leaves_in_the_middle_of_it_is_forgotten() -> None:
    async with Origin(echo) as origin, expecting(origin) as lb, await client(lb, TRUSTED) as wire:
        await wire.send(V1[:10])
        wire.half_close()
        await until(lambda: refused(lb, Refused.CLIENT_LEFT), "it is refused")
        assert proxy(lb).flows == set()


async def test_strangers_may_not_connect_where_headers_are_required() -> None:
    async with Origin(echo) as origin, expecting(origin) as lb:
        await turned_away(lb, "127.0.0.6", V1)
        assert refused(lb, Refused.STRANGER) == 1
        assert origin.connections == 0


async def test_where_none_is_required_a_header_is_bytes_like_any_other() -> None:
    async with Origin(echo) as origin, l4(origin) as lb, await client(lb) as wire:
        await wire.send(V1)
        assert await wire.exactly(len(V1)) == V1
        (flow,) = proxy(lb).flows
        assert flow.client == wire.sock.getsockname()


async def test_the_limit_of_a_client_holds_behind_a_proxy() -> None:
    async with (
        Origin(echo) as origin,
        expecting(origin, max_flows_per_client=1) as lb,
        await client(lb, TRUSTED) as one,
    ):
        await one.send(V1 + b"x")
        assert await one.exactly(1) == b"x"
        await turned_away(lb, TRUSTED, V1)
        assert refused(lb, Refused.TOO_MANY_FROM_CLIENT) == 1


async def told(
    version: str, source: str | None = None, header: bytes = b""
) -> tuple[bytes, tuple[str, int], int]:
    """What the backend gets before the client's bytes, the client's address, and the balancer's port."""
    got = []

    async def take(wire: Wire) -> None:
        got.append(await wire.until(b"BYTES"))
        await wire.send(b"k")

    pool = {"send_proxy": version}
    async with Origin(take) as origin:
        around = expecting(origin, pool=pool) if header else l4(origin, pool=pool)
        async with around as lb, await client(lb, source) as wire:
            await wire.send(header + b"BYTES")
            assert await wire.exactly(1) == b"k"
            return got[0], wire.sock.getsockname(), proxy(lb).address[1]


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_backend_is_told_who_the_client_is(version: str) -> None:
    data, address, port = await told(version)
    parsed = proxy_protocol.parse(data)
    assert parsed is not None
    assert (parsed.version, parsed.source, parsed.destination) == (
        int(version[1]),
        address,
        ("127.0.0.1", port),
    )
    assert data[parsed.size :] == b"BYTES"


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
async def test_what_a_proxy_before_us_said_is_passed_on(version: str, header: bytes) -> None:
    data, _, _ = await told(version, TRUSTED, header)
    parsed = proxy_protocol.parse(data)
    assert parsed is not None
    assert (parsed.source, parsed.destination) == (SOURCE, DESTINATION)


# -- TLS by server name ----------------------------------------------------------------------------------------------


class Secure:
    """A TLS server that says its name; it alone has the key."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(path)
        self.server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Secure:
        self.server = await asyncio.start_server(self._say, "127.0.0.1", 0, ssl=self.context)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self.server is not None
        self.server.close()

    async def _say(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.name.encode())
        writer.close()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls") / "key.pem", "*.example.com")


@asynccontextmanager
async def by_name(*servers: int, **spec: Any) -> AsyncIterator[Running]:
    """Pools a, b, other by server name."""
    pools = {
        name: {"backends": [{"name": name, "address": "127.0.0.1", "port": port}], "health": {"kind": "none"}}
        for name, port in zip(("a", "b", "other"), servers, strict=True)
    }
    names = {"shop.example.com": "a", "*.example.com": "b"}
    entry = {"protocol": "tcp", "pool": "other", "sni": names} | spec
    async with balancer(
        ports={"base": 0},
        l4={"tcp": entry},
        pools=pools,
        routes=[{"pool": "a"}],
        **SHORT,
    ) as running:
        yield running


async def ask(running: Running, name: str | None) -> str:
    """Which server answers a TLS client that asks for a name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", proxy(running).address[1], ssl=context, server_hostname=name or ""
    )
    try:
        return (await reader.read()).decode()
    finally:
        writer.transport.abort()


async def test_tls_is_passed_through_and_goes_by_the_name(key: Path) -> None:
    async with Secure(key, "a") as a, Secure(key, "b") as b, Secure(key, "other") as other:  # noqa: SIM117 -- one line
        async with by_name(a.port, b.port, other.port) as lb:
            asked = [
                "shop.example.com",
                "www.example.com",
                "x.y.example.com",
                "example.com",
                "elsewhere.test",
                None,
            ]
            assert [await ask(lb, name) for name in asked] == ["a", "b", "b", "other", "other", "other"]


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", b"\x16\x03\x01\x00\x05\x02"]
)
async def test_what_is_no_hello_is_refused(garbage: bytes) -> None:
    async with Origin(echo) as origin, by_name(origin.port, origin.port, origin.port) as lb:
        async with await client(lb) as wire:
            await wire.send(garbage)
            assert await wire.ended() == "reset"
        assert refused(lb, Refused.CLIENT_HELLO) == 1
        assert origin.connections == 0


async def test_a_hello_a_byte_at_a_time_has_its_time() -> None:
    async with Origin(echo) as origin, by_name(origin.port, origin.port, origin.port) as lb:
        async with await client(lb) as wire:
            for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500):
                try:
                    await wire.send(bytes([byte]))
                except ConnectionError:
                    break
                await asyncio.sleep(0.01)
        assert refused(lb, Refused.HELLO_LATE) == 1
        assert origin.connections == 0


async def test_the_hello_reaches_the_backend_byte_by_byte_as_it_was() -> None:
    sent = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="www.example.com")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = sent.read()
    async with Origin(echo) as origin, by_name(*[origin.port] * 3) as lb, await client(lb) as wire:
        for at in range(0, len(hello), 50):
            await wire.send(hello[at : at + 50])
            await asyncio.sleep(0.001)
        await wire.send(b"and more")
        assert await wire.exactly(len(hello) + 8) == hello + b"and more"


async def test_behind_a_proxy_header_comes_a_hello() -> None:
    """Both in one segment: what is left of the one is the beginning of the other."""
    async with Origin(echo) as origin, expecting(origin, sni={"*.example.com": "servers"}) as lb:
        async with await client(lb, TRUSTED) as wire:
            await wire.send(V2 + b"no TLS")
            assert await wire.ended() == "reset"
        assert refused(lb, Refused.CLIENT_HELLO) == 1


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        ("a.test", "exact"),
        ("b.a.test", "below"),
        ("c.b.a.test", "below"),
        ("test", "none"),
        (None, "none"),
        ("xa.test", "none"),
    ],
)
def test_the_exact_name_comes_first_then_the_longest_above(name: str | None, pool: str) -> None:
    assert ServerNames({"A.test": "exact", "*.a.test": "below"}, "none").pool(name) == pool


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_a_flood_of_clients_that_say_nothing_is_bounded_and_passes() -> None:
    async with Origin(echo) as origin, by_name(origin.port, origin.port, origin.port, max_flows=100) as lb:
        silent = [socket.socket() for _ in range(300)]
        for sock in silent:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", proxy(lb).address[1]))
        await until(lambda: proxy(lb).accepted == 300, "all are accepted")
        assert len(proxy(lb).flows) <= 100
        assert refused(lb, Refused.TOO_MANY) >= 200
        await until(lambda: not proxy(lb).flows, "those that say nothing are given up")
        assert refused(lb, Refused.HELLO_LATE) + refused(lb, Refused.TOO_MANY) == 300
        assert proxy(lb).per_client == {}
        for sock in silent:
            sock.close()


async def test_flows_and_those_of_one_client_are_bounded() -> None:
    async with Origin(echo) as origin, l4(origin, max_flows=3, max_flows_per_client=2) as lb:
        wires = [await client(lb, source) for source in ("127.0.0.1", "127.0.0.1", "127.0.0.2")]
        for wire in wires:
            await wire.send(b"x")
            assert await wire.exactly(1) == b"x"
        await turned_away(lb, "127.0.0.3")
        assert refused(lb, Refused.TOO_MANY) == 1
        wires.pop().close()
        await over(lb, Ended.DONE)
        await turned_away(lb, "127.0.0.1")
        assert refused(lb, Refused.TOO_MANY_FROM_CLIENT) == 1
        async with await client(lb, "127.0.0.2") as again:
            await again.send(b"y")
            assert await again.exactly(1) == b"y"
        for wire in wires:
            wire.close()


async def test_a_client_that_connects_too_often_is_turned_away() -> None:
    limits = {"connection_rate": 0.01, "connection_burst": 2}
    async with Origin(echo) as origin, l4(origin, sections={"limits": limits}) as lb:
        for source in ("127.0.0.5", "127.0.0.5", "127.0.0.6"):
            async with await client(lb, source) as wire:
                await wire.send(b"x")
                assert await wire.exactly(1) == b"x"
        await turned_away(lb, "127.0.0.5")
        assert refused(lb, Refused.TOO_FAST) == 1


async def test_behind_a_proxy_the_rate_is_its_clients() -> None:
    limits = {"limits": {"connection_rate": 0.01, "connection_burst": 2}}
    trusted = {"clients": {"trusted": [TRUSTED]}}
    async with Origin(echo) as origin, l4(origin, accept_proxy=True, sections=limits | trusted) as lb:
        for header in (V1, V1, proxy_protocol.build_v1(("203.0.113.8", 1), DESTINATION)):
            async with await client(lb, TRUSTED) as wire:
                await wire.send(header + b"x")
                assert await wire.exactly(1) == b"x"
        await turned_away(lb, TRUSTED, V1 + b"x")
        assert refused(lb, Refused.TOO_FAST) == 1


async def test_a_flow_begins_where_the_table_of_flows_is_full() -> None:
    """The table is for people and for successors; a flow does not depend on it."""
    async with Origin(echo) as origin, l4(origin, sections={"flows": {"max": 3}}) as lb:
        assert lb.app.layer4 is not None
        table = lb.app.layer4.flows.table
        for port in range(table.most):
            assert table.open(
                ("127.0.0.9", port), proxy(lb).address, ("127.0.0.1", 1), lb.backend(), "tcp", now()
            )
        async with await client(lb) as wire:
            await wire.send(b"x")
            assert await wire.exactly(1) == b"x"
            wire.half_close()
            assert await wire.rest() == b""
        await over(lb, Ended.DONE)


# -- the VIP -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [False, True])
async def test_nothing_is_relayed_once_the_time_of_the_vip_is_over(distance: bool) -> None:
    where = {"distance": {"enabled": True}, "place": "nrt"} if distance else {"distance": {"enabled": False}}
    async with Origin(echo) as origin, l4(origin, where=where) as lb, await client(lb) as wire:
        await wire.send(b"x")
        assert await wire.exactly(1) == b"x"
        lb.app.vips[0].deadline = now()
        await wire.send(b"y")
        assert await wire.ended() == "reset"
        assert proxy(lb).ends[Ended.LOST] == 1


async def test_who_knocks_when_the_time_is_over_waits_for_the_successor() -> None:
    async with Origin(echo) as origin, l4(origin) as lb:
        vip = lb.app.vips[0]
        vip.deadline = now()
        async with await client(lb) as wire:
            await wire.send(b"x")
            assert await wire.silent(0.15)
            assert proxy(lb).accepted == 0
            vip.deadline = math.inf
            assert await wire.exactly(1) == b"x"


async def test_a_lost_vip_breaks_every_flow_and_one_handed_over_none() -> None:
    async with Origin(echo) as origin, l4(origin) as lb:
        vip = lb.app.vips[0]
        async with await client(lb) as wire:
            await wire.send(b"x")
            assert await wire.exactly(1) == b"x"
            vip.finish()
            await wire.send(b"y")
            assert await wire.exactly(1) == b"y"
            await vip.hold_forever()
            vip.lose("another holds it")
            assert await wire.ended() == "reset"
        await over(lb, Ended.LOST)
        assert not proxy(lb).accepting


async def test_a_vip_that_is_lost_while_a_backend_is_connected_to_leaves_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as fill:
        for _ in range(3):  # its backlog is full, so it takes no further connection
            sock = fill.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        async with l4(full.getsockname()[1]) as lb, await client(lb) as wire:
            await until(lambda: lb.backend().live == 1, "it is being connected to")
            lb.app.vips[0].lose("another holds it")
            assert await wire.ended() == "reset"
            await until(lambda: lb.backend().live == 0, "its place is free again")
            assert proxy(lb).refusals[Refused.NOT_HOLDER] == 1


async def test_a_drain_lets_flows_finish_and_takes_nothing_new() -> None:
    async with Origin(echo) as origin, l4(origin) as lb, await client(lb) as wire:
        await wire.send(b"x")
        assert await wire.exactly(1) == b"x"
        draining = asyncio.ensure_future(lb.app.drain(now() + 20))
        await until(lambda: not proxy(lb).accepting, "the drain has begun")
        with pytest.raises(ConnectionError):
            await dial(proxy(lb).address[1])
        await wire.send(b"y")
        assert await wire.exactly(1) == b"y"
        assert not draining.done()
        wire.half_close()
        assert await wire.rest() == b""
        await draining
        assert proxy(lb).ends[Ended.DONE] == 1


async def test_a_drain_is_bounded() -> None:
    async with Origin(echo) as origin, l4(origin, drain=0.2) as lb, await client(lb) as wire:
        await wire.send(b"x")
        assert await wire.exactly(1) == b"x"
        await lb.app.drain(now() + 20)
        assert await wire.ended() == "reset"
        assert proxy(lb).ends[Ended.DRAINED] == 1


async def test_a_client_that_resets_while_it_is_connected_for_leaves_nothing() -> None:
    async with Origin(echo) as origin, l4(origin) as lb:
        for _ in range(50):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.connect(("127.0.0.1", proxy(lb).address[1]))
            sock.close()
        await until(lambda: proxy(lb).accepted == 50 and not proxy(lb).flows, "all are over")
        assert (proxy(lb).per_client, lb.backend().live) == ({}, 0)
        async with await client(lb) as wire:
            await wire.send(b"x")
            assert await wire.exactly(1) == b"x"
