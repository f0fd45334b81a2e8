"""Keys, cookies and equal queries in the cache itself: what is stored under one key, what the origin is asked."""

from __future__ import annotations

from time import process_time
from typing import Any

import pytest

from cdnlab.forward.key import key_rules
from cdnlab.plan.topology import RouteSpec
from edge.cookies import CookieWarning
from edge.directives import response_control
from edge.eviction.lru import Lru
from edge.freshness import Source
from edge.object import StoredObject
from edge.purge.position import Standing
from edge.purge.purges import Purges
from edge.purge.rules import Kind, Rule
from edge.storable import NotStored
from edge.storage_memory import MemoryStorage
from tests.edge.support import FakeForward, Lab

MINUTE = "Cache-Control: max-age=60"
UTM = 'No-Vary-Search: params=("utm")'


def lab(monkeypatch: Any, *routes: dict[str, Any], **settings: Any) -> Lab:
    specs = [RouteSpec.model_validate({"pool": "origins", **route}) for route in routes]
    return Lab(monkeypatch, rules=key_rules(specs), **settings)


def target(sent: FakeForward) -> str:
    return str(sent.request.head.split(b" ")[1].decode())


# -- query rules --------------------------------------------------------------------------------------------------


def test_key_and_forwarded_target_are_one(monkeypatch: Any) -> None:
    edge = lab(monkeypatch, {"query": {"sort": True, "drop": ["utm_*"]}})
    edge.store("/p?b=2&utm_id=x&a=1", MINUTE)
    assert target(edge.origin.last) == "/p?a=1&b=2"
    for same in ("/p?a=1&b=2", "/p?b=2&a=1", "/p?utm_id&a=1&b=2&", "http://shop.example/p?b=2&a=1"):
        assert edge.ask(same).said.startswith("edge-icn; hit")
    edge.store("/p?a=2&b=1", MINUTE)
    edge.store("/p?a=1", MINUTE)
    assert edge.asked == 3


def test_a_host_without_rules_beside_one_that_has_them(monkeypatch: Any) -> None:
    edge = lab(monkeypatch, {"host": "shop.example", "path": "/p", "query": {"keep": "none"}})
    edge.store("/p?a", MINUTE)
    assert edge.ask("/p?b").said.startswith("edge-icn; hit")
    edge.store("/q?a", MINUTE)
    edge.store("/q?b", MINUTE)
    edge.store("/p?a", MINUTE, ask=("Host: other.example",))
    assert target(edge.origin.last) == "/p?a"
    edge.store("/p?b", MINUTE, ask=("Host: other.example",))


def test_a_stale_response_is_validated_for_the_ruled_target(monkeypatch: Any) -> None:
    edge = lab(monkeypatch, {"query": {"sort": True}})
    edge.store("/p?b&a", MINUTE, 'ETag: "x"')
    edge.sleep(61)
    x = edge.ask("/p?b&a")
    assert target(edge.origin.last) == "/p?a&b"
    assert edge.origin.last.head["if-none-match"] == '"x"'
    edge.origin.last.answer(304, 'ETag: "x"', MINUTE)
    assert x.status == 200
    assert edge.ask("/p?a&b").said.startswith("edge-icn; hit")


@pytest.mark.parametrize("field", ["Location: /p?b&a&utm", "Content-Location: http://shop.example/p?a&b"])
def test_unsafe_requests_invalidate_by_the_rule(monkeypatch: Any, field: str) -> None:
    """The target itself, and those that the answer names, in whatever order and with whatever is dropped."""
    edge = lab(monkeypatch, {"query": {"sort": True, "drop": ["utm"]}})
    edge.store("/p?a&b", MINUTE)
    edge.store("/q?x", MINUTE)
    edge.store("/other?x", MINUTE)
    edge.ask("/q?utm&x", "Content-Length: 0", method="POST")
    assert target(edge.origin.last) == "/q?x"
    edge.origin.last.answer(303, field)
    edge.store("/p?a&b", MINUTE)
    edge.store("/q?x", MINUTE)
    assert edge.ask("/other?x").said.startswith("edge-icn; hit")


def test_waiters_share_one_fetch_by_the_ruled_key(monkeypatch: Any) -> None:
    edge = lab(monkeypatch, {"query": {"sort": True}})
    one, two = edge.ask("/p?b&a"), edge.ask("/p?a&b")
    assert edge.asked == 1
    edge.origin.last.answer(200, MINUTE, body=b"hello")
    assert one.got == two.got == b"hello"


# -- cookies ------------------------------------------------------------------------------------------------------


