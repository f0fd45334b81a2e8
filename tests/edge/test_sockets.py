"""The edge on real sockets: a real node, a scripted origin, clients that write bytes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cdnlab.forward.explain import mark, parse_hops
from cdnlab.forward.upstreams import trip_times
from cdnlab.net import tasks
from cdnlab.net.clock import now, wall
from cdnlab.node.node import Node
from cdnlab.plan.single import single_edge
from edge.app import Edge
from tests.edge.origin import Origin, Script, Talk

Answer = tuple[int, dict[str, str], bytes]
MINUTE = "Cache-Control: max-age=60"


class Client:
    """One connection to the edge."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, method: str, target: str, *fields: str, body: bytes = b"") -> None:
        head = "\r\n".join([f"{method} {target} HTTP/1.1", "Host: shop.example", *fields, "", ""])
        self.writer.write(head.encode("latin-1") + body)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        raw = await self.reader.readuntil(b"\r\n\r\n")
        line, *lines = raw.decode("latin-1").split("\r\n")
        pairs = (each.partition(": ") for each in lines if each)
        return int(line.split(" ")[1]), {name.lower(): value for name, _, value in pairs}

    async def receive(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        status, fields = await self.head()
        if method == "HEAD" or status in (204, 304):
            return status, fields, b""
        if "content-length" in fields:
            return status, fields, await self.reader.readexactly(int(fields["content-length"]))
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readline()
        await self.reader.readline()
        return status, fields, body

    async def ask(
        self, target: str, *fields: str, method: str = "GET", body: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        await self.send(method, target, *fields, body=body)
        return await self.receive(method)

    def close(self) -> None:
        self.writer.close()


class Stage:
    """An edge, its origin, and clients."""

    def __init__(self, app: Edge, origin: Origin, port: int) -> None:
        self.app = app
        self.node = app.node
        self.origin = origin
        self.port = port
        self.clients: list[Client] = []

    async def client(self, **options: int) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, **options))
        self.clients.append(client)
        return client

    async def ask(self, target: str, *fields: str, **how: str) -> tuple[int, dict[str, str], bytes]:
        return await (await self.client()).ask(target, *fields, **how)  # type: ignore[arg-type]


Stager = Callable[..., Awaitable[Stage]]


@pytest.fixture
async def stage() -> AsyncIterator[Stager]:
    stages: list[Stage] = []

    async def make(script: Script, **options: str) -> Stage:
        origin = Origin(script)
        url = await origin.start()
        topology = single_edge("127.0.0.1:0", [url], admin="off", **options)  # type: ignore[arg-type]
        app = Edge(Node(topology, "edge"))
        await app.start()
        assert app.address is not None
        stages.append(Stage(app, origin, app.address[1]))
        return stages[-1]

    yield make
    for each in stages:
        for client in each.clients:
            client.close()
        await each.app.stop()
        await each.origin.stop()
    await tasks.cancel_all()


async def until(condition: Callable[[], bool], what: str = "the condition") -> None:
    limit = now() + 10
    while not condition():
        assert now() < limit, f"{what} did not come about"
        await asyncio.sleep(0.005)


async def test_miss_hit_head_range_and_304_on_one_connection(stage: Stager) -> None:
    async def script(talk: Talk) -> None:
        await talk.answer(200, MINUTE, 'ETag: "1"', "Content-Type: text/plain", body=b"0123456789")

    it = await stage(script)
    client = await it.client()
    assert (await client.ask("/"))[2] == b"0123456789"
    status, fields, body = await client.ask("/", "Cookie: a=b")
    assert (status, body) == (200, b"0123456789")
    assert re.fullmatch(r"edge; hit; ttl=\d+", fields["cache-status"])
    assert (await client.ask("/", method="HEAD"))[1]["content-length"] == "10"
    assert (await client.ask("/", "Range: bytes=2-4"))[::2] == (206, b"234")
    assert (await client.ask("/", 'If-None-Match: "1"'))[0] == 304
    assert len(it.origin.talks) == 1


