"""Which of several responses answers a request: Vary (RFC 9111 §4.1, RFC 9110 §12.5.5)."""

from __future__ import annotations

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.scripted import answer, unmodified
from tests.edge.conformance.site import Site

HOUR = "Cache-Control: max-age=3600"


@pytest.mark.parametrize(
    ("vary", "first", "second"),
    [
        (["Vary: Foo"], ["Foo: 1"], ["Foo: 1"]),
        (["Vary: Foo"], ["Foo: 1"], ["foo: 1"]),
        (["Vary: Foo"], ["FOO: 1"], ["Foo: 1"]),
        (["Vary: FOO"], ["foo: 1"], ["Foo: 1"]),
        (["vary: foo"], ["Foo: 1"], ["Foo: 1"]),
        (["Vary: Foo"], [], []),
        (["Vary: Foo"], ["Foo: 1", "Other: 2"], ["Foo: 1", "Other: 3"]),
        (["Vary: Foo"], ["Foo: 1"], ["Other: 3", "Foo: 1"]),
        (["Vary: Foo, Bar"], ["Foo: 1", "Bar: abc"], ["Bar: abc", "Foo: 1"]),
        (["Vary: Foo,Bar ,\tBaz"], ["Foo: 1", "Bar: 2", "Baz: 3"], ["Foo: 1", "Bar: 2", "Baz: 3"]),
        (["Vary: Foo", "Vary: Bar"], ["Foo: 1", "Bar: 2"], ["Foo: 1", "Bar: 2"]),
        (["Vary: Foo, Bar, Baz"], ["Foo: 1", "Baz: 3"], ["Foo: 1", "Baz: 3"]),
        (["Vary: , Foo,,"], ["Foo: 1"], ["Foo: 1"]),
        (["Vary: "], ["Foo: 1"], ["Foo: 2"]),
        (["Vary: Accept-Encoding"], ["Accept-Encoding: gzip, br"], ["Accept-Encoding: gzip, br"]),
        (["Vary: Accept-Encoding"], [], []),
        (["Vary: Cookie"], ["Cookie: a=1"], ["Cookie: a=1"]),
        (["Vary: User-Agent"], ["User-Agent: a"], ["User-Agent: a"]),
        (["Vary: Origin"], ["Origin: http://a"], ["Origin: http://a"]),
    ],
    ids=str,
)
@shows("9111/4.1-1", "9110/12.5.5-1", "9110/5.6.1-1")
def test_requests_that_match_share_a_response(
    site: Site, vary: list[str], first: list[str], second: list[str]
) -> None:
    page = site.holding(HOUR, *vary, ask=tuple(first))
    page.get(*second).hit()


@pytest.mark.parametrize(
    ("vary", "first", "second"),
    [
        (["Vary: Foo"], ["Foo: 1"], ["Foo: 2"]),
        (["Vary: Foo"], ["Foo: 1"], []),
        (["Vary: Foo"], [], ["Foo: 1"]),
        (["Vary: Foo"], [], ["Foo:"]),
        (["Vary: Foo"], ["Foo: a"], ["Foo: A"]),
        (["Vary: Foo"], ["Foo: 1, 2"], ["Foo: 2, 1"]),
        (["vary: FOO"], ["Foo: 1"], ["Foo: 2"]),
        (["Vary: Foo, Bar"], ["Foo: 1", "Bar: 1"], ["Foo: 1", "Bar: 2"]),
        (["Vary: Foo, Bar"], ["Foo: 1", "Bar: 1"], ["Foo: 2", "Bar: 1"]),
        (["Vary: Foo, Bar"], ["Foo: 1", "Bar: 1"], ["Foo: 1"]),
        (["Vary: Foo, Bar"], ["Foo: 1", "Bar: 2"], ["Foo: 2", "Bar: 1"]),
        (["Vary: Foo", "Vary: Bar"], ["Foo: 1", "Bar: 1"], ["Foo: 1", "Bar: 2"]),
        (["Vary: Foo", "X-A: 1", "Vary:", "Vary: Bar"], ["Foo: 1", "Bar: 1"], ["Foo: 1", "Bar: 2"]),
        (["Vary: Foo, Bar, Baz"], ["Foo: 1", "Baz: 3"], ["Foo: 1", "Bar: 2", "Baz: 3"]),
        (["Vary: Cookie"], ["Cookie: a=1"], ["Cookie: a=2"]),
        (["Vary: Cookie"], ["Cookie: a=1"], []),
        (["Vary: Accept-Encoding"], ["Accept-Encoding: gzip"], ["Accept-Encoding: br"]),
        (["Vary: Accept-Language"], ["Accept-Language: de"], ["Accept-Language: en"]),
        (["Vary: Accept"], ["Accept: text/html"], ["Accept: text/plain"]),
        (
            ["Vary: Authorization", "Cache-Control: public"],
            ["Authorization: Basic a"],
            ["Authorization: Basic b"],
        ),
    ],
    ids=str,
)
@shows("9111/4.1-1", "9111/4.1-3", "9110/12.5.5-1")
def test_requests_that_differ_do_not(
    site: Site, vary: list[str], first: list[str], second: list[str]
) -> None:
    page = site.holding(HOUR, *vary, ask=tuple(first))
    page.get(*second, answer=answer(HOUR, *vary)).fetched()