def test_by_default_cookies_prevent_nothing_and_are_remarked(monkeypatch: Any) -> None:
    """RFC 9111 says nothing of cookies; what is legal is counted, stands in the log, and is spelt out."""
    edge = Lab(monkeypatch)
    edge.store("/", MINUTE, "Set-Cookie: id=1; Path=/, x", "Set-Cookie: b=2", ask=("Cookie: a=b",))
    assert edge.origin.last.head["cookie"] == "a=b"
    for cookie in ((), ("Cookie: c=d",)):
        hit = edge.ask("/", *cookie)
        assert hit.said.startswith("edge-icn; hit")
        assert hit.head.lower().count(b"set-cookie:") == 2
    assert edge.cache.warnings == dict.fromkeys(CookieWarning, 1)
    assert [entry[10] for entry in edge.ring.entries] == ["nothing-stored/stored-set-cookie", "", ""]


def test_a_warning_is_spelt_out_to_who_asks(monkeypatch: Any) -> None:
    edge = Lab(monkeypatch)
    x = edge.ask("/", "Cookie: a=b", explain=True)
    edge.origin.last.answer(200, MINUTE)
    assert CookieWarning.STORED_FOR_COOKIE.sentence in x.fields["cdnlab-hop"]
    assert str(CookieWarning.STORED_FOR_COOKIE) in x.fields["cdnlab-hop"]
    hit = edge.ask("/", explain=True)
    assert "warning" not in hit.fields["cdnlab-hop"]
    edge.store("/two", MINUTE, "Set-Cookie: a=b")
    hit = edge.ask("/two", explain=True)
    assert CookieWarning.STORED_SET_COOKIE.sentence in hit.fields["cdnlab-hop"]


@pytest.mark.parametrize(
    ("fields", "ask"),
    [
        ([MINUTE, "Vary: Cookie"], ("Cookie: a=b",)),
        ([MINUTE], ()),
        (["Cache-Control: private, max-age=60", "Set-Cookie: a=b"], ("Cookie: a=b",)),
        (["Cache-Control: no-store", "Set-Cookie: a=b"], ()),
        (['Cache-Control: max-age=60, no-cache="Set-Cookie"', "Set-Cookie: a=b"], ()),
    ],
)
def test_nothing_is_remarked_where_nothing_is_odd(
    monkeypatch: Any, fields: list[str], ask: tuple[str, ...]
) -> None:
    edge = Lab(monkeypatch)
    edge.store("/", *fields, ask=ask)
    assert not any(edge.cache.warnings.values())


def test_pass_takes_what_bears_a_cookie_past_the_cache(monkeypatch: Any) -> None:
    edge = lab(monkeypatch, {"cookies": "pass"}, {"path": "/rfc"})
    edge.store("/", MINUTE, body=b"for all")
    assert edge.ask("/").said.startswith("edge-icn; hit")
    mine = edge.store("/", MINUTE, ask=("Cookie: a=b",), body=b"mine")
    assert edge.origin.last.head["cookie"] == "a=b"
    assert mine.said == "edge-icn; fwd=bypass; fwd-status=200; detail=cookie"
    assert edge.ask("/").got == b"for all"
    setting = edge.store("/two", MINUTE, "Set-Cookie: a=b")
    assert setting.fields["set-cookie"] == "a=b"
    assert "detail=set-cookie" in setting.said
    edge.store("/two", MINUTE)
    edge.store("/rfc", MINUTE)
    assert edge.ask("/rfc", "Cookie: a=b").said.startswith("edge-icn; hit")
    assert edge.cache.not_stored[NotStored.COOKIE] == edge.cache.not_stored[NotStored.SET_COOKIE] == 1
    assert not any(edge.cache.warnings.values())


def test_pass_serialises_nobody_behind_a_cookie(monkeypatch: Any) -> None:
    edge = lab(monkeypatch, {"cookies": "pass"})
    one, two = edge.ask("/", "Cookie: a=b"), edge.ask("/", "Cookie: a=b")
    assert edge.asked == 2
    edge.origin.sent[0].answer(200, MINUTE, body=b"1")
    edge.origin.sent[1].answer(200, MINUTE, body=b"2")
    assert (one.got, two.got) == (b"1", b"2")


def test_pass_drops_what_a_304_with_a_cookie_confirms(monkeypatch: Any) -> None:
    """The answer is the client's own; what is stored must not get its cookie."""
    edge = lab(monkeypatch, {"cookies": "pass"})
    edge.store("/", MINUTE, 'ETag: "x"')
    edge.sleep(61)
    x = edge.ask("/")
    edge.origin.last.answer(304, 'ETag: "x"', MINUTE, "Set-Cookie: mine=1")
    assert x.status == 200
    edge.store("/", MINUTE)
    assert b"mine=1" not in edge.ask("/").head


