"""Corners where several features of the edge meet, each found by somebody who looked for them."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator

import pytest

from cdnlab.forward.key import key_rules
from cdnlab.plan.routes import RouteSpec
from edge.collapse import Flights
from edge.fetch import Fetch
from edge.purging import NoPurges, Verdict
from edge.reader import Reader
from tests.edge.origin import Talk
from tests.edge.support import Lab
from tests.edge.test_sockets import Stager, stage  # noqa: F401 - a fixture

WINDOW = "Cache-Control: max-age=1, stale-while-revalidate=100"


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(monkeypatch)


@pytest.mark.parametrize("answer", [200, 304, 500, None])
def test_a_fetch_in_the_background_leaves_nothing_for_the_garbage_collector(
    lab: Lab, answer: int | None
) -> None:
    """A node with much in memory goes through it no more: what refers to itself is never freed, nor its body."""
    lab.store("/a", WINDOW, 'ETag: "a"')
    lab.sleep(5)
    gc.collect()
    gc.disable()
    try:
        assert lab.ask("/a").status == 200
        if answer is None:
            lab.origin.last.fail()
        else:
            lab.origin.last.answer(answer, WINDOW, 'ETag: "a"', body=b"new")
        lab.origin.sent.clear()
        assert lab.cache.in_background == 0
        assert not [each for each in gc.get_objects() if isinstance(each, Fetch | Reader)]
    finally:
        gc.enable()


def test_who_waits_for_a_fetch_that_nobody_may_join_any_more_waits_no_longer_than_others(lab: Lab) -> None:
    lab.ask("/a")
    waiting = lab.ask("/a")
    lab.ask("/a", method="POST")
    lab.origin.last.answer(200)  # what is being fetched may be older than this change
    asked = lab.asked
    lab.sleep(5)
    lab.cache.tick()
    assert lab.asked == asked + 1, "it waits for the response's time to be over"
    lab.origin.last.answer(200, "Cache-Control: max-age=9", body=b"changed")
    assert waiting.got == b"changed"


def test_only_reads_are_answered_with_304(lab: Lab) -> None:
    """RFC 9110 §13.1.2: what a POST did has been done, whatever its condition would have been."""
    x = lab.ask("/a", 'If-None-Match: "a"', method="POST")
    lab.origin.last.answer(200, "Cache-Control: max-age=9", "Content-Location: /a", 'ETag: "a"', body=b"done")
    assert x.status == 200
    assert x.got == b"done"


def test_a_route_that_stores_no_cookie_stores_none_by_head_either(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = key_rules([RouteSpec(pool="origins", cookies="pass")])
    lab = Lab(monkeypatch, rules=rules)
    lab.store("/a", "Cache-Control: max-age=9", 'ETag: "a"')
    lab.ask("/a", "Cache-Control: no-cache", method="HEAD")
    lab.origin.last.answer(200, "Cache-Control: max-age=9", 'ETag: "a"', "Set-Cookie: me=1", body=b"hello")
    x = lab.ask("/a")
    if x.status == 0:
        lab.origin.last.answer(200, "Cache-Control: max-age=9", 'ETag: "a"')
    assert "set-cookie" not in x.fields


class SoftlyPurged(NoPurges):
    """Everything was purged softly."""

    def judge(self, stored: object) -> Verdict:
        return Verdict.SOFT


def test_what_was_purged_softly_stands_in_for_a_failure_only_where_that_is_allowed(lab: Lab) -> None:
    """docs/purge.md: where stale-if-error allows it. That its time is not over is no permission."""
    lab.store("/a", "Cache-Control: max-age=1000", 'ETag: "a"')
    lab.store("/b", "Cache-Control: max-age=1000, stale-if-error=60", 'ETag: "b"')
    lab.cache.purges = SoftlyPurged()
    lab.cache.purges.position = 7
    refused, allowed = lab.ask("/a"), None
    lab.origin.last.answer(500)
    allowed = lab.ask("/b")
    lab.origin.last.answer(500)
    assert (refused.status, allowed.status) == (500, 200)


async def test_a_body_in_a_transfer_coding_that_nobody_asked_for_is_not_stored(stage: Stager) -> None:  # noqa: F811
    """RFC 9112 §6.3: it ends with its connection, and is passed on as it came."""

    async def script(talk: Talk) -> None:
        await talk.say("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: gzip\r\n\r\ncoded")
        talk.writer.close()

    site = await stage(script)
    for _ in range(2):
        status, fields, body = await site.ask("/a")
        assert (status, body) == (200, b"coded")
        assert fields["cache-status"] == "edge; fwd=uri-miss; fwd-status=200; detail=transfer-coding"


def test_long_keys_that_are_fetched_alone_take_no_more_memory_than_short_ones() -> None:
    flights: Flights[Fetch] = Flights(1, 1.0)
    tracemalloc.start()
    try:
        for number in range(1000):
            flights.fetch_alone(b"http://shop.example/%d?" % number + bytes(8000), 0.0)
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
    key = b"http://shop.example/7?" + bytes(8000)
    assert flights.alone(key, 1.0)
    assert not flights.alone(key + b"x", 1.0)
    flights.share_again(key)
    assert not flights.alone(key, 1.0)


@pytest.mark.parametrize(
    ("asked", "joins"),
    [
        ("no-cache", False),
        ("max-age=0", False),
        ("max-age=60", True),
        ("min-fresh=50", False),
        ("max-stale", True),
    ],
)
def test_who_asks_for_a_newer_one_does_not_read_along_in_what_came_before(
    lab: Lab, asked: str, joins: bool
) -> None:
    """RFC 9111 §5.2.1: what has been arriving for a while is as old as if it lay here."""
    first = lab.ask("/a")
    lab.origin.last.answer(200, "Cache-Control: max-age=60", body=None)
    lab.origin.last.data(b"half")
    lab.sleep(20)
    before = lab.asked
    x = lab.ask("/a", f"Cache-Control: {asked}")
    assert (lab.asked == before) is joins
    assert (x.got == b"half") is joins
    assert first.got == b"half"


class Counted(list[Reader]):
    """A list that counts how often it is gone through."""

    rounds = 0

    def __iter__(self) -> Iterator[Reader]:
        self.rounds += 1
        return super().__iter__()


def test_a_piece_for_many_slow_readers_is_not_paid_for_by_each_of_them_for_all(lab: Lab) -> None:
    lab.ask("/a", room=1)
    lab.origin.last.answer(200, "Cache-Control: max-age=60", body=None)
    readers = [lab.ask("/a", room=1) for _ in range(100)]
    (flight,) = lab.flights.under_way()
    flight.readers = counted = Counted(flight.readers)
    lab.origin.last.data(b"half")
    assert [x.got for x in readers] == [b"half"] * 100
    assert lab.origin.last.paused
    assert counted.rounds < 10
    readers[0].more_room()
    assert not lab.origin.last.paused


@pytest.mark.parametrize("past", ["Cache-Control: no-store", 'If-Match: "a"', "Cookie: past"])
def test_many_ranges_are_never_sent_on_past_the_cache_either(lab: Lab, past: str) -> None:
    """An origin that answers a hundred overlapping ranges sends a hundred bodies; which way it is, clients choose."""
    lab.store("/a", "Cache-Control: private")  # from here on what a client asks is passed on as it is
    lab.ask("/a", past, "Range: bytes=" + ",".join(["0-"] * 100), 'If-Range: "a"')
    assert not {"range", "if-range"} & set(lab.origin.last.head)
    lab.ask("/a", past, "Range: bytes=0-4", 'If-Range: "a"')
    assert {"range", "if-range"} <= set(lab.origin.last.head)


def test_a_304_does_not_bring_back_what_another_answer_has_replaced(lab: Lab) -> None:
    lab.store("/a", "Cache-Control: max-age=1", 'ETag: "a"', body=b"old")
    lab.sleep(5)
    slow = lab.ask("/a")
    validation = lab.origin.last
    lab.ask("/a", "Cache-Control: no-cache")
    lab.origin.last.answer(200, "Cache-Control: max-age=60", 'ETag: "b"', body=b"new")
    validation.answer(304, "Cache-Control: max-age=60", 'ETag: "a"')
    assert slow.got == b"old", "it was true when it was asked"
    assert lab.ask("/a").got == b"new"


def test_a_range_that_the_origin_refuses_takes_nothing_from_others(lab: Lab) -> None:
    lab.store("/a", "Cache-Control: max-age=1", 'ETag: "a"')
    lab.sleep(5)
    beyond = lab.ask("/a", "Range: bytes=100-")
    lab.origin.last.answer(416, "Content-Range: bytes */5")
    assert beyond.status == 416
    x = lab.ask("/a")
    assert lab.origin.last.head["if-none-match"] == '"a"'
    lab.origin.last.answer(304, 'ETag: "a"')
    assert x.got == b"hello"


def test_whoever_holds_what_a_stored_part_is_of_is_told_so_and_not_sent_the_part(lab: Lab) -> None:
    """RFC 9110 §13.2.2: If-None-Match comes before Range."""
    lab.ask("/a", "Range: bytes=0-1")
    fields = ("Cache-Control: max-age=60", 'ETag: "a"', "Content-Range: bytes 0-1/5", "Content-Length: 2")
    lab.origin.last.begin(206, *fields)
    lab.origin.last.data(b"he")
    lab.origin.last.end()
    asked = lab.asked
    x = lab.ask("/a", "Range: bytes=0-1", 'If-None-Match: "a"')
    y = lab.ask("/a", "Range: bytes=0-1", 'If-None-Match: "b"')
    assert (x.status, y.status, lab.asked) == (304, 206, asked)
    assert "content-range" not in x.fields
