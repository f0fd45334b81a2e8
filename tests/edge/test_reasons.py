"""Every reason that an edge can give, brought about by a request over a real socket, and seen wherever it is to be.

A row per member: what happens, then the request that bears the reason. Of each it is seen that `Cache-Status` names it,
that its metric counts it, that the sentence stands in what `cdnlab get` reads, and the name in what `cdnlab log` reads;
or the row says why it can't be in one of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cdnlab.forward.explain import mark, parse_hops
from cdnlab.net import tasks
from cdnlab.net.clock import now, wall
from cdnlab.node.node import Node
from cdnlab.plan.single import single_edge
from edge import changes
from edge.app import Edge
from edge.cookies import CookieWarning
from edge.decision import NotReused, Stale
from edge.purging import NoPurges
from edge.reasons import TABLE, document
from edge.results import Result
from edge.storable import NotStored
from tests.edge.origin import Origin, Talk

MINUTE = "Cache-Control: max-age=60"
TAG = 'ETag: "1"'
OLD = "Age: 60"  # stale from the first moment, and stored
IMPLIED = {
    NotReused.NOTHING_STORED: "fwd=uri-miss",
    NotReused.NO_VARIANT: "fwd=vary-miss",
    NotReused.STALE: "fwd=stale",
}
METRICS = {
    NotReused: "cdnlab_edge_not_reused_total",
    Stale: "cdnlab_edge_stale_total",
    NotStored: "cdnlab_edge_not_stored_total",
    CookieWarning: "cdnlab_edge_warnings_total",
}


class Got(NamedTuple):
    """One answer, with what it leaves behind."""

    status: int
    fields: dict[str, str]
    body: bytes


def told(head: bytes) -> Got:
    """A head as it came."""
    line, *lines = head.decode("latin-1").split("\r\n")
    pairs = [one.partition(": ") for one in lines if one]
    return Got(int(line.split()[1]), {name.lower(): value for name, _, value in pairs}, b"")


class Scene:
    """A real edge and an origin that answers by path: what a test has put there, one answer after the other, the last
    one for ever."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.answers: dict[str, list[tuple[int, tuple[str, ...], bytes]]] = {}
        self.held: dict[str, asyncio.Event] = {}
        self.arrived: list[str] = []
        self.origin = Origin(self._script)
        self.app: Any = None
        self.writers: list[asyncio.StreamWriter] = []

    async def start(self, **options: Any) -> Scene:
        if options.get("disk"):
            options["disk"] = f"{self.directory}:64MiB"
        topology = single_edge("127.0.0.1:0", [await self.origin.start()], admin="off", **options)
        self.app = Edge(Node(topology, "edge"))
        await self.app.start()
        return self

    async def stop(self) -> None:
        for writer in self.writers:
            writer.close()
        for event in self.held.values():
            event.set()
        await self.app.stop()
        await self.origin.stop()

    async def _script(self, talk: Talk) -> None:
        path = talk.target
        self.arrived.append(path)
        if talk.fields.get("content-length", "0") != "0":
            await talk.body()
        queue = self.answers[path]
        status, fields, body = queue.pop(0) if len(queue) > 1 else queue[0]
        if path in self.held:
            await self.held[path].wait()
        if status == 0:
            talk.writer.close()
            return
        if "coded" in path:
            await talk.say(f"HTTP/1.1 200 OK\r\n{MINUTE}\r\nTransfer-Encoding: x-new\r\n\r\ncoded")
            talk.writer.close()
            return
        if "cut" in path:
            await talk.say(f"HTTP/1.1 200 OK\r\n{MINUTE}\r\nContent-Length: 100\r\n\r\nhalf")
            talk.writer.close()
            return
        if "hold" in path:
            head = "".join(f"{field}\r\n" for field in fields)
            await talk.say(f"HTTP/1.1 200 OK\r\n{head}Content-Length: {len(body)}\r\n\r\n")
            self.held.setdefault(f"body {path}", asyncio.Event())
            await self.held[f"body {path}"].wait()
            await talk.say(body)
            return
        await talk.answer(status, *fields, body=body)

    def says(self, path: str, *fields: str, status: int = 200, body: bytes = b"hello") -> None:
        """The origin's next answer to a path."""
        self.answers.setdefault(path, []).append((status, fields, body))

    async def begin(
        self, path: str, *fields: str, method: str = "GET", body: bytes = b"", explained: bool = True
    ) -> tuple[asyncio.StreamReader, str]:
        """Send a request; its answer is read later."""
        address = self.app.address
        assert address is not None
        reader, writer = await asyncio.open_connection(*address)
        self.writers.append(writer)
        told = [*fields, f"Content-Length: {len(body)}"] if body or method == "POST" else list(fields)
        if explained:
            value = mark(self.app.node.secrets.explain_key, method.encode(), path.encode(), int(wall()) + 30)
            told.append(f"Cdnlab-Explain: {value.decode()}")
        head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: shop.example", *told, "", ""])
        writer.write(head.encode() + body)
        return reader, method

    async def end(self, reader: asyncio.StreamReader, method: str) -> Got:
        """The answer to a request that was begun."""
        status, fields, body = told(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10))
        if method != "HEAD" and status not in (204, 304):
            with contextlib.suppress(asyncio.IncompleteReadError):
                body = await asyncio.wait_for(reader.readexactly(int(fields.get("content-length", "0"))), 10)
        return Got(status, fields, body)

    async def ask(
        self, path: str, *fields: str, method: str = "GET", body: bytes = b"", explained: bool = True
    ) -> Got:
        """A whole request."""
        return await self.end(*await self.begin(path, *fields, method=method, body=body, explained=explained))

    def counted(self, member: str, metric: str) -> float:
        """What a metric says of a reason."""
        for family in self.app.metrics():
            if family.spec.name == metric:
                rows = [line for line in family.text().splitlines() if f'reason="{member}"' in line]
                return float(rows[0].rpartition(" ")[2])
        raise AssertionError(f"there is no metric {metric}")

    def logged(self) -> list[dict[str, Any]]:
        """The requests in the ring, oldest first."""
        found: list[dict[str, Any]] = self.app.node.ring.after(None)["entries"]
        return found

    async def until(self, condition: Callable[[], object], what: str) -> None:
        limit = now() + 10
        while not condition():
            assert now() < limit, f"not in time: {what}"
            await asyncio.sleep(0.005)


