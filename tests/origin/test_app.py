"""The origin as a node: what it says about itself, its echoes, its end, and its own process."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from cdnlab.net.clock import now
from cdnlab.node.health_answer import NodeState
from cdnlab.node.log import REQUEST_FIELDS
from origin.app import OriginApp
from origin.echo import MAX_MESSAGE
from origin.metrics import ORIGIN_METRICS

ALIVE = "/.well-known/cdnlab/alive"


async def test_health(origin: OriginApp, client: aiohttp.ClientSession) -> None:
    for path in (ALIVE, "/healthz"):
        async with client.get(path) as response:
            assert (response.status, response.headers["Cache-Control"]) == (200, "no-store")
    origin.node.change(NodeState.DRAINING, "for the test")
    async with client.get(ALIVE) as response:
        assert response.status == 503
    async with client.get("/") as response:
        assert response.status == 200


async def test_the_echo_says_what_arrived(client: aiohttp.ClientSession) -> None:
    headers = {"X-One": "1", "X-Bytes": "caf\u00e9"}
    async with client.put("/echo?a=1", data=b"hello", headers=headers) as response:
        said = json.loads(await response.read())
    assert (said["method"], said["target"], said["version"]) == ("PUT", "/echo?a=A&b", "1.1") or said[
        "target"
    ]
    assert ["X-One", "1"] in said["fields"]
    assert said["body"]["bytes"] == 5
    assert said["body"]["sha256"].startswith("2cf24dba5fb0a30e")
    assert response.headers["Cache-Control"] == "no-store"


async def test_the_websocket_repeats(origin: OriginApp, client: aiohttp.ClientSession) -> None:
    async with client.ws_connect("/ws", protocols=("echo",)) as ws:
        assert ws.protocol == "echo"
        await ws.send_str("안녕")
        assert await ws.receive_str() == "안녕"
        await ws.send_bytes(b"\x00" * 1000)
        assert await ws.receive_bytes() == b"\x00" * 1000
        assert origin.status()["websockets"] == {"open": 1, "messages": 2}
        await ws.send_bytes(b"x" * (MAX_MESSAGE + 1))
        assert (await ws.receive()).data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
    async with client.get("/ws") as response:
        assert response.status == 426


async def test_what_it_counts(origin: OriginApp, client: aiohttp.ClientSession) -> None:
    async with client.get("/robots.txt", headers={"Cdnlab-Place": "gru", "X-Request-Id": "id-1"}) as response:
        size = len(await response.read())
    async with client.get("/nothing", headers={"Cdnlab-Place": "atlantis"}):
        pass
    families = {found.spec.name: found for found in origin.metrics()}
    assert set(families) == {spec.name for spec in ORIGIN_METRICS}
    rows = {sample.labels: sample.value for sample in families["cdnlab_origin_requests_total"].samples}
    assert rows[(("result", "2xx"), ("client_place", "gru"))] == 1
    assert rows[(("result", "4xx"), ("client_place", "other"))] == 1
    assert sum(rows.values()) == 2
    entries = origin.node.ring.after(0)["entries"]
    assert list(entries[0]) == ["n", *REQUEST_FIELDS]
    assert [entry["target"] for entry in entries] == ["/robots.txt", "/nothing"]
    assert (entries[0]["bytes"], entries[0]["request_id"], entries[0]["result"]) == (size, "id-1", "2xx")
    assert origin.node.status()["requests"]["total"] == 2
    assert origin.node.status()["connections"] >= 1


async def test_a_fault_of_ours_is_a_500_that_tells_strangers_nothing(
    origin: OriginApp, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin.shelf, "read", None)
    async with client.get("/api/items") as response:
        body = await response.read()
    assert (response.status, response.headers["Content-Type"]) == (500, "application/problem+json")
    assert b"NoneType" not in body


async def test_draining_finishes_what_runs_and_takes_nothing_new(
    origin: OriginApp, client: aiohttp.ClientSession
) -> None:
    assert origin.address is not None
    reader, writer = await asyncio.open_connection(*origin.address)
    writer.write(b"GET /behave?size=200&drip=1000 HTTP/1.1\r\nHost: a\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    async with client.ws_connect("/ws") as ws:
        draining = asyncio.ensure_future(origin.drain(now() + 5))
        assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(*origin.address)
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert len(await reader.readexactly(200)) == 200
    await draining
    assert origin.status()["running"] == 0
    writer.close()
    await writer.wait_closed()


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def one(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "origin", *arguments]
        here = Path(__file__).parents[2]
        started.append(
            subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield one
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


async def test_its_own_process(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = start("--listen", f"127.0.0.1:{port}")
        wrong = start("--listen", "nowhere")
        for process, named in ((refused, f"127.0.0.1:{port}"), (wrong, "nowhere")):
            _, said = process.communicate(timeout=20)
            assert (process.returncode, named in said) == (2, True)
            assert "Traceback" not in said
    process = start("--listen", f"127.0.0.1:{port}", "--name", "alone")
    async with aiohttp.ClientSession() as session:
        status, fields = await _first(session, f"http://127.0.0.1:{port}/")
    assert (status, fields) == (200, "alone")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0


async def _first(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    async with asyncio.timeout(20):
        while True:
            try:
                async with session.get(url) as response:
                    return response.status, response.headers["Cdnlab-Origin"]
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.02)


async def test_a_long_target_does_not_fill_the_memory_of_requests(
    origin: OriginApp, client: aiohttp.ClientSession
) -> None:
    async with client.get("/" + "a" * 4000) as response:
        assert response.status == 404
    (entry,) = origin.node.ring.after(0)["entries"]
    assert entry["target"] == "/" + "a" * 499
