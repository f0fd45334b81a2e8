"""What requests ask of the cache: Cache-Control and Pragma in requests (RFC 9111 §5.2.1, §5.4)."""

from __future__ import annotations

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.scripted import Answer, Asked, answer, unmodified, whole_or_part
from tests.edge.conformance.site import Site

HOUR = "Cache-Control: max-age=3600"
TAG = 'ETag: "1"'


@pytest.mark.parametrize(
    "ask",
    [
        "max-age=0",
        "max-age=1",
        "max-age=600",
        "MAX-AGE=600",
        'max-age="600"',
        "foo, max-age=600",
        "max-age=600, max-age=9999",
    ],
)
@shows("9111/5.2.1.1-1")
def test_max_age_wants_no_older_response(site: Site, ask: str) -> None:
    page = site.holding(HOUR, "Age: 1800", TAG)
    page.get(f"Cache-Control: {ask}", answer=answer(HOUR, TAG)).validated(if_none_match='"1"').fetched()


@pytest.mark.parametrize(
    "ask", ["max-age=2000", "max-age=99999999999", "max-age=" + "9" * 40, 'foo="max-age=0", max-age=2000']
)
@shows("9111/5.2.1.1-1", "9111/1.2.2-1")
def test_max_age_takes_one_that_is_young_enough(site: Site, ask: str) -> None:
    site.holding(HOUR, "Age: 1800").get(f"Cache-Control: {ask}").hit()


@shows("9111/5.2.1.1-1")
def test_a_304_satisfies_max_age_0(site: Site) -> None:
    page = site.holding(HOUR, "Age: 1800", TAG)
    again = page.get("Cache-Control: max-age=0", answer=unmodified(TAG, HOUR)).validated()
    assert (again.status, again.body) == (200, page.last)


@pytest.mark.parametrize(
    "ask", ["min-fresh=2000", "min-fresh=99999999999", 'min-fresh="2000"', "Min-Fresh=2000"]
)
@shows("9111/5.2.1.3-1", "9111/1.2.2-1")
def test_min_fresh_wants_one_that_lasts(site: Site, ask: str) -> None:
    page = site.holding(HOUR, "Age: 1800")
    page.get(f"Cache-Control: {ask}", answer=answer(HOUR)).fetched()


@pytest.mark.parametrize("ask", ["min-fresh=1000", "min-fresh=0"])
@shows("9111/5.2.1.3-1")
def test_min_fresh_takes_one_that_does(site: Site, ask: str) -> None:
    site.holding(HOUR, "Age: 1800").get(f"Cache-Control: {ask}").hit()


@pytest.mark.parametrize(
    "ask",
    [
        "max-stale",
        "max-stale=1000",
        'max-stale="1000"',
        "MAX-STALE=1000",
        "max-stale=99999999999",
        "max-stale, max-age=3000",
    ],
)
@shows("9111/5.2.1.2-1", "9111/1.2.2-1")
def test_max_stale_takes_a_stale_one(site: Site, ask: str) -> None:
    again = site.holding("Cache-Control: max-age=1500", "Age: 2000").get(f"Cache-Control: {ask}").hit()
    assert again.age >= 2000


@pytest.mark.parametrize(
    "ask", ["max-stale=400", "max-stale=0", "max-stale, max-age=1000", "max-stale, no-cache"]
)
@shows("9111/5.2.1.2-1", "9111/5.2.1.1-1")
def test_but_not_one_that_is_staler_or_older(site: Site, ask: str) -> None:
    page = site.holding("Cache-Control: max-age=1500", "Age: 2000", TAG)
    page.get(f"Cache-Control: {ask}", answer=answer(HOUR)).fetched()


@shows("9111/5.2.1.2-1")
def test_max_stale_needs_something_stored(site: Site) -> None:
    site.page().get("Cache-Control: max-stale", answer=answer(HOUR)).fetched()


