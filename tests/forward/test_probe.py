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

from cdnlab.forward.check import Unhealthy
from cdnlab.forward.probe import HASTE, Prober
from cdnlab.net.tasks import running
from cdnlab.plan.topology import HealthSpec
from cdnlab.pool.backend import Backend
from cdnlab.pool.health import State, Transition
from cdnlab.pool.pool import Pool
from tests.support.certificates import self_signed
from tests.support.peers import until

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
        (OK, {"body": "ok"}, "answered 200, with what its body must have"),
        (OK, {"body": "~^o[a-z]$"}, "answered 200, with what its body must have"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nre\r\n3\r\nady\r\n0\r\n\r\n",
            {"body": "ready"},
            "answered 200, with what its body must have",
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 65531 + b"ready",
            {"body": "ready"},
            "answered 200, with what its body must have",
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\n준비됨".encode(),
            {"body": "준비"},
            "answered 200, with what its body must have",
        ),
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
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 17 + OK, {}, "answered with more than 16 interim responses"),
        (
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40000 + b"\r\n\r\n",
            {},
            "the answer's head is longer than 16384 bytes",
        ),
        (None, {"timeout": 0.1}, "no answer within 0.1 s"),
        (OK, {"body": "o.", "timeout": 5.0}, "answered 200, but its body lacks 'o.'"),
        (OK, {"body": "okay"}, "answered 200, but its body lacks 'okay'"),
        (b"HTTP/1.1 204 No\r\n\r\nok", {"body": "ok"}, "answered 204, but its body lacks 'ok'"),
        (b"HTTP/1.1 503 Busy\r\n\r\nok", {"body": "ok"}, "answered 503"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok",
            {"body": "ok"},
            "answered 200, but its body lacks 'ok'",
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 65532 + b"ready",
            {"body": "ready"},
            "answered 200, but its body lacks 'ready'",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\nok\r\n0\r\n\r\n",
            {"body": "ok"},
            "answered 200 with a broken chunked body",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
            {"body": "ok"},
            "answered 200, but its body lacks 'ok'",
        ),
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
    await ended()
    assert not running()
    assert site.backend.health.state is State.UP


async def ended() -> None:
    """Let tasks that were cancelled end: each needs a few turns of the loop."""
    for _ in range(5):
        await asyncio.sleep(0)


async def ups(seen: asyncio.Queue[tuple[str, Transition]], *names: str) -> None:
    """Wait until each of `names` was called up."""
    missing = set(names)
    async with asyncio.timeout(10):
        while missing:
            name, change = await seen.get()
            if change.after is State.UP:
                missing.discard(name)


async def test_who_is_added_is_checked_and_who_is_removed_no_longer(make: Make) -> None:
    site, new = await make(), await make()
    new.backend.name = "new"
    seen: asyncio.Queue[tuple[str, Transition]] = asyncio.Queue()
    spec = HealthSpec(kind="http", interval=0.05, timeout=5.0, rise=7, fall=8)
    prober = Prober(site.pool, spec, on_transition=lambda who, change: seen.put_nowait((who.name, change)))
    site.pool.add(new.backend)
    site.pool.remove("new")
    prober.start()
    await ups(seen, "b")
    site.pool.add(new.backend)
    await ups(seen, "new")
    assert (new.backend.health.rise, new.backend.health.fall) == (7, 8)
    site.pool.remove("b")
    await ended()
    assert running() == ("check test/new",)
    prober.stop()
    site.pool.remove("new")
    site.pool.add(new.backend)
    await ended()
    assert not running(), "a prober that was stopped follows nobody"


async def test_a_check_can_be_had_at_once(make: Make) -> None:
    site = await make()
    seen: asyncio.Queue[tuple[str, Transition]] = asyncio.Queue()
    spec = HealthSpec(kind="http", interval=3600.0, interval_down=0.05, timeout=5.0, fall=2)
    prober = Prober(site.pool, spec, on_transition=lambda who, change: seen.put_nowait((who.name, change)))
    prober.start()
    await ups(seen, "b")
    site.peer.answer = b"HTTP/1.1 500 Oh\r\n\r\n"
    prober.hasten(site.backend)
    async with asyncio.timeout(10):  # the second failure that it takes comes with interval_down
        _, change = await seen.get()
        assert change.after is State.DOWN
        site.peer.answer = OK
        _, change = await seen.get()
        assert change.after is State.UP
    prober.hasten(Backend("stranger", "h", 1))
    prober.stop()


async def test_checks_that_are_asked_for_all_the_time_are_made_now_and_then(make: Make) -> None:
    site = await make()
    prober = site.prober(interval=3600.0)
    prober.start()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        await until(lambda: site.peer.heads, "the first check")
        began = loop.time()

        def asked() -> bool:
            prober.hasten(site.backend)
            return len(site.peer.heads) >= 4

        await until(asked, "three more")
    assert loop.time() - began >= 2 * HASTE
    prober.stop()


