"""CDN-Cache-Control: a structured dictionary that decides alone where it is valid (RFC 9213)."""

from __future__ import annotations

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.scripted import GONE, answer, unmodified
from tests.edge.conformance.site import Site, until

HOUR = "Cache-Control: max-age=3600"
TAG = 'ETag: "1"'
AGED = "Age: 100"


@pytest.mark.parametrize(
    "fields",
    [
        ["CDN-Cache-Control: max-age=3600"],
        ["cdn-cache-control: max-age=3600"],
        ["CDN-Cache-Control:   max-age=3600  "],
        ["CDN-Cache-Control: max-age=3600", "Cache-Control: max-age=1"],
        ["CDN-Cache-Control: max-age=3600", "Cache-Control: max-age=0, must-revalidate"],
        ["CDN-Cache-Control: max-age=3600", "Cache-Control: no-store"],
        ["CDN-Cache-Control: max-age=3600", "Cache-Control: private"],
        ["CDN-Cache-Control: max-age=3600", "Cache-Control: no-cache"],
        ["CDN-Cache-Control: max-age=3600", "Cache-Control: s-maxage=1"],
        ["CDN-Cache-Control: max-age=3600", "Expires: {-3600}"],
        ["CDN-Cache-Control: max-age=3600", "Expires: 0"],
        ["CDN-Cache-Control: s-maxage=3600", "Cache-Control: no-store"],
        ["CDN-Cache-Control: s-maxage=3600, max-age=1"],
        ["CDN-Cache-Control: max-age=1, s-maxage=3600"],
        ["CDN-Cache-Control: public, max-age=3600"],
        ["CDN-Cache-Control: foo, max-age=3600"],
        ["CDN-Cache-Control: foo=bar, max-age=3600, baz=1.5"],
        ['CDN-Cache-Control: foo="no-store", max-age=3600'],
        ["CDN-Cache-Control: foo=(a b);c, max-age=3600"],
        ["CDN-Cache-Control: foo=:YQ==:, max-age=3600"],
        ["CDN-Cache-Control: max-age=3600;foo"],
        ['CDN-Cache-Control: max-age=3600;foo=1;bar="x"'],
        ["CDN-Cache-Control: max-age=3600 , foo"],
        ["CDN-Cache-Control: foo\t,\tmax-age=3600"],
        ["CDN-Cache-Control: foo", "CDN-Cache-Control: max-age=3600"],
        ["CDN-Cache-Control: max-age=1, max-age=3600"],
        ["CDN-Cache-Control: no-store=?0, max-age=3600"],
        ["CDN-Cache-Control: max-age=99999999999"],
        ["CDN-Cache-Control: max-age=999999999999999"],
        ["CDN-Cache-Control: max-age=3600, must-revalidate"],
    ],
    ids=str,
)
@shows("9213/2.2-1", "9213/2.2-3", "9213/2.2-4", "9213/2.1-3", "9213/2.2-6")
def test_what_it_makes_fresh_is_reused(site: Site, fields: list[str]) -> None:
    site.holding(*fields, AGED).get().hit()