Play = Callable[[Scene], Awaitable[Got]]


class Row(NamedTuple):
    """How a reason comes about."""

    play: Play
    options: dict[str, Any] = {}  # noqa: RUF012 - never written to
    unsaid: str = ""
    """Why the answer's head can't say it; it is in the metric and the log."""


def one(
    *fields: str, ask: tuple[str, ...] = (), status: int = 200, method: str = "GET", body: bytes = b"hello"
) -> Play:
    """One request, and the origin's one answer."""

    async def play(scene: Scene) -> Got:
        scene.says("/", *fields, status=status, body=body)
        return await scene.ask("/", *ask, method=method)

    return play


def stored(*fields: str, ask: tuple[str, ...] = (), again: tuple[str, ...] = (), status: int = 200) -> Play:
    """A response is stored; then the request, for which the origin has the same answer, or `again`'s status."""

    async def play(scene: Scene) -> Got:
        scene.says("/", *fields)
        scene.says("/", *(again or fields), status=status)
        await scene.ask("/", explained=False)
        return await scene.ask("/", *ask)

    return play


async def invalidated(scene: Scene) -> Got:
    scene.says("/", MINUTE)
    scene.held["/"] = asyncio.Event()
    begun = await scene.begin("/")
    await scene.until(lambda: scene.arrived == ["/"], "the request at the origin")
    posting = await scene.begin("/", method="DELETE", explained=False)
    await scene.until(lambda: len(scene.arrived) == 2, "the second one")
    assert scene.app.cache is not None
    changes.invalidate(scene.app.cache, b"http://shop.example/")
    # the answer to DELETE is held too: what it will do is done
    scene.held["/"].set()
    await scene.end(*posting)
    return await scene.end(*begun)


