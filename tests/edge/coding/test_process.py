"""Compression as users meet it: an edge in a process of its own, and a client that decodes as browsers do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import aiohttp

from cdnlab.net.clock import now
from tests.edge.coding.test_codecs import decode
from tests.edge.origin import Origin, Talk

PAGE = b"".join(b"<li><a href='/item/%d'>Item number %d</a></li>\n" % (n, n) for n in range(2000))
KEPT = ("Cache-Control: max-age=60", "Content-Type: text/html; charset=utf-8", 'ETag: "page-1"')


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def edge(origin: Origin, *options: str) -> AsyncIterator[str]:
    """A single edge as the command line starts it; its URL."""
    url, port = await origin.start(), free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edge", "--listen", f"127.0.0.1:{port}", "--origin", url, "--admin", "off", *options,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        while b"ready" not in (line := await asyncio.wait_for(process.stderr.readline(), 30)):
            assert line, "it ended"
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 30) == 0
        await origin.stop()


async def coded(
    session: aiohttp.ClientSession, url: str, accepts: str
) -> tuple[aiohttp.ClientResponse, bytes]:
    """Ask until the form is there."""
    limit = now() + 20
    while True:
        async with session.get(url, headers={"Accept-Encoding": accepts}) as answer:
            body = await answer.read()
            if "Content-Encoding" in answer.headers:
                return answer, body
            assert body == PAGE
        assert now() < limit, "no form was made"
        await asyncio.sleep(0.002)


async def test_a_page_to_clients_of_every_kind() -> None:
    async def script(talk: Talk) -> None:
        await talk.answer(200, *KEPT, body=PAGE)

    origin = Origin(script)
    async with edge(origin) as url, aiohttp.ClientSession(auto_decompress=False) as session:
        for accepts in ("gzip", "zstd", "br", "gzip, deflate, br, zstd"):
            answer, body = await coded(session, url + "/", accepts)
            coding = answer.headers["Content-Encoding"]
            assert coding == ("br" if "," in accepts else accepts)
            assert decode(coding.encode(), body) == PAGE
            assert int(answer.headers["Content-Length"]) == len(body) < len(PAGE) / 5
            assert answer.headers["ETag"] == 'W/"page-1"'
            assert answer.headers["Vary"] == "Accept-Encoding"
            assert "hit" in answer.headers["Cache-Status"]
            weak = answer.headers["ETag"]
            given = {"Accept-Encoding": accepts}
            async with session.head(url + "/", headers=given) as headed:
                for name in ("Content-Encoding", "Content-Length", "ETag", "Vary", "Content-Type"):
                    assert headed.headers[name] == answer.headers[name]
            async with session.get(url + "/", headers=given | {"If-None-Match": weak}) as held:
                assert (held.status, held.headers["ETag"], held.headers["Vary"]) == (
                    304,
                    weak,
                    "Accept-Encoding",
                )
            async with session.get(url + "/", headers=given | {"Range": "bytes=100-199"}) as part:
                assert (part.status, await part.read()) == (206, PAGE[100:200])
                assert part.headers["ETag"] == '"page-1"'
        async with session.get(url + "/", headers={"Accept-Encoding": "identity"}) as plain:
            assert (await plain.read(), plain.headers["ETag"]) == (PAGE, '"page-1"')
        async with aiohttp.ClientSession() as browser, browser.get(url + "/") as answer:
            assert answer.headers["Content-Encoding"] in ("br", "gzip", "zstd")
            assert await answer.read() == PAGE, "decoded by a client that knows nothing of us"
    assert len(origin.talks) == 1


async def test_hits_go_on_at_once_while_a_large_body_is_coded() -> None:
    """Four megabytes of text take a coder's thread a tenth of a second and more. A hit does not wait for that."""
    large = b"".join(b"%d squared is %d\n" % (n, n * n) for n in range(160_000))

    async def script(talk: Talk) -> None:
        await talk.answer(200, *KEPT, body=large if talk.target == "/large" else PAGE)

    origin, accepts = Origin(script), {"Accept-Encoding": "gzip"}
    async with edge(origin) as url, aiohttp.ClientSession(auto_decompress=False) as session:
        await coded(session, url + "/", "gzip")
        async with session.get(url + "/large", headers=accepts) as answer:
            assert await answer.read() == large
        waited, begun, ready = 0.0, now(), False
        while not ready:
            started = now()
            async with session.get(url + "/", headers=accepts) as answer:
                await answer.read()
            waited = max(waited, now() - started)
            async with session.head(url + "/large", headers=accepts) as answer:
                ready = "Content-Encoding" in answer.headers
            assert now() < begun + 50, "the form was not made"
            await asyncio.sleep(0.005)
        took = now() - begun
    assert waited < max(0.1, took / 2), f"a hit waited {waited:.3f} s of {took:.3f}"


async def test_what_comes_back_from_disk_is_coded_anew_to_the_same_bytes(tmp_path: Path) -> None:
    """Forms are not written to disk; an object that comes from there has them made again."""

    async def script(talk: Talk) -> None:
        await talk.answer(
            200, *KEPT, body=PAGE if talk.target == "/" else Random(talk.target).randbytes(100_000)
        )

    origin = Origin(script)
    options = ("--memory", "1MiB", "--disk", f"{tmp_path}:16MiB")
    async with edge(origin, *options) as url, aiohttp.ClientSession(auto_decompress=False) as session:
        before, form = await coded(session, url + "/", "br")
        for number in range(20):
            async with session.get(f"{url}/{number}") as answer:
                await answer.read()
        asked = len(origin.talks)
        async with session.get(url + "/", headers={"Accept-Encoding": "br"}) as answer:
            first = await answer.read()
            assert answer.headers["Vary"] == "Accept-Encoding"
        after, again = await coded(session, url + "/", "br")
        assert first == PAGE, "from disk"
        assert again == form
        for name in ("ETag", "Vary", "Content-Length", "Content-Type"):
            assert after.headers[name] == before.headers[name]
    assert len(origin.talks) == asked
