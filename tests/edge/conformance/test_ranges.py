"""Parts: of a stored whole, stored themselves, and put together (RFC 9111 §3.3, §3.4, RFC 9110 §14, §15.3.7)."""

from __future__ import annotations

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.site import GONE, Answer, Asked, Reply, Site, answer, unmodified, whole_or_part

HOUR = "Cache-Control: max-age=3600"
STALE = ("Cache-Control: max-age=10", "Age: 20")
TAG = 'ETag: "1"'
CHANGED = "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT"
TEXT = b"0123456789abcdefghij"


def is_part(reply: Reply, first: int, last: int, text: bytes = TEXT) -> None:
    """The reply is a 206 with these bytes of the text."""
    assert reply.status == 206, str(reply)
    assert reply.body == text[first : last + 1]
    assert reply.all("content-range") == [f"bytes {first}-{last}/{len(text)}"]
    assert reply.all("content-length") == [str(last + 1 - first)]


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


# -- parts that are stored -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "first", "last"),
    [
        ("bytes=10-19", 10, 19),
        ("bytes=12-15", 12, 15),
        ("bytes=12-", 12, 19),
        ("bytes=-1", 19, 19),
        ("bytes=19-19", 19, 19),
    ],
)
@pytest.mark.parametrize("cold", ["bytes=-10", "bytes=10-19", "bytes=10-"])
@shows("9111/3.3-3", "9111/3.3-2")
def test_a_stored_part_answers_for_what_lies_in_it(
    site: Site, cold: str, value: str, first: int, last: int
) -> None:
    page = site.page()
    is_part(page.get(f"Range: {cold}", answer=whole_or_part(TEXT, HOUR, TAG)), 10, 19)
    is_part(page.get(f"Range: {value}").hit(), first, last)


@pytest.mark.parametrize("value", ["bytes=0-4", "bytes=5-12", "bytes=-15", "bytes=0-"])
@shows("9111/3.3-1", "9111/3.3-2")
def test_a_stored_part_does_not_answer_for_more(site: Site, value: str) -> None:
    page = site.page()
    only = answer(HOUR, TAG, "Content-Range: bytes 10-19/20", status=206, body=TEXT[10:])
    page.get("Range: bytes=10-19", answer=only)
    again = page.get(f"Range: {value}", answer=whole_or_part(TEXT, HOUR, TAG))
    assert again.asked
    first = 0 if value in ("bytes=0-4", "bytes=0-") else 5
    is_part(again, first, {"bytes=0-4": 4, "bytes=5-12": 12}.get(value, 19))


@shows("9111/3.3-1", "9111/3.3-2")
@pytest.mark.parametrize("fields", [(TAG,), (), ('ETag: W/"1"',)], ids=["strong", "none", "weak"])
def test_a_stored_part_is_never_the_whole(site: Site, fields: tuple[str, ...]) -> None:
    page = site.page()
    page.get("Range: bytes=0-9", answer=whole_or_part(TEXT, HOUR, *fields))
    again = page.get(answer=whole_or_part(TEXT, HOUR, *fields))
    assert (again.status, again.body, again["content-range"]) == (200, TEXT, "")
    assert page.get().hit().body == TEXT


@shows("9111/3.3-1", "9111/3.4-1")
def test_a_stored_part_of_what_has_changed_is_dropped(site: Site) -> None:
    page = site.page()
    page.get(
        "Range: bytes=0-9",
        answer=answer(HOUR, TAG, "Content-Range: bytes 0-9/20", status=206, body=TEXT[:10]),
    )
    newer = TEXT.upper() + b"!"
    again = page.get(answer=whole_or_part(newer, HOUR, 'ETag: "2"'))
    assert (again.status, again.body) == (200, newer)
    assert page.get().hit().body == newer


def in_two_parts(
    site: Site, first: tuple[str, ...], second: tuple[str, ...], text: bytes = TEXT
) -> tuple[Reply, Reply]:
    """The reply for what lies across two parts that came with these fields, and then for the whole; the origin has
    `text` by then, with the second's fields."""
    page = site.page()
    page.get(
        "Range: bytes=0-9", answer=answer(*first, "Content-Range: bytes 0-9/20", status=206, body=TEXT[:10])
    )
    page.get(
        "Range: bytes=10-19",
        answer=answer(*second, "Content-Range: bytes 10-19/20", status=206, body=text[10:]),
    )
    across = page.get("Range: bytes=5-14", answer=whole_or_part(text, *second))
    return across, page.get(answer=whole_or_part(text, *second))


