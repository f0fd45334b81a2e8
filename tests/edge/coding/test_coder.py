"""Forms as they are made: one thread, real objects, a real storage."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from cdnlab.wire.response import ResponseMemo
from edge.coding import coder as module
from edge.coding.codable import NotCoded
from edge.coding.coder import NOTHING, Coder
from edge.coding.forms import origins
from edge.coding.negotiation import BARE
from edge.coding.rules import Rules
from edge.object import StoredObject, Variants
from edge.response import response_facts
from edge.vary import names as vary_names
from edge.vary import variant_key
from tests.edge.coding.test_codecs import decode
from tests.edge.coding.test_forms import fields, stored

TEXT = b"the quick brown fox jumps over the lazy dog. " * 100
NOISE = Random(7).randbytes(2000)
ALL = (b"br", b"zstd", b"gzip")
HTML = "Content-Type: text/html"


class Room:
    """A storage as the coder sees one."""

    def __init__(self) -> None:
        self.lies: dict[bytes, StoredObject | Variants] = {}
        self.grown = 0

    def find(self, key: bytes) -> StoredObject | Variants | None:
        return self.lies.get(key)

    def resize(self, stored: StoredObject, by: int) -> None:
        stored.size += by
        self.grown += by


class Bench:
    """A coder with a storage, and objects in it."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.room = Room()
        self.coder = Coder(rules or Rules(), self.room, b"edge-icn")

    def put(self, *more: str, body: bytes = TEXT) -> StoredObject:
        found = stored(HTML, 'ETag: "1"', *more, body=body)
        self.coder.adopt(found)
        self.room.lies[found.key] = found
        return found

    async def ready(self) -> None:
        """Everything that was ordered has been made."""
        while self.coder.waiting:  # noqa: ASYNC110 - a thread tells the coder alone
            await asyncio.sleep(0.001)


@pytest.fixture
def bench() -> Iterator[Bench]:
    found = Bench()
    yield found
    found.coder.stop()


@pytest.fixture
def gate(monkeypatch: Any) -> Iterator[threading.Event]:
    """The thread makes nothing until it is opened."""
    event, make = threading.Event(), module.make

    def wait(*given: Any) -> Any:
        assert event.wait(30)
        return make(*given)

    monkeypatch.setattr(module, "make", wait)
    yield event
    event.set()


@pytest.mark.parametrize("coding", ALL)
async def test_identity_until_the_form_is_ready_then_the_form(bench: Bench, coding: bytes) -> None:
    parent = bench.put()
    size = parent.size
    assert parent.forms is NOTHING
    assert bench.coder.pick(parent, (coding,), 1001.0) is parent
    await bench.ready()
    form = bench.coder.pick(parent, (coding,), 1001.0)
    assert form is not parent
    assert decode(coding, form.body) == TEXT
    shown = fields(form.head)
    assert shown["content-encoding"] == coding.decode()
    assert shown["content-length"] == str(len(form.body))
    assert shown["etag"] == 'W/"1"'
    assert shown["vary"] == "Accept-Encoding"
    assert shown["age"] == "1"
    assert shown["cache-status"] == "edge-icn; hit; ttl=59"
    assert parent.size == size + form.size
    tally = bench.coder.tallies[coding]
    assert (tally.made, tally.before, tally.after, tally.answers) == (1, len(TEXT), len(form.body), 1)


async def test_who_accepts_nothing_orders_nothing(bench: Bench) -> None:
    parent = bench.put()
    assert bench.coder.select(parent, ()) is parent
    assert parent.forms is NOTHING
    assert bench.coder.waiting == 0


async def test_no_form_is_made_twice_and_one_request_orders_one(bench: Bench, gate: threading.Event) -> None:
    parent = bench.put()
    for _ in range(10):
        assert bench.coder.pick(parent, ALL, 1001.0) is parent
    assert bench.coder.waiting == 1
    gate.set()
    await bench.ready()
    assert bench.coder.tallies[b"br"].made == 1
    assert [bench.coder.tallies[coding].made for coding in ALL] == [1, 0, 0]


async def test_while_the_best_is_made_the_next_best_is_sent(bench: Bench, gate: threading.Event) -> None:
    parent = bench.put()
    gate.set()
    bench.coder.pick(parent, (b"gzip",), 1001.0)
    await bench.ready()
    gate.clear()
    assert fields(bench.coder.pick(parent, ALL, 1001.0).head)["content-encoding"] == "gzip"
    assert bench.coder.waiting == 1
    gate.set()
    await bench.ready()
    assert fields(bench.coder.pick(parent, ALL, 1001.0).head)["content-encoding"] == "br"


