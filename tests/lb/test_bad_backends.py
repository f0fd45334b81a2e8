"""Backends that misbehave, each with what becomes of its requests."""

from __future__ import annotations

import asyncio
import socket

import pytest

from cdnlab.net.client import Broken
from tests.support.balancers import Running, balancer
from tests.support.peers import OK, Ended, Origin, Wire, until

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
SOON = {"response_timeout": 0.1}
#: Seconds; looked at four times in one.
BETWEEN = {"response_timeout": 0.3}


def nothing_left(lb: Running, backends: int = 1) -> bool:
    return all(lb.backend(number).live == 0 for number in range(backends))


# -- accepts and never answers -----------------------------------------------------------------------------------------


async def never(wire: Wire) -> None:
    await wire.rest()


async def test_one_that_never_answers_is_left_for_another_and_alone_is_a_timeout() -> None:
    async with Origin(never) as silent, Origin() as origin:
        async with balancer(silent, origin, upstream=SOON) as lb, await lb.client() as client:
            assert (await client.get()).status == 200
            assert nothing_left(lb, 2)
        async with balancer(silent, upstream=SOON) as lb, await lb.client() as client:
            assert (await client.get()).status == 504
            assert lb.results() == ["timeout"]


# -- answers a byte a second -------------------------------------------------------------------------------------------


async def trickle(wire: Wire) -> None:
    """A head that never ends, a byte at a time: never silent for long."""
    await wire.request()
    await wire.send(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        await wire.send(b"x")
        await asyncio.sleep(0.02)


async def test_a_head_byte_by_byte_is_late_all_the_same() -> None:
    """The time is for the whole head: bytes of it buy none."""
    async with Origin(trickle) as slow, Origin() as origin:
        async with balancer(slow, origin, upstream=SOON) as lb, await lb.client() as client:
            assert (await client.get()).status == 200
            assert lb.backend(0).failures == 1
        async with balancer(slow, upstream=SOON) as lb, await lb.client() as client:
            assert (await client.get()).status == 504


async def test_a_body_byte_by_byte_is_passed_on_byte_by_byte() -> None:
    """Slow is not broken: each byte comes within the time between bytes. It costs a connection and nobody's patience
    but its client's."""

    async def slowly(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
        for number in range(20):
            await wire.send(b"%d" % (number % 10))
            await asyncio.sleep(0.04)

    async with (
        Origin(slowly) as origin,
        balancer(origin, upstream=BETWEEN) as lb,
        await lb.client() as client,
    ):
        assert (await client.get()).body == b"01234567890123456789"
        assert lb.backend().failures == 0


# -- resets mid-body ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 10\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"]
)
@pytest.mark.parametrize("how", [Broken.RESET, Broken.CLOSED])
async def test_an_answer_cut_within_its_body_is_cut_at_the_client_and_counted(
    framing: bytes, how: Broken
) -> None:
    gone = asyncio.Event()

    async def cuts(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\n" + framing)
        await gone.wait()
        if how is Broken.RESET:
            wire.reset()

    async with Origin(cuts) as origin, Origin() as other, balancer(origin, other) as lb:
        async with await lb.client() as client:
            await client.send(GET)
            await client.until(b"half")
            gone.set()
            with pytest.raises((Ended, ConnectionError)):
                await client.exactly(100)
        await until(lambda: lb.results(), "it is counted")
        assert (lb.results(), lb.rows()[0]["reason"]) == (["cut"], "response_failed")
        assert lb.app.forwarders["servers"].cut[how] == 1
        assert other.connections == 0, "what has begun is never asked for again"
        assert nothing_left(lb, 2)


# -- answers before it was asked ---------------------------------------------------------------------------------------


async def test_what_comes_on_an_idle_connection_is_nobodys_answer() -> None:
    say = asyncio.Event()

    async def eager(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)
        if wire.number == 0:
            await say.wait()
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            await wire.rest()
        while True:
            await wire.request()
            await wire.send(OK)

    async with Origin(eager) as origin, balancer(origin) as lb, await lb.client() as client:
        assert (await client.get()).body == b"ok"
        assert lb.idle() == 1
        say.set()
        await until(lambda: lb.idle() == 0, "its connection is given up")
        assert (await client.get()).body == b"ok"
        assert origin.connections == 2
        assert lb.backend().failures == 0


async def test_an_answer_on_a_fresh_connection_before_the_request_is_answered_with_the_next_candidate() -> (
    None
):
    """It speaks as soon as it is connected to, as a mail server would."""

    async def greets(wire: Wire) -> None:
        await wire.send(b"220 mail.example.com ESMTP\r\n")
        await wire.rest()

    async with Origin(greets) as mail, Origin() as origin:
        async with balancer(mail, origin) as lb, await lb.client() as client:
            assert (await client.get()).body == b"ok"
        async with balancer(mail) as lb, await lb.client() as client:
            assert (await client.get()).status == 502


async def test_two_answers_to_one_request_are_one_answer() -> None:
    async def twice(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await wire.rest()

    async with Origin(twice) as origin, balancer(origin) as lb, await lb.client() as client:
        for _ in range(3):
            assert (await client.get()).body == b"ok"
        assert origin.connections == 3, "none of these connections is used again"


# -- 100s for ever -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
async def test_interim_answers_for_ever_are_late_all_the_same(interim: bytes) -> None:
    async def never_final(wire: Wire) -> None:
        await wire.request()
        while True:
            await wire.send(interim)
            await asyncio.sleep(0.01)

    async with (
        Origin(never_final) as origin,
        balancer(origin, upstream=SOON) as lb,
        await lb.client() as client,
    ):
        await client.send(GET)
        while (response := await client.response()).status < 200:
            assert response.status == 103, "nobody asked to hear of 100"
        assert response.status == 504
        assert nothing_left(lb)


async def test_a_flood_of_interim_answers_is_cut_off() -> None:
    async def floods(wire: Wire) -> None:
        await wire.request()
        while True:
            await wire.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 500)

    async with Origin(floods) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(GET)
        hints = 0
        while (response := await client.response()).status == 103:
            hints += 1
        assert response.status == 502
        assert 0 < hints <= 10_000
        assert lb.backend().failures == 1


# -- closes right after accept -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["closes", "resets"])
async def test_one_that_accepts_and_closes_is_left_for_another(how: str) -> None:
    async def shut(wire: Wire) -> None:
        if how == "resets":
            wire.reset()

    async with Origin(shut) as shy, Origin() as origin:
        async with balancer(shy, origin) as lb, await lb.client() as client:
            for _ in range(6):
                assert (await client.get()).status == 200
            assert nothing_left(lb, 2)
        async with balancer(shy) as lb, await lb.client() as client:
            assert (await client.get()).status == 502


async def test_one_that_is_gone_before_anything_was_sent_has_not_acted() -> None:
    """Its kernel resets what waits to be accepted: as long as nothing was sent, a POST may go on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.listen(8)
        port = server.getsockname()[1]

        async def shut(wire: Wire) -> None:
            wire.reset()

        server.close()
        async with (
            Origin(shut, port=port) as shy,
            Origin() as origin,
            balancer(shy, origin) as lb,
            await lb.client() as client,
        ):
            response = await client.get(b"/", b"Content-Length: 0", method=b"POST")
            # either the reset was seen first, and nothing had been sent, or it was not, and it may have acted
            assert response.status in (200, 502)
            assert (response.status == 200) == (len(origin.requests) == 1)
