"""How long a response is fresh: lifetimes, ages, and how their fields are read (RFC 9111 §4.2, §5)."""

from __future__ import annotations

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.scripted import answer
from tests.edge.conformance.site import Site

HOUR = "Cache-Control: max-age=3600"
LONG_AGO = "Last-Modified: {-864000}"


# -- which field decides ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        [HOUR],
        ["Cache-Control: s-maxage=3600"],
        ["Expires: {+3600}"],
        ["Cache-Control: s-maxage=3600, max-age=1"],
        ["Cache-Control: max-age=1, s-maxage=3600"],
        ["Cache-Control: max-age=1", "Cache-Control: s-maxage=3600"],
        [HOUR, "Expires: {-3600}"],
        [HOUR, "Expires: 0"],
        ["Expires: {-3600}", "Cache-Control: s-maxage=3600, max-age=1"],
        ["Cache-Control: public", "Expires: {+3600}"],
    ],
    ids=str,
)
@shows("9111/4.2.1-1", "9111/4.2-1", "9111/5.3-2", "9111/5.2.2.10-1", "9110/9.3.1-1")
def test_what_is_fresh_by_the_first_field_in_order_is_reused(site: Site, fields: list[str]) -> None:
    page = site.holding("Age: 100", *fields)
    page.get().hit()


@pytest.mark.parametrize(
    "fields",
    [
        ["Cache-Control: max-age=50"],
        ["Cache-Control: max-age=100"],
        ["Cache-Control: s-maxage=50"],
        ["Expires: {+50}"],
        ["Expires: {-50}"],
        ["Cache-Control: s-maxage=50, max-age=3600"],
        ["Cache-Control: max-age=3600, s-maxage=50"],
        ["Cache-Control: max-age=3600", "Cache-Control: s-maxage=50"],
        ["Cache-Control: max-age=50", "Expires: {+3600}"],
        ["Cache-Control: max-age=0", "Expires: {+3600}"],
        ["Cache-Control: s-maxage=0", "Expires: {+3600}"],
        ["Expires: {+3600}", "Cache-Control: s-maxage=50, max-age=3600"],
    ],
    ids=str,
)
@shows("9111/4.2.1-1", "9111/4.2-1", "9111/4-4", "9111/5.2.2.1-1", "9111/5.3-2", "9111/5.2.2.10-1")
def test_what_is_stale_by_the_first_field_in_order_is_not(site: Site, fields: list[str]) -> None:
    page = site.holding("Age: 100", *fields)
    page.get(answer=answer()).fetched()


@shows("9111/4-4")
def test_what_says_nothing_of_freshness_is_not_reused(site: Site) -> None:
    page = site.holding()
    page.get(answer=answer()).fetched()


@shows("9111/4.2.1-2")
def test_expires_counts_from_the_origins_own_clock(site: Site) -> None:
    ahead = site.holding("Age: 100", "Expires: {+1050}", date=1000)
    ahead.get(answer=answer()).fetched()
    ahead = site.holding("Age: 10", "Expires: {+1050}", date=1000)
    ahead.get().hit()


@shows("9111/4.2.1-2", "9110/6.6.1-1")
@pytest.mark.parametrize(("seconds", "fresh"), [(3600, True), (-10, False)])
def test_expires_counts_from_the_receipt_where_there_is_no_date(
    site: Site, seconds: int, fresh: bool
) -> None:
    page = site.holding(f"Expires: {{{seconds:+d}}}", date=None)
    again = page.get(answer=answer())
    if fresh:
        again.hit()
    else:
        again.fetched()


# -- how old a response is -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        ["Age: 7200"],
        ["Age: 3600"],
        ["Age: 7200, 0"],
        ["Age: 7200", "Age: 0"],
        ["Age: 99999999999"],
        ["Age: " + "9" * 50],
    ],
    ids=str,
)
@shows("9111/4.2-1", "9111/5.1-1", "9111/1.2.2-1")
def test_an_age_beyond_the_lifetime_is_stale(site: Site, fields: list[str]) -> None:
    page = site.holding(HOUR, *fields)
    page.get(answer=answer()).fetched()


@pytest.mark.parametrize(
    "fields",
    [["Age: 50, 7200"], ["Age: 50", "Age: 7200"], ["Age: 50,50"], ["Age: 50 , x"], ["Age: 0050"]],
    ids=str,
)
@shows("9111/5.1-1", "9111/4-5")
def test_of_an_age_that_is_a_list_the_first_counts(site: Site, fields: list[str]) -> None:
    again = site.holding(HOUR, *fields).get().hit()
    assert 50 <= again.age <= 60


@pytest.mark.parametrize(
    "value",
    [
        "abc",
        "-7200",
        "7200.0",
        "+7200",
        "0x7200",
        '"7200"',
        "7200;a",
        "7200 s",
        "",
        "1e9",
        "\N{SUPERSCRIPT TWO}",
    ],
)
@shows("9111/5.1-2", "9111/4-5")
def test_an_age_that_is_no_number_is_ignored(site: Site, value: str) -> None:
    again = site.holding(HOUR, f"Age: {value}").get().hit()
    assert again.age <= 10


