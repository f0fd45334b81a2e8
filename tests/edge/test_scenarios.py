"""The edge as its clients and its origin see it, exchange by exchange, over an in-memory exchange."""

from __future__ import annotations

from typing import Any

import pytest

from cdnlab.wire.dates import format_date
from edge import changes
from edge.fetch import Fetch
from edge.results import Result
from edge.stats import families
from tests.edge.support import FakeExchange, Lab

MINUTE = "Cache-Control: max-age=60"


@pytest.fixture
def lab(monkeypatch: Any) -> Lab:
    return Lab(monkeypatch)


def test_a_miss_is_stored_and_the_next_is_a_hit(lab: Lab) -> None:
    first = lab.store("/a?b", MINUTE, "Content-Type: text/plain", 'ETag: "1"', body=b"hello")
    assert (first.status, first.got) == (200, b"hello")
    assert first.said == "edge-icn; fwd=uri-miss; fwd-status=200; ttl=60; stored"
    assert "age" not in first.fields
    lab.sleep(12.4)
    second = lab.ask("/a?b")
    assert (second.status, second.got, second.done) == (200, b"hello", True)
    assert second.said == "edge-icn; hit; ttl=47"
    assert second.fields["age"] == "12"
    assert second.fields["via"] == "1.1 edge-icn"
    assert second.fields["content-length"] == "5"
    assert second.fields["content-type"] == "text/plain"
    assert lab.asked == 1
    assert lab.counts() == {"miss": 1, "hit": 1}
    assert lab.ring.named(lab.ring.entries[-1])["result"] == "hit"
    assert lab.ring.seen == 2


def test_the_age_grows_by_the_second_and_the_object_goes_stale(lab: Lab) -> None:
    lab.store("/", MINUTE)
    for second in (0.5, 0.5, 1.0, 0.25, 57.0):
        lab.sleep(second)
        x = lab.ask("/")
        assert x.fields["age"] == str(int(lab.now - 1000.0))
    lab.sleep(0.8)
    x = lab.ask("/")
    assert lab.asked == 2
    assert not x.done


def test_upstream_age_and_delay_count(lab: Lab) -> None:
    x = lab.ask("/")
    lab.sleep(2)
    lab.origin.last.answer(
        200, MINUTE, "Age: 10", "Cache-Status: shield; hit; ttl=50", "Via: 1.1 shield", body=b"x"
    )
    assert x.fields["age"] == "10"
    assert x.fields["cache-status"].startswith("shield; hit; ttl=50, edge-icn; fwd=uri-miss")
    lab.sleep(1)
    x = lab.ask("/")
    assert x.fields["age"] == "13"
    assert x.fields["cache-status"] == "shield; hit; ttl=50, edge-icn; hit; ttl=47"
    assert x.fields["via"] == "1.1 shield, 1.1 edge-icn"


def test_head_is_answered_from_a_stored_get_and_is_never_stored(lab: Lab) -> None:
    x = lab.ask("/", method="HEAD")
    lab.origin.last.begin(200, MINUTE, "Content-Length: 500", whole=b"")
    assert x.done
    assert x.fields["content-length"] == "500"
    assert x.said.endswith("detail=method")
    lab.store("/", MINUTE, body=b"hello")
    x = lab.ask("/", method="HEAD")
    assert (x.status, x.got, x.fields["content-length"]) == (200, b"", "5")
    assert x.said == "edge-icn; hit; ttl=60"
    assert lab.asked == 2


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ('If-None-Match: "1"', 304),
        ('If-None-Match: W/"1"', 304),
        ('If-None-Match: "0", "1"', 304),
        ("If-None-Match: *", 304),
        ('If-None-Match: "2"', 200),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", 304),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT", 200),
        ("If-Modified-Since: nonsense", 200),
    ],
)
def test_conditions_are_answered_from_the_store(lab: Lab, asked: str, status: int) -> None:
    lab.store(
        "/",
        MINUTE,
        'ETag: "1"',
        "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT",
        "Content-Type: a/b",
        "X-Y: z",
    )
    x = lab.ask("/", asked)
    assert x.status == status
    assert x.said == "edge-icn; hit; ttl=60"
    assert x.fields["etag"] == '"1"'
    assert x.fields["x-y"] == "z"
    if status == 304:
        assert x.got == b""
        assert not {"content-length", "content-type"} & set(x.fields)
    assert lab.asked == 1


def test_if_none_match_decides_alone(lab: Lab) -> None:
    lab.store("/", MINUTE, 'ETag: "1"', "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT")
    x = lab.ask("/", 'If-None-Match: "2"', "If-Modified-Since: Sun, 06 Nov 2094 08:49:37 GMT")
    assert x.status == 200


def test_a_conditional_miss_fetches_the_whole_and_the_client_keeps_its_copy(lab: Lab) -> None:
    x = lab.ask("/", 'If-None-Match: "1"')
    assert "if-none-match" not in lab.origin.last.head
    lab.origin.last.answer(200, MINUTE, 'ETag: "1"', body=b"hello")
    assert (x.status, x.got) == (304, b"")
    assert lab.ask("/").got == b"hello"
    assert lab.asked == 1


def test_every_byte_from_the_origin_is_counted_once_whoever_reads_it(lab: Lab) -> None:
    lab.store("/", MINUTE, 'ETag: "1"', body=b"x" * 1000)
    lab.ask("/")  # a hit
    lab.ask("/", method="HEAD")
    assert lab.cache.fetched_bytes == 1000
    readers = [lab.ask("/shared") for _ in range(3)]
    lab.origin.last.answer(200, MINUTE, body=b"y" * 200, whole=True)
    assert [reader.got for reader in readers] == [b"y" * 200] * 3
    assert lab.cache.fetched_bytes == 1200
    lab.ask("/private", method="POST")
    lab.origin.last.answer(200, "Cache-Control: no-store", body=b"z" * 30)
    assert lab.cache.fetched_bytes == 1230
    lab.ask("/cut")
    lab.origin.last.begin(200, MINUTE, "Content-Length: 10")
    lab.origin.last.data(b"four")
    lab.origin.last.fail()
    assert lab.cache.fetched_bytes == 1234
    lab.sleep(61)
    lab.ask("/")
    lab.origin.last.answer(304, MINUTE, 'ETag: "1"')
    assert lab.cache.fetched_bytes == 1234, "a 304 brings no body"
    assert "cdnlab_edge_fetched_bytes_total 1234\n" in "".join(each.text() for each in families(lab.cache))