async def test_pipelined_hits_and_misses_come_in_order(stage: Stager) -> None:
    async def script(talk: Talk) -> None:
        await talk.answer(200, MINUTE, body=talk.target.encode())

    it = await stage(script)
    await it.ask("/a")
    client = await it.client()
    for target in ("/a", "/b", "/a", "/c", "/a"):
        client.writer.write(f"GET {target} HTTP/1.1\r\nHost: shop.example\r\n\r\n".encode())
    await client.writer.drain()
    assert [(await client.receive())[2] for _ in range(5)] == [b"/a", b"/b", b"/a", b"/c", b"/a"]


async def test_fifty_clients_one_fetch(stage: Stager) -> None:
    go = asyncio.Event()

    async def script(talk: Talk) -> None:
        await talk.say(f"HTTP/1.1 200 OK\r\n{MINUTE}\r\nContent-Length: 200000\r\n\r\n" + "x" * 1000)
        await go.wait()
        await talk.say("y" * 199000)

    it = await stage(script)
    clients = [await it.client() for _ in range(50)]
    for client in clients:
        await client.send("GET", "/")
    heads = [await client.head() for client in clients]
    assert sum("collapsed" in fields["cache-status"] for _, fields in heads) == 49
    assert await clients[7].reader.readexactly(1000) == b"x" * 1000, "streamed before the end has come"
    go.set()
    assert await clients[7].reader.readexactly(199000) == b"y" * 199000
    for client in clients[:7] + clients[8:]:
        assert len(await client.reader.readexactly(200000)) == 200000
    assert len(it.origin.talks) == 1


