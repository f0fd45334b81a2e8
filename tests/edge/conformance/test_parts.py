"""Parts that are stored, and put together (RFC 9111 §3.3, §3.4, RFC 9110 §15.3.7.3)."""

from __future__ import annotations

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.scripted import GONE, Answer, Asked, answer, unmodified, whole_or_part
from tests.edge.conformance.site import TEXT, Reply, Site, is_part

HOUR = "Cache-Control: max-age=3600"
STALE = ("Cache-Control: max-age=10", "Age: 20")
TAG = 'ETag: "1"'
CHANGED = "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT"


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


@shows("9110/15.3.7-4", "9111/3.1-1")
def test_a_part_that_left_its_fields_out_is_not_stored_alone(site: Site) -> None:
    page = site.page()
    brief = answer(HOUR, TAG, "Content-Range: bytes 0-9/20", status=206, body=TEXT[:10])
    page.get("Range: bytes=0-9", 'If-Range: "1"', answer=brief)
    again = page.get("Range: bytes=0-9", answer=whole_or_part(TEXT, HOUR, TAG, "Content-Type: text/x-odd"))
    assert again["content-type"] == "text/x-odd"
    is_part(again, 0, 9)


@shows("9110/15.3.7-4", "9111/3.4-2")
def test_but_it_joins_what_is_there(site: Site) -> None:
    page = site.page()
    page.get("Range: bytes=0-9", answer=whole_or_part(TEXT, HOUR, TAG, "Content-Type: text/x-odd"))
    brief = answer(HOUR, TAG, "Content-Range: bytes 10-19/20", status=206, body=TEXT[10:])
    is_part(page.get("Range: bytes=10-19", 'If-Range: "1"', answer=brief), 10, 19)
    whole = page.get()
    assert not whole.asked
    assert (whole.status, whole.body, whole["content-type"]) == (200, TEXT, "text/x-odd")