async def test_what_does_not_get_smaller_is_tried_once(bench: Bench) -> None:
    parent = bench.put(body=NOISE)
    bench.coder.pick(parent, (b"zstd",), 1001.0)
    await bench.ready()
    assert bench.coder.not_coded[NotCoded.NOT_SMALLER] == 1
    assert parent.forms is None, "its hits cost nothing more"
    assert parent.head_until < 0
    assert "vary" not in fields(parent.start)
    for codings in (ALL, (b"gzip",), (b"br",), (b"zstd",)):
        assert bench.coder.pick(parent, codings, 1001.0) is parent
    assert bench.coder.waiting == 0
    assert parent.size == stored(HTML, 'ETag: "1"', body=NOISE).size


async def test_one_coding_that_is_not_worth_it_costs_no_other(bench: Bench, monkeypatch: Any) -> None:
    parent = bench.put()
    bench.coder.pick(parent, (b"gzip",), 1001.0)
    await bench.ready()
    monkeypatch.setattr(module, "make", lambda *_: module.Made(0.0, b"", {}, NotCoded.NOT_SMALLER))
    for _ in range(3):
        form = bench.coder.pick(parent, (b"br", b"gzip"), 1001.0)
        assert fields(form.head)["content-encoding"] == "gzip"
        await bench.ready()
    assert bench.coder.not_coded[NotCoded.NOT_SMALLER] == 1
    assert bench.coder.pick(parent, (b"br",), 1001.0) is parent


async def test_a_bare_one_goes_with_what_is_not_worth_it(bench: Bench) -> None:
    parent = bench.put("Vary: Cookie", body=NOISE)
    parent.variant = b"x"
    record = Variants((b"cookie",))
    record.objects[b"x"] = parent
    bench.room.lies[parent.key] = record
    bench.coder.pick(parent, (BARE,), 1001.0)
    bench.coder.pick(parent, (b"br",), 1001.0)
    await bench.ready()
    assert parent.forms is None
    assert fields(parent.start)["vary"] == "Cookie"
    assert parent.size == stored(HTML, 'ETag: "1"', "Vary: Cookie", body=NOISE).size


async def test_a_form_of_what_has_gone_is_thrown_away(bench: Bench, gate: threading.Event) -> None:
    parent = bench.put()
    bench.coder.pick(parent, (b"br",), 1001.0)
    bench.room.lies.clear()
    gate.set()
    await bench.ready()
    assert bench.coder.not_coded[NotCoded.GONE] == 1
    assert bench.room.grown == 0
    assert parent.forms == {}


async def test_an_evicted_one_that_waits_is_not_made(bench: Bench, gate: threading.Event) -> None:
    first = bench.put()
    bench.coder.pick(first, (b"br",), 1001.0)
    bench.coder.pick(first, (b"gzip",), 1001.0)
    bench.room.lies.clear()
    gate.set()
    await bench.ready()
    assert bench.coder.not_coded[NotCoded.GONE] == 2
    assert bench.coder.waiting_bytes == 0


async def test_a_variant_is_found_among_its_kind(bench: Bench) -> None:
    parent = bench.put()
    parent.variant = b"x"
    record = Variants((b"cookie",))
    record.objects[b"x"] = parent
    bench.room.lies[parent.key] = record
    bench.coder.pick(parent, (b"br",), 1001.0)
    await bench.ready()
    assert bench.coder.tallies[b"br"].made == 1


async def test_few_wait_and_the_rest_is_asked_for_again(gate: threading.Event) -> None:
    bench = Bench(Rules(jobs_max=2, waiting_max=3 * len(TEXT)))
    parent = bench.put()
    for coding in ALL:
        bench.coder.pick(parent, (coding,), 1001.0)
    assert bench.coder.waiting == 2
    assert bench.coder.not_coded[NotCoded.BUSY] == 1
    gate.set()
    await bench.ready()
    bench.coder.pick(parent, (b"gzip",), 1001.0)
    await bench.ready()
    assert [bench.coder.tallies[coding].made for coding in ALL] == [1, 1, 1]
    bench.coder.stop()


async def test_bytes_that_wait_are_bounded_too(gate: threading.Event) -> None:
    bench = Bench(Rules(waiting_max=len(TEXT)))
    parent = bench.put()
    bench.coder.pick(parent, (b"br",), 1001.0)
    bench.coder.pick(parent, (b"gzip",), 1001.0)
    assert (bench.coder.waiting, bench.coder.waiting_bytes) == (1, len(TEXT))
    gate.set()
    await bench.ready()
    assert bench.coder.waiting_bytes == 0
    bench.coder.stop()


