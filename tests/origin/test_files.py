from __future__ import annotations

import base64
import hashlib
from email.parser import BytesParser

import aiohttp
import pytest

from origin import blocks
from origin.files import FILES, MODIFIED, File

ONE = FILES["1MiB.bin"]


def content(name: str, first: int, end: int) -> bytes:
    return b"".join(blocks.pieces(name, first, end))


@pytest.mark.parametrize("file", FILES.values(), ids=lambda file: file.name)
def test_the_digests_are_those_of_the_bytes(file: File) -> None:
    digest = hashlib.sha256()
    for piece in blocks.pieces(file.name, 0, file.size):
        assert len(piece) <= blocks.BLOCK
        digest.update(piece)
    assert digest.hexdigest() == file.sha256


@pytest.mark.parametrize("first, end", [(0, 1), (65535, 65537), (100, 300000), (1048575, 1048576), (7, 7)])
def test_any_part_is_that_part_of_the_whole(first: int, end: int) -> None:
    assert content(ONE.name, first, end) == content(ONE.name, 0, ONE.size)[first:end]


def test_every_block_says_where_it_stands() -> None:
    assert content("10MiB.bin", 3 * 65536, 3 * 65536 + 23) == b"10MiB.bin 000000196608\n"


async def test_whole(client: aiohttp.ClientSession) -> None:
    async with client.get("/files/1MiB.bin") as response:
        body = await response.read()
    assert (response.status, len(body)) == (200, ONE.size)
    assert hashlib.sha256(body).hexdigest() == ONE.sha256 == response.headers["X-Checksum-SHA256"]
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    assert response.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    assert response.headers["Accept-Ranges"] == "bytes"
    assert "max-age" in response.headers["Cache-Control"]


TAG, DATE = ONE.etag, "Thu, 01 Jan 2026 00:00:00 GMT"


@pytest.mark.parametrize(
    "method, fields, status, span",
    [
        ("GET", {"Range": "bytes=0-9"}, 206, (0, 10)),
        ("GET", {"Range": "bytes=65530-65600"}, 206, (65530, 65601)),
        ("GET", {"Range": "bytes=-5"}, 206, (ONE.size - 5, ONE.size)),
        ("GET", {"Range": "bytes=0-9", "If-Range": TAG}, 206, (0, 10)),
        ("GET", {"Range": "bytes=0-9", "If-Range": DATE}, 206, (0, 10)),
        ("GET", {"Range": "bytes=0-9", "If-Range": '"other"'}, 200, (0, ONE.size)),
        ("GET", {"Range": "junk=0-9"}, 200, (0, ONE.size)),
        ("GET", {"Range": "bytes=0-9", "If-None-Match": TAG}, 304, (0, 0)),
        ("GET", {"If-Modified-Since": DATE}, 304, (0, 0)),
        ("HEAD", {"Range": "bytes=0-9"}, 200, (0, 0)),
        ("HEAD", {}, 200, (0, 0)),
    ],
)
async def test_parts_and_conditions(
    client: aiohttp.ClientSession, method: str, fields: dict[str, str], status: int, span: tuple[int, int]
) -> None:
    async with client.request(method, "/files/1MiB.bin", headers=fields) as response:
        assert response.status == status
        assert response.headers["ETag"] == TAG
        assert await response.read() == content(ONE.name, *span)
    if status == 206:
        assert response.headers["Content-Range"] == f"bytes {span[0]}-{span[1] - 1}/{ONE.size}"
        assert int(response.headers["Content-Length"]) == span[1] - span[0]
    if method == "HEAD":
        assert int(response.headers["Content-Length"]) == ONE.size


async def test_several_parts(client: aiohttp.ClientSession) -> None:
    async with client.get("/files/1MiB.bin", headers={"Range": "bytes=0-15,65536-65551,-4"}) as response:
        body = await response.read()
    assert response.status == 206
    assert int(response.headers["Content-Length"]) == len(body)
    head = f"Content-Type: {response.headers['Content-Type']}\r\n\r\n".encode()
    parts = BytesParser().parsebytes(head + body).get_payload()
    assert isinstance(parts, list)
    wanted = [(0, 16), (65536, 65552), (ONE.size - 4, ONE.size)]
    assert [str(part["Content-Range"]) for part in parts] == [
        f"bytes {a}-{b - 1}/{ONE.size}" for a, b in wanted
    ]
    assert body.count(b"1MiB.bin 0000000") == 2


async def test_a_part_that_is_not_there(client: aiohttp.ClientSession) -> None:
    async with client.get("/files/1MiB.bin", headers={"Range": "bytes=9999999-"}) as response:
        assert (response.status, response.headers["Content-Range"]) == (416, f"bytes */{ONE.size}")


async def test_a_file_that_is_not_there(client: aiohttp.ClientSession) -> None:
    async with client.get("/files/2MiB.bin") as response:
        assert response.status == 404
        assert "1MiB.bin" in (await response.json(content_type=None))["detail"]


async def test_the_last_bytes_of_the_largest(client: aiohttp.ClientSession) -> None:
    async with client.get("/files/100MiB.bin", headers={"Range": "bytes=104857590-"}) as response:
        assert await response.read() == content("100MiB.bin", 104857590, 104857600)
    assert response.headers["Last-Modified"] == DATE
    assert MODIFIED == 1767225600