def test_a_stale_object_is_revalidated(lab: Lab) -> None:
    lab.store(
        "/", MINUTE, 'ETag: "1"', "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", "X-Old: 1", "X-Gone: no"
    )
    lab.sleep(61)
    x = lab.ask("/")
    assert lab.origin.last.head["if-none-match"] == '"1"'
    assert lab.origin.last.head["if-modified-since"] == "Sun, 06 Nov 1994 08:49:37 GMT"
    lab.origin.last.answer(304, "Cache-Control: max-age=30", 'ETag: "1"', "X-Old: 2", body=b"")
    assert (x.status, x.got) == (200, b"hello")
    assert x.said == "edge-icn; fwd=stale; fwd-status=304; ttl=30"
    assert (x.fields["x-old"], x.fields["x-gone"], x.fields["content-length"]) == ("2", "no", "5")
    lab.sleep(29)
    assert lab.ask("/").said == "edge-icn; hit; ttl=1"
    assert lab.counts() == {"miss": 1, "revalidated": 1, "hit": 1}


def test_a_304_is_told_to_the_client_that_holds_the_same(lab: Lab) -> None:
    lab.store("/", MINUTE, 'ETag: "1"')
    lab.sleep(61)
    x = lab.ask("/", 'If-None-Match: "1"')
    lab.origin.last.answer(304, MINUTE, 'ETag: "1"')
    assert x.status == 304


def test_a_200_to_a_revalidation_replaces(lab: Lab) -> None:
    lab.store("/", MINUTE, 'ETag: "1"', body=b"old")
    lab.sleep(61)
    x = lab.ask("/")
    lab.origin.last.answer(200, MINUTE, 'ETag: "2"', body=b"new")
    assert x.got == b"new"
    assert lab.ask("/").got == b"new"
    assert lab.storage.objects == 1


def test_a_304_that_names_another_tag_is_not_believed(lab: Lab) -> None:
    lab.store("/", MINUTE, 'ETag: "1"', body=b"old")
    lab.sleep(61)
    x = lab.ask("/")
    lab.origin.last.answer(304, 'ETag: "7"')
    assert not x.done
    assert "if-none-match" not in lab.origin.last.head
    lab.origin.last.answer(200, MINUTE, 'ETag: "7"', body=b"new")
    assert x.got == b"new"


def test_a_304_of_another_date_is_not_believed(lab: Lab) -> None:
    lab.store("/", MINUTE, "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", body=b"old")
    lab.sleep(61)
    x = lab.ask("/")
    lab.origin.last.answer(304, "Last-Modified: Mon, 07 Nov 1994 08:49:37 GMT")
    assert not x.done
    assert "if-modified-since" not in lab.origin.last.head
    lab.origin.last.answer(200, MINUTE, body=b"new")
    assert x.got == b"new"


def test_every_field_of_a_304_but_content_length_replaces_the_stored_one(lab: Lab) -> None:
    lab.store(
        "/", MINUTE, 'ETag: "1"', "Set-Cookie: a=a", "Content-Type: text/plain", "X-A: 1", "X-B: 1", "X-A: 2"
    )
    lab.sleep(61)
    lab.ask("/")
    lab.origin.last.answer(
        304, MINUTE, 'ETag: "1"', "Set-Cookie: a=b", "Content-Type: text/html", "X-A: 3", "Content-Length: 9"
    )
    x = lab.ask("/")
    assert x.said.startswith("edge-icn; hit")
    wanted = {"set-cookie": "a=b", "content-type": "text/html", "x-a": "3", "x-b": "1", "content-length": "5"}
    assert {name: x.fields[name] for name in wanted} == wanted
    assert x.got == b"hello"


def test_fields_that_no_cache_or_private_name_are_sent_once(lab: Lab) -> None:
    fields = (
        'Cache-Control: max-age=60, private="set-cookie", no-cache="X-A"',
        "Set-Cookie: a=b",
        "X-A: 1",
        "X-B: 1",
    )
    first = lab.store("/", *fields)
    assert {"set-cookie", "x-a", "x-b"} <= set(first.fields)
    again = lab.ask("/")
    assert again.said.startswith("edge-icn; hit")
    assert not {"set-cookie", "x-a"} & set(again.fields)
    assert again.fields["x-b"] == "1"


def test_an_error_during_revalidation_is_passed_on_and_the_object_stays(lab: Lab) -> None:
    lab.store("/", MINUTE, 'ETag: "1"')
    lab.sleep(61)
    x = lab.ask("/")
    lab.origin.last.answer(500, body=b"oops")
    assert (x.status, x.got) == (500, b"oops")
    assert lab.storage.objects == 1
    x = lab.ask("/")
    lab.origin.last.answer(404, "Cache-Control: no-store", body=b"gone")
    assert x.status == 404
    assert lab.storage.objects == 0


def test_no_cache_is_stored_and_checked_each_time(lab: Lab) -> None:
    lab.store("/", "Cache-Control: no-cache", 'ETag: "1"')
    for _ in range(2):
        x = lab.ask("/")
        assert lab.origin.last.head["if-none-match"] == '"1"'
        lab.origin.last.answer(304, 'ETag: "1"')
        assert x.got == b"hello"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (("Cache-Control: no-store",), "no-store"),
        (("Cache-Control: private, max-age=60",), "private"),
        (("Cache-Control: max-age=60", "Vary: *"), "vary-any"),
        (("Cache-Control: max-age=60", "Vary: X-Forwarded-For"), "vary-here"),
        (("Cache-Control: max-age=60", "Vary: X-Original-URL"), "vary-here"),
        ((), "no-lifetime"),
        (("Cache-Control: max-age=0",), "no-validator"),
        (("Cache-Control: max-age=abc",), "no-validator"),
        (("Expires: 0",), "no-validator"),
        (("Cache-Control: max-age=0, stale-if-error=9, must-revalidate",), "no-validator"),
    ],
)
def test_what_is_not_stored(lab: Lab, fields: tuple[str, ...], reason: str) -> None:
    x = lab.store("/", *fields)
    assert x.got == b"hello"
    assert x.said == f"edge-icn; fwd=uri-miss; fwd-status=200; detail={reason}"
    assert lab.storage.objects == 0
    lab.store("/", *fields)


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (206, (MINUTE,)),
        (304, (MINUTE,)),
        (412, (MINUTE,)),
        (416, (MINUTE,)),
        (299, ("Cache-Control: max-age=60, must-understand",)),
        (599, ("Cache-Control: max-age=60, must-understand",)),
        (302, ('ETag: "1"',)),
        (500, ("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT",)),
    ],
)
def test_statuses_that_are_not_stored(lab: Lab, status: int, fields: tuple[str, ...]) -> None:
    x = lab.store("/", *fields, status=status)
    assert x.status == status
    assert lab.storage.objects == 0


