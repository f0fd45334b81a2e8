"""How the fields that state freshness are read: Cache-Control and Expires (RFC 9111 §4.2, §5.2, §5.3)."""

from __future__ import annotations

import time

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.scripted import answer
from tests.edge.conformance.site import Site

HOUR = "Cache-Control: max-age=3600"
LONG_AGO = "Last-Modified: {-864000}"


# -- how Cache-Control is read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "MaX-AgE=3600",
        "MAX-AGE=3600",
        'max-age="3600"',
        "max-age=003600",
        "max-age=3600,",
        ",,max-age=3600",
        ", ,\t, max-age=3600 ,",
        "foo, max-age=3600",
        "max-age=3600, foo",
        "foo=bar,max-age=3600,baz",
        "foo=bar\t,\tmax-age=3600",
        'foo="bar, baz", max-age=3600',
        'foo="a \\" b", max-age=3600',
        'foo="max-age=0", max-age=3600',
        'foo="no-store", max-age=3600',
        'foo="\\", no-store", max-age=3600',
        "no-stored, max-age=3600",
        "x-no-store, max-age=3600",
        "x-max-age=0, max-age=3600",
        "privately, max-age=3600",
        'community="UCI", max-age=3600',
        "max-age=2147483648",
        "max-age=99999999999",
        "max-age=" + "9" * 60,
        "s-maxage=" + "9" * 60,
    ],
)
@shows("9111/5.2-2", "9111/5.2.3-1", "9110/5.6.1-1", "9111/1.2.2-1")
def test_a_lifetime_is_found_among_what_stands_around_it(site: Site, value: str) -> None:
    page = site.holding(f"Cache-Control: {value}")
    page.get().hit()


@pytest.mark.parametrize(
    "value",
    [
        "max-age=0",
        "max-age=-3600",
        "max-age=+3600",
        "max-age=3600.0",
        "max-age=3600.5",
        "max-age=a3600",
        "max-age=3600a",
        "max-age='3600'",
        "max-age=0x3600",
        "max-age=1e4",
        "max-age=3600s",
        "max-age=3600;foo",
        "max-age=3600 public",
        "max-age=",
        "max-age",
        'max-age=""',
        'max-age=" 3600"',
        'max-age="-3600"',
        'max-age="3600',
        "max-age= 3600",
        "max-age =3600",
        "max-age:3600",
        "max-age3600",
        "max-age=\N{SUPERSCRIPT TWO}\N{SUPERSCRIPT THREE}",
        "public max-age=3600",
        'foo="max-age=3600"',
        'foo="max-age=3600", max-age=0',
        'max-age=0, foo="max-age=3600"',
        "s-maxage=junk, max-age=3600",
        "s-maxage, max-age=3600",
    ],
)
@shows("9111/4.2.1-5", "9111/5.2-2")
def test_what_is_no_number_of_seconds_is_no_lifetime(site: Site, value: str) -> None:
    page = site.holding(f"Cache-Control: {value}")
    page.get(answer=answer()).fetched()


@pytest.mark.parametrize(
    "fields",
    [
        ["Cache-Control: max-age=0, max-age=3600"],
        ["Cache-Control: max-age=0", "Cache-Control: max-age=3600"],
        ["Cache-Control: s-maxage=0, s-maxage=3600"],
        ["Cache-Control: s-maxage=0", "Cache-Control: s-maxage=3600"],
        ["Cache-Control: max-age=junk, max-age=3600"],
        ["Expires: {-60}", "Expires: {+3600}"],
        ["Expires: 0", "Expires: {+3600}"],
    ],
    ids=str,
)
@shows("9111/4.2.1-3")
def test_of_two_lifetimes_a_later_longer_one_does_not_count(site: Site, fields: list[str]) -> None:
    page = site.holding(*fields)
    page.get(answer=answer()).fetched()


@pytest.mark.parametrize(
    "value",
    [
        "no-cache, max-age=3600",
        "max-age=3600, no-cache",
        "max-age=3600, no-store",
        "public, no-store, max-age=3600",
        "public, private, max-age=3600",
        "private, public, s-maxage=3600",
        "public, no-cache, s-maxage=3600",
        "No-StOrE, max-age=3600",
        "max-age=3600, NO-CACHE",
        "PRIVATE, max-age=3600",
        "max-age=3600, no-store=1",
        'max-age=3600, foo="bar", no-store',
        "max-age=3600,no-store",
        "max-age=3600 , private",
    ],
)
@shows("9111/4.2.1-4", "9111/3-4", "9111/3-5", "9111/4-3", "9111/5.2-2")
def test_of_directives_that_conflict_the_strictest_counts(site: Site, value: str) -> None:
    page = site.holding(f"Cache-Control: {value}")
    page.get(answer=answer()).fetched()