async def test_a_304_takes_the_forms_along_under_the_new_head(bench: Bench) -> None:
    old = bench.put()
    bench.coder.pick(old, (b"br",), 1001.0)
    await bench.ready()
    before = bench.coder.select(old, (b"br",))
    fresh = stored(HTML, 'ETag: "1"', "X-New: 1", body=TEXT)
    fresh.born, fresh.fresh_until = 2000.0, 2060.0
    plain = stored(HTML, 'ETag: "1"', "X-New: 1", "Vary: Accept-Encoding", body=TEXT).size
    bench.coder.renew(old, fresh)
    bench.room.lies[fresh.key] = fresh
    form = bench.coder.pick(fresh, (b"br",), 2003.0)
    assert form.body is before.body
    shown = fields(form.head)
    assert (shown["x-new"], shown["age"], shown["content-encoding"]) == ("1", "3", "br")
    assert fresh.size == plain + form.size
    assert bench.coder.tallies[b"br"].made == 1


async def test_a_form_being_made_when_the_304_comes_hangs_on_the_new_one(
    bench: Bench, gate: threading.Event
) -> None:
    old = bench.put()
    for coding in (b"br", b"gzip"):
        bench.coder.pick(old, (coding,), 1001.0)
    fresh = stored(HTML, 'ETag: "1"', body=TEXT)
    bench.coder.renew(old, fresh)
    bench.room.lies[fresh.key] = fresh
    bench.coder.pick(fresh, (b"br",), 1001.0)
    assert bench.coder.waiting == 2, "not ordered again"
    gate.set()
    await bench.ready()
    for coding in (b"br", b"gzip"):
        assert decode(coding, bench.coder.select(fresh, (coding,)).body) == TEXT
    assert [bench.coder.tallies[coding].made for coding in ALL] == [1, 0, 1]


async def test_a_304_that_says_no_transform_ends_the_forms(bench: Bench) -> None:
    old = bench.put()
    bench.coder.pick(old, (b"br",), 1001.0)
    await bench.ready()
    fresh = stored(HTML, "Cache-Control: no-transform", body=TEXT)
    size = fresh.size
    bench.coder.renew(old, fresh)
    assert fresh.forms is None
    assert fresh.size == size


async def test_what_was_not_worth_it_is_not_tried_after_a_304(bench: Bench) -> None:
    old = bench.put(body=NOISE)
    bench.coder.pick(old, (b"gzip",), 1001.0)
    await bench.ready()
    assert bench.coder.not_coded[NotCoded.NOT_SMALLER] == 1
    fresh = stored(HTML, 'ETag: "1"', body=NOISE)
    bench.coder.renew(old, fresh)
    bench.coder.pick(fresh, (b"gzip",), 1001.0)
    assert bench.coder.waiting == 0


async def test_a_body_that_is_not_what_its_digest_says_is_not_coded(bench: Bench) -> None:
    parent = bench.put("Repr-Digest: sha-256=:AAAA:")
    bench.coder.pick(parent, (b"br",), 1001.0)
    await bench.ready()
    assert bench.coder.not_coded[NotCoded.WRONG_DIGEST] == 1
    assert bench.coder.pick(parent, ALL, 1001.0) is parent
    assert bench.coder.waiting == 0


