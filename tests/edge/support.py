"""An edge without sockets: exchanges in memory, and an origin whose every word the test speaks."""

from __future__ import annotations

from typing import Any

from cdnlab.forward.messages import Failure
from cdnlab.forward.trail import Trail
from cdnlab.node.log import Ring
from cdnlab.pool.reasons import Reason
from cdnlab.wire.request import RequestMemo
from cdnlab.wire.response import ResponseMemo, body_framing
from edge.cache import Cache
from edge.collapse import Flights
from edge.eviction.lru import Lru
from edge.results import new_tallies
from edge.settings import Settings
from edge.storage_memory import MemoryStorage

PLACES = ("icn", "gru", "iad")


class FakeBackend:
    name = "origin-1"
    ours = True


class FakePool:
    name = "origins"
    backends = (FakeBackend(),)
    keyed = by_source = False

    def explain(self, place: str, chosen: Any, key: bytes = b"") -> list[tuple[str, Reason]]:
        return [("origin-2", Reason.TURN)]


class FakeForward:
    """One request at the origin; the test answers it."""

    seconds_upstream = 0.25
    key = b""

    def __init__(self, owner: FakeForwarder, request: Any, sink: Any) -> None:
        self.owner = owner
        self.request = request
        self.sink = sink
        self.backend = FakeBackend()
        self.passed: list[Any] | None = None
        self.paused = False
        self.pauses = 0
        self.cancelled: str | None = None

    def others(self) -> list[Any]:
        """Why nobody else was asked."""
        found: list[Any] = self.owner.pool.explain("", self.backend, b"")
        return found

    @property
    def head(self) -> dict[str, str]:
        """The outgoing fields, lower-case name to value."""
        lines = self.request.head.decode().split("\r\n")[1:-2]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    def answer(self, status: int, *fields: str, body: bytes | None = b"", whole: bool = False) -> None:
        """A whole response; body None leaves it open."""
        length = () if body is None or status in (204, 304) else (f"Content-Length: {len(body)}",)
        self.begin(status, *fields, *length, whole=body if whole else None)
        if body is not None and not whole:
            if body:
                self.sink.forward_data(body)
            self.sink.forward_end(())

    def begin(self, status: int, *fields: str, whole: bytes | None = None) -> None:
        """A head; without Content-Length the body is chunked."""
        named = {field.split(":")[0].lower() for field in fields}
        if not named & {"content-length", "transfer-encoding"} and status not in (204, 304):
            fields = (*fields, "Transfer-Encoding: chunked")
        raw = "\r\n".join([f"HTTP/1.1 {status} Whatever", *fields]).encode("latin-1")
        block, volatile = self.owner.memo.head(raw)
        self.sink.forward_head(block, volatile, body_framing(block, self.request.method), whole)

    def data(self, data: bytes) -> None:
        self.sink.forward_data(data)

    def end(self) -> None:
        self.sink.forward_end(())

    def fail(self, status: int = 502, reason: Reason = Reason.CONNECT_FAILED) -> None:
        self.sink.forward_failed(Failure(status, reason, "origin-1", "connection refused by 10.0.0.7"))

    def pause(self) -> None:
        self.paused = True
        self.pauses += 1

    def resume(self) -> None:
        self.paused = False

    def cancel(self, reason: str) -> None:
        self.cancelled = reason


class FakeForwarder:
    """Keeps every request for the test to answer."""

    def __init__(self) -> None:
        self.pool = FakePool()
        self.sticky = None
        self.memo = ResponseMemo()
        self.sent: list[FakeForward] = []

    def start(self, request: Any, sink: Any, exchange: Any = None, explain: bool = False) -> FakeForward:
        forward = FakeForward(self, request, sink)
        forward.owner = self
        self.sent.append(forward)
        return forward

    @property
    def last(self) -> FakeForward:
        return self.sent[-1]


