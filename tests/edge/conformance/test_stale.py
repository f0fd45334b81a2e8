"""When a stale response may be served, and when not (RFC 9111 §4.2.4, RFC 5861, RFC 8246)."""

from __future__ import annotations

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.scripted import GONE, Answer, answer, unmodified, whole_or_part
from tests.edge.conformance.site import Page, Reply, Site, until

HOUR = "Cache-Control: max-age=3600"
TAG = 'ETag: "1"'
FORBIDDING = pytest.mark.parametrize(
    "directives",
    [
        "max-age=10, must-revalidate",
        "max-age=10, proxy-revalidate",
        "s-maxage=10",
        "max-age=3600, s-maxage=10",
        "max-age=3600, no-cache",
        "max-age=10, Must-Revalidate",
    ],
)
FAILING = pytest.mark.parametrize(
    "failing",
    [answer(status=500), answer(status=502), answer(status=503), answer(status=504), GONE],
    ids=["500", "502", "503", "504", "gone"],
)


def held(site: Site, directives: str, *fields: str, age: int = 20) -> Page:
    """A page with a stored response of that age."""
    return site.holding(f"Cache-Control: {directives}", f"Age: {age}", TAG, *fields, body=b"old %d" % age)


# -- forbidden -------------------------------------------------------------------------------------------------------


@FORBIDDING
@shows("9111/4.2.4-1", "9111/5.2.2.2-1", "9111/5.2.2.8-1", "9111/5.2.2.10-2", "9111/5.2.2.4-1")
def test_what_forbids_it_is_validated_first(site: Site, directives: str) -> None:
    page = held(site, directives)
    again = page.get(answer=answer(HOUR, 'ETag: "2"')).validated(if_none_match='"1"').fetched()
    assert again.status == 200


@FORBIDDING
@FAILING
@shows("9111/4.2.4-1", "9111/5.2.2.2-1", "9111/5.2.2.2-2", "9111/5.2.2.2-3", "9111/5.2.2.8-1", "9111/5.2.2.10-2",
       "9111/5.2.2.4-1")  # fmt: skip
def test_what_forbids_it_ends_in_an_error(site: Site, directives: str, failing: Answer) -> None:
    again = held(site, directives).get(answer=failing)
    assert 500 <= again.status <= 504
    assert not again.body.startswith(b"old")


@FORBIDDING
@FAILING
@shows("5861/4-5", "9111/4.2.4-1")
def test_stale_if_error_does_not_lift_it(site: Site, directives: str, failing: Answer) -> None:
    again = held(site, f"{directives}, stale-if-error=600").get(
        "Cache-Control: stale-if-error=600", answer=failing
    )
    assert 500 <= again.status <= 504
    assert not again.body.startswith(b"old")


@FORBIDDING
@shows("5861/4-5", "9111/4.2.4-1")
def test_stale_while_revalidate_does_not_lift_it(site: Site, directives: str) -> None:
    page = held(site, f"{directives}, stale-while-revalidate=600")
    page.get(answer=answer(HOUR)).fetched()


@FORBIDDING
@shows("9111/5.2.1.2-1", "9111/4.2.4-1")
def test_max_stale_does_not_lift_it(site: Site, directives: str) -> None:
    page = held(site, directives)
    page.get("Cache-Control: max-stale", answer=answer(HOUR)).fetched()


@pytest.mark.parametrize(
    "fields", [["Cache-Control: max-age=10"], ["Expires: {-60}"], ["Cache-Control: max-age=0"]], ids=str
)
@shows("9111/4.2.4-2", "9111/4-4")
def test_nothing_stale_while_the_origin_answers(site: Site, fields: list[str]) -> None:
    page = site.holding(*fields, "Age: 20", TAG)
    page.get(answer=answer(HOUR)).validated().fetched()


@pytest.mark.parametrize("status", [500, 503])
@shows("9111/4.2.4-2", "9111/4.3.3-2")
def test_nothing_stale_for_an_error_that_nothing_allows(site: Site, status: int) -> None:
    assert held(site, "max-age=10").get(answer=answer(status=status)).fetched().status == status


@pytest.mark.parametrize(
    "directives", ["max-age=3600, must-revalidate", "max-age=3600, proxy-revalidate", "s-maxage=3600"]
)
@shows("9111/5.2.2.2-1", "9111/5.2.2.8-1")
def test_what_is_fresh_is_reused_whatever_would_forbid_it_stale(site: Site, directives: str) -> None:
    held(site, directives).get().hit()