async def no_room(scene: Scene) -> Got:
    """Half of the memory is for bodies that are arriving: an eighth each, and there are more than four."""
    paths = [f"/hold{number}" for number in range(6)]
    for path in paths:
        scene.says(path, MINUTE, body=b"x" * (1 << 17))
    begun = []
    for path in paths:
        begun.append(await scene.begin(path))
        await scene.until(lambda path=path: f"body {path}" in scene.held, "the head")  # type: ignore[misc]
    last = begun[-1][0]
    head = await asyncio.wait_for(last.readuntil(b"\r\n\r\n"), 10)
    for event in list(scene.held.values()):
        event.set()
    await asyncio.wait_for(last.readexactly(1 << 17), 10)
    return told(head)


async def arriving(scene: Scene) -> Got:
    """A body that is too large for memory goes to disk once, whoever else asks for it meanwhile."""
    scene.says("/hold", MINUTE, body=b"x" * 200_000)
    await scene.begin("/hold", explained=False)
    await scene.until(lambda: "body /hold" in scene.held, "the first head")
    reader, _ = await scene.begin("/hold")
    head = await asyncio.wait_for(
        reader.readuntil(b"\r\n\r\n"), 10
    )  # while the first body is still on its way
    scene.held["body /hold"].set()
    await asyncio.wait_for(reader.readexactly(200_000), 10)
    return told(head)


async def transfer_coding(scene: Scene) -> Got:
    scene.says("/coded", MINUTE)
    return await scene.ask("/coded")


async def cut_short(scene: Scene) -> Got:
    scene.says("/cut", MINUTE)
    return await scene.ask("/cut")


async def purged_on_the_way(scene: Scene) -> Got:
    scene.says("/hold", MINUTE)
    begun = await scene.begin("/hold")
    await scene.until(lambda: "body /hold" in scene.held, "the head")
    await scene.app.node.purge({"urls": ["http://shop.example/hold"]})
    scene.held["body /hold"].set()
    return await scene.end(*begun)


async def softly(scene: Scene) -> Got:
    scene.says("/", MINUTE, TAG)
    await scene.ask("/", explained=False)
    await scene.app.node.purge({"urls": ["http://shop.example/"], "soft": True})
    return await scene.ask("/")


async def unproved(scene: Scene) -> Got:
    scene.says("/", MINUTE, TAG)
    await scene.ask("/", explained=False)
    blind = NoPurges()
    blind.confirmed_until = 0.0
    scene.app.cache.purges = blind
    return await scene.ask("/")


async def in_part(scene: Scene) -> Got:
    part = ("Content-Range: bytes 0-4/10", MINUTE, TAG)
    scene.says("/", *part, status=206)
    scene.says("/", "Content-Range: bytes 5-9/10", MINUTE, TAG, status=206)
    await scene.ask("/", "Range: bytes=0-4", explained=False)
    return await scene.ask("/", "Range: bytes=5-9")


async def other_variant(scene: Scene) -> Got:
    scene.says("/", MINUTE, "Vary: X-Kind")
    await scene.ask("/", "X-Kind: one", explained=False)
    return await scene.ask("/", "X-Kind: two")


async def body_in_get(scene: Scene) -> Got:
    scene.says("/", MINUTE)
    return await scene.ask("/", method="GET", body=b"hello")


def failing(status: int, *fields: str) -> Play:
    """Stored and stale; then the origin answers `status`, or with 0 nothing at all."""

    async def play(scene: Scene) -> Got:
        scene.says("/", OLD, TAG, *fields)
        scene.says("/", status=status)
        await scene.ask("/", explained=False)
        return await scene.ask("/")

    return play


