"""What two hops could read in two ways: refused, closed, and never a second request at the backend."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.balancers import balancer
from tests.support.peers import OK, Ended, Origin, Wire, answer_ok, until

NEXT = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"0\r\n\r\n"


def post(*lines: bytes, version: bytes = b"1.1", host: bytes = b"Host: a\r\n") -> bytes:
    return b"POST /first HTTP/%b\r\n" % version + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


CL5, TE = b"Content-Length: 5", b"Transfer-Encoding: chunked"

REFUSED: dict[str, tuple[bytes, int]] = {
    "both framings": (post(CL5, TE) + CHUNKED, 400),
    "both framings, coding first": (post(TE, CL5) + CHUNKED, 400),
    "both framings, coding unknown": (post(CL5, b"Transfer-Encoding: x") + b"hello", 400),
    "two lengths": (post(CL5, b"Content-Length: 6") + b"hello", 400),
    "two equal lengths": (post(CL5, CL5) + b"hello", 400),
    "a list of lengths": (post(b"Content-Length: 5, 5") + b"hello", 400),
    "an empty length": (post(b"Content-Length:") + b"hello", 400),
    "a signed length": (post(b"Content-Length: +5") + b"hello", 400),
    "a negative length": (post(b"Content-Length: -5") + b"hello", 400),
    "an underscore in a length": (post(b"Content-Length: 0_5") + b"hello", 400),
    "a hexadecimal length": (post(b"Content-Length: 0x5") + b"hello", 400),
    "a length in other digits": (post("Content-Length: ٥".encode()) + b"hello", 400),
    "a length beyond reckoning": (post(b"Content-Length: 99999999999999999999") + b"hello", 400),
    "an empty coding before chunked": (post(b"Transfer-Encoding: , chunked") + CHUNKED, 400),
    "chunked twice": (post(b"Transfer-Encoding: chunked, chunked") + CHUNKED, 400),
    "the coding twice": (post(TE, TE) + CHUNKED, 400),
    "a coding before chunked": (post(b"Transfer-Encoding: gzip, chunked") + CHUNKED, 501),
    "a coding after chunked": (post(b"Transfer-Encoding: chunked, identity") + CHUNKED, 400),
    "another coding": (post(b"Transfer-Encoding: identity") + b"hello", 400),
    "chunked with a parameter": (post(b"Transfer-Encoding: chunked;a=b") + CHUNKED, 400),
    "chunked in quotes": (post(b'Transfer-Encoding: "chunked"') + CHUNKED, 400),
    "chunked with a vertical tab": (post(b"Transfer-Encoding: \x0bchunked") + CHUNKED, 400),
    "chunked in HTTP/1.0": (post(TE, version=b"1.0") + CHUNKED, 400),
    "a space before the colon": (post(b"Content-Length : 5") + b"hello", 400),
    "a tab before the colon": (post(b"Transfer-Encoding\t: chunked") + CHUNKED, 400),
    "a folded line": (post(b"X: y", b" Content-Length: 5") + b"hello", 400),
    "a folded coding": (post(b"Transfer-Encoding:", b" chunked") + CHUNKED, 400),
    "a space before the first field": (b"POST / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    "a line without a colon": (post(b"Content-Length 5") + b"hello", 400),
    "an empty name": (post(b": 5"), 400),
    "a name that is no token": (post(b"Content(Length: 5"), 400),
    "a name with a NUL": (post(b"Content-Length\x00: 5"), 400),
    "a name beyond ASCII": (post(b"Content-L\xc3\xa9ngth: 5"), 400),
    "a NUL in a value": (post(b"X: a\x00b"), 400),
    "a bare CR in a value": (post(b"X: a\rContent-Length: 5") + b"hello", 400),
    "a bare LF in a value": (post(b"X: a\nContent-Length: 5") + b"hello", 400),
    "a bare LF in a cookie": (post(b"Cookie: a\nContent-Length: 5") + b"hello", 400),
    "a bare CR in a cookie": (post(b"Cookie: a\rTransfer-Encoding: chunked") + CHUNKED, 400),
    "a NUL in a cookie": (post(b"Cookie: a\x00"), 400),
    "a folded cookie": (post(b"Cookie: a", b" b"), 400),
    "lines that end in LF": (b"POST / HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello", 400),
    "a head that ends in LF": (b"POST / HTTP/1.1\r\nHost: a\r\n\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a request line that ends in LF": (b"POST / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "no host": (post(host=b""), 400),
    "two hosts": (post(b"Host: b"), 400),
    "two equal hosts": (post(b"Host: a"), 400),
    "a host with a path": (post(host=b"Host: a/b\r\n"), 400),
    "a host with a user": (post(host=b"Host: a@b\r\n"), 400),
    "a host with a space": (post(host=b"Host: a b\r\n"), 400),
    "a list of hosts": (post(host=b"Host: a, b\r\n"), 400),
    "two spaces in the request line": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a tab in the request line": (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a space in the target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a NUL in the target": (b"GET /a\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a fragment in the target": (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a broken escape in the target": (b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    "a lower-case version": (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    "a version with a suffix": (b"GET / HTTP/1.1x\r\nHost: a\r\n\r\n", 400),
    "a method that is no token": (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an expectation nobody knows": (post(b"Expect: the-moon"), 417),
    "a CR before the request": (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40 + b"\r\n\r\n", 400),
    "a PROXY header": (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_and_closed(name: str) -> None:
    request, status = REFUSED[name]
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        await client.get(b"/before")
        await client.send(request + NEXT)
        response = await client.response()
        assert response.status == status, response.head + response.body
        assert response.one(b"connection") == b"close"
        assert await client.ended() == "closed"
        assert [each.line for each in origin.requests] == [b"GET /before HTTP/1.1"]
        async with (
            await lb.client() as other
        ):  # the idle connection to the backend is clean: it is used again
            assert (await other.get(b"/after")).status == 200
        assert origin.connections == 1


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_when_it_comes_byte_by_byte(name: str) -> None:
    request, status = REFUSED[name]
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        try:
            for byte in request:
                await client.send(bytes((byte,)))
                await asyncio.sleep(0)
        except ConnectionError:
            pass
        assert (await client.response()).status == status
        assert await client.ended() in ("closed", "reset")
        assert origin.connections == 0


SAME: dict[str, bytes] = {
    "an empty line before the request": b"\r\nGET /%64 HTTP/1.1\r\nHost: a\r\n\r\n",
    "white space around values": b"GET /d HTTP/1.1\r\nHost: \t a \t\r\n\r\n",
    "an absolute target": b"GET http://a/d HTTP/1.1\r\nHost: b\r\n\r\n",
    "dot segments": b"GET /x/../d HTTP/1.1\r\nHost: a\r\n\r\n",
    "a host in capitals": b"GET /d HTTP/1.1\r\nhOST: A\r\n\r\n",
}


@pytest.mark.parametrize("name", SAME)
async def test_other_spellings_of_one_request_arrive_alike(name: str) -> None:
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(SAME[name])
        assert (await client.response()).status == 200
        assert origin.requests[0].line == b"GET /d HTTP/1.1"
        assert origin.requests[0].all(b"host") == [b"a"]


async def test_an_absolute_target_is_never_used_to_connect() -> None:
    async with Origin() as origin, Origin() as other, balancer(origin) as lb, await lb.client() as client:
        await client.send(b"GET http://127.0.0.1:%d/x HTTP/1.1\r\nHost: a\r\n\r\n" % other.port)
        assert (await client.response()).status == 200
        assert (origin.connections, other.connections) == (1, 0)
        assert origin.requests[0].line == b"GET /x HTTP/1.1"


BAD_RESPONSES: dict[str, bytes] = {
    "both framings": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "a signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "chunked twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "a bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok",
    "a bare CR": b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
    "a NUL": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "a folded line": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "a bad version": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "a bad status": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
    "no HTTP at all": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000,
    "a 101 that nobody asked for": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n" + OK,
    "a malformed 1xx": b"HTTP/1.1 103 Early Hints\r\nA : b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_RESPONSES)
async def test_a_malformed_response_is_a_bad_gateway(name: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(BAD_RESPONSES[name])
        await wire.rest()

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        response = await client.response()
        assert response.status == 502
        assert b"127.0.0.1" not in response.head + response.body
        assert str(origin.port).encode() not in response.head + response.body
        assert lb.idle() == 0
        assert response.one(b"connection") is None, "the client's own connection is clean"
        await client.get()
        assert origin.connections >= 2


async def test_an_unknown_final_coding_ends_with_the_connection() -> None:
    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: x-new\r\n\r\ncoded")

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        response = await client.get()
        assert response.body == b"coded"
        assert lb.idle() == 0


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_bytes_after_a_response_reach_nobody(method: bytes) -> None:
    poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(
            (OK if method == b"GET" else b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") + poison
        )
        await wire.rest()

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        for number in range(3):
            response = await client.get(method=method)
            assert b"poison" not in response.body
            assert origin.connections == number + 1


async def test_a_response_on_an_idle_connection_is_not_the_next_ones() -> None:
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)
        if wire.number == 0:
            await go.wait()
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
            try:
                assert await wire.rest() == b""
            except ConnectionError:
                pass
        else:
            await answer_ok(wire)

    async with Origin(script) as origin, balancer(origin) as lb, await lb.client() as client:
        await client.get()
        assert lb.idle() == 1
        go.set()
        await until(lambda: lb.idle() == 0, "the spoilt connection's end")
        assert (await client.get()).body == b"ok"
        assert origin.connections == 2


async def test_garbage_after_a_request_is_a_request_of_its_own() -> None:
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nxx yy\r\n\r\n")
        assert (await client.response()).status == 200
        assert (await client.response()).status == 400
        with pytest.raises(Ended):
            await client.response()
        assert len(origin.requests) == 1