@shows("9111/4.2.4-3")
def test_while_the_origin_is_away_what_nothing_forbids_is_sent_stale(site: Site) -> None:
    again = held(site, "max-age=10").get(answer=GONE)
    assert (again.status, again.body) == (200, b"old 20")
    assert again.age >= 20
    assert held(site, "max-age=10", age=4000).get(answer=GONE).status == 502


@pytest.mark.parametrize("ask", ["no-cache", "max-age=15", "min-fresh=5"])
@shows("9111/4.2.4-3", "9111/5.2.1.4-1", "9111/5.2.1.1-1", "9111/5.2.1.3-1")
def test_but_not_to_who_does_not_want_it(site: Site, ask: str) -> None:
    assert held(site, "max-age=10").get(f"Cache-Control: {ask}", answer=GONE).status == 502


@shows("9111/5.5-1")
def test_no_warning_is_made(site: Site) -> None:
    page = held(site, "max-age=10, stale-if-error=600")
    assert "warning" not in page.get(answer=answer(status=503))
    assert "warning" not in held(site, "max-age=10").get("Cache-Control: max-stale")


# -- while revalidating ----------------------------------------------------------------------------------------------


def refreshed(page: Page, says: Answer, body: bytes) -> Reply:
    """Ask, as the origin would answer `says`, until the store has another body."""
    found: list[Reply] = []

    def ask() -> bool:
        found[:] = [page.get(answer=says)]
        return found[0].body == body

    until(ask, f"never {body!r}")
    return found[0]


@pytest.mark.parametrize(
    "directives", ["max-age=10, stale-while-revalidate=60", "stale-while-revalidate=60, max-age=15"]
)
@shows("5861/3-1", "5861/3-2")
def test_a_stale_response_is_sent_and_validated_behind_it(site: Site, directives: str) -> None:
    page = held(site, directives)
    newer = answer(HOUR, 'ETag: "2"', body=b"new")
    first = page.get(answer=newer)
    assert (first.status, first.body) == (200, b"old 20")
    assert first.age >= 20
    behind = page.until_asked(2)[1]
    assert behind["if-none-match"] == '"1"'
    assert not refreshed(page, newer, b"new").asked
    assert len(page.asked) == 2


@shows("5861/3-2", "9111/4.3.4-3")
def test_a_304_behind_it_makes_it_fresh(site: Site) -> None:
    page = held(site, "max-age=10, stale-while-revalidate=60", "X-Mark: old")
    confirmed = unmodified(TAG, HOUR, "X-Mark: new")
    assert page.get(answer=confirmed)["x-mark"] == "old"
    page.until_asked(2)
    until(lambda: page.get(answer=confirmed)["x-mark"] == "new", "never updated")
    assert page.get().hit()["x-mark"] == "new"


@shows("5861/3-1", "9111/4.3.2-1")
def test_conditions_and_head_are_answered_from_it_too(site: Site) -> None:
    newer = answer(HOUR, 'ETag: "2"', body=b"new", delay=0.2)
    page = held(site, "max-age=10, stale-while-revalidate=60")
    assert page.get('If-None-Match: "1"', answer=newer).status == 304
    page = held(site, "max-age=10, stale-while-revalidate=60")
    assert page.head(answer=newer)["etag"] == '"1"'


@shows("5861/3-2", "9111/4.3.1-1", "9111/3.3-1")
@pytest.mark.parametrize(
    ("method", "field"), [("HEAD", "X-None: 1"), ("GET", "Range: bytes=0-1"), ("GET", 'If-None-Match: "1"')]
)
def test_behind_it_the_whole_is_asked_for_whatever_the_client_wanted(
    site: Site, method: str, field: str
) -> None:
    page = held(site, "max-age=10, stale-while-revalidate=60")
    newer = whole_or_part(b"new and whole", HOUR, 'ETag: "2"')
    assert page.ask(method, field, answer=newer)["etag"] == '"1"'
    behind = page.until_asked(2)[1]
    assert (behind.method, behind["range"], behind["if-none-match"]) == ("GET", "", '"1"')
    until(lambda: page.get(answer=newer).body == b"new and whole", "never renewed")


@shows("5861/3-2")
@FAILING
def test_a_failure_behind_it_reaches_no_client(site: Site, failing: Answer) -> None:
    page = held(site, "max-age=10, stale-while-revalidate=60")
    assert page.get(answer=failing).body == b"old 20"
    page.until_asked(2)
    assert page.get(answer=failing).body == b"old 20"


@pytest.mark.parametrize(
    "directives",
    [
        "max-age=10, stale-while-revalidate=5",
        "max-age=10, stale-while-revalidate=0",
        "max-age=10, stale-while-revalidate",
        "max-age=10, stale-while-revalidate=x",
    ],
)
@shows("5861/3-3")
def test_beyond_its_window_it_is_validated_first(site: Site, directives: str) -> None:
    page = held(site, directives, age=30)
    page.get(answer=answer(HOUR, 'ETag: "2"')).validated().fetched()


