"""Validation by the origin: what is asked, and what its answers change (RFC 9111 §3.2, §4.3)."""

from __future__ import annotations

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.scripted import answer, unmodified
from tests.edge.conformance.site import Site

HOUR = "Cache-Control: max-age=3600"
STALE = ("Cache-Control: max-age=10", "Age: 20")
TAG = 'ETag: "1"'
CHANGED = "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT"
VALIDATORS = pytest.mark.parametrize("validator", [TAG, CHANGED], ids=["tag", "date"])


# -- what is asked ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ['"1"', 'W/"1"', '""', '"a, b"', '"\xe9"', '"a\\b"'])
@shows("9111/4.3.1-1")
def test_the_stored_tag_is_sent(site: Site, tag: str) -> None:
    page = site.holding(*STALE, f"ETag: {tag}")
    page.get(answer=unmodified(f"ETag: {tag}", HOUR)).validated(if_none_match=tag, if_modified_since=None)


@shows("9111/4.3.1-2")
def test_the_stored_date_is_sent(site: Site) -> None:
    page = site.holding(*STALE, CHANGED)
    again = page.get(answer=unmodified(HOUR)).validated(
        if_modified_since=CHANGED.partition(": ")[2], if_none_match=None
    )
    assert again.status == 200


@shows("9111/4.3.1-1", "9111/4.3.1-2")
def test_both_are_sent(site: Site) -> None:
    page = site.holding(*STALE, TAG, CHANGED)
    page.get(answer=unmodified(TAG)).validated(
        if_none_match='"1"', if_modified_since=CHANGED.partition(": ")[2]
    )


@shows("9111/4-4")
def test_what_has_no_validator_is_fetched_anew(site: Site) -> None:
    page = site.holding(*STALE)
    again = page.get(answer=answer(HOUR)).fetched()
    assert not again.asked[0].conditional
    page.get().hit()


@shows("9111/4.3.1-1")
def test_the_clients_own_conditions_do_not_travel_with_ours(site: Site) -> None:
    page = site.holding(*STALE, TAG)
    again = page.get("If-Modified-Since: {-60}", answer=unmodified(TAG, HOUR)).validated(
        if_modified_since=None
    )
    assert again.status in (200, 304)


# -- 304 -------------------------------------------------------------------------------------------------------------

UPDATED = (
    ("Test-Header", "a", "b"),
    ("X-Test-Header", "a", "b"),
    ("Content-Foo", "a", "b"),
    ("X-Content-Foo", "a", "b"),
    ("Content-Type", "text/plain", "text/plain; charset=utf-8"),
    ("Content-Language", "ko", "en"),
    ("Content-Location", "/foo", "/bar"),
    ("Content-MD5", "rL0Y20zC+Fzt72VPzMSk2A==", "N7UdGUp1E+RbVvZSTy1R8g=="),
    ("Content-Encoding", "x-a", "x-b"),
    ("Content-Disposition", "inline", "attachment"),
    ("Content-Security-Policy", "default-src 'self'", "default-src 'none'"),
    ("Clear-Site-Data", "cache", "cookies"),
    ("Expires", "Thu, 18 Aug 2050 02:01:18 GMT", "Fri, 19 Aug 2050 02:01:18 GMT"),
    ("Link", "</a>", "</b>"),
    ("Pragma", "a", "b"),
    ("Public-Key-Pins", "a", "b"),
    ("Server", "a", "b"),
    ("Set-Cookie", "a=b", "a=c"),
    ("Set-Cookie2", "a=b", "a=c"),
    ("Surrogate-Key", "a", "b"),
    ("Warning", '199 a "a"', '199 a "b"'),
    ("X-Frame-Options", "deny", "sameorigin"),
    ("X-XSS-Protection", "1", "1; mode=block"),
)


@VALIDATORS
@pytest.mark.parametrize(("name", "old", "new"), UPDATED)
@shows("9111/3.2-1", "9111/4.3.4-3")
def test_a_304_updates_each_field_it_bears(site: Site, validator: str, name: str, old: str, new: str) -> None:
    page = site.holding(*STALE, validator, f"{name}: {old}", "X-Stays: 1")
    confirmed = page.get(answer=unmodified(validator, HOUR, f"{name}: {new}")).validated()
    again = page.get().hit()
    for reply in (confirmed, again):
        assert reply.status == 200
        assert reply.body == page.last
        assert reply.all(name) == [new]
        assert reply["x-stays"] == "1"


@VALIDATORS
@shows("9111/3.2-1", "9111/4.3.4-3")
def test_a_304_updates_freshness_and_date(site: Site, validator: str) -> None:
    page = site.holding(*STALE, validator, date=-100)
    confirmed = page.get(answer=unmodified(validator, HOUR)).validated()
    again = page.get().hit()
    assert again["cache-control"] == "max-age=3600"
    assert again["date"] == confirmed["date"]
    assert again.age <= 10