async def test_a_coder_that_fails_costs_one_form_and_not_the_thread(
    bench: Bench, monkeypatch: Any, caplog: Any
) -> None:
    make = module.make
    monkeypatch.setattr(module, "make", lambda *_: 1 // 0)
    parent = bench.put()
    bench.coder.pick(parent, (b"br",), 1001.0)
    await bench.ready()
    assert bench.coder.not_coded[NotCoded.FAILED] == 1
    assert bench.coder.pick(parent, (b"br",), 1001.0) is parent
    assert "no br form" in caplog.text
    monkeypatch.setattr(module, "make", make)
    other = bench.put()
    bench.coder.pick(other, (b"br",), 1001.0)
    await bench.ready()
    assert bench.coder.tallies[b"br"].made == 1


async def test_the_head_of_a_form_is_written_once_a_second_and_follows_its_parent(bench: Bench) -> None:
    parent = bench.put()
    bench.coder.pick(parent, (b"br",), 1001.0)
    await bench.ready()
    parent.head_until = 1001.9
    form = bench.coder.pick(parent, (b"br",), 1001.2)
    head = form.head
    assert bench.coder.pick(parent, (b"br",), 1001.8).head is head
    assert form.head_until == 1001.9, "never true for longer than its parent's"
    parent.fresh_until, parent.head_until = 1010.0, 1003.0
    assert fields(bench.coder.pick(parent, (b"br",), 1002.5).head)["cache-status"] == "edge-icn; hit; ttl=7"


async def test_the_loop_runs_on_while_a_large_body_is_coded(bench: Bench) -> None:
    body = b"".join(b"%d %d\n" % (number, number * number) for number in range(60_000))
    parent = bench.put(body=body)
    bench.coder.pick(parent, (b"br",), 1001.0)
    turns = 0
    while bench.coder.waiting:
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 3
    assert decode(b"br", bench.coder.select(parent, (b"br",)).body) == body


async def test_the_end_waits_for_nobody(gate: threading.Event) -> None:
    bench = Bench()
    bench.coder.pick(bench.put(), ALL, 1001.0)
    bench.coder.stop()
    gate.set()
    await asyncio.sleep(0)
    assert bench.room.grown == 0


async def test_no_cycle_is_left(bench: Bench) -> None:
    gc.collect()
    gc.disable()
    try:
        parent = bench.put(body=TEXT + b"cycle")
        for coding in ALL:
            bench.coder.pick(parent, (coding,), 1001.0)
        await bench.ready()
        bench.room.lies.clear()
        del parent
        while any(isinstance(each, StoredObject) and b"cycle" in each.body for each in gc.get_objects()):  # noqa: ASYNC110
            await asyncio.sleep(0.001)  # the thread lets go of the last one in its own time
    finally:
        gc.enable()


def announced(
    *lines: str, status: int = 200, length: int | None = 5000, codings: tuple[bytes, ...] = ()
) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status} OK", *lines])
    block, _ = ResponseMemo().head(head.encode())
    return Coder(Rules(), Room(), b"edge").announced(
        head.encode() + b"\r\n", response_facts(block), length, codings
    )


def test_a_response_says_that_it_will_be_coded_before_it_is() -> None:
    assert b"\r\nVary: Accept-Encoding\r\n" in announced(HTML)
    assert b"\r\nVary: Accept-Encoding\r\n" in announced(HTML, length=None)
    assert b"\r\nVary: Cookie, Accept-Encoding\r\n" in announced(HTML, "Vary: Cookie", codings=(b"br",))
    assert b"Vary" not in announced(HTML, length=500)
    assert b"Vary" not in announced("Content-Type: image/png")
    assert b"Vary" not in announced(HTML, "Content-Encoding: gzip")
    assert b"Vary" not in announced(HTML, codings=(BARE,))
    assert b"Vary" not in announced(status=204)


ORIGINS: list[tuple[str, tuple[str, ...], str | None]] = [
    # the origin's Vary, its names, what an edge gets that asks this one
    ("", (), None),
    ("Vary: Accept-Encoding", ("accept-encoding",), "Accept-Encoding"),
    ("Vary: Cookie", ("cookie",), "Cookie"),
    ("Vary: Cookie, Accept-Encoding", ("accept-encoding", "cookie"), "Cookie, Accept-Encoding"),
    ("Vary: Host", (), "Host"),
    ("Vary: B, A", ("a", "b"), "B, A"),
]


@pytest.mark.parametrize(("line", "named", "shown"), ORIGINS)
async def test_what_we_put_into_vary_is_told_from_what_the_origin_said(
    bench: Bench, line: str, named: tuple[str, ...], shown: str | None
) -> None:
    names = tuple(name.encode() for name in named)
    parent = stored(HTML, *([line] if line else []), body=TEXT)
    parent.variant = variant_key(names, lambda name: b"x, y") if names else None
    bench.coder.adopt(parent)
    bench.room.lies[parent.key] = parent
    said = fields(parent.start)["vary"]
    assert said.split(", ").count("Accept-Encoding") == 1
    assert origins(vary_names(said.encode()) or (), parent.variant) == names
    for _ in range(2):
        bare = bench.coder.pick(parent, (BARE,), 1001.0)
        assert bare.body is parent.body
        assert fields(bare.head).get("vary") == shown
    assert bench.coder.waiting == 0
    assert bench.room.grown == bare.size < 2500, "the body is not counted twice"


async def test_a_bare_one_goes_along_through_a_304(bench: Bench) -> None:
    old = bench.put()
    bench.coder.pick(old, (b"br",), 1001.0)
    bench.coder.pick(old, (BARE,), 1001.0)
    await bench.ready()
    fresh = stored(HTML, "X-New: 1", body=TEXT)
    bench.coder.renew(old, fresh)
    assert fields(bench.coder.pick(fresh, (BARE,), 1001.0).head)["x-new"] == "1"
    assert fields(bench.coder.pick(fresh, (b"br",), 1001.0).head)["content-encoding"] == "br"
