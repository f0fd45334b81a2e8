"""What a balancer does with a request: forwards it, answers it, and keeps the connections that are clean."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.balancers import balancer
from tests.support.peers import OK, Origin, Wire, saying

HEAD = b"GET /a?b=c HTTP/1.1\r\nHost: example.test\r\nCookie: a=b\r\nAccept: */*\r\n\r\n"


async def test_connections_are_kept_on_both_sides() -> None:
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        for _ in range(3):
            response = await client.get(b"/a?b")
            assert (response.status, response.body) == (200, b"ok")
        assert origin.connections == 1
        assert [message.line for message in origin.requests] == [b"GET /a?b HTTP/1.1"] * 3
        assert lb.results() == ["ok"] * 3


async def echo_target(wire: Wire) -> None:
    """Answers with the target that was asked for."""
    while True:
        body = (await wire.request()).line.split(b" ")[1]
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def test_pipelined_requests_are_answered_in_order_though_the_first_is_slow() -> None:
    slow = asyncio.Event()

    async def script(wire: Wire) -> None:
        while True:
            request = await wire.request()
            if b"slow" in request.line:
                await slow.wait()
            body = request.line.split(b" ")[1]
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        one = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"
        await client.send(one % b"slow" + one % b"fast" + one % b"last")
        assert await client.silent(0.05)
        assert len(origin.requests) == 1, "the second request waits for the first one's response"
        slow.set()
        bodies = [(await client.response()).body for _ in range(3)]
        assert bodies == [b"/slow", b"/fast", b"/last"]


async def test_a_hundred_pipelined_requests_with_bodies() -> None:
    async def script(wire: Wire) -> None:
        while True:
            body = (await wire.request()).body
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        bodies = [b"%d" % number * 50 for number in range(100)]
        for number, body in enumerate(bodies):
            if number % 2:
                framing = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            else:
                framing = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\n" + framing)
        assert [(await client.response()).body for _ in bodies] == bodies


async def test_pipelined_requests_are_answered_after_a_half_close() -> None:
    async with Origin(echo_target) as origin, balancer(origin) as lb, await lb.client() as client:
        one = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
        await client.send(b"".join(one % number for number in range(3)))
        client.half_close()
        assert [(await client.response()).body for _ in range(3)] == [b"/0", b"/1", b"/2"]
        assert await client.ended() == "closed"


async def test_half_a_request_after_a_half_close_ends_the_connection() -> None:
    async with Origin(echo_target) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(b"GET /0 HTTP/1.1\r\nHost: a\r\n\r\nGET /1 HTTP/1.1\r\nHo")
        client.half_close()
        assert (await client.response()).body == b"/0"
        assert await client.ended() == "closed"
        assert len(origin.requests) == 1


async def test_a_head_may_come_in_any_pieces() -> None:
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        for cut in range(1, len(HEAD)):
            await client.send(HEAD[:cut])
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await client.send(HEAD[cut:])
            assert (await client.response()).status == 200
        for byte in HEAD:
            await client.send(bytes((byte,)))
            await asyncio.sleep(0)
        assert (await client.response()).status == 200
        first = origin.requests[0]
        varying = {b"x-request-id", b"traceparent"}
        for request in origin.requests[1:]:
            assert request.line == first.line
            assert [f for f in request.fields if f[0] not in varying] == [
                f for f in first.fields if f[0] not in varying
            ]


async def test_a_response_may_come_in_any_pieces() -> None:
    answer = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n3\r\nabc\r\n10;x=y\r\n0123456789abcdef\r\n"
        b"0\r\nX-Sum: 1\r\n\r\n"
    )

    async def script(wire: Wire) -> None:
        for cut in range(1, len(answer)):
            await wire.request()
            await wire.send(answer[:cut])
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await wire.send(answer[cut:])
        await wire.rest()

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        for _ in range(1, len(answer)):
            await client.send(HEAD)
            assert (await client.interim()).one(b"link") == b"</a>"
            response = await client.response()
            assert (response.body, response.one(b"x-a")) == (b"abc0123456789abcdef", b"b")
            assert response.trailers == [(b"x-sum", b"1")]
        assert origin.connections == 1


async def test_head_has_no_body_and_the_connections_stay() -> None:
    answers = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nETag: a\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ]
    async with Origin(saying(*answers)) as origin, balancer(origin) as lb, await lb.client() as client:
        assert (await client.get(method=b"HEAD")).one(b"content-length") == b"5"
        assert (await client.get(method=b"HEAD")).status == 200
        assert (await client.get()).one(b"content-length") == b"5"
        assert (await client.get()).status == 204
        assert (await client.get()).body == b"hello"
        assert origin.connections == 1


async def test_interim_responses_are_passed_on_and_cleaned() -> None:
    hints = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n"
        b"Content-Length: 5\r\nCdnlab-Hop: spoofed\r\n\r\n"
    )
    script = saying(hints + b"HTTP/1.1 102 Processing\r\n\r\n" + OK)
    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(HEAD)
        interim = await client.interim()
        assert interim.status == 103
        assert interim.fields == [(b"link", b"</a.css>; rel=preload")]
        assert (await client.interim()).status == 102
        assert (await client.response()).body == b"ok"


async def test_thousands_of_interim_responses_are_only_bytes() -> None:
    many = b"HTTP/1.1 102 Processing\r\n\r\n" * 5000
    async with Origin(saying(many + OK)) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(HEAD)
        for _ in range(5000):
            assert (await client.interim()).status == 102
        assert (await client.response()).body == b"ok"


async def test_an_old_client_gets_no_interim_responses_and_no_chunks() -> None:
    answer = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    )
    async with Origin(saying(answer)) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        response = await client.response()
        assert response.line == b"HTTP/1.1 200 OK"
        assert response.one(b"transfer-encoding") is None
        assert response.one(b"connection") == b"close"
        assert response.body == b"ok"
        assert await client.ended() == "closed"


@pytest.mark.parametrize("keep", [True, False])
async def test_an_old_client_keeps_its_connection_only_if_it_asks(keep: bool) -> None:
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        head = b"GET / HTTP/1.0\r\n" + (b"Connection: keep-alive\r\n" if keep else b"") + b"\r\n"
        await client.send(head)
        response = await client.response()
        assert response.one(b"connection") == (b"keep-alive" if keep else b"close")
        if keep:
            await client.send(head)
            assert (await client.response()).body == b"ok"
        else:
            assert await client.ended() == "closed"
        assert origin.requests[0].line == b"GET / HTTP/1.1"


async def test_the_same_fields_under_another_version_are_read_anew() -> None:
    """Chunked in HTTP/1.0 is refused although the connection's last block, byte for byte the same, was fine."""
    block = b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(b"POST / HTTP/1.1\r\n" + block)
        await client.send(b"0\r\n\r\n")
        assert (await client.response()).status == 200
        await client.send(b"POST / HTTP/1.0\r\n" + block)
        assert (await client.response()).status == 400
        assert await client.ended() == "closed"


