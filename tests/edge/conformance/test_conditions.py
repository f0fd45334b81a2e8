"""Conditions that clients send: who evaluates them, and in what order (RFC 9111 §4.3.2, RFC 9110 §13, §15.4.5)."""

from __future__ import annotations

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.scripted import GONE, answer, unmodified
from tests.edge.conformance.site import Site

HOUR = "Cache-Control: max-age=3600"
STALE = ("Cache-Control: max-age=10", "Age: 20")
CHANGED = "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT"
SINCE = "If-Modified-Since: Thu, 01 Jan 2015 00:00:00 GMT"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ('"abc"', '"abc"'),
        ('W/"abc"', 'W/"abc"'),
        ('"abc"', 'W/"abc"'),
        ('W/"abc"', '"abc"'),
        ('"abc"', '"abc", "x", "y"'),
        ('"abc"', '"x", "abc", "y"'),
        ('"abc"', '"x","y","abc"'),
        ('"abc"', '"x" , W/"abc"'),
        ('"abc"', ' ,, "abc",'),
        ('"abc"', "*"),
        ('"a, b"', '"a, b"'),
        ('"a\\"', '"a\\"'),
        ('"caf\xe9"', '"caf\xe9"'),
        ('""', '""'),
    ],
)
@shows("9111/4.3.2-1", "9110/13.1.2-1", "9110/13.1.2-2", "9110/8.8.3.2-1", "9110/15.4.5-3")
def test_a_tag_that_matches_is_answered_304(site: Site, stored: str, asked: str, method: str) -> None:
    page = site.holding(HOUR, f"ETag: {stored}")
    again = page.ask(method, f"If-None-Match: {asked}").hit()
    assert (again.status, again.body) == (304, b"")
    assert again.all("etag") == [stored]


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ('"abc"', '"abd"'),
        ('"abc"', '"ABC"'),
        ('"abc"', '"abc "'),
        ('"abc"', '"x", "y"'),
        ('"abc"', '"x, "abc", y"'),
        ('"a"', '"a, b"'),
        ('"abc"', "abc"),
        ('"abc"', 'w/"abc"'),
        ('"abc"', ""),
        ('"*"', '"x"'),
    ],
)
@shows("9110/13.1.2-1", "9111/4.3.2-1")
def test_a_tag_that_does_not_match_is_answered_whole(site: Site, stored: str, asked: str) -> None:
    page = site.holding(HOUR, f"ETag: {stored}")
    again = page.get(f"If-None-Match: {asked}").hit()
    assert again.status == 200
    assert again.body == page.last


@shows("9110/13.1.2-1")
def test_a_star_matches_what_has_no_tag(site: Site) -> None:
    page = site.holding(HOUR)
    assert page.get("If-None-Match: *").hit().status == 304
    assert page.get('If-None-Match: "x"').hit().status == 200


@shows("9110/13.1.2-1", "9110/5.3-1")
def test_tags_on_several_lines_are_one_list(site: Site) -> None:
    page = site.holding(HOUR, 'ETag: "abc"')
    assert page.get('If-None-Match: "x"', 'If-None-Match: "abc"').hit().status == 304
    assert page.get('If-None-Match: "x"', 'If-None-Match: "y"').hit().status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "value",
    [
        "Thu, 01 Jan 2015 00:00:00 GMT",
        "Thursday, 01-Jan-15 00:00:00 GMT",
        "Thu Jan  1 00:00:00 2015",
        "Fri, 02 Jan 2015 00:00:00 GMT",
        "{-60}",
    ],
)
@shows("9110/13.1.3-3", "9111/4.3.2-1", "9110/5.6.7-1")
def test_a_date_not_before_the_change_is_answered_304(site: Site, value: str, method: str) -> None:
    page = site.holding(HOUR, CHANGED)
    again = page.ask(method, f"If-Modified-Since: {value}").hit()
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("value", ["Wed, 31 Dec 2014 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"])
@shows("9110/13.1.3-3")
def test_a_date_before_the_change_is_answered_whole(site: Site, value: str) -> None:
    page = site.holding(HOUR, CHANGED)
    assert page.get(f"If-Modified-Since: {value}").hit().status == 200