@pytest.mark.parametrize(
    "status",
    [
        201,
        202,
        203,
        204,
        299,
        300,
        301,
        302,
        303,
        307,
        308,
        399,
        400,
        404,
        405,
        410,
        418,
        431,
        500,
        501,
        503,
        599,
    ],
)
def test_statuses_that_are_stored(lab: Lab, status: int) -> None:
    lab.store("/", MINUTE, status=status, body=b"")
    x = lab.ask("/")
    assert x.status == status
    assert x.said.startswith("edge-icn; hit")
    assert ("content-length" in x.fields) == (status != 204)


def test_authorization_keeps_answers_apart(lab: Lab) -> None:
    lab.store("/", MINUTE, ask=("Authorization: Basic eA==",))
    assert lab.storage.objects == 0
    lab.store("/", MINUTE)
    x = lab.ask("/", "Authorization: Basic eA==")
    assert not x.done, "a stored answer that does not say so is not for those with credentials"
    lab.origin.last.answer(200, "Cache-Control: public, max-age=60", body=b"open")
    assert lab.ask("/", "Authorization: Basic eQ==").got == b"open"
    assert lab.ask("/").got == b"open"


def test_a_guess_also_with_a_cookie(lab: Lab) -> None:
    modified = "Last-Modified: " + format_date(int(lab.wall) - 1000).decode()
    x = lab.store("/", modified, ask=("Cookie: a=b",))
    assert "ttl=100" in x.said
    assert lab.ask("/", "Cookie: a=c").said == "edge-icn; hit; ttl=100"


def test_what_has_a_validator_and_no_lifetime_is_validated_each_time(lab: Lab) -> None:
    lab.store("/", 'ETag: "1"')
    x = lab.ask("/")
    assert lab.origin.last.head["if-none-match"] == '"1"'
    lab.origin.last.answer(304)
    assert x.got == b"hello"


def test_no_store_gives_way_to_must_understand(lab: Lab) -> None:
    lab.store("/", "Cache-Control: max-age=60, no-store, must-understand")
    assert lab.ask("/").said.startswith("edge-icn; hit")


def test_vary_keeps_variants_apart(lab: Lab) -> None:
    vary = (MINUTE, "Vary: Accept-Language, Host")
    lab.store("/", *vary, body=b"ko", ask=("Accept-Language: ko",))
    lab.store("/", *vary, body=b"en", ask=("Accept-Language: en",))
    assert lab.ask("/", "Accept-Language: ko").got == b"ko"
    assert lab.ask("/", "Accept-Language: en").got == b"en"
    x = lab.ask("/")
    assert not x.done
    lab.origin.last.answer(200, *vary, body=b"none")
    assert x.said.startswith("edge-icn; fwd=vary-miss")
    assert lab.ask("/").got == b"none"
    assert lab.ask("/", "Accept-Language:").done is False, "absent and empty are not the same"


def test_variants_by_a_clients_own_field(lab: Lab) -> None:
    for name in ("a", "b"):
        lab.store(
            "/", MINUTE, "Vary: Cookie, Accept", body=name.encode(), ask=(f"Cookie: {name}", "Accept: x")
        )
    for name in ("a", "b", "a"):
        assert lab.ask("/", f"Cookie: {name}", "Accept: x").got == name.encode()
    lab.store("/other", MINUTE, "Vary: Accept", body=b"o", ask=("Accept: x",))
    assert lab.ask("/other", "Accept: x").got == b"o"
    assert lab.ask("/", "Cookie: b", "Accept: x").got == b"b"


def test_a_strangers_forwarded_proto_makes_no_variants(lab: Lab) -> None:
    lab.store("/", MINUTE, "Vary: X-Forwarded-Proto")
    assert "hit" in lab.ask("/", "X-Forwarded-Proto: whatever").said
    assert lab.asked == lab.storage.objects == 1
    lab.ask("/", "X-Forwarded-Proto: https", trusted=True)
    assert lab.asked == 2, "a trusted peer's is another scheme, and another key"


def test_variants_are_capped(lab: Lab) -> None:
    for number in range(10):
        lab.store("/", MINUTE, "Vary: Accept", ask=(f"Accept: {number}",))
    assert lab.storage.objects == 4
    assert lab.ask("/", "Accept: 9").done
    assert not lab.ask("/", "Accept: 0").done


def test_unsafe_methods_pass_and_invalidate(lab: Lab) -> None:
    for target in ("/items", "/items/1", "/items/2", "/other"):
        lab.store(target, MINUTE)
    x = lab.ask("/items", "Content-Length: 0", method="POST")
    assert x.source is not None
    lab.origin.last.answer(
        201, "Location: /items/1", "Content-Location: http://shop.example/items/2", body=b""
    )
    assert x.said == "edge-icn; fwd=method; fwd-status=201; detail=method"
    assert lab.storage.objects == 1
    assert lab.ask("/other").done


@pytest.mark.parametrize(
    "location", ["http://other.example/x", "//other.example/x", "https://shop.example/x", "mailto:a"]
)
def test_only_same_origin_targets_are_invalidated(lab: Lab, location: str) -> None:
    lab.store("/x", MINUTE)
    lab.ask("/y", "Content-Length: 0", method="PUT")
    lab.origin.last.answer(200, f"Location: {location}")
    assert lab.storage.objects == 1


def test_an_unsafe_method_that_fails_invalidates_nothing(lab: Lab) -> None:
    lab.store("/", MINUTE)
    lab.ask("/", "Content-Length: 0", method="DELETE")
    lab.origin.last.answer(500)
    assert lab.storage.objects == 1


def test_what_was_being_fetched_during_a_change_is_not_stored(lab: Lab) -> None:
    reader = lab.ask("/")
    lab.origin.last.begin(200, MINUTE, "Content-Length: 10")
    slow = lab.origin.last
    lab.ask("/", "Content-Length: 0", method="POST")
    lab.origin.last.answer(200)
    late = lab.ask("/")
    assert not late.status, "a request after the change does not read along"
    slow.data(b"0123456789")
    slow.end()
    assert reader.got == b"0123456789"
    assert lab.storage.objects == 0


