"""Requests leave nothing behind for the garbage collector: automatic collections are off in a node."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from edge.fetch import Fetch
from edge.reader import Reader
from edge.request import RequestFacts
from edge.response import ResponseFacts
from tests.edge.support import FakeExchange, Lab

MINUTE = "Cache-Control: max-age=60"


@pytest.fixture
def _off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def play(lab: Lab) -> None:
    """One of each way a request can go."""
    lab.store("/a", MINUTE, 'ETag: "1"')
    lab.ask("/a")
    lab.ask("/a", "Range: bytes=0-1")
    lab.sleep(61)
    lab.ask("/a")
    lab.ask("/a")
    lab.origin.last.answer(304, MINUTE)
    lab.store("/b", "Cache-Control: private")
    lab.ask("/c")
    lab.ask("/c")
    lab.origin.last.fail()
    lab.ask("/d").leave()
    lab.ask("/e")
    lab.ask("/e")
    lab.origin.last.begin(200, MINUTE, "Content-Length: 9")
    lab.origin.last.data(b"12345")
    lab.origin.last.fail()
    lab.ask("/f", "Content-Length: 0", method="POST")
    lab.origin.last.answer(204)
    slow = lab.ask("/g", room=1)
    lab.origin.last.answer(200, MINUTE, body=b"123", whole=True)
    lab.ask("/h", "Accept: 1")
    lab.ask("/h", "Accept: 2")
    lab.origin.last.answer(200, MINUTE, "Vary: Accept", body=b"1")
    lab.origin.last.answer(200, MINUTE, "Vary: Accept", body=b"2")
    lab.ask("/i", room=1)
    late = lab.origin.last
    late.begin(200, MINUTE, "Content-Length: 4")
    late.data(b"12")
    late.data(b"34")
    late.end()
    assert slow.done


@pytest.mark.usefixtures("_off")
def test_no_cycle_is_left(monkeypatch: Any) -> None:
    lab = Lab(monkeypatch)
    play(lab)
    for forward in lab.origin.sent:
        forward.sink = None  # as a real one ends with its fetch's end
    lab.origin.sent.clear()
    left = [each for each in gc.get_objects() if isinstance(each, Fetch | Reader | FakeExchange)]
    waiting = [each for each in left if isinstance(each, FakeExchange) and each.source is not None]
    assert len(waiting) <= 1, "only the one whose client still has to read"
    assert len(left) <= 3, left
    assert len(lab.flights) == 0
    assert lab.storage.reserved == 0


@pytest.mark.usefixtures("_off")
def test_what_is_remembered_with_a_block_goes_with_it(monkeypatch: Any) -> None:
    lab = Lab(monkeypatch)
    for number in range(10):
        lab.store("/", "Cache-Control: private", f"X-Other: {number}", ask=(f"X-Odd: {number}",))
    lab.origin.sent.clear()
    lab.memo = lab.origin.memo = None  # type: ignore[assignment]
    assert not [each for each in gc.get_objects() if isinstance(each, RequestFacts | ResponseFacts)]