@pytest.mark.parametrize(
    "fields",
    [
        ["CDN-Cache-Control: max-age=50", HOUR],
        ["CDN-Cache-Control: max-age=0", HOUR],
        ["CDN-Cache-Control: max-age=0", "Expires: {+3600}"],
        ["CDN-Cache-Control: no-store", HOUR],
        ["CDN-Cache-Control: no-store, max-age=3600", HOUR],
        ["CDN-Cache-Control: max-age=3600, no-store"],
        ["CDN-Cache-Control: max-age=3600;x, no-store;y"],
        ["CDN-Cache-Control: no-cache", HOUR],
        ["CDN-Cache-Control: no-cache, max-age=3600", HOUR],
        ["CDN-Cache-Control: private", HOUR],
        ["CDN-Cache-Control: private, max-age=3600", HOUR, "Expires: {+3600}"],
        ["CDN-Cache-Control: none", HOUR],
        ["CDN-Cache-Control: none", "Cache-Control: no-store"],
        ["CDN-Cache-Control: foo, bar=1", HOUR, "Expires: {+3600}"],
        ["CDN-Cache-Control: s-maxage=50, max-age=3600", HOUR],
        ["CDN-Cache-Control: max-age=3600, max-age=50", HOUR],
        ["CDN-Cache-Control: max-age=50", "CDN-Cache-Control: foo", HOUR],
        ["CDN-Cache-Control: max-age=0", "Last-Modified: {-864000}"],
    ],
    ids=str,
)
@shows("9213/2.2-1", "9213/2.2-3", "9213/2.2-6")
def test_what_it_makes_stale_or_forbids_is_not(site: Site, fields: list[str]) -> None:
    site.holding(*fields, AGED).get(answer=answer()).fetched()


INVALID = pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "{0}, &&&&&",
        "{0}; ;",
        "{0},",
        ", {0}",
        "{0},, foo",
        "Max-Age=7, {0}",
        "{0}, Foo",
        "{0} foo",
        "{0}, foo=",
        '{0}, foo="bar',
        '{0}, foo="caf\xe9"',
        "{0}, foo='bar'",
        "{0}, foo=1.",
        "{0}, foo=.5",
        "{0}, foo=1.2345",
        "{0}, foo=1234567890123456",
        "{0}, foo=(a b",
        "{0}, foo=?2",
        "{0}, foo=:a",
        "{0}, 1foo",
        "{0}, foo;Bar",
        "{0} =1",
        "foo= 1, {0}",
        "foo =1, {0}",
        "{0}, foo=@x",
    ],
)


@INVALID
@shows("9213/2.1-1", "9213/2.2-2")
def test_what_does_not_parse_does_not_forbid(site: Site, value: str) -> None:
    site.holding(f"CDN-Cache-Control: {value.format('no-store')}", HOUR, AGED).get().hit()


@INVALID
@shows("9213/2.1-1", "9213/2.2-2")
def test_what_does_not_parse_does_not_allow(site: Site, value: str) -> None:
    page = site.holding(f"CDN-Cache-Control: {value.format('max-age=3600')}", "Cache-Control: no-store", AGED)
    page.get(answer=answer()).fetched()


@shows("9213/2.1-1", "9213/2.2-2")
def test_an_invalid_line_spoils_the_field(site: Site) -> None:
    page = site.holding("CDN-Cache-Control: max-age=3600", "CDN-Cache-Control: &&", "Cache-Control: no-store")
    page.get(answer=answer()).fetched()


@pytest.mark.parametrize(
    "value",
    [
        'max-age="3600"',
        "max-age=3600.0",
        "max-age=3600.5",
        "max-age",
        "max-age=?1",
        "max-age=-3600",
        "max-age=abc",
        "max-age=(3600)",
        "max-age=:MzYwMA==:",
        's-maxage="3600"',
        "max-age=@3600",
    ],
)
@shows("9213/2.1-2")
def test_a_lifetime_of_another_type_is_none(site: Site, value: str) -> None:
    page = site.holding(f"CDN-Cache-Control: {value}", "Cache-Control: no-store", "Last-Modified: {-864000}")
    page.get(answer=answer()).fetched()


@shows("9213/2.2-2")
@pytest.mark.parametrize("fields", [[HOUR], ["Expires: {+3600}"], ["Cache-Control: s-maxage=3600"]], ids=str)
def test_without_it_cache_control_counts(site: Site, fields: list[str]) -> None:
    site.holding(*fields, AGED).get().hit()