@shows("9111/3.4-1", "9110/15.3.7.3-1", "9111/3.3-4")
def test_parts_with_one_strong_tag_are_combined(site: Site) -> None:
    across, whole = in_two_parts(site, (HOUR, TAG), (HOUR, TAG))
    is_part(across.hit(), 5, 14)
    assert (whole.hit().status, whole.body, whole["content-range"]) == (200, TEXT, "")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (TAG, 'ETag: "2"'),
        ('ETag: W/"1"', 'ETag: W/"2"'),
        (TAG, 'ETag: W/"1"'),
        (TAG, "X-None: 1"),
        ("X-None: 1", TAG),
        (CHANGED, "Last-Modified: Fri, 02 Jan 2015 00:00:00 GMT"),
    ],
)
@shows("9111/3.4-1", "9110/15.3.7.3-1")
def test_parts_of_different_versions_are_not(site: Site, first: str, second: str) -> None:
    text = TEXT.upper().translate(bytes.maketrans(b"0123456789", b"9876543210"))
    across, whole = in_two_parts(site, (HOUR, first), (HOUR, second), text)
    assert across.asked
    is_part(across, 5, 14, text)
    assert (whole.status, whole.body) == (200, text)


@pytest.mark.parametrize("validator", ['ETag: W/"1"', "X-None: 1", "Last-Modified: {+0}"])
@shows("9111/3.4-1", "9110/8.8.2.2-1")
def test_parts_without_a_strong_validator_are_not(site: Site, validator: str) -> None:
    across, _ = in_two_parts(site, (HOUR, validator), (HOUR, validator))
    assert across.asked
    is_part(across, 5, 14)


@shows("9111/3.4-2", "9111/3.2-1")
def test_the_last_part_updates_the_fields(site: Site) -> None:
    across, whole = in_two_parts(site, (HOUR, TAG, "X-Mark: old", "X-Stays: 1"), (HOUR, TAG, "X-Mark: new"))
    for reply in (across.hit(), whole.hit()):
        assert (reply["x-mark"], reply["x-stays"]) == ("new", "1")


@shows("9110/15.3.7.3-1", "9111/3.4-1")
def test_a_part_of_another_version_leaves_a_fresh_whole_or_replaces_it(site: Site) -> None:
    page = site.holding(HOUR, TAG, body=TEXT)
    page.get(
        "Range: bytes=0-1", "Cache-Control: no-cache", answer=whole_or_part(TEXT.upper(), HOUR, 'ETag: "2"')
    )
    again = page.get(answer=whole_or_part(TEXT.upper(), HOUR, 'ETag: "2"'))
    assert again.body in (TEXT, TEXT.upper())


@shows("9111/3.3-1")
def test_a_part_that_was_cut_short_does_not_answer_for_what_is_missing(site: Site) -> None:
    page = site.page()
    page.get(
        "Range: bytes=0-9",
        answer=answer(HOUR, TAG, "Content-Range: bytes 0-9/20", status=206, body=TEXT[:10], cut=5),
    )
    again = page.get("Range: bytes=5-9", answer=whole_or_part(TEXT, HOUR, TAG))
    assert again.asked
    is_part(again, 5, 9)


@shows("9111/3-4", "9111/4-4")
@pytest.mark.parametrize("control", ["no-store", "private", "max-age=0"])
def test_parts_obey_directives_too(site: Site, control: str) -> None:
    page = site.page()
    is_part(page.get("Range: bytes=0-9", answer=whole_or_part(TEXT, f"Cache-Control: {control}", TAG)), 0, 9)
    again = page.get("Range: bytes=2-4", answer=whole_or_part(TEXT, f"Cache-Control: {control}", TAG))
    assert again.asked
    is_part(again, 2, 4)