@pytest.mark.parametrize(
    "value", ["junk", "", "0", "1420070400", "Thu, 01 Jan 2015 00:00:00 CET", "2015-01-01"]
)
@shows("9110/13.1.3-2")
def test_a_date_that_is_none_is_ignored(site: Site, value: str) -> None:
    page = site.holding(HOUR, CHANGED)
    assert page.get(f"If-Modified-Since: {value}").hit().status == 200


@shows("9110/13.1.3-2")
def test_two_dates_are_no_date(site: Site) -> None:
    page = site.holding(HOUR, CHANGED)
    assert page.get(SINCE, SINCE).hit().status == 200


@shows("9111/4.3.2-4")
def test_date_stands_in_for_last_modified(site: Site) -> None:
    page = site.holding(HOUR, date=-1000)
    assert page.get("If-Modified-Since: {-900}").hit().status == 304
    assert page.get("If-Modified-Since: {-1100}").hit().status == 200


@shows("9111/4.3.2-4")
def test_the_time_of_receipt_stands_in_for_date(site: Site) -> None:
    page = site.holding(HOUR, date=None)
    assert page.get("If-Modified-Since: {+10}").hit().status == 304
    assert page.get("If-Modified-Since: {-60}").hit().status == 200


@pytest.mark.parametrize(
    ("tag", "since", "status"),
    [
        ('"abc"', "Thu, 01 Jan 1970 00:00:00 GMT", 304),
        ('"abc"', "{-60}", 304),
        ('"x"', "{-60}", 200),
        ('"x"', "Thu, 01 Jan 2015 00:00:00 GMT", 200),
        ('"abc"', "junk", 304),
    ],
)
@shows("9110/13.1.3-1", "9110/13.2.2-1")
def test_a_tag_goes_before_a_date(site: Site, tag: str, since: str, status: int) -> None:
    page = site.holding(HOUR, 'ETag: "abc"', CHANGED)
    assert page.get(f"If-None-Match: {tag}", f"If-Modified-Since: {since}").hit().status == status
    assert page.get(f"If-Modified-Since: {since}", f"If-None-Match: {tag}").hit().status == status


@shows("9110/15.4.5-1", "9110/15.4.5-2", "9111/4-5")
@pytest.mark.parametrize("way", ["stored", "validated", "fetched", "stale"])
def test_a_304_bears_what_it_must_whichever_way_it_came_about(site: Site, way: str) -> None:
    must = ('ETag: "abc"', "Content-Location: /x", "Vary: Foo", "Expires: Thu, 18 Aug 2050 02:01:18 GMT")
    others = ("Content-Type: text/plain", "Content-Encoding: x", "Content-Language: ko")
    control = "Cache-Control: max-age=3600, stale-if-error=600"
    stale = "Age: 3700" if way in ("validated", "stale") else "Age: 10"
    whole = answer(control, *must, *others, stale)
    page = site.page()
    if way != "fetched":
        page.get(answer=whole)
    says = {"stored": None, "validated": unmodified('ETag: "abc"'), "fetched": whole, "stale": GONE}[way]
    again = page.get('If-None-Match: "abc"', answer=says)
    assert bool(again.asked) == (way != "stored")
    assert again.status == 304
    for line in (control, *must):
        name, _, value = line.partition(": ")
        assert again.all(name) == [value]
    assert len(again.all("date")) == 1
    assert not {"content-type", "content-encoding", "content-language"} & {name for name, _ in again.fields}
    assert again["content-length"] in ("", str(len(whole.body)))
    if way in ("stored", "stale"):
        assert again.age >= 10


@pytest.mark.parametrize("status", [404, 410, 301, 500])
@shows("9110/13.2.1-1")
def test_conditions_count_for_a_stored_200_only(site: Site, status: int) -> None:
    page = site.holding(HOUR, 'ETag: "abc"', CHANGED, status=status)
    again = page.get('If-None-Match: "abc"', SINCE).hit()
    assert again.status == status


