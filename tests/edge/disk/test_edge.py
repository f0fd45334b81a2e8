"""Whole edges with a disk, on real sockets: what overflows, what is large, what a kill leaves, what a purge takes."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cdnlab.net import tasks
from cdnlab.node.node import Node
from cdnlab.node.process import StartError
from cdnlab.plan.single import single_edge
from edge.app import Edge
from edge.disk.found import Pieces, Remote
from edge.disk.incoming import Incoming
from edge.disk.jobs import Job
from edge.disk.layout import PIECE
from edge.disk.pour import Pour
from edge.disk.reasons import State
from edge.disk.shelf import Read, Waiter
from tests.edge.disk.support import body_of, until
from tests.edge.origin import Origin, Talk
from tests.support.labs import environment
from tests.support.peers import free_port

HOST = "http://shop.example"
LARGE = f"/{3 * PIECE + 500}/film"


class Answer:
    """What a client got."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        self.status = int(line.split(" ")[1])
        pairs = (field.partition(": ") for field in fields)
        self.fields = {name.lower(): value for name, _, value in pairs}
        if self.fields.get("transfer-encoding") == "chunked":
            self.body = _unchunked(self.body)

    @property
    def said(self) -> str:
        """Our member of Cache-Status, without the seconds that it has left."""
        return re.sub(r"; ttl=-?\d+", "", self.fields.get("cache-status", ""))


def _unchunked(data: bytes) -> bytes:
    found = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        found += rest[: int(size, 16)]
        data = rest[int(size, 16) + 2 :]
    return found


class Site:
    """An origin whose every path has one right body: /SIZE/NAME."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fields = ["Cache-Control: max-age=3600", 'ETag: "1"']
        self.edition = b""
        self.chunked = False
        self.status = 200
        self.half_way: asyncio.Event | None = None
        self.dies = False
        self.origin = Origin(self._answer)

    def body(self, target: str) -> bytes:
        """The right one."""
        return body_of(self.edition + target.encode(), int(target.split("/")[1]))

    async def _answer(self, talk: Talk) -> None:
        self.asked.append(talk.target)
        if talk.method == "POST":
            await talk.body()
            await talk.answer(200, body=b"done")
        elif 'ETag: "1"' in self.fields and talk.fields.get("if-none-match") == '"1"':
            await talk.answer(304, *self.fields)
        elif self.chunked:
            await self._chunks(talk, self.body(talk.target))
        elif self.half_way is not None:
            await self._halves(talk, self.body(talk.target))
        else:
            await talk.answer(self.status, *self.fields, body=self.body(talk.target))

    async def _chunks(self, talk: Talk, data: bytes) -> None:
        await talk.say("\r\n".join(["HTTP/1.1 200 OK", *self.fields, "Transfer-Encoding: chunked", "", ""]))
        for at in range(0, len(data), 60_000):
            part = data[at : at + 60_000]
            await talk.say(b"%x\r\n%b\r\n" % (len(part), part))
        await talk.say(b"0\r\n\r\n")

    async def _halves(self, talk: Talk, data: bytes) -> None:
        assert self.half_way is not None
        length = f"Content-Length: {len(data)}"
        await talk.say("\r\n".join(["HTTP/1.1 200 OK", *self.fields, length, "", ""]))
        await talk.say(data[: len(data) // 2])
        await self.half_way.wait()
        if self.dies:
            talk.writer.close()
        else:
            await talk.say(data[len(data) // 2 :])


class Stage:
    """An edge that can be ended and started again on its disk."""

    def __init__(self, site: Site, url: str, disk: Path, **options: Any) -> None:
        self.site = site
        self.url = url
        self.options = {"memory": "1MiB", "disk": f"{disk}:16MiB", **options}
        self.app: Edge = None  # type: ignore[assignment]

    async def start(self) -> None:
        topology = single_edge("127.0.0.1:0", [self.url], admin="off", **self.options)
        self.app = Edge(Node(topology, "edge"))
        await self.app.start()

    async def stop(self) -> None:
        await self.app.stop()
        await tasks.cancel_all()

    async def again(self) -> None:
        """A restart."""
        await self.stop()
        await self.start()
        await self.settled()

    async def settled(self) -> None:
        disk = self.app.disk
        assert disk is not None
        await until(lambda: not disk.queued and not disk.upkeep.busy, "the disk is done")

    async def ask(self, target: str, *fields: str, method: str = "GET") -> Answer:
        assert self.app.address is not None
        return await ask(self.app.address[1], target, *fields, method=method)

    async def right(self, target: str, *fields: str) -> Answer:
        """An answer that has the right body, and came within the test's patience."""
        answer = await self.ask(target, *fields)
        assert answer.status == 200, answer.fields
        assert answer.body == self.site.body(target)
        return answer

    async def overflow(self, count: int = 80, name: str = "filler") -> None:
        """Fill the memory so that what lay there goes to disk."""
        for number in range(count):
            await self.right(f"/30000/{name}-{number}")
        await self.settled()


