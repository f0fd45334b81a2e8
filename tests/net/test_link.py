"""The emulated path: how long it takes, what it holds, and that ends travel along it. Off is the bare transport."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from cdnlab.forward.upstreams import trip_times
from cdnlab.net import link
from cdnlab.net.client import Upstream
from cdnlab.net.link import Link
from cdnlab.net.listener import Listener
from tests.net.listeners import listening
from tests.support.balancers import balancer, topology
from tests.support.peers import OK, Origin, Wire, answer_ok, until

RTT = 0.06
SLACK = 0.05
"""How late a busy machine may make a timer."""


class Recorder(asyncio.Protocol):
    """Keeps what it is told, with the time since it was made."""

    def __init__(self, stay: bool = False) -> None:
        self.stay = stay
        self.begun = time.monotonic()
        self.transport: Any = None
        self.data = b""
        self.calls: list[tuple[str, float]] = []
        self.lost: Exception | None = None
        self.on_data: Any = None

    def _note(self, name: str) -> None:
        self.calls.append((name, time.monotonic() - self.begun))

    def at(self, name: str) -> float | None:
        """When a call first came."""
        return next((when for what, when in self.calls if what == name), None)

    async def gone(self) -> None:
        """Break the connection, and wait until it is gone."""
        self.transport.abort()
        await until(lambda: self.at("lost") is not None, "the end of an aborted connection")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._note("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._note("data")
        if self.on_data is not None:
            self.on_data()

    def eof_received(self) -> bool:
        self._note("eof")
        return self.stay

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = exc
        self._note("lost")

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")


async def connected(
    origin: Origin, *, rtt: float = RTT, stay: bool = False, window: int = 262144
) -> Recorder:
    return await link.connect(
        asyncio.get_running_loop(), lambda: Recorder(stay), "127.0.0.1", origin.port, rtt=rtt, window=window
    )


def within(seconds: float | None, low: float) -> bool:
    assert seconds is not None
    return low <= seconds < low + SLACK + 0.5 * low


async def test_off_is_the_bare_transport() -> None:
    async with Origin() as origin:
        near = await connected(origin, rtt=0.0)
        far = await connected(origin)
        assert not isinstance(near.transport, Link)
        assert type(near.transport).__module__.startswith("uvloop")
        assert isinstance(far.transport, Link)
        await near.gone()
        await far.gone()


async def test_connecting_takes_one_round_trip_and_an_exchange_another() -> None:
    async with Origin() as origin:
        before = time.monotonic()
        peer = await connected(origin)
        assert within(time.monotonic() - before, RTT)
        before = time.monotonic()
        peer.transport.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: peer.data == OK, "the answer")
        assert within(time.monotonic() - before, RTT)
        await peer.gone()


def distant(origin: Origin) -> Any:
    """A balancer whose client in Seoul is two places apart from the backend in Tokyo: (plan, seconds of round trip)."""
    backends = [{"name": "far", "address": "127.0.0.1", "port": origin.port, "place": "nrt"}]
    distance = {"enabled": True, "stretch": 5.0}
    plan = topology(origin, pool={"backends": backends}, distance=distance)
    seconds = trip_times(plan)
    assert seconds is not None
    return plan, seconds("icn", "nrt")


async def test_a_request_over_a_link_takes_two_round_trips_fresh_and_one_on_reuse() -> None:
    async with Origin() as origin:
        plan, rtt = distant(origin)
        assert 0.03 < rtt < 0.2
        async with balancer(plan=plan) as lb, await lb.client("127.82.1.100") as client:
            took = []
            for _ in range(3):
                before = time.monotonic()
                assert (await client.get()).status == 200
                took.append(time.monotonic() - before)
            assert within(took[0], 2 * rtt)
            assert within(took[1], rtt)
            assert within(took[2], rtt)
            assert origin.connections == 1


async def test_each_place_has_its_own_distance_and_its_own_idle_connections() -> None:
    async with Origin() as origin:
        plan, rtt = distant(origin)
        async with (
            balancer(plan=plan) as lb,
            await lb.client("127.82.1.100") as seoul,
            await lb.client("127.81.1.100") as tokyo,
        ):
            assert (await seoul.get()).status == 200
            before = time.monotonic()
            assert (await tokyo.get()).status == 200
            assert time.monotonic() - before < rtt, "a client in Tokyo is near"
            assert origin.connections == 2


async def test_bytes_arrive_in_order_and_whole() -> None:
    body = bytes(range(256)) * 8000

    async def script(wire: Wire) -> None:
        for at in range(0, len(body), 50_000):
            await wire.send(body[at : at + 50_000])

    async with Origin(script) as origin:
        peer = await connected(origin, rtt=0.01)
        await until(lambda: peer.at("lost"), "the end")
        assert peer.data == body


async def test_the_end_of_the_stream_travels() -> None:
    ended = asyncio.Event()
    heard = 0.0

    async def script(wire: Wire) -> None:
        nonlocal heard
        await wire.send(b"hello")
        wire.half_close()
        assert await wire.rest() == b"and more"
        heard = time.monotonic()
        ended.set()

    async with Origin(script) as origin:
        peer = await connected(origin, stay=True)
        await until(lambda: peer.at("eof"), "the end of the stream")
        assert peer.data == b"hello"
        assert within(peer.at("eof"), RTT / 2 + RTT)  # counted from before the connect
        assert peer.at("lost") is None, "half closed is not closed"
        before = time.monotonic()
        peer.transport.write(b"and more")
        peer.transport.write_eof()
        await asyncio.wait_for(ended.wait(), 5)
        assert within(heard - before, RTT / 2)
        await peer.gone()


async def test_a_reset_travels_behind_the_bytes() -> None:
    gate = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.send(b"last words")
        await gate.wait()
        wire.reset()

    async with Origin(script) as origin:
        peer = await connected(origin)
        await until(lambda: peer.data, "the bytes")
        before = time.monotonic()
        gate.set()
        await until(lambda: peer.at("lost"), "the reset")
        assert within(time.monotonic() - before, RTT / 2)
        assert isinstance(peer.lost, ConnectionError)


async def test_close_sends_what_was_written_first() -> None:
    got = []

    async def script(wire: Wire) -> None:
        got.append(await wire.rest())

    async with Origin(script) as origin:
        peer = await connected(origin)
        peer.transport.write(b"x" * 100_000)
        peer.transport.close()
        assert peer.transport.is_closing()
        peer.transport.write(b"too late")
        await until(lambda: got, "the peer's end")
        assert got == [b"x" * 100_000]
        await until(lambda: peer.at("lost"), "our end")


@pytest.mark.parametrize("way", ["in", "out"])
async def test_the_window_bounds_what_is_on_its_way(way: str) -> None:
    window, sent = 50_000, 0

    async def script(wire: Wire) -> None:
        nonlocal sent
        if way == "out":
            await asyncio.sleep(1)
            return
        for _ in range(1000):
            await wire.send(b"x" * 10_000)
            sent += 10_000

    async with Origin(script) as origin:
        peer = await connected(origin, rtt=0.2, window=window)
        path: Link = peer.transport
        if way == "in":
            peer.transport.pause_reading()
            await asyncio.sleep(0.1)
            held = path._in.queued
            assert window <= held <= window + 262_144, "one read more than the window at most"
            assert sent < 10_000_000
        else:
            wrote = 0
            while peer.at("pause") is None:
                peer.transport.write(b"x" * 10_000)
                wrote += 10_000
            assert wrote == window
            assert path.get_write_buffer_size() == window
            await until(lambda: peer.at("resume"), "the window opens again")
            assert within((peer.at("resume") or 0) - (peer.at("pause") or 0), 0.2)
        await peer.gone()


async def test_throughput_is_window_over_round_trip() -> None:
    size, window, rtt = 1_000_000, 100_000, 0.04

    async def script(wire: Wire) -> None:
        await wire.send(b"x" * size)

    async with Origin(script) as origin:
        before = time.monotonic()
        peer = await connected(origin, rtt=rtt, window=window)
        await until(lambda: peer.at("lost"), "all of it")
        took = time.monotonic() - before
        assert len(peer.data) == size
        assert took > 2 * rtt, "not all at once: a read of the kernel's may overshoot the window"


async def send_and_reset(wire: Wire) -> None:
    await wire.send(b"x" * 10_000)
    await asyncio.sleep(0.02)
    wire.reset()


async def test_a_reader_that_pauses_gets_all_of_it_later_and_nobody_spins() -> None:
    async with Origin(send_and_reset) as origin:
        peer = await connected(origin, rtt=0.02)
        path: Link = peer.transport
        peer.transport.pause_reading()
        await until(lambda: path.real is link.GONE, "the far end has gone")
        await asyncio.sleep(0.05)
        spent = time.thread_time()
        await asyncio.sleep(0.2)
        assert time.thread_time() - spent < 0.004, "waiting costs nothing"
        assert peer.data == b""
        peer.transport.resume_reading()
        await until(lambda: peer.at("lost"), "the end")
        assert len(peer.data) == 10_000


@pytest.mark.parametrize("way", ["abort", "close"])
async def test_a_reader_that_pauses_for_good_can_still_end(way: str) -> None:
    async with Origin(send_and_reset) as origin:
        peer = await connected(origin, rtt=0.02)
        path: Link = peer.transport
        peer.transport.pause_reading()
        await until(lambda: path.real is link.GONE, "the far end has gone")
        await asyncio.sleep(0.05)
        getattr(peer.transport, way)()
        await until(lambda: peer.at("lost"), "the end")
        assert peer.data == b""


async def test_pausing_within_data_received_holds_the_rest() -> None:
    async def script(wire: Wire) -> None:
        for _ in range(5):
            await wire.send(b"x" * 100)
            await asyncio.sleep(0.005)

    async with Origin(script) as origin:
        peer = await connected(origin, rtt=0.02)
        peer.on_data = lambda: peer.transport.pause_reading()
        await asyncio.sleep(0.1)
        assert [name for name, _ in peer.calls].count("data") == 1
        peer.on_data = None
        peer.transport.resume_reading()
        await until(lambda: len(peer.data) == 500, "the rest")
        await until(lambda: peer.at("lost"), "the end")


async def test_a_client_that_asks_from_afar_waits_for_its_first_byte_too() -> None:
    """The accepting side applies the link to one that asks it directly: no byte before a whole round trip."""

    def far(listener: Listener) -> None:
        listener.accept_rtt = lambda peer: RTT if peer == "127.9.9.9" else 0.0

    async with listening(prepare=far) as server:
        for source, low in (("127.9.9.9", 2 * RTT), ("127.0.0.1", 0.0)):
            before = time.monotonic()
            async with await server.client(source) as client:
                assert (await client.get()).body == b"hello"
                assert within(time.monotonic() - before, low)
                before = time.monotonic()
                await client.get()
                assert within(time.monotonic() - before, low / 2)


async def test_attach_closes_nothing_it_was_not_given() -> None:
    """A connect that is refused leaves no socket behind."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await link.connect(asyncio.get_running_loop(), Recorder, "127.0.0.1", port, rtt=RTT)