async def test_a_large_body_is_not_held_for_a_reader_that_does_not_read(stage: Stager) -> None:
    total, piece = 96 << 20, os.urandom(1 << 18)
    sent = 0

    async def script(talk: Talk) -> None:
        nonlocal sent
        await talk.say(f"HTTP/1.1 200 OK\r\n{MINUTE}\r\nContent-Length: {total}\r\n\r\n")
        while sent < total:
            await talk.say(piece)
            sent += len(piece)

    it = await stage(script)
    client = await it.client(limit=1 << 16)
    await client.send("GET", "/")
    assert (await client.head())[1]["cache-status"].endswith("detail=too-large")
    fetches = [fetch for each in it.app.cache.flights._by_key.values() for fetch in each]  # type: ignore[union-attr]
    await until(lambda: fetches[0]._halted, "back-pressure")
    assert fetches[0]._stream.waiting < 1 << 20
    assert sent < total // 2
    received, seen = 0, hashlib.sha256()
    while received < total:
        data = await client.reader.read(1 << 20)
        received += len(data)
        seen.update(data)
    wanted = hashlib.sha256()
    for _ in range(total // len(piece)):
        wanted.update(piece)
    assert seen.digest() == wanted.digest()
    assert it.app.cache.storage.objects == 0  # type: ignore[union-attr]


async def test_a_body_in_tiny_chunks_takes_little_more_than_its_size(stage: Stager) -> None:
    go = asyncio.Event()

    async def script(talk: Talk) -> None:
        await talk.say(f"HTTP/1.1 200 OK\r\n{MINUTE}\r\nTransfer-Encoding: chunked\r\n\r\n")
        await talk.say("2\r\nxy\r\n" * 100_000)
        await go.wait()
        await talk.say("0\r\n\r\n")

    it = await stage(script)
    asked = asyncio.ensure_future(it.ask("/"))
    fetches = it.app.cache.flights._by_key  # type: ignore[union-attr]
    await until(lambda: any(each._stream.received == 200_000 for (each,) in fetches.values()), "the body")
    ((fetch,),) = fetches.values()
    assert len(fetch._stream._pieces) < 1000
    go.set()
    assert (await asked)[2] == b"xy" * 100_000


async def test_an_origin_that_dies_in_the_middle(stage: Stager) -> None:
    async def script(talk: Talk) -> None:
        await talk.say(f"HTTP/1.1 200 OK\r\n{MINUTE}\r\nContent-Length: 100\r\n\r\nhalf")
        talk.writer.transport.abort()

    it = await stage(script)
    client = await it.client()
    await client.send("GET", "/")
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        await client.head()
        await client.reader.readexactly(100)
        pytest.fail("a cut response looked whole")
    assert it.app.cache.storage.objects == 0  # type: ignore[union-attr]


async def test_an_origin_that_is_not_there(stage: Stager) -> None:
    async def script(talk: Talk) -> None:
        raise AssertionError

    it = await stage(script)
    it.origin._server.close()  # type: ignore[union-attr]
    status, fields, body = await it.ask("/")
    assert status == 502
    assert body.startswith(b"edge: 502")
    assert b"127.0.0.1" not in body
    assert "cache-status" not in fields, "it came from no cache (RFC 9211 §2)"


async def test_bodies_travel_and_change_what_is_stored(stage: Stager) -> None:
    async def script(talk: Talk) -> None:
        if talk.method == "POST":
            await talk.answer(200, body=await talk.body())
        else:
            await talk.answer(200, MINUTE, body=b"list")

    it = await stage(script)
    client = await it.client()
    await client.ask("/items")
    big = os.urandom(300_000)
    assert (await client.ask("/items", f"Content-Length: {len(big)}", method="POST", body=big))[2] == big
    chunks = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    assert (await client.ask("/items", "Transfer-Encoding: chunked", method="POST", body=chunks))[
        2
    ] == b"hello world"
    assert "fwd=uri-miss" in (await client.ask("/items"))[1]["cache-status"]


async def test_expectations_are_met_by_the_origin(stage: Stager) -> None:
    async def script(talk: Talk) -> None:
        assert talk.fields["expect"] == "100-continue"
        await talk.say("HTTP/1.1 100 Continue\r\n\r\n")
        await talk.answer(200, body=await talk.body())

    it = await stage(script)
    client = await it.client()
    await client.send("PUT", "/", "Content-Length: 3", "Expect: 100-continue")
    assert (await client.head())[0] == 100
    client.writer.write(b"abc")
    assert (await client.receive())[2] == b"abc"


async def test_an_upgrade_becomes_a_tunnel(stage: Stager) -> None:
    async def script(talk: Talk) -> None:
        assert (talk.fields["connection"].lower(), talk.fields["upgrade"]) == ("upgrade", "echo")
        await talk.say("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        while data := await talk.reader.read(1000):
            await talk.say(data.upper())
        talk.writer.close()

    it = await stage(script)
    client = await it.client()
    await client.send("GET", "/", "Connection: Upgrade", "Upgrade: echo")
    status, fields = await client.head()
    assert (status, fields["upgrade"]) == (101, "echo")
    client.writer.write(b"hello")
    assert await client.reader.readexactly(5) == b"HELLO"
    client.close()
    await until(lambda: it.node.ring.seen == 1, "the tunnel's end in the log")


async def test_trailers_are_passed_on(stage: Stager) -> None:
    async def script(talk: Talk) -> None:
        await talk.say(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            "5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n"
        )

    it = await stage(script)
    client = await it.client()
    await client.send("GET", "/")
    await client.head()
    rest = await client.reader.readuntil(b"\r\n\r\n")
    assert rest.lower() == b"5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n"


async def test_an_explanation_over_the_wire(stage: Stager) -> None:
    async def script(talk: Talk) -> None:
        assert "cdnlab-explain" not in talk.fields, "this origin is not one of ours"
        await talk.answer(200, MINUTE, "Cdnlab-Hop: forged", body=b"x")

    it = await stage(script)
    value = mark(it.node.secrets.explain_key, b"GET", b"/", int(wall()) + 30).decode()
    for result in ("miss", "hit"):
        _, fields, _ = await it.ask("/", f"Cdnlab-Explain: {value}")
        (hop,) = parse_hops(fields["cdnlab-hop"].encode())
        assert (hop.node, hop.tier, hop.result) == ("edge", "edge", result)
    assert "cdnlab-hop" not in (await it.ask("/", "Cdnlab-Explain: 99999999999.forged"))[1]


async def test_distance_is_felt_by_a_miss_and_not_by_a_hit(stage: Stager) -> None:
    async def script(talk: Talk) -> None:
        await talk.answer(200, MINUTE, body=b"x")

    it = await stage(script, origin_place="iad")
    rtt = (trip_times(it.node.topology) or pytest.fail)("icn", "iad")
    assert rtt > 0.05
    client = await it.client()
    begun = now()
    await client.ask("/")
    missed = now()
    await client.ask("/")
    assert missed - begun >= 2 * rtt, "one round trip to connect, one to ask"
    assert now() - missed < rtt


async def test_what_is_counted_is_what_clients_saw(stage: Stager) -> None:
    async def script(talk: Talk) -> None:
        await talk.answer(200, MINUTE, body=b"0123456789")

    it = await stage(script)
    client = await it.client()
    seen = [(await client.ask(target))[1]["cache-status"] for target in ("/a", "/a", "/b", "/a", "/b")]
    hits = sum("; hit" in each for each in seen)
    text = "".join(family.text() for family in it.app.metrics())
    found = {
        result: (int(requests), int(size))
        for result in ("hit", "miss")
        for requests in re.findall(
            rf'cdnlab_edge_requests_total{{result="{result}",client_place="icn"}} (\d+)', text
        )
        for size in re.findall(
            rf'cdnlab_edge_response_bytes_total{{result="{result}",client_place="icn"}} (\d+)', text
        )
    }
    assert found == {"hit": (hits, 10 * hits), "miss": (2, 20)}
    assert it.app.status()["storage"]["objects"] == 2
    assert it.app.status()["backends"][0]["name"] == "origin-1"


async def test_a_drain_finishes_what_runs(stage: Stager) -> None:
    go = asyncio.Event()

    async def script(talk: Talk) -> None:
        await go.wait()
        await talk.answer(200, body=b"late")

    it = await stage(script)
    client = await it.client()
    await client.send("GET", "/")
    await until(lambda: bool(it.origin.talks), "the request at the origin")
    draining = asyncio.ensure_future(it.app.drain(now() + 10))
    await asyncio.sleep(0)
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", it.port)
    go.set()
    assert (await client.receive())[2] == b"late"
    client.close()
    await draining


# -- as a process ------------------------------------------------------------------------------------------------------


def run_edge(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def single(script: Script) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A single edge in its own process: that and its port."""
    origin = Origin(script)
    url, port = await origin.start(), free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edge", "--listen", f"127.0.0.1:{port}", "--origin", url, "--admin", "off",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        while b"ready" not in (line := await asyncio.wait_for(process.stderr.readline(), 20)):
            assert line, "it ended"
        yield process, port
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
        await origin.stop()


async def test_the_single_edge_from_the_command_line() -> None:
    async def script(talk: Talk) -> None:
        await talk.answer(200, MINUTE, body=b"from afar")

    async with single(script) as (process, port):
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        assert (await client.ask("/"))[2] == b"from afar"
        assert "hit" in (await client.ask("/"))[1]["cache-status"]
        client.close()
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 0


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_slow_readers_of_one_stored_body_do_not_hold_a_copy_each() -> None:
    body = os.urandom(1 << 20) * 8

    async def script(talk: Talk) -> None:
        await talk.answer(200, MINUTE, body=body)

    async with single(script) as (process, port):
        clients = [
            Client(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 12)) for _ in range(24)
        ]
        assert (await clients[0].ask("/"))[2] == body
        before = resident(process.pid)
        for client in clients[:12]:
            await client.send("GET", "/")
            assert "hit" in (await client.head())[1]["cache-status"]
        for client in clients[12:]:
            await client.send("GET", "/", "Range: bytes=1-")
            assert (await client.head())[0] == 206
        assert resident(process.pid) - before < 4 * len(body)
        assert await clients[0].reader.readexactly(len(body)) == body
        assert await clients[12].reader.readexactly(len(body) - 1) == body[1:]
        for client in clients:
            client.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--listen", "127.0.0.1:1", "--origin", "not a url"), "not a url"),
        (("--listen", "nonsense", "--origin", "http://127.0.0.1:9"), "nonsense"),
        (("--listen", "127.0.0.1:1", "--origin", "http://127.0.0.1:9", "--origin-place", "mars"), "mars"),
        (("--listen", "127.0.0.1:1", "--origin", "http://127.0.0.1:9", "--memory", "much"), "much"),
    ],
)
def test_bad_usage_ends_with_one_message(options: tuple[str, ...], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge", *options], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        command = [
            sys.executable,
            "-m",
            "edge",
            "--listen",
            address,
            "--origin",
            "http://127.0.0.1:9",
            "--admin",
            "off",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert address in done.stderr
    assert "--listen" in done.stderr