async def test_other_settings_take_effect_at_once(make: Make) -> None:
    site = await make()
    site.peer.answer = b"HTTP/1.1 500 Oh\r\n\r\n"
    seen: asyncio.Queue[tuple[str, Transition]] = asyncio.Queue()
    spec = HealthSpec(kind="http", interval=0.05, timeout=5.0, fall=1, rise=1)
    prober = Prober(site.pool, spec, on_transition=lambda who, change: seen.put_nowait((who.name, change)))
    prober.take_up(spec)
    prober.start()
    async with asyncio.timeout(10):
        assert (await seen.get())[1].after is State.DOWN
    prober.take_up(spec.model_copy(update={"expect": ((500, 500),)}))
    await ups(seen, "b")
    prober.take_up(spec.model_copy(update={"kind": "none"}))
    await ended()
    assert not running()
    prober.stop()


async def test_many_are_not_asked_in_one_moment(make: Make) -> None:
    """A hundred backends at one peer: the first checks come one after the other, within an interval."""
    site = await make()
    host, port = site.backend.host, site.backend.port
    pool = Pool("test", [Backend(f"b{number}", host, port) for number in range(100)])
    arrivals: list[float] = []
    all_came = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Noting(Peer):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            arrivals.append(loop.time())
            if len(arrivals) == 100:
                all_came.set()
            await super().serve(reader, writer)

    noting = Noting()
    server = await asyncio.start_server(noting.serve, "127.0.0.1", 0)
    for backend in pool.backends:
        backend.port = backend.check_port = server.sockets[0].getsockname()[1]
    prober = Prober(pool, HealthSpec(kind="http", interval=0.5, jitter=0.0, timeout=5.0))
    prober.start()
    async with asyncio.timeout(10):
        await all_came.wait()
    prober.stop()
    server.close()
    await server.wait_closed()
    assert arrivals[99] - arrivals[0] > 0.3, "spread over the interval"


async def test_a_check_goes_to_the_port_for_checks(make: Make) -> None:
    site = await make()
    backend = Backend("b", site.backend.host, 1, check_port=site.backend.port)
    pool = Pool("test", [backend])
    assert await Prober(pool, HealthSpec(kind="http", timeout=5.0)).check(backend) == "answered 200"


async def test_a_name_with_several_addresses_is_one_backend(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first address refuses, the second answers: the check passes, as a request would."""
    site = await make()
    port = site.backend.port
    loop = asyncio.get_running_loop()

    async def two(host: str, *args: object, **kwargs: object) -> list[tuple[object, ...]]:
        found = ["127.0.0.9", site.backend.host]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in found]

    monkeypatch.setattr(type(loop), "getaddrinfo", two, raising=False)
    backend = Backend("b", "twice.example", port)
    prober = Prober(Pool("test", [backend]), HealthSpec(kind="http", timeout=5.0))
    assert await prober.check(backend) == "answered 200"


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
        ("other.example", True, "TLS: hostname mismatch"),
        ("origin.example", False, "TLS: self-signed certificate"),
    ],
)
@pytest.mark.parametrize("kind", ["tcp", "http", "tls"])
async def test_certificates_are_verified(
    kind: str, server_name: str, trusted: bool, detail: str | None, certificate: Path, make: Make
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    site = await make(tls=tls, server_name=server_name)
    context = ssl.create_default_context(cafile=str(certificate)) if trusted else None
    prober = Prober(site.pool, HealthSpec(kind=kind, timeout=5.0), context=context)
    if detail is None:
        good = await prober.check(site.backend)
        assert kind != "tls" or good.startswith("shook hands, certificate valid until ")
        return
    with pytest.raises(Unhealthy) as caught:
        await prober.check(site.backend)
    assert str(caught.value) == detail


@pytest.mark.parametrize(
    "host,origin_host,name",
    [
        ("origin.example", None, "good"),
        (None, "origin.example:8443", "good"),
        (None, None, "TLS: ip address mismatch"),
    ],
)
async def test_tls_is_checked_where_requests_do_not_speak_it(
    host: str | None, origin_host: str | None, name: str, certificate: Path, make: Make
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    site = await make(tls=tls)
    backend = Backend("b", site.backend.host, site.backend.port)  # layer 4 passes TLS through
    context = ssl.create_default_context(cafile=str(certificate))
    spec = HealthSpec(kind="tls", timeout=5.0, host=host)
    prober = Prober(Pool("test", [backend]), spec, context=context, host=origin_host)
    if name == "good":
        assert (await prober.check(backend)).startswith("shook hands")
        return
    with pytest.raises(Unhealthy) as caught:
        await prober.check(backend)
    assert str(caught.value) == name


async def test_who_speaks_no_tls_fails_its_check(make: Make) -> None:
    site = await make()
    site.peer.answer = None
    with pytest.raises(Unhealthy):
        await site.prober(kind="tls", timeout=0.3).check(site.backend)
