"""`cdnlab edge` alone with its options for keys and cookies: a real process between a scripted origin and clients."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from tests.edge.origin import Origin, Talk

PATIENCE = 30.0


@asynccontextmanager
async def edge(origin: str, *options: str) -> AsyncIterator[int]:
    """The port of an edge process before `origin`."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listen = ("--listen", f"127.0.0.1:{port}", "--origin", origin, "--admin", "off")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edge", *listen, *options, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                assert process.returncode is None
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.02)
                    continue
                writer.close()
                break
        yield port
    finally:
        process.kill()
        await process.wait()


async def ask(port: int, target: str, *fields: str) -> str:
    """The head of the answer, in lower case."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    close = () if any("connection" in field.lower() for field in fields) else ("Connection: close",)
    head = "\r\n".join([f"GET {target} HTTP/1.1", "Host: shop.example", *close, *fields, "", ""])
    writer.write(head.encode())
    async with asyncio.timeout(PATIENCE):
        answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[0].decode().lower()


async def test_the_options_of_a_single_edge() -> None:
    async def script(talk: Talk) -> None:
        if "upgrade" in talk.fields:
            await talk.say(
                "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: echo\r\nSet-Cookie: a=b\r\n\r\n"
            )
            talk.writer.close()
            return
        await talk.answer(
            200,
            "Cache-Control: max-age=60",
            "Set-Cookie: a=b",
            'No-Vary-Search: params=("ref")',
            body=b"hello",
        )

    origin = Origin(script)
    url = await origin.start()
    options = ("--query-drop", "utm_*", "--query-drop", "fbclid", "--query-sort", "--cookies", "strip")
    async with edge(url, *options) as port:
        first = await ask(port, "/p?utm_id=1&b=2&fbclid=x&a=1", "Cookie: id=me")
        assert "fwd=uri-miss" in first
        for target in ("/p?a=1&b=2", "/p?b=2&fbclid&a=1", "/p?b=2&ref=x&a=1&utm_x=3"):
            again = await ask(port, target, "Cookie: id=you")
            assert "edge; hit" in again
            assert "set-cookie" not in first + again
        tunnel = await ask(port, "/p", "Upgrade: echo", "Connection: upgrade", "Cookie: id=me")
        assert tunnel.startswith("http/1.1 101")
        assert "set-cookie" not in tunnel
    assert [talk.target for talk in origin.talks] == ["/p?a=1&b=2", "/p"]
    assert not any("cookie" in talk.fields for talk in origin.talks)
    await origin.stop()