NOT_REUSED = {
    NotReused.NOTHING_STORED: Row(one(MINUTE)),
    NotReused.NO_VARIANT: Row(other_variant),
    NotReused.AUTHORIZATION: Row(stored(MINUTE, ask=("Authorization: Basic eA==",))),
    NotReused.PURGED: Row(softly),
    NotReused.NO_CACHE: Row(stored("Cache-Control: no-cache", TAG)),
    NotReused.STALE: Row(stored(MINUTE, OLD, TAG)),
    NotReused.MUST_REVALIDATE: Row(stored("Cache-Control: max-age=60, must-revalidate", OLD, TAG)),
    NotReused.REQUEST_NO_CACHE: Row(stored(MINUTE, ask=("Cache-Control: no-cache",))),
    NotReused.REQUEST_MAX_AGE: Row(stored(MINUTE, "Age: 20", ask=("Cache-Control: max-age=5",))),
    NotReused.REQUEST_MIN_FRESH: Row(stored(MINUTE, ask=("Cache-Control: min-fresh=300",))),
    NotReused.NOT_IN_PART: Row(in_part),
    NotReused.UNPROVED: Row(unproved),
}

STALE = {
    Stale.WHILE_REVALIDATE: Row(stored("Cache-Control: max-age=60, stale-while-revalidate=60", OLD, TAG)),
    Stale.IF_ERROR: Row(failing(500, "Cache-Control: max-age=60, stale-if-error=60")),
    Stale.MAX_STALE: Row(stored(MINUTE, OLD, TAG, ask=("Cache-Control: max-stale=60",))),
    Stale.DISCONNECTED: Row(failing(0, MINUTE)),
}

LATE = "the head had been sent when it became known"
NOT_STORED = {
    NotStored.METHOD: Row(one(MINUTE, method="DELETE")),
    NotStored.REQUEST_BODY: Row(body_in_get),
    NotStored.REQUEST_NO_STORE: Row(one(MINUTE, ask=("Cache-Control: no-store",))),
    NotStored.CONDITION: Row(one(MINUTE, ask=("If-Match: *",))),
    NotStored.RANGE: Row(one("Content-Range: bytes */5", ask=("Range: bytes=9-",), status=416)),
    NotStored.UPGRADE: Row(one(MINUTE, ask=("Connection: upgrade", "Upgrade: chat"))),
    NotStored.HIDDEN: Row(one(MINUTE, ask=("Connection: X-A", "X-A: 1"))),
    NotStored.STATUS: Row(one(MINUTE, status=412)),
    NotStored.NOT_UNDERSTOOD: Row(one("Cache-Control: max-age=60, must-understand", status=299)),
    NotStored.PARTIAL: Row(one(MINUTE, "Content-Range: bytes 9-1/5", ask=("Range: bytes=0-4",), status=206)),
    NotStored.NO_STORE: Row(one("Cache-Control: no-store")),
    NotStored.PRIVATE: Row(one("Cache-Control: private")),
    NotStored.AUTHORIZATION: Row(one(MINUTE, ask=("Authorization: Basic eA==",))),
    NotStored.COOKIE: Row(one(MINUTE, ask=("Cookie: a=b",)), {"cookies": "pass"}),
    NotStored.SET_COOKIE: Row(one(MINUTE, "Set-Cookie: a=b"), {"cookies": "pass"}),
    NotStored.VARY_ANY: Row(one(MINUTE, "Vary: *")),
    NotStored.VARY_HERE: Row(one(MINUTE, "Vary: X-Forwarded-For")),
    NotStored.NO_LIFETIME: Row(one()),
    NotStored.NO_VALIDATOR: Row(one("Cache-Control: max-age=0")),
    NotStored.TOO_LARGE: Row(one(MINUTE, body=b"x" * 200_000), {"memory": "1MiB"}),
    NotStored.NO_ROOM: Row(no_room, {"memory": "1MiB"}),
    NotStored.ARRIVING: Row(arriving, {"memory": "1MiB", "disk": True}),
    NotStored.TRANSFER_CODING: Row(transfer_coding),
    NotStored.CUT_SHORT: Row(cut_short, unsaid=LATE),
    NotStored.INVALIDATED: Row(invalidated),
    NotStored.PURGED: Row(purged_on_the_way, unsaid=LATE),
}
ELSEWHERE = {NotStored.ELSEWHERE: "test_parents.py"}
"""It takes two edges at one place: the file beside this one that has them, and sees `detail=elsewhere`."""

