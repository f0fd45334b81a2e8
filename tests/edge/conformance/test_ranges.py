"""Parts of a stored whole, and the conditions that go before them (RFC 9110 §13.1.5, §14, §15.3.7)."""

from __future__ import annotations

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.scripted import unmodified
from tests.edge.conformance.site import TEXT, Site, is_part

HOUR = "Cache-Control: max-age=3600"
STALE = ("Cache-Control: max-age=10", "Age: 20")
TAG = 'ETag: "1"'
CHANGED = "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT"


# -- of a stored whole -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        ("bytes=0-1", 0, 1),
        ("bytes=0-0", 0, 0),
        ("bytes=5-9", 5, 9),
        ("bytes=19-19", 19, 19),
        ("bytes=1-", 1, 19),
        ("bytes=0-", 0, 19),
        ("bytes=15-100", 15, 19),
        ("bytes=-1", 19, 19),
        ("bytes=-5", 15, 19),
        ("bytes=-100", 0, 19),
        ("bytes=005-009", 5, 9),
        ("Bytes=5-9", 5, 9),
        ("bytes=5-99999999999999999999", 5, 19),
    ],
)
@shows("9110/14.1.2-1", "9110/14.2-3", "9110/15.3.7-1", "9110/15.3.7.2-2", "9111/3.3-2")
def test_a_part_of_a_stored_whole(site: Site, value: str, first: int, last: int, framing: str) -> None:
    page = site.holding(HOUR, body=TEXT, framing=framing)
    is_part(page.get(f"Range: {value}").hit(), first, last)


@pytest.mark.parametrize(
    "value", ["bytes=20-", "bytes=20-25", "bytes=100-200", "bytes=-0", "bytes=99999999999999999999-"]
)
@shows("9110/14.2-3", "9110/15.5.17-1")
def test_a_part_that_is_not_there(site: Site, value: str) -> None:
    again = site.holding(HOUR, body=TEXT).get(f"Range: {value}").hit()
    assert again.status == 416
    assert again["content-range"] == "bytes */20"


@pytest.mark.parametrize(
    "value",
    [
        "items=0-1",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=5-2",
        "bytes=--1",
        "bytes=1",
        "bytes=0-1-2",
        "0-1",
        "",
        "bytes=0x1-5",
        "bytes=+1-5",
        "bytes=1.0-5",
        "lines=1-2",
    ],
)
@shows("9110/14.2-2")
def test_a_range_that_is_none_is_ignored(site: Site, value: str) -> None:
    again = site.holding(HOUR, body=TEXT).get(f"Range: {value}").hit()
    assert (again.status, again.body) == (200, TEXT)


@shows("9110/14.2-1")
def test_range_counts_with_get_only(site: Site) -> None:
    page = site.holding(HOUR, body=TEXT)
    head = page.head("Range: bytes=0-1").hit()
    assert (head.status, head["content-length"], head["content-range"]) == (200, "20", "")


@pytest.mark.parametrize("status", [203, 404, 301, 500])
@shows("9110/14.2-3", "9111/3.3-2")
def test_only_a_200_has_parts(site: Site, status: int) -> None:
    page = site.holding(HOUR, status=status, body=TEXT)
    again = page.get("Range: bytes=0-1").hit()
    assert (again.status, again.body) == (status, TEXT)


@shows("9110/15.3.7-2", "9111/4-5", "9111/3.1-1")
def test_a_part_bears_what_the_whole_bears(site: Site) -> None:
    lines = (
        HOUR,
        TAG,
        "Expires: Thu, 18 Aug 2050 02:01:18 GMT",
        "Content-Location: /x",
        "Vary: Foo",
        "X-Other: 1",
    )
    again = site.holding(*lines, CHANGED, "Age: 10", body=TEXT).get("Range: bytes=1-2").hit()
    for line in lines:
        name, _, value = line.partition(": ")
        assert again.all(name) == [value]
    assert again.age >= 10
    assert len(again.all("date")) == 1


KNOWN = ("Content-Type: text/x-odd", "Content-Language: ko", "Content-Encoding: x-odd", CHANGED)


@shows("9110/15.3.7-3", "9110/15.3.7-4", "9110/15.3.7-2")
@pytest.mark.parametrize("condition", [(), ('If-Range: "1"',)], ids=["without", "with If-Range"])
def test_a_part_says_what_it_is_of_unless_its_client_knows(site: Site, condition: tuple[str, ...]) -> None:
    page = site.holding(HOUR, TAG, *KNOWN, "Vary: Foo", "X-Other: 1", body=TEXT)
    part = page.get("Range: bytes=5-9", *condition).hit()
    is_part(part, 5, 9)
    for line in KNOWN:
        name, _, value = line.partition(": ")
        assert part.all(name) == ([] if condition else [value])
    assert (part["etag"], part["vary"], part["cache-control"]) == ('"1"', "Foo", "max-age=3600")