@pytest.mark.parametrize(
    ("value", "status", "body", "content_range"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-30", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=2-90", 206, b"23456789", "bytes 2-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=3-2", 200, b"0123456789", None),
        ("bytes=0-0,5-6", 200, b"0123456789", None),
        ("bytes=0-,0-,0-,0-,0-", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=a-b", 200, b"0123456789", None),
    ],
)
def test_ranges_of_a_stored_object(
    lab: Lab, value: str, status: int, body: bytes | None, content_range: str
) -> None:
    lab.store("/", MINUTE, body=b"0123456789")
    x = lab.ask("/", f"Range: {value}")
    assert x.status == status
    assert body is None or x.got == body
    assert x.fields.get("content-range") == content_range
    assert x.fields["content-length"] == str(len(x.got))
    assert "; hit; " in x.said
    assert lab.asked == 1


@pytest.mark.parametrize(
    ("if_range", "status"),
    [
        ('"1"', 206),
        ('W/"1"', 200),
        ('"2"', 200),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 206),
        ("Sun, 06 Nov 1994 08:49:38 GMT", 200),
    ],
)
def test_if_range(lab: Lab, if_range: str, status: int) -> None:
    lab.store("/", MINUTE, 'ETag: "1"', "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT")
    assert lab.ask("/", "Range: bytes=0-0", f"If-Range: {if_range}").status == status


def part(lab: Lab, first: int, last: int, *fields: str, body: bytes = b"0123456789") -> FakeExchange:
    """A range that is not stored, answered."""
    count = lab.asked
    x = lab.ask("/", f"Range: bytes={first}-{last}")
    assert lab.asked == count + 1, "it was answered from the store"
    assert lab.origin.last.head["range"] == f"bytes={first}-{last}"
    fields = (*fields, MINUTE, f"Content-Range: bytes {first}-{last}/{len(body)}")
    lab.origin.last.answer(206, *fields, body=body[first : last + 1])
    assert (x.status, x.got) == (206, body[first : last + 1])
    return x


def test_parts_are_stored_and_used_for_ranges_within_them(lab: Lab) -> None:
    assert "stored" in part(lab, 2, 6).said
    x = lab.ask("/", "Range: bytes=3-5")
    assert (x.status, x.got, x.fields["content-range"]) == (206, b"345", "bytes 3-5/10")
    assert x.said.startswith("edge-icn; hit")
    assert lab.ask("/", "Range: bytes=3-7").status == 0, "not all of it is here"
    assert "if-none-match" not in lab.origin.last.head
    assert lab.ask("/").status == 0, "nor the whole"


def test_a_head_is_not_answered_from_parts(lab: Lab) -> None:
    part(lab, 2, 6)
    x = lab.ask("/", method="HEAD")
    lab.origin.last.fail()
    assert x.status == 502
    x = lab.ask("/", method="HEAD")
    lab.origin.last.begin(200, MINUTE, "Content-Length: 10", whole=b"")
    assert x.status == 200
    assert lab.ask("/", "Range: bytes=3-5").got == b"345"


def test_parts_with_one_strong_validator_are_combined(lab: Lab) -> None:
    part(lab, 0, 3, 'ETag: "1"', "X-A: old")
    assert "fwd=partial" in part(lab, 3, 6, 'ETag: "1"', "X-A: new").said
    x = lab.ask("/", "Range: bytes=1-5")
    assert (x.got, x.fields["x-a"]) == (b"12345", "new")
    part(lab, 7, 9, 'ETag: "1"')
    x = lab.ask("/")
    assert (x.status, x.got, x.fields["content-length"]) == (200, b"0123456789", "10")
    assert "content-range" not in x.fields


@pytest.mark.parametrize(
    "tags", [('ETag: "1"', 'ETag: "2"'), ('ETag: W/"1"', 'ETag: W/"1"'), ("X-A: 1", "X-A: 1")]
)
def test_parts_of_other_or_weak_validators_are_not_combined(lab: Lab, tags: tuple[str, str]) -> None:
    part(lab, 0, 4, tags[0])
    part(lab, 5, 9, tags[1])
    assert lab.ask("/", "Range: bytes=6-8").got == b"678"
    assert lab.ask("/", "Range: bytes=0-2").status == 0


def test_a_part_renews_the_whole_that_has_its_validator(lab: Lab) -> None:
    lab.store("/", MINUTE, 'ETag: "1"', body=b"0123456789")
    lab.sleep(61)
    part(lab, 0, 3, 'ETag: "1"')
    x = lab.ask("/")
    assert (x.status, x.got, x.fields["age"]) == (200, b"0123456789", "0")


def test_several_ranges_are_neither_sent_on_nor_answered_one_by_one(lab: Lab) -> None:
    x = lab.ask("/", "Range: bytes=0-0,1-1,0-5")
    assert "range" not in lab.origin.last.head
    lab.origin.last.answer(200, MINUTE, body=b"0123456789")
    assert (x.status, x.got) == (200, b"0123456789")
    assert lab.ask("/", "Range: bytes=0-0,1-1,0-5").got == b"0123456789"


@pytest.mark.parametrize(
    "said", ["bytes 0-4/3", "bytes 4-0/10", "bytes */10", "bytes 0-4/*", "bytes 0-9/10", "x"]
)
def test_parts_that_make_no_sense_are_passed_on_and_not_stored(lab: Lab, said: str) -> None:
    x = lab.ask("/", "Range: bytes=0-4")
    lab.origin.last.answer(206, MINUTE, f"Content-Range: {said}", body=b"01234")
    assert (x.status, x.got) == (206, b"01234")
    assert lab.storage.objects == 0


def test_a_stale_response_is_sent_and_validated_behind(lab: Lab) -> None:
    lab.store("/", "Cache-Control: max-age=60, stale-while-revalidate=30", 'ETag: "1"')
    lab.sleep(61)
    for _ in range(3):
        x = lab.ask("/")
        assert x.said == "edge-icn; hit; ttl=-1; detail=stale-while-revalidate"
        assert (x.got, x.fields["age"]) == (b"hello", "61")
    assert lab.asked == 2, "one validation, however many ask"
    assert lab.origin.last.head["if-none-match"] == '"1"'
    lab.origin.last.answer(304, "Cache-Control: max-age=60")
    assert lab.ask("/").said == "edge-icn; hit; ttl=60"
    assert lab.counts() == {Result.MISS: 1, Result.STALE: 3, Result.HIT: 1}
    assert lab.cache.in_background == 0


def test_what_comes_in_the_background_replaces_what_was_stale(lab: Lab) -> None:
    lab.store("/", "Cache-Control: max-age=60, stale-while-revalidate=30")
    lab.sleep(61)
    lab.ask("/")
    lab.origin.last.answer(200, MINUTE, body=b"news")
    assert lab.ask("/").got == b"news"


