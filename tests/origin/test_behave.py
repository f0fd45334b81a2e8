"""/behave: what the query may say, then what really comes over the socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from urllib.parse import urlencode

import aiohttp
import pytest

from origin.app import OriginApp
from origin.behaviours import PARAMETERS, Wrong, understand


@pytest.mark.parametrize(
    "query, named",
    [
        ([("status", "199")], "status"),
        ([("status", "600")], "status"),
        ([("status", "2OO")], "status"),
        ([("status", "٢٠٠")], "status"),
        ([("status", "200"), ("status", "201")], "twice"),
        ([("stauts", "200")], "did you mean status"),
        ([("nonsense", "1")], "/behave/help"),
        ([("delay", "31")], "delay"),
        ([("delay", "-1")], "delay"),
        ([("delay", "nan")], "delay"),
        ([("delay", "1e1")], "delay"),
        ([("size", "-1")], "size"),
        ([("size", "1073741825")], "size"),
        ([("cc", "a\r\nb: c")], "cc"),
        ([("cc", "")], "cc"),
        ([("cc", "x" * 1025)], "longer"),
        ([("etag", 'a"b')], "etag"),
        ([("last_modified", "yesterday")], "last_modified"),
        ([("expires", "soon")], "expires"),
        ([("age", "-1")], "age"),
        ([("chunked", "yes")], "chunked"),
        ([("header", "NoColon")], "header"),
        ([("header", "Content-Length:5")], "header"),
        ([("header", "transfer-encoding:chunked")], "header"),
        ([("header", "Bad Name:x")], "header"),
        ([("header", "X:a\nb")], "header"),
        ([("header", "Cdnlab-Origin:me")], "header"),
        ([("header", "X:1")] * 33, "at the most 32"),
        ([("trailer", "X:1"), ("chunked", "0")], "chunked"),
        ([("size", "1000"), ("drip", "1")], "drip"),
        ([("echo", "1"), ("size", "1")], "echo"),
    ],
)
def test_what_cannot_be_obeyed(query: list[tuple[str, str]], named: str) -> None:
    with pytest.raises(Wrong, match=named):
        understand(query)


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_example_is_valid(name: str) -> None:
    assert name in understand([(name, PARAMETERS[name].example)]).told


def path(*pairs: tuple[str, str], **single: object) -> str:
    return "/behave?" + urlencode([*pairs, *((name, str(value)) for name, value in single.items())])


@pytest.mark.parametrize(
    "query, fields",
    [
        ({"cc": "public, max-age=5"}, {"Cache-Control": "public, max-age=5"}),
        ({"vary": "Accept"}, {"Vary": "Accept"}),
        ({"etag": "v1"}, {"ETag": '"v1"'}),
        ({"etag": 'W/"v1"'}, {"ETag": 'W/"v1"'}),
        ({"age": 7}, {"Age": "7"}),
        ({"expires": 0}, {"Expires": "0"}),
        ({"expires": "Sun, 06 Nov 1994 08:49:37 GMT"}, {"Expires": "Sun, 06 Nov 1994 08:49:37 GMT"}),
        (
            {"last_modified": "Sunday, 06-Nov-94 08:49:37 GMT"},
            {"Last-Modified": "Sunday, 06-Nov-94 08:49:37 GMT"},
        ),
        ({"set_cookie": "a=b; Path=/"}, {"Set-Cookie": "a=b; Path=/"}),
        ({"type": "text/csv"}, {"Content-Type": "text/csv"}),
        ({"header": "X-Colour: blue"}, {"X-Colour": "blue"}),
        ({"header": "Date:Sun, 06 Nov 1994 08:49:37 GMT"}, {"Date": "Sun, 06 Nov 1994 08:49:37 GMT"}),
        ({"location": "/x", "status": 302}, {"Location": "/x"}),
    ],
)
async def test_fields(
    client: aiohttp.ClientSession, query: dict[str, object], fields: dict[str, str]
) -> None:
    async with client.get(path(**query), allow_redirects=False) as response:
        assert response.status == query.get("status", 200)
        assert {name: response.headers[name] for name in fields} == fields
        assert response.headers.getall("Content-Type")[0]


@pytest.mark.parametrize("status", [200, 201, 204, 301, 304, 404, 418, 451, 500, 503, 599])
async def test_any_status(client: aiohttp.ClientSession, status: int) -> None:
    async with client.get(path(status=status), allow_redirects=False) as response:
        assert response.status == status
        assert bool(await response.read()) is (status not in (204, 304))
        assert "Cache-Control" not in response.headers


async def test_one_query_has_one_body_but_each_answer_its_number(client: aiohttp.ClientSession) -> None:
    async with client.get(path(etag="v1")) as one, client.get(path(etag="v1")) as other:
        assert await one.read() == await other.read()
        assert one.headers["Cdnlab-Serial"] != other.headers["Cdnlab-Serial"]


@pytest.mark.parametrize(
    "query, fields, status",
    [
        ({"etag": "v1"}, {"If-None-Match": '"v1"'}, 304),
        ({"etag": "v1"}, {"If-None-Match": '"v2"'}, 200),
        ({"etag": "v1", "status": 500}, {"If-None-Match": '"v1"'}, 500),
        ({}, {"If-None-Match": "*"}, 200),
        ({"last_modified": -60}, {"If-Modified-Since": "Sun, 06 Nov 2044 08:49:37 GMT"}, 200),
        (
            {"last_modified": "Sun, 06 Nov 1994 08:49:37 GMT"},
            {"If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"},
            304,
        ),
    ],
)
async def test_conditions(
    client: aiohttp.ClientSession, query: dict[str, object], fields: dict[str, str], status: int
) -> None:
    async with client.get(path(cc="max-age=9", **query), headers=fields) as response:
        assert response.status == status
        assert response.headers["Cache-Control"] == "max-age=9"


async def test_what_cannot_be_obeyed_is_answered_400(client: aiohttp.ClientSession) -> None:
    async with client.get(path(status="abc")) as response:
        assert response.status == 400
        assert "/behave/help" in json.loads(await response.read())["detail"]


async def test_an_echo_is_never_html(client: aiohttp.ClientSession) -> None:
    async with client.get(path(echo=1, type="text/html") + "&key=<script>") as response:
        body = await response.read()
    assert json.loads(body)["method"] == "GET"
    assert b"<" not in body


async def raw(origin: OriginApp, request: str) -> bytes:
    """Send one request and read until the origin closes."""
    assert origin.address is not None
    reader, writer = await asyncio.open_connection(*origin.address)
    writer.write(request.encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def get(target: str, version: str = "1.1", connection: str = "close") -> str:
    return f"GET {target} HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n"


async def test_chunks_and_trailers(origin: OriginApp) -> None:
    query = path(("trailer", "X-One:1"), ("trailer", "X-Two:2"), size=70)
    head, _, body = (await raw(origin, get(query))).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert b"Trailer: X-One, X-Two" in head
    assert b"Content-Length" not in head
    assert body.startswith(b"46\r\n000000000000 ")
    assert body.endswith(b"\r\n0\r\nX-One: 1\r\nX-Two: 2\r\n\r\n")


async def test_chunks_are_not_for_http_1_0(origin: OriginApp) -> None:
    head, _, body = (await raw(origin, get(path(size=70, chunked=1), "1.0"))).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert len(body) == 70


async def test_keep_alive_after_own_chunks(origin: OriginApp) -> None:
    two = get(path(size=5, chunked=1), connection="keep-alive") + get("/healthz")
    answer = await raw(origin, two)
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.endswith(b"ok\n")


async def test_cut_short(origin: OriginApp) -> None:
    head, _, body = (await raw(origin, get(path(size=1000, close=100), connection="keep-alive"))).partition(
        b"\r\n\r\n"
    )
    assert b"Content-Length: 1000" in head
    assert len(body) == 100


async def test_early_hints_come_first(origin: OriginApp) -> None:
    answer = await raw(origin, get(path(early_hints="</a.css>; rel=preload", size=0)))
    assert answer.startswith(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n"
    )


async def test_delay_and_drip_take_their_time(client: aiohttp.ClientSession) -> None:
    started = time.monotonic()
    async with client.get(path(delay="0.1")) as response:
        await response.read()
    assert time.monotonic() - started >= 0.1
    started = time.monotonic()
    async with client.get(path(size=300, drip=1500)) as response:
        body = await response.read()
    assert (time.monotonic() - started >= 0.19, len(body)) == (True, 300)


async def test_a_large_body_is_as_long_as_told(client: aiohttp.ClientSession) -> None:
    async with client.get(path(size=3_000_001)) as response:
        body = await response.read()
    assert len(body) == 3_000_001
    assert body[1_000_000 // 64 * 64 :].startswith(b"000001000000 "[:4])


async def test_head(client: aiohttp.ClientSession) -> None:
    async with client.head(path(size=12345)) as response:
        assert (response.headers["Content-Length"], await response.read()) == ("12345", b"")


async def test_a_client_that_leaves_ends_the_answer(origin: OriginApp) -> None:
    assert origin.address is not None
    _, writer = await asyncio.open_connection(*origin.address)
    writer.write(get(path(delay=30)).encode())
    await until(lambda: bool(origin.status()["running"]))
    writer.close()
    await writer.wait_closed()
    await until(lambda: not origin.status()["running"])


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - it is the origin's own state that is watched, over a real socket
            await asyncio.sleep(0.001)