@pytest.mark.parametrize(
    "vary",
    [
        ["Vary: *"],
        ["Vary: *, *"],
        ["Vary: *", "Vary: *"],
        ["Vary: , *"],
        ["Vary:", "Vary: *"],
        ["Vary: *, Foo"],
        ["Vary: Foo, *"],
    ],
    ids=str,
)
@shows("9111/4.1-4")
def test_a_star_never_matches(site: Site, vary: list[str]) -> None:
    page = site.holding(HOUR, *vary, ask=("Foo: 1", "*: 1"))
    page.get("Foo: 1", "*: 1", answer=answer(HOUR, *vary)).fetched()


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("Foo", ["Foo: 1, 2"], ["Foo: 1", "Foo: 2"]),
        ("Foo", ["Foo:   1  "], ["Foo:1"]),
        ("Accept-Language", ["Accept-Language: en,de"], ["Accept-Language: en , de"]),
        ("Accept-Language", ["Accept-Language: en;q=0.5, de"], ["Accept-Language: de, en; q=0.5"]),
        ("Accept-Language", ["Accept-Language: EN-us"], ["Accept-Language: en-US"]),
        ("Accept-Encoding", ["Accept-Encoding: gzip,br"], ["Accept-Encoding: br, gzip"]),
        ("Accept-Encoding", ["Accept-Encoding: GZIP"], ["Accept-Encoding: gzip"]),
    ],
    ids=str,
)
@shows("9111/4.1-2")
def test_what_means_the_same_matches(site: Site, name: str, first: list[str], second: list[str]) -> None:
    page = site.holding(HOUR, f"Vary: {name}", ask=tuple(first))
    page.get(*second).hit()


@shows("9111/4.1-1")
def test_variants_lie_beside_each_other(site: Site) -> None:
    page = site.page()
    bodies = {}
    for value in ("1", "2", "3"):
        bodies[value] = page.get(f"Foo: {value}", answer=answer(HOUR, "Vary: Foo")).fetched().body
    for value in ("2", "1", "3", "1"):
        again = page.get(f"Foo: {value}")
        assert not again.asked
        assert again.body == bodies[value]


@shows("9111/4.1-1")
def test_vary_that_changes_counts_as_each_response_says(site: Site) -> None:
    page = site.page()
    page.get("Foo: 1", "Bar: 1", answer=answer(HOUR, "Vary: Foo"))
    second = page.get("Foo: 2", "Bar: 1", answer=answer(HOUR, "Vary: Foo, Bar")).fetched()
    page.get("Foo: 2", "Bar: 2", answer=answer(HOUR, "Vary: Foo, Bar")).fetched()
    again = page.get("Foo: 2", "Bar: 1")
    assert not again.asked
    assert again.body == second.body


@shows("9111/4-8", "9111/4.1-5")
def test_the_most_recent_response_counts_when_vary_goes_away(site: Site) -> None:
    page = site.page()
    page.get("Foo: 1", answer=answer(HOUR, "Vary: Foo", date=-60))
    plain = page.get("Foo: 2", answer=answer(HOUR, date=-30)).fetched()
    again = page.get("Foo: 2")
    assert not again.asked
    assert again.body == plain.body


@shows("9111/4.1-5", "9111/4-8")
def test_a_response_with_vary_goes_before_an_older_one_without(site: Site) -> None:
    page = site.page()
    page.get("Cache-Control: no-cache", answer=answer(HOUR, date=-60))
    varied = page.get(
        "Cache-Control: no-cache", "Foo: 1", answer=answer(HOUR, "Vary: Foo", date=-30)
    ).fetched()
    again = page.get("Foo: 1")
    assert not again.asked
    assert again.body == varied.body


@shows("9111/4-8")
def test_the_newest_of_two_that_match_is_used(site: Site) -> None:
    page = site.page()
    page.get("Foo: 1", "Bar: 1", answer=answer(HOUR, "Vary: Foo", date=-60))
    newer = page.get(
        "Foo: 1", "Bar: 1", "Cache-Control: no-cache", answer=answer(HOUR, "Vary: Foo, Bar", date=-30)
    ).fetched()
    again = page.get("Foo: 1", "Bar: 1")
    assert not again.asked
    assert again.body == newer.body


@shows("9111/4.3.1-3")
def test_a_validation_bears_what_vary_names(site: Site) -> None:
    page = site.holding(
        "Cache-Control: max-age=10", "Age: 20", "Vary: Foo, Bar", 'ETag: "1"', ask=("Foo: 1", "Bar: 2")
    )
    again = page.get("Foo: 1", "Bar: 2", answer=unmodified('ETag: "1"', HOUR)).validated(if_none_match='"1"')
    assert (again.asked[0]["foo"], again.asked[0]["bar"]) == ("1", "2")
    assert again.status == 200
    page.get("Foo: 1", "Bar: 2").hit()


@shows("9111/4.1-1", "9111/4.3.4-1")
def test_validating_one_variant_leaves_the_other(site: Site) -> None:
    page = site.page()
    stale = ("Cache-Control: max-age=10", "Age: 20", "Vary: Foo")
    one = page.get("Foo: 1", answer=answer(*stale, 'ETag: "1"', "X-Mark: one"))
    page.get("Foo: 2", answer=answer(HOUR, "Vary: Foo", 'ETag: "2"', "X-Mark: two"))
    again = page.get("Foo: 1", answer=unmodified('ETag: "1"', HOUR, "X-Mark: new"))
    assert (again.status, again.body, again["x-mark"]) == (200, one.body, "new")
    other = page.get("Foo: 2")
    assert not other.asked
    assert other["x-mark"] == "two"