def test_a_background_validation_that_fails_leaves_what_is_stored(lab: Lab) -> None:
    lab.store("/", "Cache-Control: max-age=60, stale-while-revalidate=30, stale-if-error=30")
    lab.sleep(61)
    lab.ask("/")
    lab.origin.last.answer(503, MINUTE, body=b"down")
    assert lab.ask("/").got == b"hello"
    lab.origin.last.fail()
    assert lab.ask("/").got == b"hello"
    assert lab.cache.in_background == 1


def test_a_range_of_something_stale_renews_the_whole(lab: Lab) -> None:
    lab.store("/", "Cache-Control: max-age=60, stale-while-revalidate=30")
    lab.sleep(61)
    x = lab.ask("/", "Range: bytes=1-2")
    assert (x.status, x.got) == (206, b"el")
    assert "range" not in lab.origin.last.head
    lab.origin.last.answer(200, MINUTE, body=b"news")
    assert lab.ask("/").got == b"news"


def test_nobody_reads_a_part_along_that_is_renewed_behind(lab: Lab) -> None:
    part(lab, 2, 6, "Cache-Control: stale-while-revalidate=30", 'ETag: "1"')
    lab.sleep(61)
    assert lab.ask("/", "Range: bytes=3-5").got == b"345"
    behind = lab.origin.last
    assert behind.head["range"] == "bytes=3-5"
    x = lab.ask("/")
    assert lab.origin.last is not behind
    behind.answer(206, MINUTE, 'ETag: "1"', "Content-Range: bytes 3-5/10", body=b"345")
    assert x.status == 0
    lab.origin.last.answer(200, MINUTE, body=b"0123456789")
    assert (x.status, x.got) == (200, b"0123456789")


def test_background_validations_are_bounded(monkeypatch: Any) -> None:
    lab = Lab(monkeypatch, background_max=2)
    for n in range(4):
        lab.store(f"/{n}", "Cache-Control: max-age=60, stale-while-revalidate=30")
    lab.sleep(61)
    for n in range(4):
        assert lab.ask(f"/{n}").got == b"hello"
    assert lab.asked == 4 + 2


def test_stale_if_error(lab: Lab) -> None:
    lab.store("/", "Cache-Control: max-age=60, stale-if-error=30", 'ETag: "1"')
    lab.sleep(61)
    x, y = lab.ask("/"), lab.ask("/")
    lab.origin.last.answer(503, body=b"down")
    assert x.said == "edge-icn; fwd=stale; fwd-status=503; ttl=-1; detail=stale-if-error"
    assert (x.status, x.got, y.got) == (200, b"hello", b"hello")
    lab.sleep(30)
    x = lab.ask("/")
    lab.origin.last.answer(503, body=b"down")
    assert (x.status, x.got) == (503, b"down")


def test_stale_while_nobody_can_be_reached(lab: Lab) -> None:
    lab.store("/", MINUTE)
    lab.sleep(61)
    x = lab.ask("/")
    lab.origin.last.fail()
    assert (x.status, x.said) == (200, "edge-icn; fwd=stale; ttl=-1; detail=disconnected")
    strict = lab.ask("/", "Cache-Control: no-cache")
    lab.origin.last.fail()
    assert strict.status == 502


@pytest.mark.parametrize("said", ["must-revalidate", "proxy-revalidate", "s-maxage=60", "no-cache"])
def test_what_must_be_validated_is_not_sent_stale(lab: Lab, said: str) -> None:
    lab.store(
        "/", f"Cache-Control: max-age=60, {said}, stale-if-error=99, stale-while-revalidate=99", 'ETag: "1"'
    )
    lab.sleep(61)
    x = lab.ask("/", "Cache-Control: max-stale=99")
    assert not x.done
    lab.origin.last.fail()
    assert x.status == 504


def test_the_answer_to_a_head_renews_or_drops_what_is_stored(lab: Lab) -> None:
    lab.store("/", MINUTE, 'ETag: "1"', "X-A: 1")
    lab.sleep(61)
    lab.ask("/", method="HEAD")
    lab.origin.last.begin(200, MINUTE, 'ETag: "1"', "X-A: 2", "Content-Length: 5", whole=b"")
    x = lab.ask("/")
    assert (x.got, x.fields["x-a"], x.fields["age"]) == (b"hello", "2", "0")
    lab.sleep(61)
    lab.ask("/", method="HEAD")
    lab.origin.last.begin(200, MINUTE, 'ETag: "2"', "Content-Length: 5", whole=b"")
    assert lab.storage.objects == 0


def test_an_answer_to_post_that_says_that_it_is_one_to_get(lab: Lab) -> None:
    for fields, kept in (
        ((MINUTE, "Content-Location: /"), True),
        ((MINUTE, "Content-Location: http://shop.example/"), True),
        ((MINUTE, "Content-Location: /other"), False),
        ((MINUTE,), False),
        (("Content-Location: /",), False),
    ):
        lab.ask("/", "Content-Length: 0", method="POST")
        lab.origin.last.answer(200, *fields, body=b"posted")
        count = lab.asked
        lab.ask("/")
        assert (lab.asked == count) is kept, fields
        changes.invalidate(lab.cache, b"http://shop.example/")


def test_what_is_stored_goes_if_an_unsafe_request_overtakes_it(lab: Lab) -> None:
    x = lab.ask("/")
    slow = lab.origin.last
    lab.ask("/", "Content-Length: 0", method="POST")
    lab.origin.last.answer(204)
    slow.answer(200, MINUTE, body=b"old")
    assert x.got == b"old"
    assert lab.storage.objects == 0


def test_negative_caching_is_by_rule(monkeypatch: Any) -> None:
    lab = Lab(monkeypatch, negative={404: 10, 503: 1})
    lab.store("/a", status=404)
    assert "hit; ttl=10" in lab.ask("/a").said
    lab.store("/b", "Cache-Control: max-age=3", status=404)
    assert "hit; ttl=3" in lab.ask("/b").said
    lab.store("/c", status=500)
    assert lab.storage.objects == 2