def test_strip_takes_cookies_out_both_ways(monkeypatch: Any) -> None:
    edge = lab(monkeypatch, {"cookies": "strip"}, {"path": "/rfc"})
    first = edge.store(
        "/", MINUTE, "Vary: Cookie", "Set-Cookie: a=b", "set-cookie: c=d", ask=("Cookie: x=y", "Cookie: z=1")
    )
    assert "cookie" not in edge.origin.last.head
    for x in (first, edge.ask("/"), edge.ask("/", "Cookie: other=1"), edge.ask("/", "Range: bytes=0-1")):
        assert b"set-cookie" not in x.head.lower()
    assert edge.asked == 1
    assert not any(edge.cache.warnings.values())
    posted = edge.ask("/", "Cookie: x=y", "Content-Length: 0", method="POST")
    assert "cookie" not in edge.origin.last.head
    edge.origin.last.answer(200, "Set-Cookie: a=b")
    assert b"set-cookie" not in posted.head.lower()
    edge.store("/rfc", MINUTE, "Set-Cookie: a=b", ask=("Cookie: x=y",))
    assert edge.origin.last.head["cookie"] == "x=y"
    assert b"set-cookie" in edge.ask("/rfc").head.lower()


def test_strip_leaves_no_cookie_that_a_304_brings(monkeypatch: Any) -> None:
    edge = lab(monkeypatch, {"cookies": "strip"})
    edge.store("/", MINUTE, 'ETag: "x"')
    edge.sleep(61)
    x = edge.ask("/", "Cookie: a=b")
    assert "cookie" not in edge.origin.last.head
    edge.origin.last.answer(304, 'ETag: "x"', MINUTE, "Set-Cookie: mine=1")
    assert b"mine=1" not in x.head + edge.ask("/").head


# -- equal queries ------------------------------------------------------------------------------------------------


def test_an_equal_query_is_answered_from_the_store(monkeypatch: Any) -> None:
    edge = Lab(monkeypatch)
    edge.store("/p?id=1&utm=x", MINUTE, UTM, body=b"one")
    for same in ("/p?id=1", "/p?utm=y&id=1", "/p?id=1&utm=x"):
        x = edge.ask(same)
        assert (x.got, x.said.split(";")[1]) == (b"one", " hit")
        assert x.fields["no-vary-search"] == 'params=("utm")'
    assert edge.ask("/p?id=1", method="HEAD").status == 200
    edge.store("/p?id=2", MINUTE, UTM, body=b"two")
    assert edge.ask("/p?id=2&utm=z").got == b"two"
    edge.store("/q?id=1", MINUTE)
    edge.store("/q?id=1&utm=x", MINUTE)
    edge.store("/p", MINUTE, UTM)


def test_an_equal_query_is_named_to_who_asks(monkeypatch: Any) -> None:
    edge = Lab(monkeypatch)
    edge.store("/p?utm=x", MINUTE, UTM)
    assert "stored for http://shop.example/p?utm=x" in edge.ask("/p", explain=True).fields["cdnlab-hop"]
    assert "stored for" not in edge.ask("/p?utm=x", explain=True).fields["cdnlab-hop"]


def test_what_is_stale_is_fetched_for_its_own_query(monkeypatch: Any) -> None:
    """A validator of another URI is none of this one's, and the newer response is the one found next."""
    edge = Lab(monkeypatch)
    edge.store("/p?utm=1", MINUTE, UTM, 'ETag: "x"', body=b"old")
    edge.sleep(61)
    edge.store("/p?utm=2", MINUTE, UTM, 'ETag: "x"', body=b"new")
    assert "if-none-match" not in edge.origin.last.head
    assert edge.ask("/p?utm=3").got == b"new"
    x = edge.ask("/p?utm=1")
    edge.origin.last.answer(304, 'ETag: "x"', MINUTE, UTM)
    assert x.got == b"old"


def test_what_no_longer_bears_the_field_is_not_reused(monkeypatch: Any) -> None:
    edge = Lab(monkeypatch)
    edge.store("/p?utm=1", "Cache-Control: max-age=1", UTM)
    edge.sleep(2)
    edge.store("/p?utm=1", MINUTE)
    edge.store("/p?utm=2", MINUTE, 'No-Vary-Search: params=("utm"), except=()')
    edge.store("/p?utm=3", MINUTE)


def test_vary_holds_besides(monkeypatch: Any) -> None:
    edge = Lab(monkeypatch)
    edge.store(
        "/p?utm=1", MINUTE, UTM, "Vary: Accept-Language", ask=("Accept-Language: ko, en;q=0.5",), body=b"ko"
    )
    assert edge.ask("/p?utm=2", "Accept-Language: en;q=0.50,KO").got == b"ko"
    assert edge.ask("/p?utm=1", "Accept-Language: en;q=0.50,KO").got == b"ko"
    edge.store("/p?utm=2", MINUTE, UTM, "Vary: Accept-Language", ask=("Accept-Language: en",), body=b"en")
    assert edge.ask("/p?utm=3", "Accept-Language: en").got == b"en"


