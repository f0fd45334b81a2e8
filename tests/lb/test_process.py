"""The balancer as a process: `python -m lb`, what a slow peer costs it in memory, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.balancers import topology
from tests.support.peers import Origin, Wire, answer_ok, dial, free_port, until

ROOT = Path(__file__).parents[2]
GIB = 1 << 30
MIB = 1 << 20

#: A node of a topology that is given as YAML: what the nursery does without the fork.
NODE = """
import sys
from cdnlab.plan.load import load
from lb.command import node_main
sys.exit(node_main(load(sys.argv[1]), "lb"))
"""

#: Answers every request on its port with a gibibyte of zeros.
ZEROS = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
piece = bytes(1 << 20)
while True:
    peer, _ = server.accept()
    with peer:
        try:
            while (head := peer.recv(65536)) and b"\\r\\n\\r\\n" not in head:
                pass
            if not head:
                continue  # a health check only connects
            peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % (1 << 30))
            for _ in range(1024):
                peer.sendall(piece)
        except OSError:
            pass
"""


class Process:
    """A balancer's process."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    def resident(self) -> int:
        """Bytes of memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    async def client(self, **options: int) -> Wire:
        """A connection to it."""
        return await dial(self.port, **options)  # type: ignore[arg-type]

    async def ends(self) -> int:
        """Its exit code."""
        await until(lambda: self.process.poll() is not None, "the process ends")
        return int(self.process.returncode)


@asynccontextmanager
async def started(*arguments: str, port: int) -> AsyncIterator[Process]:
    """Run Python with these arguments until it accepts on `port`."""
    command = [sys.executable, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)  # noqa: ASYNC220 - milliseconds
    try:
        running = Process(process, port)
        deadline = time.monotonic() + 20
        while True:
            try:
                (await running.client()).close()
                break
            except OSError:
                assert process.poll() is None, f"it ended with {process.returncode}"
                assert time.monotonic() < deadline, "it does not accept"
                await asyncio.sleep(0.02)
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def single(port: int, *backends: int) -> list[str]:
    """The arguments of a balancer alone."""
    servers = [word for backend in backends for word in ("--backend", f"127.0.0.1:{backend}")]
    return ["-m", "lb", "--listen", f"127.0.0.1:{port}", "--admin", "off", *servers]


@asynccontextmanager
async def zeros() -> AsyncIterator[int]:
    """The port of a process that sends zeros."""
    command = [sys.executable, "-c", ZEROS]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: ASYNC220 - milliseconds
    try:
        assert process.stdout is not None
        yield int(await asyncio.to_thread(process.stdout.readline))
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def node(tmp_path: Path, port: int, backend: int, links: bool) -> list[str]:
    """The arguments of a balancer by topology; with links its backend stands in Tokyo, and its clients in Seoul."""
    place = {"place": "nrt"} if links else {}
    backends = [{"name": "far", "address": "127.0.0.1", "port": backend, **place}]
    plan = topology(
        backend,
        pool={"backends": backends},
        vips=[{"address": "127.0.0.1", "port": port}],
        distance={"enabled": links, "stretch": 0.1},
    )
    path = tmp_path / "lab.yaml"
    path.write_text(plan.dump())
    return ["-c", NODE, str(path)]


@pytest.mark.parametrize("links", [False, True], ids=["links off", "links on"])
async def test_a_slow_reader_of_a_gibibyte_costs_less_than_a_mebibyte(tmp_path: Path, links: bool) -> None:
    port = free_port()
    async with zeros() as backend, started(*node(tmp_path, port, backend, links), port=port) as lb:
        async with await lb.client() as first:  # buffers that are made once have been made
            await first.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await first.until(b"\r\n\r\n")
            for _ in range(20):
                await first.some(1 << 20)
        await asyncio.sleep(0.1)
        before = lb.resident()
        async with await lb.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await client.until(b"\r\n\r\n")
            highest, got, began = 0, 0, time.monotonic()
            while time.monotonic() - began < 1.2:
                got += len(await client.some(1 << 18))
                highest = max(highest, lb.resident())
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)  # nobody reads at all
            highest = max(highest, lb.resident())
        assert got > 5 * MIB
        assert highest - before < MIB, f"{highest - before} bytes more"


