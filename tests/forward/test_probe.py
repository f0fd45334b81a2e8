"""Health checks against scripted peers: what passes, what fails, in which words, and what follows in the pool."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cdnlab.forward.probe import Prober, Unhealthy
from cdnlab.net.tasks import running
from cdnlab.plan.topology import HealthSpec
from cdnlab.pool.backend import Backend
from cdnlab.pool.health import State, Transition
from cdnlab.pool.pool import Pool
from tests.support.certificates import self_signed

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """A backend that reads one head, answers with `answer` and closes."""

    def __init__(self) -> None:
        self.answer: bytes | None = OK
        """None: never answer."""
        self.heads: list[bytes] = []
        self.sources: list[str] = []
        self.gone = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.sources.append((writer.get_extra_info("peername") or [""])[0])
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            if self.answer is None:
                await reader.read()
            else:
                writer.write(self.answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            self.gone.set()


class Site:
    """A peer with its backend."""

    def __init__(self, peer: Peer, server: asyncio.Server, backend: Backend) -> None:
        self.peer = peer
        self.server = server
        self.backend = backend
        self.pool = Pool("test", [backend])

    def prober(self, origin_host: str | None = None, **spec: Any) -> Prober:
        return Prober(self.pool, HealthSpec(**{"kind": "http", "timeout": 5.0} | spec), host=origin_host)


Make = Callable[..., Awaitable[Site]]


@pytest_asyncio.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Start a peer, on a TCP port or a Unix socket, with or without TLS."""
    servers: list[asyncio.Server] = []

    async def start(*, unix: bool = False, tls: ssl.SSLContext | None = None, **facts: Any) -> Site:
        peer = Peer()
        if unix:
            path = str(tmp_path / "app.sock")
            server = await asyncio.start_unix_server(peer.serve, path)
            backend = Backend("b", "localhost", 80, unix=path, **facts)
        else:
            server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=tls)
            host, port = server.sockets[0].getsockname()
            backend = Backend("b", host, port, tls=tls is not None, **facts)
        servers.append(server)
        return Site(peer, server, backend)

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    "answer,spec,detail",
    [
        (OK, {}, "answered 200"),
        (b"HTTP/1.0 200 OK\r\n\r\n", {}, "answered 200"),
        (b"HTTP/1.1 204\r\n\r\n", {}, "answered 204"),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", {}, "answered 302"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, {}, "answered 200"),
        (b"HTTP/1.1 503 Busy\r\n\r\n", {"expect": ["500-599"]}, "answered 503"),
        (OK, {"kind": "alive"}, "answered 200"),
        (OK, {"kind": "tcp"}, "connected"),
    ],
)
async def test_what_passes(answer: bytes, spec: dict[str, Any], detail: str, make: Make) -> None:
    site = await make()
    site.peer.answer = answer
    assert await site.prober(**spec).check(site.backend) == detail