@pytest.mark.parametrize("ask", ["no-cache", "max-age=0", "max-age=5", "max-age=3600", "min-fresh=1"])
@shows("5861/3-1", "9111/5.2.1.4-1", "9111/5.2.1.1-1")
def test_a_request_that_wants_it_fresh_does_not_get_it_stale(site: Site, ask: str) -> None:
    page = held(site, "max-age=10, stale-while-revalidate=60")
    page.get(f"Cache-Control: {ask}", answer=answer(HOUR, 'ETag: "2"')).fetched()


# -- in place of an error --------------------------------------------------------------------------------------------


@FAILING
@shows("5861/4-1", "5861/4-2", "9111/4.3.3-2")
def test_a_stale_response_is_sent_in_place_of_an_error(site: Site, failing: Answer) -> None:
    again = held(site, "max-age=10, stale-if-error=600").get(answer=failing)
    assert again.asked
    assert (again.status, again.body) == (200, b"old 20")
    assert again.age >= 20


@FAILING
@shows("5861/4-1")
def test_so_is_one_without_validator(site: Site, failing: Answer) -> None:
    page = site.holding("Cache-Control: max-age=10, stale-if-error=600", "Age: 20", body=b"old")
    again = page.get(answer=failing)
    assert (again.status, again.body) == (200, b"old")


@FAILING
@shows("5861/4-1", "9111/4.3.2-1")
def test_conditions_and_parts_are_answered_from_it_too(site: Site, failing: Answer) -> None:
    page = held(site, "max-age=10, stale-if-error=600")
    assert page.get('If-None-Match: "1"', answer=failing).status == 304
    part = page.get("Range: bytes=0-2", answer=failing)
    assert (part.status, part.body) == (206, b"old")


@pytest.mark.parametrize("status", [501, 505, 404, 403, 429, 410, 200, 302])
@shows("5861/4-2", "9111/4.3.3-1")
def test_other_answers_are_passed_on(site: Site, status: int) -> None:
    again = held(site, "max-age=10, stale-if-error=600").get(answer=answer(status=status)).fetched()
    assert again.status == status


@FAILING
@shows("5861/4-3")
def test_beyond_its_window_the_error_is_passed_on(site: Site, failing: Answer) -> None:
    again = held(site, "max-age=10, stale-if-error=5", age=30).get(answer=failing)
    assert 500 <= again.status <= 504


@FAILING
@shows("5861/4-4")
def test_a_request_may_allow_it(site: Site, failing: Answer) -> None:
    again = held(site, "max-age=10").get("Cache-Control: stale-if-error=600", answer=failing)
    assert (again.status, again.body) == (200, b"old 20")
    again = held(site, "max-age=10", age=30).get("Cache-Control: stale-if-error=5", answer=failing)
    assert 500 <= again.status <= 504


@shows("5861/4-1", "9111/4.3.4-3")
def test_after_the_error_it_is_validated_as_ever(site: Site) -> None:
    page = held(site, "max-age=10, stale-if-error=600")
    page.get(answer=GONE)
    page.get(answer=unmodified(TAG, HOUR)).validated(if_none_match='"1"')
    page.get().hit()


@shows("5861/4-1", "9111/3.3-1")
def test_an_answer_that_is_cut_short_leaves_what_was_stored(site: Site) -> None:
    page = held(site, "max-age=10, stale-if-error=600")
    page.get(answer=answer(HOUR, 'ETag: "2"', body=b"x" * 100, cut=10))
    again = page.get(answer=GONE)
    assert again.status >= 500 or again.body == b"old 20"


# -- immutable -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["immutable", "immutable=1", 'immutable="x"', "immutable, immutable", "IMMUTABLE"]
)
@shows("8246/2-1", "8246/2-3")
def test_fresh_and_immutable(site: Site, value: str) -> None:
    held(site, f"max-age=3600, {value}").get("Cache-Control: immutable").hit()


@shows("8246/2-2")
@pytest.mark.parametrize("value", ["immutable", "immutable=1", "immutable, immutable"])
def test_stale_and_immutable(site: Site, value: str) -> None:
    page = held(site, f"max-age=10, {value}")
    page.get(answer=answer(HOUR)).validated(if_none_match='"1"').fetched()


@shows("8246/2-1")
def test_immutable_alone_is_no_lifetime(site: Site) -> None:
    page = site.holding("Cache-Control: immutable")
    page.get(answer=answer(HOUR)).fetched()