async def ask(
    port: int, target: str, *fields: str, method: str = "GET", host: str = "shop.example"
) -> Answer:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    length = ("Content-Length: 0",) if method == "POST" else ()
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *fields, *length]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    raw = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return Answer(raw)


@asynccontextmanager
async def staged(tmp_path: Path, **options: Any) -> AsyncIterator[Stage]:
    site = Site()
    url = await site.origin.start()
    stage = Stage(site, url, tmp_path / "disk", **options)
    await stage.start()
    try:
        yield stage
    finally:
        await stage.stop()
        await site.origin.stop()


async def test_what_overflows_memory_is_a_hit_from_disk_and_then_from_memory(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.right("/5000/a")
        assert (await stage.right("/5000/a")).said == "edge; hit"
        await stage.overflow()
        asked = len(stage.site.asked)
        answer = await stage.right("/5000/a")
        assert answer.said == "edge; hit; detail=disk"
        assert (await stage.right("/5000/a")).said == "edge; hit"
        assert len(stage.site.asked) == asked
        ring = stage.app.node.ring
        rows = [ring.named(entry) for entry in ring.entries]
        assert [row["reason"] for row in rows if row["result"] == "hit"] == ["", "disk", ""]


async def test_after_a_restart_age_conditions_ranges_and_head_are_right(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.site.fields.append("Age: 100")
        await stage.right("/5000/a")
        await stage.overflow()
        await stage.again()
        asked = len(stage.site.asked)
        answer = await stage.right("/5000/a")
        assert 100 <= int(answer.fields["age"]) <= 110
        await stage.again()  # it is on disk still
        assert (await stage.ask("/5000/a", 'If-None-Match: "1"')).status == 304
        await stage.again()
        part = await stage.ask("/5000/a", "Range: bytes=100-199")
        assert (part.status, part.body) == (206, stage.site.body("/5000/a")[100:200])
        await stage.again()
        head = await stage.ask("/5000/a", method="HEAD")
        assert (head.status, head.fields["content-length"], head.body) == (200, "5000", b"")
        assert len(stage.site.asked) == asked


async def test_what_lies_in_memory_outlives_an_end_in_order(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.site.fields.append("Vary: Accept")
        await stage.right("/5000/a", "Accept: 1")
        stage.site.edition = b"second "
        await stage.right("/5000/a", "Accept: 2")
        await stage.again()
        assert (await stage.right("/5000/a", "Accept: 2")).said == "edge; hit; detail=disk"
        stage.site.edition = b""
        assert (await stage.right("/5000/a", "Accept: 1")).said == "edge; hit; detail=disk"
        assert "vary-miss" in (await stage.right("/5000/a", "Accept: 3")).said


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_what_is_too_large_for_memory_streams_to_disk_and_is_served_from_there(
    tmp_path: Path, chunked: bool
) -> None:
    async with staged(tmp_path) as stage:
        stage.site.chunked = chunked
        first = await stage.right(LARGE)
        assert first.said == "edge; fwd=uri-miss; fwd-status=200; stored"
        await stage.settled()
        assert stage.app.cache is not None
        assert stage.app.cache.storage.objects == 0
        for _ in range(2):
            answer = await stage.right(LARGE)
            assert answer.said == "edge; hit; detail=disk"
            assert answer.fields["content-length"] == str(len(answer.body))
            whole, size = answer.body, len(answer.body)
            for start, end in [(0, 0), (PIECE - 5, PIECE + 5), (size - 7, size - 1), (10, size - 10)]:
                part = await stage.ask(LARGE, f"Range: bytes={start}-{end}")
                assert (part.status, part.body) == (206, whole[start : end + 1])
                assert part.fields["content-range"] == f"bytes {start}-{end}/{size}"
                assert part.fields["content-length"] == str(len(part.body))
            assert (await stage.ask(LARGE, "Range: bytes=99999999-")).status == 416
            assert (await stage.ask(LARGE, 'If-None-Match: "1"')).status == 304
            head = await stage.ask(LARGE, method="HEAD")
            assert (head.status, head.fields["content-length"], head.body) == (200, str(size), b"")
            await stage.again()
        assert stage.site.asked == [LARGE]


async def test_a_large_error_page_and_an_if_range_are_served_from_disk(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.site.status = 404
        for _ in range(2):
            answer = await stage.ask(LARGE)
            assert (answer.status, answer.body) == (404, stage.site.body(LARGE))
            await stage.settled()
        assert answer.said == "edge; hit; detail=disk"
        stage.site.status = 200
        await stage.right("/500000/a")
        await stage.settled()
        part = await stage.ask("/500000/a", "Range: bytes=0-4", 'If-Range: "1"')
        assert (part.status, part.body) == (206, stage.site.body("/500000/a")[:5])
        whole = await stage.ask("/500000/a", "Range: bytes=0-4", 'If-Range: "other"')
        assert (whole.status, whole.body) == (200, stage.site.body("/500000/a"))
        assert stage.site.asked == [LARGE, "/500000/a"]


async def test_a_large_object_is_confirmed_without_its_body(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.site.fields[0] = "Cache-Control: max-age=0"
        await stage.right(LARGE)
        await stage.settled()
        stage.site.fields += ["Cache-Control: max-age=3600", "X-New: yes"]
        stage.site.fields.pop(0)
        answer = await stage.right(LARGE)
        assert "fwd=stale; fwd-status=304" in answer.said
        assert answer.fields["x-new"] == "yes"
        await stage.settled()
        assert (await stage.right(LARGE)).said == "edge; hit; detail=disk"
        await stage.again()
        answer = await stage.right(LARGE)
        assert (answer.said, answer.fields["x-new"]) == ("edge; hit; detail=disk", "yes")
        assert stage.site.asked == [LARGE, LARGE]


async def test_a_stale_large_object_stands_in_for_a_dead_origin(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.site.fields[0] = "Cache-Control: max-age=0, stale-if-error=600"
        await stage.right(LARGE)
        await stage.settled()
        await stage.site.origin.stop()
        answer = await stage.right(LARGE)
        assert "detail=stale-if-error" in answer.said


async def test_a_newer_response_takes_the_place_of_the_one_on_disk(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        for target in ("/5000/a", LARGE):
            await stage.right(target)
        await stage.overflow()
        stage.site.edition, stage.site.fields[1] = b"second ", 'ETag: "2"'
        for target in ("/5000/a", LARGE):
            answer = await stage.right(target, "Cache-Control: no-cache")
            assert "detail=request-no-cache" in answer.said
            await stage.settled()
            assert "hit" in (await stage.right(target)).said
        await stage.overflow(name="more")
        await stage.again()
        for target in ("/5000/a", LARGE):
            assert "hit" in (await stage.right(target)).said


async def test_an_answer_that_may_not_be_stored_takes_the_old_one_away(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        for target in ("/5000/a", LARGE):
            await stage.right(target)
        await stage.overflow()
        stage.site.edition, stage.site.fields = b"second ", ["Cache-Control: no-store"]
        for target in ("/5000/a", LARGE):
            await stage.right(target, "Cache-Control: no-cache")
            assert "fwd=uri-miss" in (await stage.right(target)).said
        await stage.again()
        for target in ("/5000/a", LARGE):
            assert "fwd=uri-miss" in (await stage.right(target)).said


async def test_an_unsafe_request_takes_it_away_also_after_a_restart(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        for target in ("/5000/a", LARGE):
            await stage.right(target)
        await stage.overflow()
        stage.site.edition = b"second "
        for target in ("/5000/a", LARGE):
            assert (await stage.ask(target, method="POST")).status == 200
        await stage.again()
        for target in ("/5000/a", LARGE):
            assert "fwd=uri-miss" in (await stage.right(target)).said


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
async def test_purges_hold_for_what_lies_on_disk(tmp_path: Path, restart: bool) -> None:
    async with staged(tmp_path) as stage:
        stage.site.fields.append("Surrogate-Key: red")
        for target in ("/5000/a", LARGE):
            await stage.right(target)
        stage.site.fields.pop()
        for target in ("/5000/b", "/500000/c"):
            await stage.right(target)
        await stage.overflow()
        stage.site.edition = b"second "
        assert stage.app.node.purge is not None
        await stage.app.node.purge({"tags": ["red"]})
        if restart:
            await stage.again()
        for target in ("/5000/a", LARGE):
            assert "fwd=" in (await stage.right(target)).said
        stage.site.edition = b""
        for target in ("/5000/b", "/500000/c"):
            assert (await stage.right(target)).said == "edge; hit; detail=disk"


async def test_a_soft_purge_asks_the_origin_about_what_lies_on_disk(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        for target in ("/5000/a", LARGE):
            await stage.right(target)
        await stage.overflow()
        assert stage.app.node.purge is not None
        await stage.app.node.purge({"all": True, "soft": True})
        await stage.again()
        for target in ("/5000/a", LARGE):
            assert "fwd-status=304" in (await stage.right(target)).said
            await stage.settled()
            assert "hit" in (await stage.right(target)).said


async def test_requests_for_one_object_wait_for_one_read(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.right("/5000/a")
        await stage.overflow()
        asked = len(stage.site.asked)
        answers = await asyncio.gather(*(stage.right("/5000/a") for _ in range(20)))
        assert {answer.said for answer in answers} <= {"edge; hit", "edge; hit; detail=disk"}
        assert len(stage.site.asked) == asked
        assert stage.app.disk is not None
        assert stage.app.disk.loaded < 20


async def test_who_comes_while_a_large_body_arrives_is_served_and_stores_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.site.half_way = asyncio.Event()
        first = asyncio.ensure_future(stage.right(LARGE))
        await until(lambda: stage.app.cache is not None and stage.app.cache.fetched_bytes > PIECE)
        second = asyncio.ensure_future(stage.right(LARGE))
        await until(lambda: len(stage.site.asked) == 2, "the second is not kept waiting")
        stage.site.half_way.set()
        assert (await first).said == "edge; fwd=uri-miss; fwd-status=200; stored"
        assert (await second).said == "edge; fwd=uri-miss; fwd-status=200; detail=arriving"
        await stage.settled()
        assert (await stage.right(LARGE)).said == "edge; hit; detail=disk"


async def test_a_large_body_that_is_cut_short_is_not_stored(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.site.half_way, stage.site.dies = asyncio.Event(), True
        broken = asyncio.ensure_future(stage.ask(LARGE))
        await until(lambda: stage.app.cache is not None and stage.app.cache.fetched_bytes > PIECE)
        stage.site.half_way.set()
        assert len((await broken).body) < len(stage.site.body(LARGE))
        stage.site.half_way = None
        assert (await stage.right(LARGE)).said == "edge; fwd=uri-miss; fwd-status=200; stored"
        await stage.settled()
        assert (await stage.right(LARGE)).said == "edge; hit; detail=disk"


async def test_a_client_that_goes_away_leaves_nothing_behind(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.right(LARGE)
        await stage.settled()
        assert stage.app.address is not None
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", stage.app.address[1], limit=1000)
            writer.write(f"GET {LARGE} HTTP/1.1\r\nHost: shop.example\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()
        await until(lambda: not [name for name in tasks.running() if name.startswith("disk")], "their end")
        disk = stage.app.disk
        assert disk is not None
        assert all(segment.users == 0 for segment in disk.segments.values())
        assert (await stage.right(LARGE)).said == "edge; hit; detail=disk"


async def test_a_damaged_body_is_a_miss_or_breaks_off_and_is_never_sent(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.right(LARGE)
        await stage.settled()
        (segment,) = (tmp_path / "disk" / "edge").glob("*.seg")
        data, body = bytearray(segment.read_bytes()), stage.site.body(LARGE)
        second = data.index(body[PIECE : PIECE + 100])
        data[second + 50] ^= 1
        segment.write_bytes(data)
        answer = await stage.ask(LARGE)
        assert answer.body == body[:PIECE]
        assert answer.fields["content-length"] == str(len(body))
        assert (await stage.right(LARGE)).said == "edge; fwd=uri-miss; fwd-status=200; stored"
        await stage.settled()
        newest = max((tmp_path / "disk" / "edge").glob("*.seg"))
        data = bytearray(newest.read_bytes())
        data[data.rindex(body[:100]) + 50] ^= 1
        newest.write_bytes(data)
        assert (await stage.right(LARGE)).said == "edge; fwd=uri-miss; fwd-status=200; stored"


async def test_a_full_disk_leaves_the_edge_to_its_memory(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        disk = stage.app.disk
        assert disk is not None
        disk.files.write = _no_room  # type: ignore[method-assign]
        await stage.overflow()
        assert disk.state is State.FULL
        assert (await stage.right(LARGE)).said == "edge; fwd=uri-miss; fwd-status=200; detail=no-room"
        assert (await stage.right("/30000/filler-79")).said == "edge; hit"
        shown: Any = stage.app.status()["disk"]
        assert (shown["state"], shown["objects"]) == ("full", 0)
        events = stage.app.node.events.after(None)["entries"]
        assert [event["kind"] for event in events].count("disk") == 1


def _no_room(*args: Any) -> int:
    raise OSError(28, "No space left on device")


async def test_two_edges_on_one_disk_are_refused_in_one_line(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        other = Stage(stage.site, stage.url, tmp_path / "disk")
        with pytest.raises(
            StartError, match=r"cannot store in .*/disk/edge: another process uses it \(pid \d+\)"
        ):
            await other.start()
        await other.app.stop()
        assert (await stage.right("/10/x")).status == 200


class Process:
    """`cdnlab edge` as people start it."""

    def __init__(self, url: str, disk: Path) -> None:
        self.port, self.admin = free_port(), free_port()
        self.words = [
            *("-m", "edge", "--listen", f"127.0.0.1:{self.port}", "--origin", url),
            *("--admin", f"127.0.0.1:{self.admin}"),
            *("--memory", "1MiB", "--disk", f"{disk}:24MiB"),
        ]
        self.process: asyncio.subprocess.Process = None  # type: ignore[assignment]

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, *self.words, env=environment(), stdout=asyncio.subprocess.DEVNULL
        )
        for _ in range(2000):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.admin)
            except OSError:
                assert self.process.returncode is None
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return
        raise AssertionError("it does not listen")

    async def settled(self) -> None:
        """Nothing waits to be written, as it says itself."""
        for _ in range(2000):
            shown = json.loads((await ask(self.admin, "/status", host=f"127.0.0.1:{self.admin}")).body)[
                "disk"
            ]
            if shown["state"] == "ready" and not shown["queued"]:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it still writes")

    async def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        await asyncio.wait_for(self.process.wait(), 20)


async def hits(edge: Process, site: Site, targets: list[str]) -> int:
    """Ask for each, alone; how many were hits. None is wrong."""
    count = 0
    for target in targets:
        answer = await ask(edge.port, target)
        assert answer.body == site.body(target)
        count += "hit" in answer.said
    return count


async def test_a_killed_process_comes_back_with_what_was_on_disk(tmp_path: Path) -> None:
    site = Site()
    edge = Process(await site.origin.start(), tmp_path / "disk")
    targets = [f"/{20_000 + number}/k-{number}" for number in range(90)] + [LARGE]
    try:
        await edge.start()
        for target in targets:
            assert (await ask(edge.port, target)).body == site.body(target)
        await edge.settled()
        await edge.end(signal.SIGKILL)
        await edge.start()
        await edge.settled()
        assert await hits(edge, site, targets) > 30
        busy = asyncio.gather(*(ask(edge.port, each + "?new") for each in targets), return_exceptions=True)
        await asyncio.sleep(random.uniform(0.01, 0.2))
        await edge.end(signal.SIGKILL)
        await busy
        await edge.start()
        await hits(edge, site, [each + "?new" for each in targets] + targets)
    finally:
        if edge.process.returncode is None:
            await edge.end(signal.SIGKILL)
        await site.origin.stop()


async def test_nothing_is_left_for_the_garbage_collector(tmp_path: Path) -> None:
    """Automatic full collections are off in a node, and what holds pieces of a body holds files open."""
    async with staged(tmp_path) as stage:
        gc.collect()
        gc.disable()
        try:
            await stage.right("/5000/a")
            await stage.right(LARGE)
            stage.site.chunked = True
            await stage.right("/400000/chunked")
            await stage.overflow()
            await stage.right("/5000/a")
            await stage.right(LARGE)
            await stage.ask(LARGE, "Range: bytes=5-9")
            await stage.right(LARGE, "Cache-Control: no-cache")
            stage.site.chunked, stage.site.fields[1] = False, 'ETag: "2"'
            await stage.right(LARGE, "Cache-Control: no-cache")
            assert (await stage.ask(LARGE, method="POST")).status == 200
            await stage.settled()
            await until(
                lambda: not [name for name in tasks.running() if name.startswith("disk")], "the tasks' end"
            )
            kinds = (Pour, Pieces, Remote, Incoming, Waiter, Read, Job)
            await until(
                lambda: not [each for each in gc.get_objects() if isinstance(each, kinds)], "their end", 5
            )
        finally:
            gc.enable()