@pytest.mark.parametrize(
    "name",
    [
        "Example-CDN-Cache-Control",
        "ExampleCDN-Cache-Control",
        "Surrogate-Control",
        "CDN-Cache",
        "X-CDN-Cache-Control",
        "Cloudflare-CDN-Cache-Control",
    ],
)
@shows("9213/2.2-5")
def test_other_targeted_fields_change_nothing_and_pass(site: Site, name: str) -> None:
    page = site.page()
    first = page.get(answer=answer(HOUR, f"{name}: no-store"))
    again = page.get().hit()
    assert first[name] == again[name] == "no-store"
    site.holding("Cache-Control: no-store", f"{name}: max-age=3600").get(answer=answer()).fetched()


@pytest.mark.parametrize("value", ["max-age=3600, foo", "foo", "&&", "max-age=3600;x=y"])
@shows("9213/3.1-1", "9111/5.2-1")
def test_it_is_passed_on_with_cache_control(site: Site, value: str) -> None:
    page = site.page()
    first = page.get(answer=answer("Cache-Control: max-age=3600, x=y", f"CDN-Cache-Control: {value}"))
    assert first["cdn-cache-control"] == value
    assert first["cache-control"] == "max-age=3600, x=y"
    again = page.get()
    if not again.asked:
        assert (again["cdn-cache-control"], again["cache-control"]) == (value, "max-age=3600, x=y")


@shows("9213/2.2-3")
def test_no_cache_in_it_means_validation(site: Site) -> None:
    page = site.holding("CDN-Cache-Control: max-age=3600, no-cache", HOUR, TAG)
    page.get(answer=unmodified(TAG)).validated(if_none_match='"1"')


@shows("9213/2.2-3", "9111/4.2.4-1")
def test_must_revalidate_in_it_forbids_stale(site: Site) -> None:
    page = site.holding(
        "CDN-Cache-Control: max-age=10, must-revalidate, stale-if-error=600", "Age: 20", TAG, body=b"old"
    )
    assert page.get(answer=GONE).status >= 500


@shows("9213/2.2-1", "9213/2.2-4")
def test_must_revalidate_in_cache_control_does_not_count_then(site: Site) -> None:
    page = site.holding(
        "CDN-Cache-Control: max-age=10, stale-if-error=600",
        "Cache-Control: must-revalidate",
        "Age: 20",
        TAG,
        body=b"old",
    )
    assert page.get(answer=GONE).body == b"old"


@shows("9213/2.2-4", "5861/3-1")
def test_stale_while_revalidate_in_it(site: Site) -> None:
    page = site.holding(
        "CDN-Cache-Control: max-age=10, stale-while-revalidate=60", HOUR, "Age: 20", TAG, body=b"old"
    )
    newer = answer("CDN-Cache-Control: max-age=3600", body=b"new")
    assert page.get(answer=newer).body == b"old"
    page.until_asked(2)
    until(lambda: page.get(answer=newer).body == b"new", "never refreshed")


@shows("9213/2.2-1", "9111/3.5-2")
def test_authorization_is_opened_by_it_alone(site: Site) -> None:
    who = ("Authorization: Basic a",)
    site.holding("CDN-Cache-Control: public, max-age=3600", ask=who).get().hit()
    page = site.holding("CDN-Cache-Control: max-age=3600", "Cache-Control: public", ask=who)
    page.get(answer=answer()).fetched()


@shows("9213/2.2-1", "9111/4.3.4-3")
def test_a_304_may_bring_it(site: Site) -> None:
    page = site.holding("Cache-Control: max-age=10", "Age: 20", TAG)
    page.get(
        answer=unmodified(TAG, "CDN-Cache-Control: max-age=3600", "Cache-Control: max-age=0")
    ).validated()
    page.get().hit()


@shows("9213/2.2-3", "9111/5.2.2.7-2")
def test_private_with_names_in_it(site: Site) -> None:
    page = site.holding(
        'CDN-Cache-Control: max-age=3600, private="X-Mine"', HOUR, "X-Mine: secret", "X-Ours: 1"
    )
    assert "x-mine" not in page.get(answer=answer())
