"""The VIP's sockets: who accepts, what waits, what an unplanned and a planned end do."""

from __future__ import annotations

import asyncio
import math
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import cast

import pytest
import pytest_asyncio

from cdnlab.net.clock import now
from cdnlab.plan.errors import PlanError
from lb.vip import Vip, inherited, open_own, open_steered


class Door:
    """A balancer of one line: says its name to whoever asks."""

    def __init__(self, name: str, sock: socket.socket) -> None:
        self.name = name
        self.transports: set[asyncio.Transport] = set()
        self.aborted: list[str] = []
        self.vip = Vip("main")
        self.vip.add(sock, lambda: Answer(self), self.abort_all)

    def abort_all(self, reason: str) -> int:
        self.aborted.append(reason)
        for transport in list(self.transports):
            transport.abort()
        return len(self.transports)


class Answer(asyncio.Protocol):
    """Echoes the door's name once per read."""

    def __init__(self, door: Door) -> None:
        self.door = door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's are asyncio's in all but the class
        self.door.transports.add(self.transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.door.name.encode() + b"\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self.door.transports.discard(self.transport)


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as made:
        yield made


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[..., Awaitable[Stream]]


@pytest_asyncio.fixture
async def dial() -> AsyncIterator[Dial]:
    """Connect as a client; all are closed at the end."""
    streams: list[Stream] = []

    async def connect(host: str, port: int) -> Stream:
        streams.append(await asyncio.open_connection(host, port))
        return streams[-1]

    yield connect
    for _, writer in streams:
        writer.transport.abort()
    await asyncio.sleep(0)  # transports close in the loop's next round


async def ask(stream: Stream) -> str:
    """Who answers on a connection; "" if it is broken."""
    try:
        stream[1].write(b"?")
        async with asyncio.timeout(5):
            return (await stream[0].readline()).decode().strip()
    except ConnectionError:
        return ""


async def test_two_take_turns_on_one_inherited_socket(sock: socket.socket, dial: Dial) -> None:
    one, two = Door("one", inherited(os.dup(sock.fileno()))), Door("two", inherited(os.dup(sock.fileno())))
    address = sock.getsockname()
    assert (one.vip.deadline, one.vip.accepting) == (-math.inf, False)

    waiting = await dial(*address)  # nobody accepts: it waits in the queue
    question = asyncio.ensure_future(ask(waiting))
    one.vip.deadline = now() + 10
    await one.vip.start_accepting()
    assert one.vip.accepting
    assert await question == "one"

    one.vip.lose("the lease is lost")
    assert (one.vip.deadline, one.vip.accepting, one.aborted) == (-math.inf, False, ["the lease is lost"])
    assert await ask(waiting) == "", "what came through it is broken"
    later = await dial(*address)
    question = asyncio.ensure_future(ask(later))
    await two.vip.start_accepting()
    assert await question == "two", "and what waits, waits for the successor"
    assert await ask(await dial(*address)) == "two"

    await one.vip.start_accepting()
    two.vip.finish()
    assert two.vip.deadline == math.inf
    assert await ask(later) == "two", "planned: what runs comes to its end"
    assert await ask(await dial(*address)) == "one"
    assert not two.aborted
    for door in (one, two):
        door.vip.lose("the test is over")
        door.vip.close()


async def test_alone_it_is_held_for_ever(dial: Dial) -> None:
    own = open_own("127.0.0.1", 0)
    address = own.getsockname()
    door = Door("only", own)
    await door.vip.hold_forever()
    assert door.vip.deadline == math.inf
    assert await ask(await dial(*address)) == "only"
    await door.vip.start_accepting()  # twice is once
    assert await ask(await dial(*address)) == "only"
    door.vip.lose("the test is over")
    door.vip.close()
    with pytest.raises(ConnectionRefusedError):
        await dial(*address)


async def test_a_failed_start_accepts_nothing(sock: socket.socket) -> None:
    door = Door("one", inherited(os.dup(sock.fileno())))
    closed = socket.create_server(("127.0.0.1", 0))
    door.vip.add(closed, lambda: Answer(door), door.abort_all)
    closed.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        await door.vip.start_accepting()
    assert not door.vip.accepting
    door.vip.close()


def test_a_taken_port_is_named_with_its_remedy() -> None:
    with open_own("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(PlanError) as caught:
            open_own("127.0.0.1", port)
        assert str(caught.value) == (
            f"listen address 127.0.0.1:{port}: the port is taken; "
            f"end what listens there (ss -ltnp 'sport = :{port}') or choose another"
        )
        with pytest.raises(PlanError, match="the port is taken"):
            open_steered("127.0.0.1", port)


def test_balancers_that_are_started_apart_need_a_port() -> None:
    with pytest.raises(PlanError, match="give the VIP a port"):
        open_steered("127.0.0.1", 0)


async def test_a_vip_given_up_while_it_is_steered_anew_stays_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    vip, steered = Vip("main"), open_steered("127.0.0.1", port)
    vip.add_steered(steered, asyncio.Protocol, lambda _: None)
    try:
        await vip.start_accepting()
        monkeypatch.setattr(type(steered), "moved", lambda _: True)
        anew = asyncio.create_task(vip.steer_anew())
        while steered.opened < 2:  # noqa: ASYNC110 - one turn of the loop
            await asyncio.sleep(0)
        vip.finish()
        await anew
        assert not vip.accepting
    finally:
        vip.close()


@pytest.mark.parametrize(
    "host,words",
    [
        ("192.0.2.1", "this machine does not have the address"),
        ("300.1.1.1", "300.1.1.1 is not an address"),
    ],
)
def test_an_address_that_is_not_ours(host: str, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        open_own(host, 0)


def test_only_a_listening_socket_is_inherited() -> None:
    with socket.socket() as plain:
        with pytest.raises(PlanError, match="not a listening socket; start the node through the lab"):
            inherited(plain.fileno())
        assert plain.fileno() >= 0, "and it is left as it was"
    reader, writer = os.pipe()
    try:
        with pytest.raises(PlanError, match=f"inherited socket {reader}: not an open socket"):
            inherited(reader)
    finally:
        os.close(reader)
        os.close(writer)