def test_request_directives(lab: Lab) -> None:
    assert lab.ask("/", "Cache-Control: only-if-cached").status == 504
    lab.store("/", MINUTE, 'ETag: "1"')
    lab.sleep(20)
    assert lab.ask("/", "Cache-Control: only-if-cached").status == 200
    assert lab.ask("/", "Cache-Control: max-age=30").done
    assert lab.ask("/", "Cache-Control: min-fresh=30").done
    assert lab.ask("/", "Cache-Control: no-store").done
    for asked in ("max-age=10", "min-fresh=50", "no-cache", "max-age=0"):
        x = lab.ask("/", f"Cache-Control: {asked}")
        assert not x.done
        assert lab.origin.last.head["if-none-match"] == '"1"'
        x.leave()
    assert not lab.ask("/", "Pragma: no-cache").done
    x = lab.ask("/x", "Cache-Control: no-store")
    lab.origin.last.answer(200, MINUTE)
    assert x.said.endswith("detail=request-no-store")
    assert lab.storage.objects == 1


def test_a_reload_refreshes_the_store(lab: Lab) -> None:
    lab.store("/", MINUTE, body=b"old")
    x = lab.ask("/", "Cache-Control: no-cache")
    lab.origin.last.answer(200, MINUTE, body=b"new")
    assert x.said.startswith("edge-icn; fwd=request")
    assert lab.ask("/").got == b"new"


# -- collapse -------------------------------------------------------------------------------------------------------


def test_waiters_share_one_fetch_and_stream_along(lab: Lab) -> None:
    first = lab.ask("/")
    others = [lab.ask("/") for _ in range(5)]
    assert lab.asked == 1
    lab.origin.last.begin(200, MINUTE, "Content-Length: 10")
    assert all(x.status == 200 for x in (first, *others))
    lab.origin.last.data(b"01234")
    late = lab.ask("/")
    assert [x.got for x in (first, *others, late)] == [b"01234"] * 7
    lab.origin.last.data(b"56789")
    lab.origin.last.end()
    assert [x.got for x in (first, *others, late)] == [b"0123456789"] * 7
    assert all(x.done for x in (first, *others, late))
    assert others[0].said == "edge-icn; fwd=uri-miss; fwd-status=200; ttl=60; stored; collapsed"
    assert lab.counts() == {"miss": 1, "collapsed": 6}
    assert len(lab.flights) == 0


def test_whoever_joins_late_is_told_how_old_the_response_is(lab: Lab) -> None:
    first = lab.ask("/")
    lab.origin.last.begin(200, MINUTE, "Content-Length: 2")
    lab.sleep(20)
    late = lab.ask("/")
    assert "age" not in first.fields
    assert late.fields["age"] == "20"


def test_waiters_of_an_unstorable_answer_are_released_at_once_and_later_ones_do_not_wait(lab: Lab) -> None:
    lab.ask("/")
    waiters = [lab.ask("/") for _ in range(3)]
    lab.origin.last.begin(200, "Cache-Control: private", "Content-Length: 10")
    assert lab.asked == 4
    for forward, x in zip(lab.origin.sent[1:], waiters, strict=True):
        forward.answer(200, "Cache-Control: private", body=b"mine")
        assert x.got == b"mine"
    lab.ask("/")
    lab.ask("/")
    assert lab.asked == 6, "known not to be shared: nobody waits"
    lab.origin.last.answer(200, MINUTE)
    assert lab.ask("/").done


def test_a_leader_that_leaves_takes_nothing_with_it(lab: Lab) -> None:
    leader, waiter = lab.ask("/"), lab.ask("/")
    leader.leave()
    assert lab.origin.last.cancelled is None
    lab.origin.last.answer(200, MINUTE)
    assert waiter.done
    assert lab.ask("/").done


def test_everybody_leaves_before_the_head(lab: Lab) -> None:
    leader, waiter = lab.ask("/"), lab.ask("/")
    waiter.leave()
    leader.leave()
    assert lab.origin.last.cancelled is not None
    assert len(lab.flights) == 0
    lab.ask("/")
    assert lab.asked == 2


def test_a_failed_fetch_answers_all_who_wait(lab: Lab) -> None:
    everybody = [lab.ask("/") for _ in range(3)]
    lab.origin.last.fail()
    assert lab.asked == 1
    for x in everybody:
        assert x.status == 502
        assert b"edge-icn" in x.got
        assert b"10.0.0.7" not in x.head + x.got
    assert lab.counts() == {"error": 3}
    assert lab.cache.fetches[0] == 1, "one request to the origin, however many waited for it"


def test_waiters_are_bounded_in_number(monkeypatch: Any) -> None:
    lab = Lab(monkeypatch, waiters=2)
    for _ in range(4):
        lab.ask("/")
    assert lab.asked == 2


def test_waiters_are_bounded_in_time(lab: Lab) -> None:
    lab.ask("/")
    lab.sleep(3)
    waiter = lab.ask("/")
    lab.sleep(4)
    lab.cache.tick()
    assert lab.asked == 1
    lab.sleep(2)
    lab.cache.tick()
    assert lab.asked == 2
    lab.origin.last.answer(200, MINUTE)
    assert waiter.done


def test_waiters_with_another_variant_fetch_their_own_and_share_that(lab: Lab) -> None:
    korean = [lab.ask("/", "Accept-Language: ko") for _ in range(2)]
    english = [lab.ask("/", "Accept-Language: en") for _ in range(3)]
    assert lab.asked == 1
    lab.origin.last.begin(200, MINUTE, "Vary: Accept-Language", "Content-Length: 2")
    assert lab.asked == 2
    one, two = lab.origin.sent
    two.answer(200, MINUTE, "Vary: Accept-Language", body=b"en")
    one.data(b"ko")
    one.end()
    assert [x.got for x in korean + english] == [b"ko"] * 2 + [b"en"] * 3


def test_waiters_share_a_revalidation(lab: Lab) -> None:
    lab.store("/", MINUTE, 'ETag: "1"')
    lab.sleep(61)
    everybody = [lab.ask("/") for _ in range(4)]
    assert lab.asked == 2
    lab.origin.last.answer(304, MINUTE)
    assert [x.got for x in everybody] == [b"hello"] * 4


def test_requests_with_credentials_do_not_wait(lab: Lab) -> None:
    lab.ask("/")
    lab.ask("/", "Authorization: Basic eA==")
    assert lab.asked == 2


# -- bodies ----------------------------------------------------------------------------------------------------------


def test_a_body_that_breaks_off_is_not_stored(lab: Lab) -> None:
    x = lab.ask("/")
    lab.origin.last.begin(200, MINUTE, "Content-Length: 10")
    lab.origin.last.data(b"01234")
    lab.origin.last.fail()
    assert x.aborted
    assert lab.storage.objects == 0
    assert lab.storage.reserved == 0
    assert lab.counts() == {"error": 1}