@pytest.mark.parametrize("rtt", [0.0, 0.001])
async def test_a_descriptor_is_closed_once_where_a_protocol_wants_no_connection(rtt: float) -> None:
    class Unwilling(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.abort()

    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = socket.create_connection(server.getsockname())
        sock.setblocking(False)
        protocol = Unwilling()
        await link.attach(asyncio.get_running_loop(), protocol, sock, rtt=rtt)
        await until(lambda: protocol.at("lost") is not None, "it has ended")
        await asyncio.sleep(0.01)
        assert sock.fileno() == -1


async def test_both_ends_of_a_tunnel_at_a_distance() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        while data := await wire.some():
            await wire.send(data)

    async with Origin(script) as origin:
        plan, rtt = distant(origin)
        async with balancer(plan=plan) as lb, await lb.client("127.82.1.100") as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            assert (await client.interim()).status == 101
            before = time.monotonic()
            await client.send(b"ping")
            assert await client.exactly(4) == b"ping"
            assert within(time.monotonic() - before, rtt)
            client.half_close()
            assert await client.ended() == "closed"
            await until(lambda: lb.results() == ["tunnel"], "the tunnel is in the log")


async def test_what_the_backend_closes_at_a_distance_is_noticed_before_reuse() -> None:
    gate = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)
        if wire.number == 0:
            await gate.wait()
        else:
            await answer_ok(wire)

    async with Origin(script) as origin:
        plan, _ = distant(origin)
        async with balancer(plan=plan) as lb, await lb.client("127.82.1.100") as client:
            await client.get()
            gate.set()
            await until(lambda: lb.idle() == 0, "the close is noticed")
            assert (await client.get()).status == 200
            assert origin.connections == 2