@pytest.mark.parametrize(
    "ask", ["no-cache", "No-Cache", "no-cache=x", "max-age=3600, no-cache", "foo,no-cache"]
)
@shows("9111/5.2.1.4-1")
def test_no_cache_wants_validation(site: Site, ask: str) -> None:
    page = site.holding(HOUR, TAG, "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT", "X-Mark: old")
    again = page.get(f"Cache-Control: {ask}", answer=unmodified(TAG, HOUR, "X-Mark: new"))
    again.validated(if_none_match='"1"', if_modified_since="Thu, 01 Jan 2015 00:00:00 GMT")
    assert (again.status, again["x-mark"]) == (200, "new")
    assert page.get().hit()["x-mark"] == "new"


@shows("9111/5.2.1.4-1")
def test_no_cache_fetches_what_has_no_validator_and_stores_it(site: Site) -> None:
    page = site.holding(HOUR)
    page.get("Cache-Control: no-cache", answer=answer(HOUR)).fetched()
    page.get().hit()


@pytest.mark.parametrize("ask", ["no-store", "NO-STORE", "foo, no-store", "no-store, max-age=60"])
@shows("9111/5.2.1.5-1")
def test_no_store_keeps_the_answer_out(site: Site, ask: str) -> None:
    page = site.page()
    page.get(f"Cache-Control: {ask}", answer=answer(HOUR, TAG)).fetched()
    assert not page.get(answer=answer(HOUR)).fetched().asked[0].conditional


@shows("9111/5.2.1.5-1")
def test_no_store_leaves_what_was_stored_before(site: Site) -> None:
    page = site.holding(HOUR)
    page.get("Cache-Control: no-store", answer=answer(HOUR, body=b"not kept"))
    again = page.get(answer=answer(HOUR))
    assert again.body != b"not kept"


@shows("9111/5.2.1.7-1")
def test_only_if_cached_answers_from_the_store(site: Site) -> None:
    assert site.holding(HOUR).get("Cache-Control: only-if-cached").hit().status == 200
    assert (
        site.holding(HOUR, TAG).get("Cache-Control: only-if-cached", 'If-None-Match: "1"').hit().status == 304
    )


@pytest.mark.parametrize("ask", ["only-if-cached", "ONLY-IF-CACHED", "only-if-cached, max-stale"])
@shows("9111/5.2.1.7-1")
def test_only_if_cached_with_nothing_stored_is_504(site: Site, ask: str) -> None:
    again = site.page().get(f"Cache-Control: {ask}")
    assert (again.status, again.asked) == (504, [])


@pytest.mark.parametrize(
    "stored",
    [["Cache-Control: max-age=10", "Age: 20"], [HOUR, "Vary: Foo"], ["Cache-Control: no-cache"]],
    ids=str,
)
@shows("9111/5.2.1.7-1")
def test_only_if_cached_with_nothing_usable_is_504(site: Site, stored: list[str]) -> None:
    page = site.holding(*stored, TAG)
    again = page.get("Cache-Control: only-if-cached", "Foo: 2")
    assert (again.status, again.asked) == (504, [])


@shows("9111/5.2.1.7-1", "9111/5.2.1.2-1")
def test_only_if_cached_with_max_stale_takes_a_stale_one(site: Site) -> None:
    site.holding("Cache-Control: max-age=10", "Age: 20").get("Cache-Control: only-if-cached, max-stale").hit()


@shows("9111/5.2.3-1", "9111/5.2-2")
def test_what_is_not_known_in_a_request_is_ignored(site: Site) -> None:
    page = site.holding(HOUR)
    for ask in (
        "foo",
        'foo="no-cache"',
        "private",
        "public",
        "must-revalidate",
        "s-maxage=0",
        "proxy-revalidate",
        ",",
        "",
    ):
        page.get(f"Cache-Control: {ask}").hit()


