"""Repr-Digest (RFC 9530): on what has one, of the bytes that come, and nowhere else."""

from __future__ import annotations

import base64
import hashlib
import re

import aiohttp
import pytest

from origin import digest
from origin.pages import PAGES


def of(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


async def test_pages_in_each_language_and_their_assets(client: aiohttp.ClientSession) -> None:
    assets: set[str] = set()
    for path in PAGES:
        for language in ("en", "ko"):
            async with client.get(path, headers={"Accept-Language": language}) as response:
                body = await response.read()
            assert response.headers["Repr-Digest"] == of(body), path
            assets.update(re.findall(r'"(/assets/[^"]+)"', body.decode()))
    assert len(assets) > 4
    for path in (*assets, "/favicon.ico", "/robots.txt", "/api/items", "/api/items/1", "/nowhere"):
        async with client.get(path) as response:
            assert response.headers["Repr-Digest"] == of(await response.read()), path


@pytest.mark.parametrize(
    "query",
    ["", "size=0", "size=1", "size=65537", "size=100000&chunked=1", "size=70&trailer=X:1", "echo=1", "status=404",
     "size=300&header=Content-Encoding:identity", "cc=no-store&vary=Accept"],
)  # fmt: skip
async def test_told_bodies(client: aiohttp.ClientSession, query: str) -> None:
    async with client.get(f"/behave?{query}") as response:
        assert response.headers["Repr-Digest"] == of(await response.read())


async def test_it_is_of_the_whole_body_although_the_connection_is_closed_before(
    client: aiohttp.ClientSession,
) -> None:
    async with client.get("/behave?size=500") as response:
        whole = await response.read()
    async with client.get("/behave?size=500&close=100") as response:
        assert response.headers["Repr-Digest"] == of(whole)
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


@pytest.mark.parametrize(
    "method, query, fields",
    [
        ("GET", "status=204", {}),
        ("GET", "status=206&size=10", {}),
        ("GET", "size=10&header=Content-Range:bytes%200-9/100", {}),
        ("GET", "etag=a", {"If-None-Match": '"a"'}),
        ("HEAD", "echo=1", {}),
        ("HEAD", f"size={digest.SIZED_MAX + 1}", {}),
    ],
)
async def test_none_where_it_would_not_be_right(
    client: aiohttp.ClientSession, method: str, query: str, fields: dict[str, str]
) -> None:
    async with client.request(method, f"/behave?{query}", headers=fields) as response:
        assert "Repr-Digest" not in response.headers


async def test_one_that_was_told_stays_alone(client: aiohttp.ClientSession) -> None:
    async with client.get("/behave?size=10&header=Repr-Digest:sha-256%3D:AAAA:") as response:
        assert response.headers.getall("Repr-Digest") == ["sha-256=:AAAA:"]


async def test_head_bears_what_get_bears(client: aiohttp.ClientSession) -> None:
    for path in ("/", "/behave?size=10", "/files/1MiB.bin"):
        async with client.head(path) as head, client.get(path) as get:
            assert head.headers["Repr-Digest"] == get.headers["Repr-Digest"] == of(await get.read())