@pytest.mark.parametrize("upgrade", [False, True], ids=["body", "tunnel"])
async def test_a_body_that_fills_the_window_at_once_is_still_held_back(upgrade: bool) -> None:
    """What lay in our buffer was enough to say stop; that was forgotten, and the whole body piled up."""
    head = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n"
    if upgrade:
        head = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"

    async def script(wire: Wire) -> None:
        await wire.request_head()
        if upgrade:
            await wire.send(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        await asyncio.sleep(10)  # reads nothing

    async with Origin(script) as origin:
        base, _ = distant(origin)
        backends = base.model_dump(exclude_unset=True)["pools"]["servers"]["backends"]
        distance = {"enabled": True, "stretch": 1.0, "window": 4096}
        plan = topology(origin, pool={"backends": backends}, distance=distance)
        async with balancer(plan=plan) as lb, await lb.client("127.82.1.100") as client:
            await client.send(head + b"x" * 60_000)
            sending = asyncio.ensure_future(client.send(b"x" * 50_000_000))
            await until(lambda: origin.requests, "the request's arrival")
            await asyncio.sleep(0.3)
            upstreams = [each for each in lb.listener.sweep.members if isinstance(each, Upstream)]
            held = [each.transport.get_write_buffer_size() for each in upstreams]
            stuck = not sending.done()
            sending.cancel()
            await asyncio.wait([sending])
            assert stuck
            assert len(held) == 1
            assert held[0] < 1_000_000