@VALIDATORS
@shows("9111/3.2-1")
def test_a_304_adds_and_replaces_lists_of_fields(site: Site, validator: str) -> None:
    page = site.holding(*STALE, validator, "X-List: 1", "X-List: 2", "Set-Cookie: a=1", "Set-Cookie: b=2")
    page.get(
        answer=unmodified(validator, HOUR, "x-list: 3", "X-New: 1", "Set-Cookie: c=3", "Set-Cookie: d=4")
    )
    again = page.get().hit()
    assert again["x-list"] == "3"
    assert again["x-new"] == "1"
    assert again.all("set-cookie") == ["c=3", "d=4"]


@VALIDATORS
@shows("9111/3.2-1")
def test_a_304_that_says_nothing_of_freshness_leaves_it(site: Site, validator: str) -> None:
    page = site.holding("Cache-Control: max-age=3600", "Age: 7200", validator)
    page.get(answer=unmodified(validator)).validated()
    page.get().hit()


@VALIDATORS
@shows("9111/3.2-2")
def test_a_304_leaves_content_length(site: Site, validator: str) -> None:
    page = site.holding(*STALE, validator, body=b"0123456789")
    confirmed = page.get(answer=unmodified(validator, HOUR, "Content-Length: 3")).validated()
    for reply in (confirmed, page.get().hit()):
        assert reply.body == b"0123456789"
        assert reply.all("content-length") == ["10"]


@VALIDATORS
@shows("9111/3.2-3", "9110/7.6.1-1")
def test_a_304_brings_no_fields_of_its_connection(site: Site, validator: str) -> None:
    page = site.holding(*STALE, validator)
    hops = (
        "Connection: x-hop",
        "X-Hop: 1",
        "Keep-Alive: timeout=5",
        "Proxy-Authenticate: Basic realm=x",
        "Upgrade: foo",
    )
    confirmed = page.get(answer=unmodified(validator, HOUR, *hops)).validated()
    for reply in (confirmed, page.get().hit()):
        names = {name for name, _ in reply.fields}
        assert not names & {"x-hop", "proxy-authenticate", "upgrade"}
        assert "timeout=5" not in reply.all("keep-alive")


@shows("9111/3.2-4")
def test_a_304_brings_no_content_range(site: Site) -> None:
    page = site.holding(*STALE, TAG)
    page.get(answer=unmodified(TAG, HOUR, "Content-Range: bytes 0-1/9"))
    assert "content-range" not in page.get().hit()


@shows("9111/5.2.2.7-2", "9111/3.2-3")
def test_a_304_brings_no_private_fields(site: Site) -> None:
    page = site.holding(*STALE, TAG)
    page.get(answer=unmodified(TAG, 'Cache-Control: max-age=3600, private="x-mine"', "X-Mine: secret"))
    assert "x-mine" not in page.get()


@VALIDATORS
@pytest.mark.parametrize("directive", ["no-store", "private"])
@shows("9111/3-4", "9111/3-5")
def test_what_a_304_forbids_to_store_is_not_reused(site: Site, validator: str, directive: str) -> None:
    page = site.holding(*STALE, validator)
    assert page.get(answer=unmodified(validator, f"Cache-Control: {directive}")).status == 200
    page.get(answer=answer()).fetched()


@pytest.mark.parametrize(
    ("stored", "came"),
    [('"1"', '"2"'), ('W/"1"', '"2"'), ('W/"1"', 'W/"2"')],
)
@shows("9111/4.3.4-1", "9111/4.3.4-2")
def test_a_304_for_another_tag_updates_nothing(site: Site, stored: str, came: str) -> None:
    page = site.holding(*STALE, f"ETag: {stored}", "X-Mark: old")
    page.get(answer=unmodified(f"ETag: {came}", HOUR, "X-Mark: new"))
    again = page.get(answer=answer(HOUR, "X-Mark: newest"))
    assert again.asked
    assert again["x-mark"] == "newest"


@pytest.mark.parametrize(("stored", "came"), [('W/"1"', 'W/"1"'), ('"1"', '"1"'), ('"1"', 'W/"1"')])
@shows("9111/4.3.4-2", "9111/4.3.4-3", "9110/8.8.3.2-1")
def test_a_304_for_the_tag_updates_the_response(site: Site, stored: str, came: str) -> None:
    page = site.holding(*STALE, f"ETag: {stored}", "X-Mark: old")
    assert page.get(answer=unmodified(f"ETag: {came}", HOUR, "X-Mark: new"))["x-mark"] == "new"
    assert page.get().hit()["x-mark"] == "new"