WARNINGS = {
    CookieWarning.STORED_SET_COOKIE: Row(one(MINUTE, "Set-Cookie: a=b")),
    CookieWarning.STORED_FOR_COOKIE: Row(one(MINUTE, ask=("Cookie: a=b",))),
}

ROWS: dict[Any, Row] = {**NOT_REUSED, **STALE, **NOT_STORED, **WARNINGS}


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    yield made
    await made.stop()
    await tasks.cancel_all()


def test_every_member_has_its_row() -> None:
    for kind in (NotReused, Stale, NotStored, CookieWarning):
        missing = set(kind) - set(ROWS) - set(ELSEWHERE)
        assert not missing, f"no request is known that gives {missing}"
    for member, file in ELSEWHERE.items():
        assert f"detail={member}" in Path(__file__).with_name(file).read_text()


@pytest.mark.parametrize("member", ROWS, ids=lambda member: f"{type(member).__name__}-{member}")
async def test_a_request_gives_it_and_it_is_seen_everywhere(scene: Scene, member: Any) -> None:
    row = ROWS[member]
    await scene.start(**dict(row.options))
    got = await row.play(scene)
    await scene.until(
        lambda: scene.counted(str(member), METRICS[type(member)]) >= 1, f"{member} in the metric"
    )
    await scene.until(
        lambda: any(str(member) in str(entry["reason"]).split("/") for entry in scene.logged()),
        "it in the log",
    )
    if row.unsaid:
        return
    (hop,) = parse_hops(got.fields["cdnlab-hop"].encode())
    assert member.sentence in hop.cache
    said = got.fields["cache-status"].split("; ")
    if isinstance(member, CookieWarning):
        return  # it is stored as the RFC says, and Cache-Status has no word for a remark
    details = next((word.removeprefix("detail=") for word in said if word.startswith("detail=")), "").split(
        "/"
    )
    assert IMPLIED.get(member) in said or str(member) in details, said


async def test_every_result_comes_about(scene: Scene) -> None:
    """Each word for how a request was answered, in one evening."""
    await scene.start()
    scene.says("/a", MINUTE)
    scene.says("/old", MINUTE, OLD, TAG)
    scene.says("/old", MINUTE, TAG, status=304, body=b"")
    scene.says("/stale", "Cache-Control: max-age=60, stale-while-revalidate=60", OLD, TAG)
    scene.says("/slow", MINUTE)
    scene.says("/dead", status=0)
    scene.held["/slow"] = asyncio.Event()
    scene.app.cache.flights.wait_max = 60.0  # whoever waits shall not lose patience on a slow machine
    for path in ("/a", "/a", "/old", "/old", "/stale", "/stale", "/dead"):
        await scene.ask(path)
    await scene.ask("/a", method="TRACE")
    await scene.ask("/a", method="DELETE")
    begun = [await scene.begin("/slow", explained=False)]
    await scene.until(lambda: "/slow" in scene.arrived, "the first one")
    begun.append(await scene.begin("/slow", explained=False))
    await scene.until(lambda: any(flight.waiters for flight in scene.app.cache.flights), "the second one")
    scene.held["/slow"].set()
    for each in begun:
        await scene.end(*each)
    missing = {str(each) for each in Result}
    with contextlib.suppress(AssertionError):
        await scene.until(
            lambda: not missing.difference_update(map(result_of, scene.logged())) and not missing, ""
        )
    assert not missing, [(entry["target"], entry["result"]) for entry in scene.logged()]


def result_of(entry: dict[str, Any]) -> str:
    return str(entry["result"])


def test_the_page_is_current() -> None:
    page = Path(__file__).parents[2] / "docs" / "reasons.md"
    assert page.read_text() == document(), "run python -m edge.reasons > docs/reasons.md"


def test_every_reason_is_a_token_with_a_sentence_of_its_own() -> None:
    for kind in TABLE:
        sentences = [member.sentence for member in kind.members]
        assert len(set(sentences)) == len(sentences), kind.title
        for member in kind.members:
            assert member.value.replace("-", "").replace("_", "").isalnum()
            assert member.sentence.strip() == member.sentence
            assert member.sentence