@shows("9111/5.4-1")
def test_pragma_alone_is_no_cache(site: Site) -> None:
    page = site.holding(HOUR, TAG)
    page.get("Pragma: no-cache", answer=unmodified(TAG, HOUR)).validated(if_none_match='"1"')


@pytest.mark.parametrize(
    "lines", [["Pragma: no-cache", "Cache-Control: max-age=3600"], ["Pragma: foo"]], ids=str
)
@shows("9111/5.4-1")
def test_pragma_beside_cache_control_is_nothing(site: Site, lines: list[str]) -> None:
    site.holding(HOUR, TAG).get(*lines).hit()


@shows("9111/5.4-1")
@pytest.mark.parametrize("lines", [[HOUR], ["Expires: {+3600}"], ["Last-Modified: {-864000}"]], ids=str)
def test_pragma_in_a_response_is_nothing(site: Site, lines: list[str]) -> None:
    again = site.holding(*lines, "Pragma: no-cache").get().hit()
    assert again["pragma"] == "no-cache"


@shows("9111/5.2-1")
@pytest.mark.parametrize(
    "value", ["max-age=0, foo=bar", "no-transform", 'x="a, b", max-stale=5', "no-cache", "only-x"]
)
def test_directives_of_requests_reach_the_origin(site: Site, value: str) -> None:
    page = site.page()
    page.get(f"Cache-Control: {value}", "Pragma: x", answer=answer(HOUR))
    assert page.asked[0]["cache-control"] == value
    assert page.asked[0]["pragma"] == "x"


@shows("9111/5.2-1")
@pytest.mark.parametrize(
    "value", ["max-age=3600, foo=bar", 'max-age=3600, community="UCI"', "Public, MAX-AGE=3600,, x"]
)
def test_directives_of_responses_reach_the_client(site: Site, value: str) -> None:
    page = site.page()
    first = page.get(answer=answer(f"Cache-Control: {value}"))
    assert first["cache-control"] == page.get().hit()["cache-control"] == value


@shows("9111/5.5-1")
def test_a_warning_that_came_is_passed_on(site: Site) -> None:
    page = site.page()
    first = page.get(answer=answer(HOUR, 'Warning: 199 a "b"'))
    assert first["warning"] == page.get().hit()["warning"] == '199 a "b"'


@shows("9111/5.2.2.6-1", "9111/5.2.1.6-1")
@pytest.mark.parametrize(("ask", "say"), [("", ", no-transform"), ("no-transform", "")])
def test_no_transform_leaves_the_content_alone(site: Site, ask: str, say: str) -> None:
    text = b"the same words again and again, " * 500
    lines = (f"Cache-Control: max-age=3600{say}", "Content-Type: text/plain", TAG)
    fields = ("Accept-Encoding: gzip, br, zstd", *((f"Cache-Control: {ask}",) if ask else ()))
    page = site.page()
    for reply in (page.get(*fields, answer=answer(*lines, body=text)), page.get(*fields), page.get(*fields)):
        assert reply.body == text
        assert "content-encoding" not in reply
        assert reply["etag"] == '"1"'
    if ask:
        assert page.asked[0]["cache-control"] == ask


# -- no-store and Authorization reach into every way of storing --------------------------------------------------------

STALE = ("Cache-Control: public, max-age=10", "Age: 20")
WHO = "Authorization: Basic a"


@shows("9111/5.2.1.5-1")
def test_no_store_keeps_the_fields_of_a_304_out(site: Site) -> None:
    def says(asked: Asked) -> Answer:
        return (unmodified if asked.conditional else answer)(TAG, HOUR, "X-Mark: new")

    page = site.holding(*STALE, TAG, "X-Mark: old")
    assert page.get("Cache-Control: no-store", answer=says).status == 200
    later = page.get(answer=answer(HOUR, TAG, "X-Mark: later"))
    assert later.asked
    assert later["x-mark"] == "later"