async def test_a_gibibyte_passes(tmp_path: Path) -> None:
    port = free_port()
    async with (
        zeros() as backend,
        started(*single(port, backend), port=port) as lb,
        await lb.client() as client,
    ):
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        head = await client.until(b"\r\n\r\n")
        assert b"Content-Length: 1073741824\r\n" in head
        before, left = 0, GIB - len(client._buffer)
        loop = asyncio.get_running_loop()
        buffer = bytearray(1 << 20)
        while left:
            size = await loop.sock_recv_into(client.sock, buffer)
            assert size, f"{left} bytes are missing"
            left -= size
            before = before or lb.resident()
        assert lb.resident() - before < 2 * MIB


@pytest.mark.parametrize("links", [False, True], ids=["links off", "links on"])
async def test_an_upload_to_a_slow_backend_costs_less_than_a_mebibyte(tmp_path: Path, links: bool) -> None:
    port = free_port()
    slow = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request_head()
        for _ in range(20):
            await wire.some(1 << 20)
        if wire.number:
            while not slow.is_set():
                await wire.some(1 << 18)
                await asyncio.sleep(0.01)
        wire.reset()

    async with Origin(script) as origin, started(*node(tmp_path, port, origin.port, links), port=port) as lb:

        async def upload() -> None:
            head = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % GIB
            async with await lb.client() as client:
                try:
                    await client.send(head)
                    while True:
                        await client.send(bytes(1 << 20))
                except (ConnectionError, TimeoutError):
                    pass

        await upload()
        await asyncio.sleep(0.1)
        before = highest = lb.resident()
        uploading = asyncio.ensure_future(upload())
        began = time.monotonic()
        while time.monotonic() - began < 1.2:
            await asyncio.sleep(0.02)
            highest = max(highest, lb.resident())
        slow.set()
        await uploading
        assert origin.connections >= 2
        assert highest - before < MIB, f"{highest - before} bytes more"


async def test_a_signal_lets_what_runs_finish_and_then_it_exits() -> None:
    port = free_port()
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await go.wait()
        await wire.send(b" whole")
        await wire.rest()

    async with (
        Origin(script) as origin,
        started(*single(port, origin.port), port=port) as lb,
        await lb.client() as busy,
        await lb.client() as idle,
    ):
        await busy.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await busy.until(b"half")
        os.kill(lb.process.pid, signal.SIGTERM)
        assert await idle.ended() == "closed"
        with pytest.raises(OSError):  # nobody accepts any more
            await dial(port)
        assert lb.process.poll() is None
        go.set()
        assert await busy.exactly(6) == b" whole"
        assert await busy.ended() == "closed"
        busy.close()  # or it would be lingered for
        assert await lb.ends() == 0


async def test_the_command_serves_and_counts() -> None:
    port, admin = free_port(), free_port()
    arguments = ["-m", "lb", "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
    async with Origin() as one, Origin(answer_ok) as two:
        for origin in (one, two):
            arguments += ["--backend", f"127.0.0.1:{origin.port}"]
        async with started(*arguments, port=port) as lb, await lb.client() as client:
            for _ in range(10):
                assert (await client.get()).body == b"ok"
            assert {len(one.requests), len(two.requests)} == {5}
            here = b"127.0.0.1:%d" % admin
            async with await dial(admin) as console:
                status = json.loads((await console.get(b"/status", host=here)).body)
                assert status["node"] == "lb"
                assert status["requests"]["total"] == 10
                assert {row["served"] for row in status["backends"]} == {5}
                metrics = (await console.get(b"/metrics", host=here)).body.decode()
                rows = [row for row in metrics.splitlines() if row.startswith("cdnlab_lb_requests_total{")]
                assert sum(float(row.rpartition(" ")[2]) for row in rows if 'outcome="ok"' in row) == 10
                rows = [row for row in metrics.splitlines() if row.startswith("cdnlab_lb_failover_state{")]
                assert [row.partition('state="')[2] for row in rows] == [
                    'initialize"} 0',
                    'backup"} 0',
                    'active"} 1',
                ]


async def test_bad_usage_is_one_clear_message() -> None:
    arguments = [sys.executable, "-m", "lb", "--listen", "nowhere", "--backend", "127.0.0.1:1"]
    run = await asyncio.to_thread(subprocess.run, arguments, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 2
    assert "--listen" in run.stderr
    assert "Traceback" not in run.stderr