@pytest.mark.parametrize(
    "content_range", ["bytes 0-9/*", "bytes 0-5/20", "bytes 9-0/20", "junk", "bytes 0-9/5", "items 0-9/20"]
)
@shows("9111/3.3-1", "9110/14.4-1")
def test_a_part_that_says_nonsense_of_itself_is_not_stored(site: Site, content_range: str) -> None:
    page = site.page()
    lie = answer(HOUR, TAG, f"Content-Range: {content_range}", status=206, body=TEXT[:10])
    page.get("Range: bytes=0-9", answer=lie)
    again = page.get(answer=whole_or_part(TEXT, HOUR, TAG))
    assert (again.status, again.body) == (200, TEXT)


@shows("9111/3-3")
def test_an_unasked_206_is_not_reused_as_the_whole(site: Site) -> None:
    page = site.page()
    page.get(answer=answer(HOUR, TAG, "Content-Range: bytes 0-9/20", status=206, body=TEXT[:10]))
    again = page.get(answer=whole_or_part(TEXT, HOUR, TAG))
    assert (again.status, again.body) == (200, TEXT)


@shows("9111/3-3", "9110/15.3.7.2-1")
def test_multipart_of_the_origin_is_not_reused(site: Site) -> None:
    page = site.page()
    body = b"--x\r\nContent-Range: bytes 0-1/20\r\n\r\n01\r\n--x\r\nContent-Range: bytes 4-5/20\r\n\r\n45\r\n--x--\r\n"
    many = answer(HOUR, TAG, "Content-Type: multipart/byteranges; boundary=x", status=206, body=body)

    def says(asked: Asked) -> Answer:
        return many if "," in asked["range"] else whole_or_part(TEXT, HOUR, TAG)(asked)

    page.get("Range: bytes=0-1,4-5", answer=says)
    again = page.get("Range: bytes=0-1", answer=says)
    is_part(again, 0, 1)
    whole = page.get(answer=says)
    assert (whole.status, whole.body) == (200, TEXT)


@shows("9111/3.3-1")
def test_an_origin_that_dies_leaves_a_stored_part_as_it_was(site: Site) -> None:
    page = site.page()
    page.get("Range: bytes=0-9", answer=whole_or_part(TEXT, HOUR, TAG))
    page.get("Range: bytes=5-15", answer=GONE)
    is_part(page.get("Range: bytes=2-4", answer=whole_or_part(TEXT, HOUR, TAG)), 2, 4)


@shows("9111/3.3-3", "9111/4-4")
def test_a_stale_part_is_not_reused_as_it_lies(site: Site) -> None:
    def says(asked: Asked) -> Answer:
        return unmodified(TAG, HOUR) if asked.conditional else whole_or_part(TEXT, HOUR, TAG)(asked)

    page = site.page()
    page.get("Range: bytes=0-9", answer=whole_or_part(TEXT, *STALE, TAG))
    again = page.get("Range: bytes=2-4", answer=says)
    assert again.asked
    is_part(again, 2, 4)


@shows("9111/4.4-1", "9111/3.3-3")
def test_a_stored_part_is_invalidated_too(site: Site) -> None:
    page = site.page()
    page.get("Range: bytes=0-9", answer=whole_or_part(TEXT, HOUR, TAG))
    page.ask("PUT", answer=answer(), body=b"x")
    again = page.get("Range: bytes=2-4", answer=whole_or_part(TEXT.upper(), HOUR, TAG))
    assert again.asked
    is_part(again, 2, 4, TEXT.upper())


@shows("9111/3.3-1", "9110/9.3.2-1")
def test_a_stored_part_does_not_answer_a_head(site: Site) -> None:
    page = site.page()
    page.get("Range: bytes=0-9", answer=whole_or_part(TEXT, HOUR, TAG))
    head = page.head(answer=answer(HOUR, TAG, body=TEXT))
    assert head.asked
    assert (head.status, head["content-length"]) == (200, "20")


@shows("9111/3.3-1", "9111/4.1-1")
def test_parts_of_variants_are_kept_apart(site: Site) -> None:
    page = site.page()
    page.get("Foo: 1", "Range: bytes=0-9", answer=whole_or_part(TEXT, HOUR, TAG, "Vary: Foo"))
    again = page.get("Foo: 2", "Range: bytes=2-4", answer=whole_or_part(TEXT.upper(), HOUR, TAG, "Vary: Foo"))
    is_part(again.fetched(), 2, 4, TEXT.upper())
    is_part(page.get("Foo: 1", "Range: bytes=2-4").hit(), 2, 4)