def test_the_request_s_own_wishes_and_credentials_hold(monkeypatch: Any) -> None:
    edge = Lab(monkeypatch)
    edge.store("/p?utm=1", MINUTE, UTM)
    edge.sleep(10)
    edge.store("/p?utm=2", "Cache-Control: no-store", ask=("Cache-Control: max-age=5",))
    edge.store("/p?utm=3", "Cache-Control: no-store", ask=("Authorization: x",))
    assert edge.ask("/p?utm=4", "Cache-Control: only-if-cached").status == 200
    assert edge.ask("/q", "Cache-Control: only-if-cached").status == 504


def test_an_unsafe_request_drops_the_equal_too(monkeypatch: Any) -> None:
    edge = Lab(monkeypatch)
    edge.store("/p?utm=1", MINUTE, UTM)
    edge.ask("/p", "Content-Length: 0", method="POST")
    edge.origin.last.answer(200)
    edge.store("/p", MINUTE, UTM, body=b"new")
    assert edge.ask("/p?utm=1").got == b"new"


def test_a_purged_uri_is_not_answered_with_its_equal(monkeypatch: Any) -> None:
    edge = Lab(monkeypatch)
    edge.cache.purges = purges = Purges(Standing(alone=True), b"life0001", 0)
    edge.store("/p?utm=1", MINUTE, UTM)
    purges.apply([Rule(Kind.URL, b"http://shop.example/q")])
    assert edge.ask("/p").said.startswith("edge-icn; hit")
    purges.apply([Rule(Kind.URL, b"http://shop.example/p")])
    edge.store("/p", MINUTE, UTM, body=b"new")
    assert edge.ask("/p?utm=2").got == b"new"


def test_a_rule_and_the_field_together(monkeypatch: Any) -> None:
    edge = lab(monkeypatch, {"query": {"drop": ["ref"]}})
    edge.store("/p?ref=1&utm=1&id=1", MINUTE, UTM)
    assert target(edge.origin.last) == "/p?utm=1&id=1"
    assert edge.ask("/p?id=1&ref=2").said.startswith("edge-icn; hit")


# -- variants -----------------------------------------------------------------------------------------------------


def test_requests_that_ask_the_same_share_a_variant(monkeypatch: Any) -> None:
    """On the way of a hit too, where what a block gives is remembered with it."""
    edge = Lab(monkeypatch)
    edge.store("/", MINUTE, "Vary: Accept-Encoding", ask=("Accept-Encoding: gzip, br",))
    assert edge.origin.last.head["accept-encoding"] == "gzip, br"
    for _ in range(2):
        for same in ("br,gzip", "BR ,x-gzip", "gzip;q=1.0, br, deflate;q=0"):
            assert edge.ask("/", f"Accept-Encoding: {same}").said.startswith("edge-icn; hit")
    edge.store("/", MINUTE, "Vary: Accept-Encoding", ask=("Accept-Encoding: gzip",))
    edge.store("/", MINUTE, "Vary: Accept-Encoding", ask=("Accept-Encoding: ",))
    edge.store("/", MINUTE, "Vary: Accept-Encoding")
    assert edge.storage.objects == 4


def test_ten_thousand_variants_stay_few(monkeypatch: Any) -> None:
    """By a client that chooses what the response varies by; the newest stay, and nothing is left of the others."""
    edge = Lab(monkeypatch)
    edge.store("/other", MINUTE)
    for number in range(10_000):
        edge.ask("/", f"X-Choice: {number}")
        edge.origin.sent.pop().answer(200, MINUTE, "Vary: X-Choice", body=b"%d" % number)
    assert edge.storage.objects == 1 + 4
    assert edge.storage.used < 20_000
    assert edge.ask("/", "X-Choice: 9999").got == b"9999"
    assert edge.ask("/other").said.startswith("edge-icn; hit")
    assert len(edge.storage.find(b"http://shop.example/").objects) == 4  # type: ignore[union-attr]


def test_a_variant_costs_the_same_among_a_thousand(monkeypatch: Any) -> None:
    """The oldest of many is found without a look at the others; best of three, and generously."""

    def cost(variants_max: int) -> float:
        storage = MemoryStorage(1 << 26, Lru(), variants_max)
        best = float("inf")
        for _ in range(3):
            began = process_time()
            for number in range(5000):
                stored = StoredObject(
                    key=b"k", variant=b"%d" % number, status=200, start=b"", chain=b"", body=b"", born=0.0,
                    fresh_until=1e9, control=response_control(None), source=Source.MAX_AGE, open=False,
                )  # fmt: skip
                assert storage.put(stored, (b"x-choice",))
            best = min(best, process_time() - began)
        assert storage.objects == variants_max
        return best

    few, many = cost(4), cost(1000)
    assert many < 5 * few
