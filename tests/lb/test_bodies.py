"""Request bodies through the balancer: framing, expectations, trailers, early answers, and what is left over."""

from __future__ import annotations

import asyncio

import pytest

from cdnlab.forward import upload as forward_upload
from tests.support.balancers import balancer
from tests.support.peers import OK, Origin, Wire, answer_ok, saying, until

EXPECT = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def test_chunks_are_framed_anew_and_never_relayed() -> None:
    odd = b"0004;a=b\r\nabcd\r\n00000A\r\n0123456789\r\n000;x\r\nX-Sum: 1\r\nHost: evil\r\nContent-Length: 3\r\n\r\n"
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: X-Sum\r\n\r\n" + odd
        )
        assert (await client.response()).status == 200
        request = origin.requests[0]
        assert request.one(b"transfer-encoding") == b"chunked"
        assert request.one(b"content-length") is None
        assert request.body == b"abcd0123456789"
        assert request.one(b"trailer") == b"X-Sum"
        assert request.trailers == [(b"x-sum", b"1")], "fields that route or frame are no trailers"


async def test_trailers_of_a_response_are_passed_on() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    answer = head + b"2;q\r\nok\r\n0\r\nX-Sum: 7\r\nAge: 1\r\n\r\n"
    async with Origin(saying(answer, OK)) as origin, balancer(origin) as lb, await lb.client() as client:
        response = await client.get()
        assert (response.body, response.trailers) == (b"ok", [(b"x-sum", b"7")])
        assert (await client.get()).body == b"ok"
        assert origin.connections == 1


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"OPTIONS"])
async def test_a_body_where_none_is_usual_goes_along(method: bytes) -> None:
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        for _ in range(2):
            await client.send(b"%b / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody" % method)
            assert (await client.response()).status == 200
        assert [request.body for request in origin.requests] == [b"body", b"body"]
        assert origin.connections == 1


async def test_an_empty_body_is_said_to_be_empty() -> None:
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        await client.get(b"/", b"Content-Length: 0", method=b"POST")
        assert origin.requests[0].one(b"content-length") == b"0"
        await client.get()
        assert origin.requests[1].one(b"content-length") is None


async def test_the_backends_continue_is_waited_for_and_passed_on() -> None:
    asked = asyncio.Event()

    async def script(wire: Wire) -> None:
        request = await wire.request_head()
        assert request.one(b"expect") == b"100-continue"
        assert await wire.silent(0.05), "the body came before it was asked for"
        asked.set()
        await wire.send(CONTINUE)
        await wire.body(request)
        await wire.send(OK)
        await answer_ok(wire)

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(EXPECT)
        assert (await client.interim()).status == 100
        assert asked.is_set()
        await client.send(b"body")
        assert (await client.response()).status == 200
        assert origin.requests[0].body == b"body"
        assert (await client.get()).status == 200
        assert origin.connections == 1


async def test_a_client_that_does_not_wait_for_continue_gets_its_answer_too() -> None:
    async def script(wire: Wire) -> None:
        request = await wire.request_head()
        await wire.send(CONTINUE)
        await wire.body(request)
        await wire.send(OK)
        await answer_ok(wire)

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(EXPECT + b"body" + EXPECT.replace(b"Expect: 100-continue\r\n", b"") + b"next")
        assert (await client.interim()).status == 100
        assert (await client.response()).status == 200
        assert (await client.response()).status == 200
        assert [request.body for request in origin.requests] == [b"body", b"next"]


async def test_a_backend_that_ignores_the_expectation_gets_the_body_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forward_upload, "EXPECT_TIMEOUT", 0.05)
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(EXPECT)
        assert (await client.interim()).status == 100
        await client.send(b"body")
        assert (await client.response()).status == 200
        assert origin.requests[0].body == b"body"