@shows("9111/4.3.4-3")
def test_a_304_without_validator_speaks_of_what_was_asked_about(site: Site) -> None:
    page = site.holding(*STALE, TAG, "X-Mark: old")
    assert page.get(answer=unmodified(HOUR, "X-Mark: new")).validated().status == 200
    assert page.get().hit()["x-mark"] == "new"


# -- other answers ---------------------------------------------------------------------------------------------------


@VALIDATORS
@pytest.mark.parametrize("status", [200, 203, 404, 410])
@shows("9111/4.3.3-1")
def test_a_full_answer_replaces_what_was_stored(site: Site, validator: str, status: int) -> None:
    page = site.holding(*STALE, validator)
    again = page.get(answer=answer(HOUR, status=status)).validated().fetched()
    assert again.status == status
    assert page.get().hit().status == status


@pytest.mark.parametrize("status", [500, 502, 503, 504, 501, 599])
@shows("9111/4.3.3-2", "9111/4.2.4-2")
def test_an_error_is_passed_on_where_nothing_allows_stale(site: Site, status: int) -> None:
    page = site.holding(*STALE, TAG)
    assert page.get(answer=answer(status=status)).status == status


@shows("9111/4.3.3-2", "9111/4.3.4-3")
def test_what_was_stored_outlives_an_error(site: Site) -> None:
    page = site.holding(*STALE, TAG, "X-Mark: old")
    page.get(answer=answer(status=503))
    again = page.get(answer=unmodified(TAG, HOUR)).validated(if_none_match='"1"')
    assert (again.status, again["x-mark"]) == (200, "old")


# -- HEAD ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("validators", [(TAG,), (CHANGED,), (TAG, CHANGED), ()])
@shows("9111/4.3.5-1")
def test_a_head_that_agrees_makes_a_stored_response_fresh(site: Site, validators: tuple[str, ...]) -> None:
    page = site.holding(*STALE, *validators, "X-Mark: old", "X-Stays: 1", body=b"0123456789")
    head = page.head(answer=answer(HOUR, *validators, "X-Mark: new", body=b"0123456789"))
    assert head.asked
    again = page.get().hit()
    assert (again.status, again.body) == (200, b"0123456789")
    assert (again["x-mark"], again["x-stays"], again["cache-control"]) == ("new", "1", "max-age=3600")


@pytest.mark.parametrize(
    ("stored", "came"),
    [
        ((TAG,), ('ETag: "2"',)),
        ((CHANGED,), ("Last-Modified: Fri, 02 Jan 2015 00:00:00 GMT",)),
        ((TAG, CHANGED), (TAG, "Last-Modified: Fri, 02 Jan 2015 00:00:00 GMT")),
        ((TAG,), (TAG, "Content-Length: 11")),
        ((), (TAG,)),
    ],
    ids=str,
)
@shows("9111/4.3.5-2")
def test_a_head_that_disagrees_makes_it_stale(
    site: Site, stored: tuple[str, ...], came: tuple[str, ...]
) -> None:
    page = site.holding(HOUR, *stored, body=b"0123456789")
    page.head("Cache-Control: no-cache", answer=answer(HOUR, *came, body=b"0123456789"))
    assert page.asked[-1].method == "HEAD"
    page.get(answer=answer(HOUR)).fetched()


@pytest.mark.parametrize("status", [404, 410, 500, 503])
@shows("9111/4.3.5-1")
def test_a_head_that_is_no_200_updates_nothing(site: Site, status: int) -> None:
    page = site.holding(HOUR, TAG, "X-Mark: old", body=b"0123456789")
    page.head(
        "Cache-Control: no-cache", answer=answer(HOUR, TAG, "X-Mark: new", status=status, body=b"0123456789")
    )
    again = page.get(answer=answer(HOUR, "X-Mark: newest"))
    assert again["x-mark"] == ("newest" if again.asked else "old")


@shows("9110/9.3.2-2", "9111/3-1")
def test_a_head_alone_is_not_stored_as_a_get(site: Site) -> None:
    page = site.page()
    head = page.head(answer=answer(HOUR, TAG, body=b"0123456789"))
    assert head["content-length"] == "10"
    assert page.get(answer=answer(HOUR, body=b"0123456789")).fetched().body == b"0123456789"


@shows("9110/9.3.2-1", "9110/9.3.2-2", "9110/8.6-1")
def test_a_head_is_answered_by_a_stored_get(site: Site) -> None:
    page = site.page()
    first = page.get(answer=answer(HOUR, TAG, "X-A: 1", "Content-Type: text/plain", body=b"0123456789"))
    head = page.head().hit()
    assert (head.status, head.body) == (200, b"")
    assert head["content-length"] == "10"
    for name in ("etag", "x-a", "content-type", "cache-control", "date"):
        assert head.all(name) == first.all(name)
