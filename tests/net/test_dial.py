"""Names and handshakes: asked once, remembered, and never in the way of another connection."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cdnlab.net import dial as dialling
from cdnlab.net.dial import Resolver, connect, dial, family_of
from cdnlab.net.tasks import cancel_all
from tests.support.labs import ROOT, environment

V4, V6 = socket.AF_INET, socket.AF_INET6


class NameServer:
    """What the loop's resolver says, by script: a list of addresses, or an error; `held` keeps it from answering."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.says: list[str] | OSError = ["127.0.0.1"]
        self.held = asyncio.Event()
        self.held.set()

    async def getaddrinfo(self, host: str, port: object, **_: object) -> list[Any]:
        self.asked.append(host)
        await self.held.wait()
        if isinstance(self.says, OSError):
            raise self.says
        return [(family_of(each), socket.SOCK_STREAM, 6, "", (each, 0)) for each in self.says]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> NameServer:
    server = NameServer()
    real = asyncio.get_running_loop

    class Loop:
        getaddrinfo = server.getaddrinfo

        def __getattr__(self, name: str) -> Any:
            return getattr(real(), name)

    monkeypatch.setattr(dialling.asyncio, "get_running_loop", Loop)
    return server


@pytest_asyncio.fixture
async def listening() -> AsyncIterator[int]:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    "host,family",
    [("127.0.0.1", V4), ("::1", V6), ("localhost", None), ("1.2.3", None), ("127.0.0.1\0", None), ("", None)],
)
def test_an_address_is_told_from_a_name(host: str, family: int | None) -> None:
    assert family_of(host) == family


async def test_an_address_is_never_asked_for(names: NameServer) -> None:
    resolver = Resolver()
    assert await resolver.addresses("127.1.2.3", 80) == [(V4, ("127.1.2.3", 80))]
    assert await resolver.addresses("::1", 80) == [(V6, ("::1", 80))]
    assert names.asked == []


async def test_one_question_serves_all_who_wait(names: NameServer) -> None:
    resolver, names.says = Resolver(), ["::1", "127.0.0.1"]
    names.held.clear()
    waiting = [asyncio.ensure_future(resolver.addresses("app.test", port)) for port in (80, 81)]
    given_up = asyncio.ensure_future(asyncio.wait_for(resolver.addresses("app.test", 82), 0.01))
    with pytest.raises(TimeoutError):
        await given_up
    names.held.set()
    assert await asyncio.gather(*waiting) == [
        [(V6, ("::1", port)), (V4, ("127.0.0.1", port))] for port in (80, 81)
    ]
    assert names.asked == ["app.test"]
    await resolver.addresses("app.test", 80)
    assert names.asked == ["app.test"], "it is remembered"


async def test_an_old_answer_is_better_than_none(names: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "FRESH", -1.0)
    resolver = Resolver()
    assert await resolver.addresses("app.test", 80) == [(V4, ("127.0.0.1", 80))]
    names.says = OSError("no such name")
    assert await resolver.addresses("app.test", 80) == [(V4, ("127.0.0.1", 80))]
    names.held.clear()  # a name server that is silent
    assert await resolver.addresses("app.test", 80) == [(V4, ("127.0.0.1", 80))]
    await cancel_all()


async def test_a_new_answer_counts_from_the_next_time(
    names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialling, "FRESH", -1.0)
    resolver = Resolver()
    await resolver.addresses("app.test", 80)
    names.says = ["127.0.0.9"]
    await resolver.addresses("app.test", 80)
    await asyncio.gather(*resolver._asking.values())
    assert await resolver.addresses("app.test", 80) == [(V4, ("127.0.0.9", 80))]
    await cancel_all()


async def test_a_name_without_an_answer_is_asked_for_again(names: NameServer) -> None:
    resolver, names.says = Resolver(), OSError("no such name")
    for _ in range(2):
        with pytest.raises(OSError, match="no such name"):
            await resolver.addresses("app.test", 80)
        await asyncio.sleep(0)
    assert names.asked == ["app.test"] * 2


async def test_a_word_that_is_no_name() -> None:
    with pytest.raises(OSError, match=r"."):
        await Resolver().addresses("a" * 70 + ".test", 80)


async def test_the_first_address_that_answers_is_taken(listening: int) -> None:
    sock = await dial([(V4, ("127.0.0.2", listening)), (V4, ("127.0.0.1", listening))], "127.82.1.77")
    with sock:
        assert sock.getpeername() == ("127.0.0.1", listening)
        assert sock.getsockname()[0] == "127.82.1.77"
        assert not sock.getblocking()


async def test_the_last_refusal_is_told(listening: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        await dial([(V4, ("127.0.0.2", listening))])
    with pytest.raises(OSError, match="no address"):
        await dial([])


async def test_a_connect_that_is_given_up_leaves_nothing(unused_tcp_port: int) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", unused_tcp_port))
        full.listen(0)
        filling = [await connect(socket.socket(), full.getsockname())]
        while len(filling) < 8:
            sock = socket.socket()
            try:
                filling.append(await asyncio.wait_for(connect(sock, full.getsockname()), 0.2))
            except TimeoutError:
                break
        assert sock.fileno() == -1, "it is closed"
        for each in filling:
            each.close()


async def test_a_unix_socket_that_is_not_there(tmp_path: Path) -> None:
    sock = socket.socket(socket.AF_UNIX)
    with pytest.raises(FileNotFoundError):
        await connect(sock, str(tmp_path / "none"))
    assert sock.fileno() == -1


SILENT_NAMES = """
import asyncio, socket, sys, uvloop
from cdnlab.net.dial import Resolver, connect, dial

async def main():
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind((sys.argv[1], 53))
    server = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.get_running_loop()
    waiting = [asyncio.ensure_future(Resolver().addresses(f"x{n}.example", 1)) for n in range(16)]
    await asyncio.to_thread(silent.recv, 512)
    async with asyncio.timeout(5):
        for _ in range(10):
            found = await Resolver().addresses(*server.getsockname())
            (await dial(found)).close()
    assert not any(each.done() for each in waiting), "the names were not silent"
    print("connected", flush=True)
    __import__("os")._exit(0)

uvloop.new_event_loop().run_until_complete(main())
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare(1)")
def test_names_that_nobody_answers_for_keep_no_connection_waiting(tmp_path: Path) -> None:
    """With a real resolver whose name server is silent, in a mount namespace with an /etc/resolv.conf of its own."""
    address = f"127.{random.randrange(100, 255)}.{random.randrange(255)}.{random.randrange(1, 255)}"
    conf, program = tmp_path / "resolv.conf", tmp_path / "program.py"
    conf.write_text(f"nameserver {address}\n")
    program.write_text(SILENT_NAMES)
    inside = 'mount --bind "$1" /etc/resolv.conf && exec "$2" "$3" "$4"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", inside, "-", str(conf), sys.executable, str(program), address],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert done.stdout == "connected\n", done.stderr