def test_a_chunked_body_is_stored_with_its_length(lab: Lab) -> None:
    x = lab.ask("/")
    lab.origin.last.begin(200, MINUTE)
    lab.origin.last.data(b"01234")
    lab.origin.last.data(b"56789")
    lab.origin.last.end()
    assert (x.length, x.got) == (None, b"0123456789")
    assert lab.ask("/").fields["content-length"] == "10"


def test_a_body_that_ends_with_its_connection_is_stored(lab: Lab) -> None:
    x = lab.ask("/")
    raw = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60"
    block, volatile = lab.origin.memo.head(raw)
    lab.origin.last.sink.forward_head(block, volatile, -2, None)
    lab.origin.last.data(b"hello")
    lab.origin.last.end()
    assert x.got == b"hello"
    x = lab.ask("/")
    assert (x.got, x.fields["content-length"]) == (b"hello", "5")


def test_a_large_body_streams_with_back_pressure(monkeypatch: Any) -> None:
    lab = Lab(monkeypatch, object_max=1000)
    x = lab.ask("/", room=1)
    lab.origin.last.begin(200, MINUTE, "Content-Length: 5000")
    assert x.said.endswith("detail=too-large")
    lab.origin.last.data(b"x" * 500)
    assert lab.origin.last.paused
    x.more_room()
    assert not lab.origin.last.paused
    lab.origin.last.data(b"x" * 4500)
    lab.origin.last.end()
    assert x.done
    assert len(x.got) == 5000


def test_a_body_that_outgrows_the_object_limit_on_its_way_is_let_go(monkeypatch: Any) -> None:
    lab = Lab(monkeypatch, object_max=1000)
    fast, slow = lab.ask("/"), lab.ask("/", room=1)
    forward = lab.origin.last
    forward.begin(200, MINUTE)
    for _ in range(10):
        forward.data(b"y" * 150)
    assert forward.paused, "not stored any more: the slow one holds the origin back"
    assert len(fast.got) == 1500
    assert len(slow.got) == 150
    slow.more_room()
    assert not forward.paused
    assert lab.storage.reserved == 0
    fetch = forward.sink
    assert isinstance(fetch, Fetch)
    assert fetch._stream.waiting == 0
    forward.end()
    assert fast.done
    assert slow.got == b"y" * 1500
    assert lab.storage.objects == 0
    assert lab.ask("/").done is False


def test_a_slow_reader_does_not_hold_back_a_body_that_is_stored(lab: Lab) -> None:
    slow = lab.ask("/", room=1)
    lab.origin.last.begin(200, MINUTE, "Content-Length: 400")
    lab.origin.last.data(b"z" * 100)
    assert lab.origin.last.paused, "its only reader is slow"
    fast = lab.ask("/")
    assert not lab.origin.last.paused, "another one is not"
    lab.origin.last.data(b"z" * 300)
    lab.origin.last.end()
    assert fast.done
    assert not slow.done
    assert lab.ask("/").said.startswith("edge-icn; hit")
    slow.more_room()
    assert slow.done
    assert slow.got == b"z" * 400


def test_a_fetch_that_is_nearly_done_goes_on_without_its_reader(lab: Lab) -> None:
    x = lab.ask("/")
    lab.origin.last.begin(200, MINUTE, "Content-Length: 10")
    x.leave()
    assert lab.origin.last.cancelled is None
    lab.origin.last.data(b"0123456789")
    lab.origin.last.end()
    assert lab.ask("/").got == b"0123456789"


def test_a_long_fetch_ends_with_its_last_reader(lab: Lab) -> None:
    x = lab.ask("/")
    lab.origin.last.begin(200, MINUTE, "Content-Length: 1500000")
    x.leave()
    assert lab.origin.last.cancelled
    assert lab.storage.reserved == 0


def test_arriving_bodies_take_at_most_half_the_memory(monkeypatch: Any) -> None:
    lab = Lab(monkeypatch, memory=10_000)
    for number in range(6):
        lab.ask(f"/{number}")
        lab.origin.last.begin(200, MINUTE, "Content-Length: 1000")
    assert lab.storage.reserved == 5000
    assert lab.cache.not_stored["no-room"] == 1


def test_a_body_for_which_there_is_no_room_now_is_still_shared_next_time(monkeypatch: Any) -> None:
    lab = Lab(monkeypatch, memory=1 << 16)
    lab.ask("/")
    lab.origin.last.begin(200, MINUTE)
    lab.origin.last.data(b"x" * 40_000)
    lab.origin.last.end()
    assert lab.storage.objects == 0
    lab.ask("/")
    lab.ask("/")
    assert lab.asked == 2


def test_a_whole_response_in_one_piece(lab: Lab) -> None:
    x = lab.ask("/")
    lab.origin.last.answer(200, MINUTE, body=b"hello", whole=True)
    assert (x.done, x.got, x.fields["content-length"]) == (True, b"hello", "5")
    assert lab.ask("/").got == b"hello"
    assert len(lab.flights) == 0


# -- what the origin sees --------------------------------------------------------------------------------------------


def test_the_outgoing_request(lab: Lab) -> None:
    lab.ask(
        "/a/../b?c=%7e",
        "Connection: x-mine, host, content-length",
        "X-Mine: 1",
        "TE: trailers",
        "Cookie: a=b",
        "X-Forwarded-For: 9.9.9.9",
        "X-Forwarded-Host: evil.example",
        "X-Original-URL: /admin",
        "X-HTTP-Method-Override: DELETE",
        "Cdnlab-Place: gru",
        "Via: 1.1 browser-proxy",
        "X-Request-Id: abc",
        "Accept: text/html",
    )
    forward = lab.origin.last
    assert forward.request.head.startswith(b"GET /b?c=~ HTTP/1.1\r\nHost: shop.example\r\n")
    assert forward.request.head.endswith(b"\r\n\r\n")
    head = forward.head
    assert head["x-forwarded-for"] == "127.82.1.100"
    assert head["x-forwarded-proto"] == "http"
    assert head["via"] == "1.1 browser-proxy, 1.1 edge-icn"
    assert head["cdn-loop"].startswith("cdnlab;")
    assert (head["accept"], head["cookie"], head["x-request-id"]) == ("text/html", "a=b", "abc")
    gone = {"connection", "x-mine", "te", "x-forwarded-host", "x-original-url", "x-http-method-override"}
    assert not (gone | {"cdnlab-place"}) & set(head)


