"""What clients meet at a listener with faults, on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cdnlab.net.clock import now
from cdnlab.net.exchange import Exchange
from cdnlab.net.fault_gate import AT_ONCE, Gate, shut
from cdnlab.net.faults import Fault, Faults
from cdnlab.net.listener import Refusal
from cdnlab.net.slow_transport import FULL
from tests.net.listeners import Hello, Listening, listening
from tests.support.peers import Wire, until

TRUSTED = "127.9.9.1"
ALIVE = b"/.well-known/cdnlab/alive"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Faulty:
    """A listener that faults can be set at."""

    def __init__(self, server: Listening) -> None:
        self.server = server
        self.done = dict.fromkeys(Fault, 0)
        self.luck = [0.99]

    def set(self, **faults: float) -> None:
        """In the place of those that are set."""
        self.clear(Gate(Faults(**faults), self.done, lambda: self.luck.pop(0) if self.luck else 0.99))  # type: ignore[arg-type]

    def clear(self, gate: Gate | None = None) -> None:
        """End what is set."""
        old, self.server.listener.gate = self.server.listener.gate, gate
        if old is not None:
            old.end()


@asynccontextmanager
async def faulty(handler: object = None) -> AsyncIterator[Faulty]:
    async with listening(
        handler,
        trusted=frozenset((TRUSTED,)),
        alive=lambda: (200, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n", b"alive\n"),
    ) as server:
        yield Faulty(server)


async def held(wire: Wire, faults: Faulty, count: int) -> None:
    """Wait until so many requests hang, and see that no answer has come."""
    await until(lambda: faults.done[Fault.HANG] == count, "the request hangs")
    assert await wire.silent(0.02)


async def test_a_request_that_hangs_goes_on_when_the_fault_ends() -> None:
    async with faulty() as faults, await faults.server.client() as wire:
        faults.set(hang=True)
        await wire.send(GET)
        await held(wire, faults, 1)
        assert faults.server.handler.asked == []
        faults.clear()
        assert (await wire.response()).body == b"hello"
        assert (await wire.get()).body == b"hello"
        assert faults.done[Fault.HANG] == 1


async def test_many_that_hang_go_on_in_their_order_and_none_is_forgotten() -> None:
    async with faulty() as faults:
        faults.set(hang=True)
        wires = [await faults.server.client() for _ in range(3 * AT_ONCE + 1)]
        for number, wire in enumerate(wires):
            await wire.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            await until(lambda number=number: faults.done[Fault.HANG] == number + 1, "it hangs")  # type: ignore[misc]
        wires[-1].reset()
        faults.clear()
        for wire in wires[:-1]:
            assert (await wire.response()).status == 200
            wire.close()
        asked = [int(target[1:]) for *_, target in faults.server.handler.asked]
        assert asked[: len(wires) - 1] == list(range(len(wires) - 1))


async def test_a_body_that_came_while_the_request_hung_is_read_as_ever() -> None:
    class Echo(Hello):
        """Answers with the length of what it got."""

        def handle(self, exchange: Exchange) -> None:
            got = bytearray()

            class Sink:
                """Takes the body."""

                def body_data(self, data: bytes) -> None:
                    got.extend(data)

                def body_end(self, trailers: object) -> None:
                    text = b"%d" % len(got)
                    exchange.answer(200, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(text), text)

                def body_failed(self, reason: str) -> None:
                    raise AssertionError(reason)

            exchange.receive(Sink())

    async with faulty(Echo()) as faults, await faults.server.client() as wire:
        faults.set(hang=True)
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n" + b"x" * 1000)
        await held(wire, faults, 1)
        await wire.send(b"x" * 2000)
        faults.clear()
        assert (await wire.response()).body == b"3000"


async def test_a_client_that_gives_up_leaves_nothing_behind() -> None:
    async with faulty() as faults:
        faults.set(hang=True)
        for number, how in enumerate(("close", "reset", "half_close")):
            wire = await faults.server.client()
            await wire.send(GET)
            await held(wire, faults, number + 1)
            getattr(wire, how)()
            await until(lambda: not faults.server.listener.connections, f"the connection ends: {how}")
            wire.close()
        faults.clear()
        assert faults.server.handler.asked == []


async def test_a_reset_is_a_reset_and_comes_before_anything_else() -> None:
    async with faulty() as faults:
        faults.set(reset=True, errors=1.0, slow_body=1)
        async with await faults.server.client() as wire:
            await wire.send(GET)
            assert await wire.ended() == "reset"
        assert faults.done[Fault.RESET] == 1
        assert faults.done[Fault.ERRORS] == 0
        assert faults.server.handler.asked == []


async def test_errors_hit_their_share_and_leave_the_connection_usable() -> None:
    async with faulty() as faults, await faults.server.client() as wire:
        faults.luck = [0.1, 0.2, 0.19, 0.5]
        faults.set(errors=0.2)
        assert [(await wire.get()).status for _ in range(4)] == [503, 200, 503, 200]
        assert faults.done[Fault.ERRORS] == 2
        assert faults.server.listener.refusals[Refusal.FAULT] == 2
        refused = []
        faults.server.listener.on_refusal = lambda *words: refused.append(words)
        faults.luck = [0.0]
        answer = await wire.get()
        assert answer.one(b"cache-control") == b"no-store"
        assert b"a fault was set at this node" in answer.body
        assert refused == [("127.0.0.1", 503, "a fault was set at this node")], "it stands in the log"


async def test_the_nodes_own_health_answer_meets_all_but_errors() -> None:
    async with faulty() as faults, await faults.server.client(TRUSTED) as peer:
        faults.set(errors=1.0)
        assert (await peer.get(ALIVE)).body == b"alive\n"
        assert (await peer.get(b"/")).status == 503
        async with await faults.server.client() as stranger:
            assert (await stranger.get(ALIVE)).status == 503, "to strangers it is a path like any other"
        faults.set(hang=True)
        await peer.send(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % ALIVE)
        await held(peer, faults, 1)
        faults.clear()
        assert (await peer.response()).body == b"alive\n"


async def test_a_delay_holds_each_request_and_then_the_rest_is_met() -> None:
    async with faulty() as faults, await faults.server.client() as wire:
        faults.luck = [0.99, 0.0]
        faults.set(delay=0.05, errors=0.5)
        begun = now()
        assert [(await wire.get()).status for _ in range(2)] == [200, 503]
        assert now() - begun >= 0.1
        assert faults.done[Fault.DELAY] == 2
        faults.set(delay=30.0)
        await wire.send(GET)
        await until(lambda: faults.done[Fault.DELAY] == 3, "the third waits")
        faults.clear()
        assert (await wire.response()).status == 200, "nobody waits for a fault that is over"


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with faulty() as faults, await faults.server.client() as wire:
        faults.set(delay=0.01)
        await wire.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(3)))
        for _ in range(3):
            assert (await wire.response()).status == 200
        assert [target for *_, target in faults.server.handler.asked] == [b"/0", b"/1", b"/2"]


async def test_where_the_socket_is_shared_refused_connections_are_reset_at_once() -> None:
    async with faulty() as faults, await faults.server.client() as idle:
        assert (await idle.get()).status == 200
        faults.set(refuse=True)
        shut(faults.server.listener.connections)
        assert await idle.ended() == "closed"
        async with await faults.server.client() as wire:
            assert await wire.ended() == "reset"
        assert faults.done[Fault.REFUSE] == 1
        assert not faults.server.listener.per_client
        faults.clear()
        async with await faults.server.client() as wire:
            assert (await wire.get()).status == 200


class Large(Hello):
    """Answers with a body of `size` bytes, whole or in pieces."""

    def __init__(self, size: int, pieces: int = 1) -> None:
        super().__init__()
        self.body = bytes(range(256)) * (size // 256)
        self.pieces = pieces

    def handle(self, exchange: Exchange) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(self.body)
        if self.pieces == 1:
            exchange.answer(200, head, self.body)
            return
        exchange.respond(200, head, len(self.body))
        step = len(self.body) // self.pieces
        for at in range(0, len(self.body), step):
            exchange.write(self.body[at : at + step])
        exchange.finish()


@pytest.mark.parametrize("pieces", [1, 8])
async def test_a_slow_body_comes_whole_at_its_rate(pieces: int) -> None:
    handler = Large(16384, pieces)
    async with faulty(handler) as faults, await faults.server.client() as wire:
        faults.set(slow_body=65536)
        begun = now()
        await wire.send(GET)
        await wire.until(b"\r\n\r\n")
        body = await wire.exactly(16384)
        assert body == handler.body
        assert now() - begun >= 0.2, (
            "16 KiB at 64 KiB/s take a quarter of a second, the first portion comes early"
        )
        assert (await wire.get(method=b"HEAD")).status == 200


async def test_the_head_does_not_wait_and_when_the_fault_ends_what_waits_is_sent_at_once() -> None:
    handler = Large(256 * 1024)
    async with faulty(handler) as faults, await faults.server.client() as wire:
        faults.set(slow_body=10)
        begun = now()
        await wire.send(GET)
        assert len(await wire.until(b"\r\n\r\n")) > 40
        assert now() - begun < 3, "the head does not wait, which would take more than four seconds"
        first = await wire.exactly(1)
        faults.clear()
        assert first + await wire.exactly(256 * 1024 - 1) == handler.body
        assert (await wire.get()).body == handler.body


async def test_a_slow_body_ends_with_its_client() -> None:
    async with faulty(Large(256 * 1024)) as faults:
        faults.set(slow_body=100)
        wire = await faults.server.client()
        await wire.send(GET)
        await wire.exactly(1)
        wire.reset()
        await until(lambda: not faults.server.listener.connections, "the connection ends")
        faults.clear()


async def test_who_writes_is_told_to_stop_while_much_waits() -> None:
    class Careful(Large):
        """Writes only while it may."""

        def handle(self, exchange: Exchange) -> None:
            self.exchange, self.left, self.paused, self.pauses = exchange, list(range(64)), False, 0
            self.most = 0
            exchange.source = self
            exchange.respond(200, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % (64 * 8192), 64 * 8192)
            self.resume()

        def resume(self) -> None:
            self.paused = False
            while self.left and not self.paused:
                self.left.pop()
                self.exchange.write(bytes(8192))
                waiting = self.exchange.transport.get_write_buffer_size()  # type: ignore[attr-defined]
                self.most = max(self.most, waiting)
            if not self.left and not self.paused:
                self.exchange.finish()

        def pause(self) -> None:
            self.paused = True
            self.pauses += 1

        def client_gone(self, reason: str) -> None:
            raise AssertionError(reason)

    handler = Careful(256)
    async with faulty(handler) as faults, await faults.server.client() as wire:
        faults.set(slow_body=4_000_000)
        await wire.send(GET)
        await wire.until(b"\r\n\r\n")
        assert await wire.exactly(64 * 8192) == bytes(64 * 8192)
        assert handler.pauses >= 2
        assert FULL < handler.most <= FULL + 2 * 8192