@shows("9111/1.2.2-1")
def test_an_age_and_a_lifetime_near_two_to_the_31st_are_counted(site: Site) -> None:
    again = site.holding("Cache-Control: max-age=99999999999", "Age: 2147480000").get().hit()
    assert 2147480000 <= again.age <= 2147480010
    site.holding("Cache-Control: max-age=99999999999", "Age: 99999999999").get(answer=answer()).fetched()


@shows("9111/4.2.3-2", "9111/4-5")
def test_a_date_in_the_past_is_an_age(site: Site) -> None:
    again = site.holding(HOUR, date=-100).get().hit()
    assert 99 <= again.age <= 110
    site.holding("Cache-Control: max-age=50", date=-100).get(answer=answer()).fetched()


@shows("9111/4.2.3-2")
@pytest.mark.parametrize(
    ("age", "date", "least"), [(200, -100, 200), (100, -200, 199), (0, -150, 149), (300, 1000, 300)]
)
def test_the_greater_of_both_ages_counts(site: Site, age: int, date: int, least: int) -> None:
    again = site.holding(HOUR, f"Age: {age}", date=date).get().hit()
    assert least <= again.age <= least + 10


@shows("9111/4.2.3-2")
def test_a_date_ahead_of_us_is_no_age(site: Site) -> None:
    again = site.holding(HOUR, date=1000).get().hit()
    assert again.age <= 10


@shows("9110/6.6.1-1")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_response_without_date_gets_one(site: Site, method: str) -> None:
    page = site.page()
    first = page.get(answer=answer(HOUR, date=None))
    again = page.ask(method).hit()
    assert len(first.all("date")) == len(again.all("date")) == 1
    assert again["date"] == first["date"]


@shows("9110/6.6.1-1")
@pytest.mark.parametrize("value", ["junk", "0", "Thu, 18 Aug 2050 02:01:18 XYZ"])
def test_a_date_that_is_none_does_not_matter(site: Site, value: str) -> None:
    again = site.holding(HOUR, f"Date: {value}").get().hit()
    assert again.age <= 10


@shows("9111/4-5")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_date_stays_and_age_is_the_stores_own(site: Site, method: str) -> None:
    page = site.page()
    first = page.get(answer=answer(HOUR, "Age: 30", date=-20))
    again = page.ask(method).hit()
    assert again["date"] == first["date"]
    assert 30 <= again.age <= 40


# -- guessing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501])
@shows("9111/4.2.2-3", "9110/15.1-1", "9111/3-7")
def test_a_lifetime_is_guessed_by_last_modified(site: Site, status: int) -> None:
    page = site.holding(LONG_AGO, status=status)
    assert page.get().hit().status == status


@pytest.mark.parametrize(
    "status", [201, 202, 299, 302, 303, 307, 400, 401, 403, 409, 429, 500, 502, 503, 504, 599]
)
@shows("9111/4.2.2-2", "9111/3-7")
def test_nothing_is_guessed_for_other_statuses(site: Site, status: int) -> None:
    page = site.holding(LONG_AGO, status=status)
    page.get(answer=answer()).fetched()


@pytest.mark.parametrize("status", [200, 201, 299, 302, 403, 500, 599])
@shows("9111/5.2.2.9-1", "9111/4.2.2-2")
def test_public_lets_any_status_be_guessed(site: Site, status: int) -> None:
    page = site.holding(LONG_AGO, "Cache-Control: public", status=status)
    assert page.get().hit().status == status


@pytest.mark.parametrize(
    "fields",
    [
        ["Expires: 0"],
        ["Expires: {-60}"],
        ["Expires: junk"],
        ["Cache-Control: max-age=0"],
        ["Cache-Control: max-age=junk"],
        ["Cache-Control: s-maxage=0"],
        ["Cache-Control: no-store"],
        ["Cache-Control: no-cache"],
        ["Cache-Control: private"],
    ],
    ids=str,
)
@shows("9111/4.2.2-1")
def test_nothing_is_guessed_beside_what_is_said(site: Site, fields: list[str]) -> None:
    page = site.holding(LONG_AGO, *fields)
    page.get(answer=answer()).fetched()


@shows("9111/4.2.2-3")
def test_the_guess_is_a_tenth_of_the_time_since_the_change(site: Site) -> None:
    changed = "Last-Modified: {-1000}"
    site.holding(changed, "Age: 50").get().hit()
    site.holding(changed, "Age: 150").get(answer=answer()).fetched()


@pytest.mark.parametrize("value", ["{+3600}", "junk", "0", ""])
@shows("9111/4.2.2-3")
def test_a_last_modified_in_the_future_or_none_at_all_is_no_ground_for_a_guess(
    site: Site, value: str
) -> None:
    page = site.holding(f"Last-Modified: {value}")
    page.get(answer=answer()).fetched()


@shows("9111/4.2.2-3")
def test_a_query_does_not_keep_from_guessing(site: Site) -> None:
    page = site.holding(LONG_AGO, suffix="?a=b")
    page.get().hit()