@shows("9110/15.3.7-1")
@pytest.mark.parametrize("name", ["Content-Digest", "Content-MD5"])
def test_a_part_does_not_bear_the_digest_of_the_whole(site: Site, name: str) -> None:
    page = site.holding(HOUR, f"{name}: x=:AAAA:", "Repr-Digest: sha-256=:AAAA:", body=TEXT)
    part = page.get("Range: bytes=5-9").hit()
    assert name not in part
    assert part["repr-digest"] == "sha-256=:AAAA:"


@shows("9110/14.2-4", "9110/15.3.7.2-1")
@pytest.mark.parametrize(
    "value",
    [
        "bytes=0-1,4-5",
        "bytes=0-1, 4-5",
        "bytes=0-1,,4-5,",
        "bytes=0-1 ,\t4-5",
        "bytes=0-1,50-60",
        "bytes=50-60,70-80",
        "bytes=0-,0-,0-,0-",
        "bytes=" + ",".join(["0-"] * 100),
        "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 20, 2)),
    ],
)
def test_several_ranges_are_ignored(site: Site, value: str) -> None:
    again = site.holding(HOUR, "Content-Type: text/x-odd", body=TEXT).get(f"Range: {value}").hit()
    assert (again.status, again.body, again["content-type"]) == (200, TEXT, "text/x-odd")


# -- If-Range, and the order of conditions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "condition", "counts"),
    [
        (TAG, '"1"', True),
        (TAG, '"2"', False),
        (TAG, 'W/"1"', False),
        ('ETag: W/"1"', 'W/"1"', False),
        ('ETag: W/"1"', '"1"', False),
        (TAG, "*", False),
        (TAG, "1", False),
        (TAG, '"1", "2"', False),
        (TAG, "", False),
        (CHANGED, "Thu, 01 Jan 2015 00:00:00 GMT", True),
        (CHANGED, "Fri, 02 Jan 2015 00:00:00 GMT", False),
        (CHANGED, "Wed, 31 Dec 2014 23:59:59 GMT", False),
        (CHANGED, "junk", False),
        (CHANGED, '"1"', False),
        (TAG, "Thu, 01 Jan 2015 00:00:00 GMT", False),
    ],
)
@shows("9110/13.1.5-1", "9110/13.1.5-2", "9110/8.8.3.2-1", "9111/4.3.2-1")
def test_if_range(site: Site, stored: str, condition: str, counts: bool) -> None:
    page = site.holding(HOUR, stored, body=TEXT)
    again = page.get("Range: bytes=5-9", f"If-Range: {condition}").hit()
    if counts:
        is_part(again, 5, 9)
    else:
        assert (again.status, again.body) == (200, TEXT)


@shows("9110/13.1.5-1", "9110/8.8.2.2-1")
def test_a_last_modified_that_may_have_changed_within_its_second_is_no_ground(site: Site) -> None:
    page = site.holding(HOUR, "Date: {-5}", "Last-Modified: {-5}", body=TEXT)
    changed = page.get().hit()["last-modified"]
    again = page.get("Range: bytes=5-9", f"If-Range: {changed}").hit()
    assert (again.status, again.body) == (200, TEXT)


@shows("9110/13.1.5-3")
def test_if_range_without_range_is_ignored(site: Site) -> None:
    again = site.holding(HOUR, TAG, body=TEXT).get('If-Range: "1"').hit()
    assert (again.status, again.body) == (200, TEXT)


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        (['If-None-Match: "1"'], 304),
        (['If-None-Match: "2"'], 206),
        (["If-Modified-Since: Thu, 01 Jan 2015 00:00:00 GMT"], 304),
        (["If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT"], 206),
        (['If-None-Match: "2"', "If-Modified-Since: {-60}"], 206),
        (['If-None-Match: "1"', 'If-Range: "1"'], 304),
        (['If-None-Match: "2"', 'If-Range: "1"'], 206),
        (['If-None-Match: "2"', 'If-Range: "2"'], 200),
    ],
    ids=str,
)
@shows("9110/13.2.2-1")
def test_conditions_go_before_ranges(site: Site, conditions: list[str], status: int) -> None:
    page = site.holding(HOUR, TAG, CHANGED, body=TEXT)
    assert page.get("Range: bytes=0-1", *conditions).hit().status == status
    assert page.get("Range: bytes=100-", *conditions).hit().status == (416 if status == 206 else status)


@shows("9111/4.3.4-3", "9110/14.2-3")
def test_a_part_of_what_was_validated(site: Site) -> None:
    page = site.holding(*STALE, TAG, body=TEXT)
    again = page.get("Range: bytes=5-9", answer=unmodified(TAG, HOUR))
    assert again.asked
    is_part(again, 5, 9)