def test_a_trusted_peers_word_counts(lab: Lab) -> None:
    asked = ("X-Forwarded-For: 127.55.1.7", "X-Forwarded-Proto: https", "Cdnlab-Place: gru")
    x = lab.ask("/", *asked, trusted=True, peer="127.0.1.10")
    head = lab.origin.last.head
    assert head["x-forwarded-for"] == "127.55.1.7, 127.0.1.10"
    assert head["x-forwarded-proto"] == "https"
    assert x.place == "gru"
    lab.origin.last.answer(200, MINUTE)
    assert not lab.ask("/", *asked).done, "http is not https, and a stranger's word does not make it so"
    assert lab.ask("/", *asked, trusted=True).done
    assert lab.ring.named(lab.ring.entries[-1])["peer"] == "127.55.1.7"
    assert lab.ring.named(lab.ring.entries[-1])["client_place"] == "gru"


def test_the_origins_host_and_scheme_can_be_set(monkeypatch: Any) -> None:
    lab = Lab(monkeypatch, origin_host="app.internal", forwarded_proto="https")
    lab.ask("/")
    head = lab.origin.last.head
    assert (head["host"], head["x-forwarded-host"]) == ("app.internal", "shop.example")
    assert head["x-forwarded-proto"] == "https"


def test_a_place_is_chosen_by_name_and_not_in_the_key(monkeypatch: Any) -> None:
    lab = Lab(monkeypatch, may_choose_place=True)
    x = lab.ask("/", "Host: gru.localhost:8080")
    assert x.place == "gru"
    assert lab.origin.last.head["host"] == "localhost:8080"
    lab.origin.last.answer(200, MINUTE)
    assert lab.ask("/", "Host: localhost:8080").done
    assert lab.ask("/", "Host: localhost:8080", "Cdnlab-From: iad").place == "iad"


def test_an_absolute_target_replaces_host(lab: Lab) -> None:
    lab.store("http://shop.example/z", MINUTE, ask=("Host: other.example",))
    assert lab.origin.last.head["host"] == "shop.example"
    assert lab.ask("/z").done
    assert not lab.ask("/z", "Host: other.example").done


def test_a_loop_is_refused(lab: Lab) -> None:
    lab.ask("/")
    loop = lab.origin.last.head["cdn-loop"]
    x = lab.ask("/other", f"CDN-Loop: {loop}")
    assert x.status == 508
    assert lab.counts() == {"refused": 1}


@pytest.mark.parametrize(("method", "status"), [("TRACE", 405), ("CONNECT", 501)])
def test_methods_that_are_not_served(lab: Lab, method: str, status: int) -> None:
    x = lab.ask("shop.example:443" if method == "CONNECT" else "/", method=method)
    assert x.status == status
    assert lab.asked == 0


def test_max_forwards(lab: Lab) -> None:
    assert lab.ask("/", "Max-Forwards: 0", method="OPTIONS").status == 204
    lab.ask("/", "Max-Forwards: 3", method="OPTIONS")
    assert lab.origin.last.head["max-forwards"] == "2"


def test_a_body_on_get_passes_uncached(lab: Lab) -> None:
    lab.store("/", MINUTE)
    x = lab.ask("/", "Content-Length: 3")
    assert lab.origin.last.head["content-length"] == "3"
    lab.origin.last.answer(200, MINUTE, body=b"poison")
    assert x.got == b"poison"
    assert lab.ask("/").got == b"hello"


def test_a_field_hidden_by_connection_does_not_choose_what_is_stored(lab: Lab) -> None:
    """The origin never saw RSC, so what it said must not lie where those who do send it will look."""
    x = lab.ask("/", "RSC: 1", "Connection: keep-alive, RSC")
    assert "rsc" not in lab.origin.last.head
    lab.origin.last.answer(200, MINUTE, "Vary: RSC", body=b"the whole page")
    assert "detail=hidden-field" in x.said
    lab.ask("/", "RSC: 1")
    assert lab.origin.last.head["rsc"] == "1"
    lab.origin.last.answer(200, MINUTE, "Vary: RSC", body=b"a part")
    assert lab.ask("/", "RSC: 1").got == b"a part"
    assert "hit" in lab.ask("/", "RSC: 1", "Connection: keep-alive, x-not-sent").said


def test_if_match_passes(lab: Lab) -> None:
    lab.store("/", MINUTE)
    lab.ask("/", 'If-Match: "1"')
    assert lab.origin.last.head["if-match"] == '"1"'


def test_interim_responses_reach_whoever_asked(lab: Lab) -> None:
    x, waiter = lab.ask("/"), lab.ask("/")
    lab.origin.last.sink.forward_interim(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    assert x.interims
    assert not waiter.interims


def test_hop_by_hop_fields_stay_at_their_hop(lab: Lab) -> None:
    x = lab.store(
        "/", MINUTE, "Connection: x-hop, keep-alive", "X-Hop: 1", "Keep-Alive: timeout=5", "Cdnlab-Hop: evil"
    )
    for y in (x, lab.ask("/")):
        assert not {"connection", "x-hop", "keep-alive", "cdnlab-hop"} & set(y.fields)
        assert "date" in y.fields


# -- explanation -----------------------------------------------------------------------------------------------------


def test_an_explanation_of_miss_and_hit(lab: Lab) -> None:
    x = lab.ask("/", "Cdnlab-Explain: 1.x", explain=True)
    assert lab.origin.last.head["cdnlab-explain"] == "1.x"
    lab.sleep(0.3)
    lab.origin.last.answer(200, MINUTE, 'Cdnlab-Hop: "origin-1";us=5', body=b"x")
    hops = x.fields["cdnlab-hop"]
    assert hops.startswith('"origin-1";us=5, "edge-icn"')
    assert "us=300000;up=250000" in hops
    assert 'choice="origin-1"' in hops
    assert "origin-2:turn" in hops
    assert "lifetime 60 s from max-age" in hops
    x = lab.ask("/", "Cdnlab-Explain: 1.x", explain=True)
    assert x.said.startswith("edge-icn; hit")
    assert "age 0.3 s, 59 s left, by max-age" in x.fields["cdnlab-hop"]
    x = lab.ask("/", "Cdnlab-Explain: forged")
    assert "cdnlab-hop" not in x.fields


def test_an_explanation_says_why_it_was_not_stored(lab: Lab) -> None:
    x = lab.ask("/", "Cdnlab-Explain: 1.x", explain=True)
    lab.origin.last.answer(200, "Cache-Control: private", body=b"x")
    assert "this cache is shared" in x.fields["cdnlab-hop"]