@pytest.mark.parametrize("condition", ['If-Match: "x"', "If-Match: *", "If-Unmodified-Since: {-864000}"])
@shows("9111/4.3.2-2", "9110/13.1.1-1")
def test_if_match_and_if_unmodified_since_are_not_evaluated_here(site: Site, condition: str) -> None:
    page = site.holding(HOUR, 'ETag: "abc"', CHANGED)
    again = page.get(condition, answer=answer(status=412)).fetched()
    assert again.status == 412
    assert condition.partition(":")[0].lower() in again.asked[0]


@pytest.mark.parametrize("condition", ['If-None-Match: "abc"', "If-None-Match: *", SINCE, 'If-Match: "x"'])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@shows("9111/4.3.2-3")
def test_nothing_is_evaluated_where_nothing_is_stored(site: Site, condition: str, method: str) -> None:
    page = site.page()
    first = page.ask(method, condition, answer=answer("Cache-Control: no-store", 'ETag: "abc"', CHANGED))
    assert first.asked
    assert first.status == 200


@pytest.mark.parametrize(
    ("condition", "status"), [('If-None-Match: "abc"', 304), (SINCE, 304), ('If-None-Match: "x"', 200)]
)
@shows("9111/4.3.2-3", "9110/13.1.2-2")
def test_what_is_fetched_for_the_store_meets_the_clients_condition(
    site: Site, condition: str, status: int
) -> None:
    page = site.page()
    first = page.get(condition, answer=answer(HOUR, 'ETag: "abc"', CHANGED))
    assert not first.asked[0].conditional
    assert first.status == status
    assert page.get().hit().status == 200


@shows("9111/4.3.2-3", "9110/13.1.2-2")
def test_an_origins_304_to_the_clients_own_condition_is_passed_on_and_not_stored(site: Site) -> None:
    page = site.page()
    first = page.get('If-None-Match: "abc"', answer=unmodified('ETag: "abc"', HOUR, "X-A: 1"))
    assert (first.status, first["etag"], first["x-a"]) == (304, '"abc"', "1")
    assert page.get(answer=answer(HOUR, 'ETag: "abc"')).fetched().status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@shows("9111/4.3.2-3", "9111/4-6")
def test_conditions_on_unsafe_methods_go_to_the_origin(site: Site, method: str) -> None:
    page = site.holding(HOUR, 'ETag: "abc"', CHANGED)
    again = page.ask(
        method, "If-None-Match: *", SINCE, 'If-Match: "abc"', answer=answer(status=412), body=b"x"
    )
    assert again.status == 412
    assert again.asked[0]["if-none-match"] == "*"
    assert again.asked[0]["if-match"] == '"abc"'


# -- a stale response, and a client with conditions ------------------------------------------------------------------


@shows("9111/4.3.2-1", "9110/13.1.2-2")
def test_after_validation_the_client_is_told_304(site: Site) -> None:
    page = site.holding(*STALE, 'ETag: "abc"', CHANGED)
    again = page.get('If-None-Match: "abc"', answer=unmodified('ETag: "abc"', HOUR)).validated()
    assert again.status == 304
    page.get().hit()


@shows("9111/4.3.2-1", "9110/13.1.3-3")
def test_after_validation_by_date_the_client_is_told_304(site: Site) -> None:
    page = site.holding(*STALE, CHANGED)
    assert page.get(SINCE, answer=unmodified(CHANGED, HOUR)).validated().status == 304
    page.get().hit()


@shows("9111/4.3.2-5")
def test_a_client_with_another_tag_gets_the_whole_after_validation(site: Site) -> None:
    page = site.holding(*STALE, 'ETag: "abc"', "X-Mark: old")
    again = page.get(
        'If-None-Match: "mine"', answer=unmodified('ETag: "abc"', HOUR, "X-Mark: new")
    ).validated()
    assert '"abc"' in again.asked[0]["if-none-match"]
    assert (again.status, again.body, again["x-mark"]) == (200, page.last, "new")


@shows("9111/4.3.3-1", "9110/13.1.2-2")
def test_a_client_that_has_the_new_one_is_not_sent_it_again(site: Site) -> None:
    page = site.holding(*STALE, 'ETag: "old"')
    again = page.get('If-None-Match: "new"', answer=answer(HOUR, 'ETag: "new"'))
    assert again.asked
    assert again.status in (200, 304)
    assert page.get('If-None-Match: "new"').hit().status == 304