@pytest.mark.parametrize(
    "answer,spec,detail",
    [
        (b"HTTP/1.1 500 Oh\r\n\r\n", {}, "answered 500"),
        (OK, {"expect": ["204"]}, "answered 200"),
        (b"HTTP/1.1 204 No\r\n\r\n", {"kind": "alive"}, "answered 204"),
        (b"HTTP/1.1 503 Draining\r\n\r\n", {"kind": "alive"}, "answered 503"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", {}, "answered with something that is not HTTP/1"),
        (b"HTTP/2 200\r\n\r\n", {}, "answered with something that is not HTTP/1"),
        (b"HTTP/1.1 20 OK\r\n\r\n", {}, "answered with something that is not HTTP/1"),
        (b"HTTP/1.1 200 OK\r\nContent-", {}, "closed before its answer was complete"),
        (b"", {}, "closed before its answer was complete"),
        (
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40000 + b"\r\n\r\n",
            {},
            "the answer's head is longer than 16384 bytes",
        ),
        (None, {"timeout": 0.1}, "no answer within 0.1 s"),
    ],
)
async def test_what_fails(answer: bytes | None, spec: dict[str, Any], detail: str, make: Make) -> None:
    site = await make()
    site.peer.answer = answer
    with pytest.raises(Unhealthy) as caught:
        await site.prober(**spec).check(site.backend)
    assert str(caught.value) == detail
    async with asyncio.timeout(5):
        await site.peer.gone.wait()  # whatever happened, the check's connection is closed


async def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        backend = Backend("b", *unused.getsockname())
        with pytest.raises(Unhealthy, match=r"^connection refused$"):
            await Prober(Pool("test", [backend]), HealthSpec(kind="tcp")).check(backend)


@pytest.mark.parametrize(
    "spec,host,lines",
    [
        ({"kind": "alive"}, "shop.example", ["GET /.well-known/cdnlab/alive HTTP/1.1", "Host: {key}"]),
        ({"path": "/up?deep=1"}, None, ["GET /up?deep=1 HTTP/1.1", "Host: {key}"]),
        ({}, "shop.example", ["GET / HTTP/1.1", "Host: shop.example"]),
        ({"host": "check.example"}, "shop.example", ["GET / HTTP/1.1", "Host: check.example"]),
    ],
)
async def test_what_is_asked(spec: dict[str, Any], host: str | None, lines: list[str], make: Make) -> None:
    site = await make()
    await site.prober(host, **spec).check(site.backend)
    head = site.peer.heads[0].decode().split("\r\n")
    assert head[:2] == [line.format(key=site.backend.key) for line in lines]
    assert "Connection: close" in head


async def test_a_unix_socket(make: Make) -> None:
    site = await make(unix=True)
    assert await site.prober().check(site.backend) == "answered 200"
    assert b"\r\nHost: localhost\r\n" in site.peer.heads[0]


async def test_the_node_asks_from_its_own_address(make: Make) -> None:
    site = await make()
    prober = Prober(site.pool, HealthSpec(kind="http"), source_address="127.82.1.10")
    await prober.check(site.backend)
    assert site.peer.sources == ["127.82.1.10"]


async def test_a_backend_goes_down_and_comes_back(make: Make) -> None:
    site = await make()
    other = Backend("other", "127.0.0.1", 1)
    pool = Pool("test", [site.backend, other])
    seen: asyncio.Queue[tuple[str, Transition]] = asyncio.Queue()
    spec = HealthSpec(kind="http", interval=0.05, rise=2, fall=2, timeout=5.0)
    prober = Prober(pool, spec, on_transition=lambda backend, change: seen.put_nowait((backend.name, change)))
    prober.start()
    async with asyncio.timeout(10):
        changes = dict([await seen.get(), await seen.get()])
        assert changes["b"][:2] == (State.UNKNOWN, State.UP)
        assert changes["other"][:2] == (State.UNKNOWN, State.DOWN)
        assert [backend.name for backend in pool.candidates()] == ["b"], "the pool knows before we do"

        site.peer.answer = b"HTTP/1.1 500 Oh\r\n\r\n"
        name, change = await seen.get()
        assert (name, change.before, change.after, change.detail) == (
            "b",
            State.UP,
            State.DOWN,
            "answered 500",
        )
        assert not list(pool.candidates())

        site.peer.answer = OK
        name, change = await seen.get()
        assert (name, change.after) == ("b", State.UP)
    prober.stop()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not running()
    assert site.backend.health.state is State.UP


async def test_none_never_asks(make: Make) -> None:
    site = await make()
    site.prober(kind="none").start()
    assert not running()
    assert site.backend.usable


# -- TLS ------------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a self-signed certificate for origin.example, in one file."""
    return self_signed(tmp_path / "origin.pem", "origin.example")


@pytest.mark.parametrize(
    "server_name,trusted,detail",
    [
        ("origin.example", True, None),
        ("other.example", True, "TLS: CERTIFICATE_VERIFY_FAILED"),
        ("origin.example", False, "TLS: CERTIFICATE_VERIFY_FAILED"),
    ],
)
@pytest.mark.parametrize("kind", ["tcp", "http"])
async def test_certificates_are_verified(
    kind: str, server_name: str, trusted: bool, detail: str | None, certificate: Path, make: Make
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    site = await make(tls=tls, server_name=server_name)
    context = ssl.create_default_context(cafile=str(certificate)) if trusted else None
    prober = Prober(site.pool, HealthSpec(kind=kind, timeout=5.0), context=context)
    if detail is None:
        await prober.check(site.backend)
        return
    with pytest.raises(Unhealthy) as caught:
        await prober.check(site.backend)
    assert str(caught.value) == detail
