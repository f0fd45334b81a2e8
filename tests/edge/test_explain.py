"""What /explain says an edge would do is what it then does; and asking leaves no trace."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdnlab.node.node import BadRequest
from cdnlab.pool.backend import Backend
from cdnlab.pool.pool import Pool
from edge.explain import explain
from tests.edge.support import FakeExchange, Lab
from tests.edge.test_play import ASKED, Play

HOST = "http://shop.example"
MORE = (
    ("Cache-Control: max-age=1",), ("Cache-Control: min-fresh=4",), ("Cache-Control: no-store",), ("If-Match: *",),
    ("Connection: X-A", "X-A: 1"), ("Upgrade: foo", "Connection: upgrade"), ("Range: bytes=9999-",),
    ("If-Modified-Since: Sun, 06 Nov 2033 08:49:37 GMT",), ("Max-Forwards: 0",), ("Accept: b", "Cookie: a=b"),
)  # fmt: skip


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    made = Lab(monkeypatch)
    made.origin.pool = Pool("origins", [Backend("origin-1", "127.0.0.1", 1)])  # type: ignore[assignment]
    monkeypatch.setattr("edge.rehearsal.now", lambda: made.now)
    return made


def said(lab: Lab, question: dict[str, Any]) -> dict[str, Any]:
    return asyncio.run(explain(lab.cache, question))


def asked(lab: Lab, target: str, *fields: str, method: str = "GET") -> dict[str, Any]:
    """What is said, with everything that could show a trace compared before and after."""
    headers = [tuple(field.split(": ", 1)) for field in fields]
    before = traces(lab)
    told = said(lab, {"url": HOST + target, "method": method, "headers": headers})
    assert traces(lab) == before
    return told


def traces(lab: Lab) -> tuple[Any, ...]:
    cache, storage = lab.cache, lab.storage
    objects = sorted((one.key, one.variant or b"", one.soft, one.born, id(one)) for one in all_of(lab))
    return (
        lab.asked, len(lab.flights), lab.ring.seen, lab.counts(), storage.used, storage.reserved, storage.objects,
        len(storage.touched), dict(cache.not_reused), dict(cache.not_stored), dict(cache.replies.stale_sent),
        cache.in_background, objects,
    )  # fmt: skip


def all_of(lab: Lab) -> list[Any]:
    entries = [entry for shard in lab.storage.shards for entry in shard.values()]
    return [one for entry in entries for one in getattr(entry, "objects", {"": entry}).values()]


def agrees(told: dict[str, Any], x: FakeExchange, new: list[Any]) -> None:
    """The answer at once, the way out, or the fetch that it joins."""
    leaves = bool(told["asks"])
    assert leaves == bool(new), told
    assert told["behind"] == (leaves and bool(x.status)), told
    joined = "; collapsed" in x.fields.get("cache-status", "") if x.status else not new
    assert told["joins"] == joined, told
    if x.status and not joined:
        assert told["status"] == x.status
        assert told["head"] == x.head.decode("latin-1").split("\r\n")[:-1]
    else:
        assert told["status"] is None
    if new:
        sent = new[-1].head
        ours = "if-none-match" in sent or "if-modified-since" in sent
        assert told["validates"] <= ours


class Told(Play):
    """A play in which each request is first only talked about."""

    def ask(self) -> None:
        method = self.rng.choice(("GET", "GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "TRACE", "PATCH"))
        fields = self.rng.choice(ASKED + MORE) if method != "POST" else ("Content-Length: 0",)
        target = self.rng.choice(("/a", "/b", "/%61?x=1"))
        told = asked(self.lab, target, *fields, method=method)
        count = self.lab.asked
        x = self.lab.ask(target, *fields, method=method)
        agrees(told, x, self.lab.origin.sent[count:])
        self.exchanges.append(x)


@pytest.mark.parametrize("seed", range(25))
def test_what_is_said_is_what_happens(lab: Lab, seed: int) -> None:
    play = Told(lab, seed)
    for _ in range(120):
        play.step()


def test_a_hit_is_told_with_its_arithmetic(lab: Lab) -> None:
    lab.store("/a", "Cache-Control: s-maxage=60, max-age=5", 'ETag: "1"', "Surrogate-Key: x y", body=b"hello")
    lab.sleep(10)
    told = asked(lab, "/a")
    assert (told["result"], told["key"]) == ("hit", "http://shop.example/a")
    stored = told["stored"]
    assert (stored["age"], stored["lifetime"], stored["left"], stored["by"]) == (10, 60, 50, "s-maxage")
    assert (stored["size"], stored["tags"], stored["partial"]) == (5, ["x", "y"], False)
    assert 'ETag: "1"' in stored["head"]
    assert told["asks"] == []


@pytest.mark.parametrize(
    ("fields", "request_", "age", "result", "reason"),
    [
        (("Cache-Control: max-age=60",), (), 61, "miss", "expired"),
        (("Cache-Control: max-age=60",), ("Cache-Control: no-cache",), 1, "miss", "request-no-cache"),
        (("Cache-Control: max-age=60",), ("Cache-Control: max-age=5",), 9, "miss", "request-max-age"),
        (("Cache-Control: max-age=60",), ("Authorization: Basic eA==",), 1, "miss", "authorized"),
        (("Cache-Control: no-cache", 'ETag: "1"'), (), 1, "miss", "no-cache"),
        (("Cache-Control: max-age=1, must-revalidate", 'ETag: "1"'), (), 5, "miss", "must-revalidate"),
        (("Cache-Control: max-age=1, stale-while-revalidate=9",), (), 5, "stale", "stale-while-revalidate"),
        (("Cache-Control: max-age=1",), ("Cache-Control: max-stale",), 5, "stale", "request-max-stale"),
    ],
)
def test_why_what_is_stored_is_not_used(
    lab: Lab, fields: tuple[str, ...], request_: tuple[str, ...], age: float, result: str, reason: str
) -> None:
    lab.store("/a", *fields)
    lab.sleep(age)
    told = asked(lab, "/a", *request_)
    assert (told["result"], told["reason"]) == (result, reason)
    assert [way["pool"] for way in told["asks"]] == ["origins"] * (reason != "request-max-stale")


def test_what_is_chosen_by_vary(lab: Lab) -> None:
    lab.store("/a", "Cache-Control: max-age=60", "Vary: X-Kind", ask=("X-Kind: one",))
    told = asked(lab, "/a", "X-Kind: two")
    assert (told["vary"], told["chosen_by"], told["variants"]) == (["x-kind"], {"x-kind": "two"}, 1)
    assert (told["reason"], told["stored"]) == ("no-variant", None)
    assert asked(lab, "/a", "X-Kind: one")["result"] == "hit"


def test_a_request_that_is_passed_says_why(lab: Lab) -> None:
    told = asked(lab, "/a", "If-Match: *")
    assert (told["result"], told["not_stored"], told["fwd"]) == ("pass", "condition", "bypass")
    assert "If-Match" in told["sentence"]


def test_only_if_cached_is_refused(lab: Lab) -> None:
    told = asked(lab, "/a", "Cache-Control: only-if-cached")
    assert (told["result"], told["status"]) == ("refused", 504)


def test_one_who_would_wait_for_another(lab: Lab) -> None:
    lab.ask("/a")
    told = asked(lab, "/a")
    assert (told["result"], told["joins"], told["asks"]) == ("collapsed", True, [])


def test_nothing_is_left_of_it(lab: Lab) -> None:
    """No cycle: what serves never collects in full."""
    lab.store("/old", "Cache-Control: max-age=1, stale-while-revalidate=60")
    lab.ask("/waits")
    lab.sleep(5)
    questions = [{"url": HOST + target} for target in ("/a", "/old", "/waits")]
    questions += [{"url": f"{HOST}/a", "method": method} for method in ("TRACE", "DELETE", "OPTIONS")]
    for question in questions:
        drive(explain(lab.cache, question))
    gc.collect()
    gc.disable()
    try:
        for question in questions * 5:
            drive(explain(lab.cache, question))
        assert gc.collect() == 0
    finally:
        gc.enable()


def drive(said: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        said.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


WORDS = st.text(max_size=12) | st.sampled_from(
    ["http://shop.example/", "GET", "Host", "a b", "\r\n", "\x00", "한국"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    url=WORDS | WORDS.map("http://shop.example/{}".format) | WORDS.map("http://{}/".format),
    method=WORDS,
    headers=st.lists(st.tuples(WORDS, WORDS), max_size=3) | st.dictionaries(WORDS, WORDS, max_size=3) | WORDS,
)
def test_any_question_is_answered_or_refused(lab: Lab, url: str, method: str, headers: Any) -> None:
    with contextlib.suppress(BadRequest):
        assert drive(explain(lab.cache, {"url": url, "method": method, "headers": headers}))["result"]


def test_https_is_another_key(lab: Lab) -> None:
    told = said(lab, {"url": "https://shop.example/a?b=1#c"})
    assert told["key"] == "https://shop.example/a?b=1"


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"url": 1},
        {"url": "/a"},
        {"url": "ftp://shop.example/"},
        {"url": "http://[::1/"},
        {"url": "http://shop.example/", "method": "G T"},
        {"url": "http://shop.example/", "method": 5},
        {"url": "http://shop.example/ a"},
        {"url": "http://shop.example/%zz"},
        {"url": "http://shop.example/", "headers": {"A": 1}},
        {"url": "http://shop.example/", "headers": ["A: 1"]},
        {"url": "http://shop.example/", "headers": {"A": "1\r\nB: 2"}},
        {"url": "http://shop.example/", "headers": {"A B": "1"}},
        {"url": "http://shop.example/", "headers": {"Content-Length": "x"}},
        {"url": "http://shop.example/", "headers": [["Host", "a"], ["Host", "b"]]},
        {"url": "http://shop.example/", "headers": [["A", "b"]] * 101},
        {"url": "http://shop.example/", "headers": {"A": "\ud800"}},
    ],
)
def test_what_is_no_question(lab: Lab, question: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        said(lab, question)