async def test_between_two_attempts_no_body_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would have nowhere to go, and what does not fit the replay buffer would be lost."""
    monkeypatch.setattr(forward_upload, "EXPECT_TIMEOUT", 0.05)

    async def closes(wire: Wire) -> None:
        await wire.request_head()

    pool = {"algorithm": "first", "breaker": {"requests": 1, "wait": "5s"}}
    async with (
        Origin(closes) as one,
        Origin() as two,
        balancer(one, two, pool=pool, upstream={"replay_bytes": 1000}) as lb,
        await lb.client() as client,
    ):
        forwarder, second = lb.app.forwarders["servers"], lb.backend(1)
        second.live += 1
        await client.send(EXPECT.replace(b"Content-Length: 4\r\n", b"Content-Length: 5000\r\n"))
        await until(lambda: len(forwarder.pending) == 1, "it waits for the other one")
        assert await client.silent(0.1)
        second.live -= 1
        forwarder.pending.freed(second)
        assert (await client.interim()).status == 100
        await client.send(b"x" * 5000)
        assert (await client.response()).status == 200
        assert two.requests[0].body == b"x" * 5000


async def test_a_final_answer_to_the_expectation_ends_both_connections() -> None:
    async def script(wire: Wire) -> None:
        await wire.request_head()
        await wire.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
        assert await wire.ended() in ("closed", "reset"), "no body, no second request"

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(EXPECT)
        response = await client.response()
        assert (response.status, response.one(b"connection")) == (417, b"close")
        assert await client.ended() == "closed"
        assert lb.idle() == 0


async def test_an_expectation_of_an_old_client_is_not_passed_on() -> None:
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(EXPECT.replace(b"1.1", b"1.0", 1) + b"body")
        assert (await client.response()).status == 200
        assert origin.requests[0].one(b"expect") is None


async def test_an_unasked_continue_is_swallowed() -> None:
    async with Origin(saying(CONTINUE + OK)) as origin, balancer(origin) as lb, await lb.client() as client:
        assert (await client.get()).status == 200


async def test_an_early_answer_leaves_the_upstream_connection_unused() -> None:
    """The client may go on: the rest of a small body is read and dropped."""

    async def script(wire: Wire) -> None:
        await wire.request_head()
        await wire.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        try:
            assert b"GET" not in await wire.rest()
        except ConnectionError:
            pass

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        assert (await client.response()).status == 403
        assert lb.idle() == 0
        await client.send(b"GET /a" + b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.response()).status == 403
        assert [request.line for request in origin.requests] == [b"PUT / HTTP/1.1", b"GET /b HTTP/1.1"]
        assert origin.connections == 2


async def test_a_large_body_that_was_answered_early_is_not_read_to_its_end() -> None:
    async def script(wire: Wire) -> None:
        await wire.request_head()
        await wire.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        try:
            await wire.rest()
        except ConnectionError:
            pass

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\nhalf")
        response = await client.response()
        assert response.status == 403
        assert await client.ended() == "closed"


async def test_a_client_that_stops_within_a_body_ends_both_connections() -> None:
    ended = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request_head()
        try:
            await wire.rest()
        except ConnectionError:
            pass
        ended.set()

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        await until(lambda: origin.requests, "the request's arrival")
        client.half_close()
        assert await client.ended() in ("closed", "reset")
        await asyncio.wait_for(ended.wait(), 5)
        assert lb.backend().live == 0
        assert lb.results() == ["client_gone"]


async def test_a_whole_request_with_a_body_and_a_half_close_is_answered() -> None:
    """As `printf … | nc -N` sends it: the end has arrived before the backend's connection stands."""
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
        client.half_close()
        assert (await client.response()).body == b"ok"
        assert await client.ended() == "closed"
        assert origin.requests[0].body == b"body"


@pytest.mark.parametrize(
    "body", [b"4\r\nbody\r\nz\r\n", b"4\r\nbodyX\r\n0\r\n\r\n", b"4\nbody\r\n0\r\n\r\n", b"-1\r\n\r\n"]
)
async def test_a_malformed_chunk_ends_both_connections(body: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.request_head()
        try:
            assert not (await wire.rest()).endswith(b"0\r\n\r\n"), "a cut body was made whole"
        except ConnectionError:
            pass

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + body
            + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        assert (await client.response()).status == 400
        assert await client.ended() in ("closed", "reset")
        assert len(origin.requests) <= 1
        assert lb.idle() == 0


async def test_a_large_body_arrives_whole() -> None:
    body = bytes(range(256)) * 40_000

    async def script(wire: Wire) -> None:
        while True:
            request = await wire.request()
            await wire.send(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.body) + request.body
            )

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        for _ in range(2):
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
            await client.send(body)
            assert (await client.response()).body == body
        assert origin.connections == 1
        assert [row["bytes"] for row in lb.rows()] == [len(body)] * 2


async def test_both_bodies_may_travel_at_the_same_time() -> None:
    """The backend answers each piece as it comes, before the request has ended."""

    async def script(wire: Wire) -> None:
        await wire.request_head()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while size := int(await wire.until(b"\r\n"), 16):
            piece = await wire.exactly(size + 2)
            await wire.send(b"%x\r\n" % size + piece)
        await wire.until(b"\r\n")
        await wire.send(b"0\r\n\r\n")
        await wire.rest()

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        await client.until(b"\r\n\r\n")
        for number in range(5):
            await client.send(b"1\r\n%d\r\n" % number)
            assert await client.until(b"1\r\n%d\r\n" % number)
        await client.send(b"0\r\n\r\n")
        await client.until(b"0\r\n\r\n")
        assert lb.results() == ["ok"]