@shows("9111/5.2.1.5-1")
def test_no_store_keeps_the_fields_of_a_head_out(site: Site) -> None:
    page = site.holding(*STALE, TAG, body=b"0123456789")
    page.head("Cache-Control: no-store", answer=answer(HOUR, TAG, body=b"0123456789"))
    page.get(answer=answer(HOUR)).fetched()


@shows("9111/5.2.1.5-1")
def test_no_store_keeps_parts_and_posts_out(site: Site) -> None:
    page = site.page()
    page.get("Range: bytes=0-4", "Cache-Control: no-store", answer=whole_or_part(b"0123456789", HOUR, TAG))
    assert page.get("Range: bytes=0-4", answer=whole_or_part(b"abcdefghij", HOUR, TAG)).body == b"abcde"
    page = site.page()
    own = f"Content-Location: {page.target}"
    page.ask("POST", "Cache-Control: no-store", answer=answer(HOUR, own), body=b"x")
    page.get(answer=answer(HOUR)).fetched()


@shows("9111/3.5-1", "9111/3-6")
def test_a_304_to_one_user_may_take_the_permission_to_share_away(site: Site) -> None:
    page = site.holding(*STALE, TAG)
    page.get(WHO, answer=unmodified(TAG, HOUR)).validated()
    page.get(answer=answer(HOUR)).fetched()


@shows("9111/3.5-1", "9111/3-6")
def test_a_304_to_one_user_may_leave_it(site: Site) -> None:
    page = site.holding(*STALE, TAG)
    page.get(WHO, answer=unmodified(TAG, "Cache-Control: public, max-age=3600")).validated()
    page.get().hit()


@shows("9111/3.5-1", "9111/3-6")
def test_parts_and_posts_of_one_user_are_not_shared(site: Site) -> None:
    page = site.page()
    page.get("Range: bytes=0-4", WHO, answer=whole_or_part(b"0123456789", HOUR, TAG))
    assert page.get("Range: bytes=0-4", answer=whole_or_part(b"abcdefghij", HOUR, TAG)).body == b"abcde"
    page = site.page()
    page.ask("POST", WHO, answer=answer(HOUR, f"Content-Location: {page.target}"), body=b"x")
    page.get(answer=answer(HOUR)).fetched()


@shows("9111/3.5-1", "5861/3-2")
def test_what_is_validated_behind_for_one_user_is_not_shared(site: Site) -> None:
    page = site.holding(
        "Cache-Control: public, max-age=10, stale-while-revalidate=60", "Age: 20", TAG, body=b"old"
    )
    mine = answer(HOUR, 'ETag: "2"', body=b"mine")
    assert page.get(WHO, answer=mine).body == b"old"
    page.until_asked(2)
    theirs = answer("Cache-Control: public, max-age=3600", 'ETag: "3"', body=b"theirs")
    for _ in range(5):
        assert page.get(answer=theirs).body in (b"old", b"theirs")


@shows("9111/3-4", "9111/4.3.5-1")
@pytest.mark.parametrize("control", ["no-store", "private", "no-cache", "max-age=0"])
def test_a_head_may_take_the_permission_to_reuse_away(site: Site, control: str) -> None:
    page = site.holding(HOUR, TAG, body=b"0123456789")
    page.head("Cache-Control: no-cache", answer=answer(f"Cache-Control: {control}", TAG, body=b"0123456789"))
    page.get(answer=answer(HOUR)).fetched()


@shows("9111/4.3.5-1", "9111/4.1-1")
def test_a_head_for_one_variant_leaves_the_other(site: Site) -> None:
    page = site.page()
    page.get("Foo: 1", answer=answer(*STALE, TAG, "Vary: Foo", body=b"0123456789"))
    page.head("Foo: 2", answer=answer(HOUR, TAG, "Vary: Foo", body=b"0123456789"))
    page.get("Foo: 1", answer=answer(HOUR, "Vary: Foo")).fetched()