class FakeExchange:
    """What a client asked, and what it got."""

    scheme = b"http"

    def __init__(
        self, memo: RequestMemo, method: str, target: str, fields: tuple[str, ...], version: str = "1.1"
    ) -> None:
        hosts = () if any(field.lower().startswith("host:") for field in fields) else ("Host: shop.example",)
        self.line = memo.line(f"{method} {target} HTTP/{version}".encode())
        raw = "".join(f"\r\n{field}" for field in (*hosts, *fields)).encode("latin-1")
        self.block, self.volatile = memo.block(raw, self.line.version)
        self.host = self.line.target.authority or self.block.host
        self.peer = "127.82.1.100"
        self.trusted = False
        self.place = "icn"
        self.started = 0.0
        self.body = self.block.length
        self.explain = False
        self.tag = None
        self.source: Any = None
        self.status = 0
        self.sent = 0
        self.head = b""
        self.got = b""
        self.length: int | None = None
        self.done = False
        self.aborted: str | None = None
        self.interims: list[bytes] = []
        self.room = 1 << 30

    def field(self, name: bytes) -> bytes | None:
        value = self.block.index.get(name)
        if value is None:
            found = [v for n, v in self.volatile if n == name]
            return b", ".join(found) if found else None
        return value

    def answer(self, status: int, head: bytes, body: bytes = b"") -> None:
        assert not self.status, "answered twice"
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert head.endswith(b"\r\n")
        assert not head.endswith(b"\r\n\r\n")
        self.status, self.head, self.done = status, head, True
        if self.line.method != b"HEAD" and status not in (204, 304):
            self.got = body
        self.source = None

    def respond(self, status: int, head: bytes, length: int | None) -> None:
        assert not self.status, "answered twice"
        assert (b"\r\ncontent-length:" in head.lower()) == (length is not None)
        self.status, self.head, self.length = status, head, length

    def write(self, data: bytes) -> None:
        assert not self.done
        self.got += data
        self.sent = len(self.got)
        if len(self.got) >= self.room and self.source is not None:
            self.source.pause()

    def more_room(self, size: int = 1 << 30) -> None:
        self.room = size
        self.source.resume()

    def finish(self, trailers: Any = ()) -> None:
        assert not self.done
        if self.length is not None and self.line.method != b"HEAD" and self.status not in (204, 304):
            assert len(self.got) == self.length
        self.done, self.source = True, None

    def abort(self, reason: str) -> None:
        self.aborted = reason

    def interim(self, raw: bytes) -> None:
        self.interims.append(raw)

    def leave(self) -> None:
        """The client closes its connection."""
        source, self.source = self.source, None
        source.client_gone("the client has gone")

    @property
    def fields(self) -> dict[str, str]:
        """Lower-case name to value of the response head."""
        lines = self.head.decode("latin-1").split("\r\n")[1:-1]
        pairs = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
        assert len({name for name, _ in pairs} - {"set-cookie"}) == len(
            [n for n, _ in pairs if n != "set-cookie"]
        )
        return dict(pairs)

    @property
    def said(self) -> str:
        """Our own member of Cache-Status."""
        return self.fields["cache-status"].split(", ")[-1]


class Lab:
    """An edge named edge-icn, with a clock that the test turns."""

    def __init__(
        self, monkeypatch: Any, *, memory: int = 1 << 22, waiters: int = 1000, **settings: Any
    ) -> None:
        self.now = 1000.0
        self.wall = 1_800_000_000.0
        for module in ("cache", "fetch", "replies"):
            monkeypatch.setattr(f"edge.{module}.now", lambda: self.now)
            monkeypatch.setattr(f"edge.{module}.wall", lambda: self.wall)
        self.memo = RequestMemo()
        self.origin = FakeForwarder()
        self.storage = MemoryStorage(memory, Lru(), variants_max=4)
        self.flights: Any = Flights(waiters, 5.0)
        self.tallies = new_tallies(PLACES)
        self.ring = Ring()
        self.cache = Cache(
            Settings("edge-icn", "icn", places=frozenset(PLACES), **settings),
            self.storage,
            self.flights,
            self.origin,  # type: ignore[arg-type]
            Trail("edge-icn"),
            self.tallies,
            self.ring,
        )

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds

    def ask(
        self,
        target: str = "/",
        *fields: str,
        method: str = "GET",
        version: str = "1.1",
        trusted: bool = False,
        explain: bool = False,
        peer: str = "127.82.1.100",
        room: int = 1 << 30,
    ) -> FakeExchange:
        """Send a request; the answer may come later."""
        x = FakeExchange(self.memo, method, target, fields, version)
        x.started, x.trusted, x.explain, x.peer, x.room = self.now, trusted, explain, peer, room
        self.cache.handle(x)  # type: ignore[arg-type]
        return x

    def store(
        self, target: str, *fields: str, body: bytes = b"hello", status: int = 200, ask: tuple[str, ...] = ()
    ) -> FakeExchange:
        """A miss, answered."""
        count = len(self.origin.sent)
        x = self.ask(target, *ask)
        assert len(self.origin.sent) == count + 1, "it was answered from the store"
        self.origin.last.answer(status, *fields, body=body)
        return x

    @property
    def asked(self) -> int:
        """Requests that reached the origin."""
        return len(self.origin.sent)

    def counts(self) -> dict[str, int]:
        """Requests by result, those that were."""
        found = dict.fromkeys(self.tallies.results, 0)
        for (result, _), tally in self.tallies.rows():
            found[result] += tally.count
        return {result: count for result, count in found.items() if count}