async def test_an_old_request_is_closed_although_a_new_one_with_its_fields_was_kept() -> None:
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.response()).one(b"connection") is None
        await client.send(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        assert (await client.response()).one(b"connection") == b"close"
        assert await client.ended() == "closed"


async def test_an_old_origin_is_asked_anew_each_time() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil close")

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        for _ in range(2):
            response = await client.get()
            assert (response.line, response.body) == (b"HTTP/1.1 200 OK", b"until close")
            assert response.one(b"transfer-encoding") == b"chunked"
        assert origin.connections == 2


async def test_a_body_until_close_that_is_reset_is_not_taken_for_whole() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await cut.wait()
        wire.reset()

    for version in (b"1.1", b"1.0"):
        cut = asyncio.Event()
        async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
            await client.send(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)
            await client.until(b"half")
            cut.set()
            if version == b"1.1":
                left = b""
                try:
                    left = await client.rest()
                except ConnectionError:
                    pass
                assert b"0\r\n\r\n" not in left
            else:  # the end of the connection is the end of the body, so only a reset can say that it was cut
                assert await client.ended() == "reset"
            assert lb.results() == ["cut"]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nz\r\n",
    ],
)
async def test_a_response_cut_in_its_body_is_cut_for_the_client(answer: bytes) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer)

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(HEAD)
        data = b""
        try:
            data = await client.rest()
        except ConnectionError:
            pass
        assert not data.endswith(b"0\r\n\r\n")
        assert b"200 OK" in data
        assert lb.results() == ["cut"]
        assert origin.connections == 1, "what has begun is not asked for again"


async def test_a_client_that_leaves_takes_its_request_with_it() -> None:
    gone = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        try:
            await wire.rest()
        except ConnectionError:
            pass
        gone.set()

    async with Origin(script) as origin, balancer(origin) as lb:
        client = await lb.client()
        await client.send(HEAD)
        await client.until(b"half")
        client.reset()
        await asyncio.wait_for(gone.wait(), 5)
        assert lb.results() == ["client_gone"]
        assert lb.backend().live == 0


async def test_a_response_without_date_gets_one_and_via_names_us() -> None:
    answer = b"HTTP/1.0 200 Fine\r\nContent-Length: 0\r\nVia: 1.1 other\r\nConnection: x-a\r\nX-A: b\r\nAge: 7\r\n\r\n"
    async with Origin(saying(answer)) as origin, balancer(origin) as lb, await lb.client() as client:
        response = await client.get()
        assert response.line == b"HTTP/1.1 200 Fine"
        assert response.one(b"date") is not None
        assert response.one(b"via") == b"1.1 other, 1.0 lb"
        assert response.one(b"x-a") is None
        assert response.one(b"age") == b"7"


async def test_options_of_everything_and_methods_a_gateway_does_not_do() -> None:
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        assert (await client.get(b"*", method=b"OPTIONS")).status == 200
        assert origin.requests[0].line == b"OPTIONS * HTTP/1.1"
        assert (await client.get(method=b"TRACE")).status == 405
        response = await client.get(b"example.test:443", method=b"CONNECT")
        assert response.status == 405
        assert b"GET" in (response.one(b"allow") or b"")
        assert len(origin.requests) == 1


async def test_a_stranger_does_not_get_the_word_between_nodes() -> None:
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        assert (await client.get()).status == 200
        for path in (b"/.well-known/cdnlab/alive", b"/x/../.well-known/cdnlab/alive"):
            assert (await client.get(path)).status == 404, "also on a connection whose fields are known"
        assert len(origin.requests) == 1
