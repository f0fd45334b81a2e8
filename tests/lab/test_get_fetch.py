"""Reading one answer: framing, interim responses, times."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cdnlab.lab.fetch import Answer, FetchFailed, fetch

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def answered(pieces: list[bytes], method: bytes = b"GET") -> tuple[Answer, bytes]:
    """What `fetch` makes of a server that sends `pieces`, one at a time, and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    body = bytearray()

    async def opened(factory: Any) -> None:
        await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", port)

    async with server:
        answer = await fetch(opened, REQUEST, method, body.extend)
    return answer, bytes(body)


@pytest.mark.parametrize(
    ("raw", "body", "cut"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", False),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", False),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil close", b"until close", False),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            b"abcde",
            False,
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
        (
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"ok",
            False,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", b"short", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"abc", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok, and more than was declared", b"ok", False),
    ],
)
async def test_bodies(raw: bytes, body: bytes, cut: bool) -> None:
    for pieces in ([raw], [raw[i : i + 1] for i in range(len(raw))]):
        answer, got = await answered(pieces)
        assert (got, bool(answer.cut), answer.size) == (body, cut, len(body))


async def test_head_has_no_body() -> None:
    answer, body = await answered([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"], b"HEAD")
    assert (answer.size, body, answer.cut) == (0, b"", "")


async def test_fields_and_times() -> None:
    answer, _ = await answered([b"HTTP/1.1 200 OK\r\nDate: x\r\nA: 1\r\na: 2\r\nContent-Length: 0\r\n\r\n"])
    assert answer.field("a") == "1, 2"
    assert answer.field("date") == "x"
    assert 0 < answer.connect <= answer.first_byte <= answer.total


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 2",
        b"junk\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20000,
    ],
    ids=["nothing", "part", "junk", "two lengths", "endless"],
)
async def test_what_is_no_answer(raw: bytes) -> None:
    with pytest.raises(FetchFailed):
        await answered([raw])