@shows("9111/4.2.1-4", "9111/5.2-2")
def test_cache_control_on_several_lines_is_one_list(site: Site) -> None:
    page = site.holding("Cache-Control: max-age=3600", "X-Between: 1", "Cache-Control: no-store")
    page.get(answer=answer()).fetched()
    page = site.holding("Cache-Control: public", "Cache-Control:", "Cache-Control: max-age=3600")
    page.get().hit()


# -- how Expires is read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "{+3600}",
        "{+3600 rfc850}",
        "{+3600 asctime}",
        "Thu, 18 Aug 2050 02:01:18 GMT",
        "Thursday, 18-Aug-50 02:01:18 GMT",
        "Thu Aug 18 02:01:18 2050",
        "Tue Nov  8 02:01:18 2050",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ],
)
@shows("9110/5.6.7-1", "9111/4.2-3")
def test_every_form_of_date_is_read(site: Site, value: str) -> None:
    page = site.holding(f"Expires: {value}")
    page.get().hit()


@pytest.mark.parametrize(
    "value",
    [
        "THU, 18 Aug 2050 02:01:18 GMT",
        "thu, 18 aug 2050 02:01:18 gmt",
        "Thu, 18 AUG 2050 02:01:18 GMT",
        "Thu, 18 Aug 2050 02:01:18 gMT",
        "THURSDAY, 18-AUG-50 02:01:18 GMT",
        "THU AUG 18 02:01:18 2050",
    ],
)
@shows("9111/4.2-2")
def test_case_does_not_matter_in_dates(site: Site, value: str) -> None:
    page = site.holding(f"Expires: {value}")
    page.get().hit()


@pytest.mark.parametrize("zone", ["UTC", "EST", "PDT", "CEST", "Z", "+0000", "-0800", "GMT+1", "UT"])
@shows("9111/4.2-4", "9111/5.3-1")
def test_a_zone_other_than_gmt_is_no_date(site: Site, zone: str) -> None:
    page = site.holding(f"Expires: Thu, 18 Aug 2050 02:01:18 {zone}")
    page.get(answer=answer()).fetched()


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "-1",
        "",
        "3600",
        "2544400000",
        "never",
        "Thu, 18 Aug 2050 02:01:18",
        "Thu, 18 Aug 50 02:01:18 GMT",
        "Thu 18 Aug 2050 02:01:18 GMT",
        "Thu, 18  Aug  2050 02:01:18 GMT",
        "Thu, 18-Aug-2050 02:01:18 GMT",
        "Thu, 18 Aug 2050 02.01.18 GMT",
        "Thu, 18 Aug 2050 2:01:18 GMT",
        "Thu, 18 Aug 2050 25:01:18 GMT",
        "Thu, 18 Aug 2050 02:61:18 GMT",
        "Thu, 32 Aug 2050 02:01:18 GMT",
        "Thu, 00 Aug 2050 02:01:18 GMT",
        "Wed, 30 Feb 2050 02:01:18 GMT",
        "Thu, 18 Foo 2050 02:01:18 GMT",
        "Thu, 18 Aug 20500 02:01:18 GMT",
        "2050-08-18T02:01:18Z",
        "18 Aug 2050 02:01:18 GMT",
        "Aug 18 2050",
        '"Thu, 18 Aug 2050 02:01:18 GMT"',
        "Thu, 18 Aug 2050 02:01:18 GMT; foo",
        "Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT",
        "Thu, 18 Aug -050 02:01:18 GMT",
        "Thu, +8 Aug 2050 02:01:18 GMT",
    ],
)
@shows("9111/5.3-1")
def test_what_is_no_date_has_expired(site: Site, value: str) -> None:
    page = site.holding(f"Expires: {value}")
    page.get(answer=answer()).fetched()


@shows("9110/5.6.7-2")
def test_a_year_of_two_digits_more_than_fifty_years_ahead_is_past(site: Site) -> None:
    year = (time.gmtime().tm_year + 60) % 100
    page = site.holding(f"Expires: Thursday, 18-Aug-{year:02} 02:01:18 GMT")
    page.get(answer=answer()).fetched()


@shows("9111/5.3-1")
@pytest.mark.parametrize(
    "value", ["Thu, 01 Jan 1970 00:00:00 GMT", "Sat, 01 Jan 1000 00:00:00 GMT", "{-1}", "{+0}"]
)
def test_a_date_that_is_not_ahead_has_expired(site: Site, value: str) -> None:
    page = site.holding(f"Expires: {value}")
    page.get(answer=answer()).fetched()
