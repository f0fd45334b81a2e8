"""What may be stored, and what of it comes back (RFC 9111 §3)."""

from __future__ import annotations

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.scripted import answer, unmodified
from tests.edge.conformance.site import Page, Site

HOUR = "Cache-Control: max-age=3600"

FINAL = (
    *range(200, 206), 207, 208, 226, 299, 300, 301, 302, 303, 305, 307, 308, 350, 399, *range(400, 407), 408, 409, 410,
    411, 413, 414, 415, 417, 418, 421, 422, 423, 424, 425, 428, 429, 431, 451, 499, *range(500, 509), 510, 511, 599,
)  # fmt: skip
"""But 206, 304 and 416, which only an answer to certain requests may have, and those of this hop: 407, 412, 426."""


@pytest.mark.parametrize("status", FINAL)
@shows("9111/3-8", "9111/3-7")
def test_any_final_status_with_explicit_freshness_is_reused(site: Site, status: int) -> None:
    page = site.holding(HOUR, "X-Kept: yes", status=status)
    again = page.get().hit()
    assert again.status == status
    assert again["x-kept"] == "yes"


@pytest.mark.parametrize("status", FINAL)
@shows("9111/4-4", "9111/3-8")
def test_any_final_status_is_asked_for_again_when_it_is_stale(site: Site, status: int) -> None:
    page = site.holding("Cache-Control: max-age=10", "Age: 20", status=status)
    assert page.get(answer=answer(status=status)).fetched().status == status


@pytest.mark.parametrize(
    "lifetime", ["s-maxage=3600", "public, max-age=3600", "max-age=3600, must-revalidate"]
)
@pytest.mark.parametrize("status", [200, 299, 404, 500, 599])
@shows("9111/3-8")
def test_each_directive_makes_any_status_storable(site: Site, status: int, lifetime: str) -> None:
    page = site.holding(f"Cache-Control: {lifetime}", status=status)
    assert page.get().hit().status == status


@pytest.mark.parametrize("status", [200, 404, 599])
@shows("9111/3-7", "9111/3-8")
def test_expires_makes_any_status_storable(site: Site, status: int) -> None:
    page = site.holding("Expires: {+3600}", status=status)
    assert page.get().hit().status == status


@pytest.mark.parametrize("status", [200, 203, 204, 301, 404, 410, 414, 501])
@shows("9111/5.2.2.3-1", "9111/3-3")
def test_must_understand_lifts_no_store_for_a_known_status(site: Site, status: int) -> None:
    page = site.holding("Cache-Control: no-store, must-understand, max-age=3600", status=status)
    page.get().hit()


@pytest.mark.parametrize("status", [299, 399, 499, 599])
@pytest.mark.parametrize(
    "directives", ["must-understand, max-age=3600", "no-store, must-understand, max-age=3600"]
)
@shows("9111/3-3", "9111/3-4")
def test_must_understand_keeps_an_unknown_status_out(site: Site, status: int, directives: str) -> None:
    page = site.holding(f"Cache-Control: {directives}", status=status)
    page.get(answer=answer()).fetched()


@pytest.mark.parametrize(
    "directives", ["no-store", "no-store, max-age=3600", "max-age=3600, no-store", "NO-STORE, s-maxage=9"]
)
@shows("9111/3-4", "9111/5.2.2.5-1")
def test_no_store(site: Site, directives: str) -> None:
    page = site.holding(
        f"Cache-Control: {directives}", "Expires: {+3600}", 'ETag: "1"', "Last-Modified: {-864000}"
    )
    again = page.get(answer=answer()).fetched()
    assert not again.asked[0].conditional


@pytest.mark.parametrize(
    "directives", ["private", "private, max-age=3600", "s-maxage=3600, private", "Private, public"]
)
@shows("9111/3-5", "9111/5.2.2.7-1")
def test_private(site: Site, directives: str) -> None:
    page = site.holding(
        f"Cache-Control: {directives}", "Expires: {+3600}", 'ETag: "1"', "Last-Modified: {-864000}"
    )
    again = page.get(answer=answer()).fetched()
    assert not again.asked[0].conditional


@shows("9111/5.2.2.5-1")
def test_a_newer_no_store_is_not_mixed_with_what_was_stored(site: Site) -> None:
    page = site.holding("Cache-Control: max-age=10", "Age: 20", 'ETag: "1"')
    page.get(answer=answer("Cache-Control: no-store", 'ETag: "2"')).fetched()
    page.get(answer=answer(HOUR, 'ETag: "3"')).fetched()


# -- fields ----------------------------------------------------------------------------------------------------------

KEPT = (
    "Test-Header: a",
    "X-Test-Header: a, b",
    "Content-Foo: a",
    "Content-Type: text/x-odd; charset=utf-8",
    "Content-Language: ko",
    "Content-Location: /elsewhere",
    "Content-Disposition: attachment; filename=a.txt",
    "Content-MD5: rL0Y20zC+Fzt72VPzMSk2A==",
    "Content-Security-Policy: default-src 'self'",
    'Clear-Site-Data: "cache"',
    'ETag: "abc"',
    "Expires: Thu, 18 Aug 2050 02:01:18 GMT",
    "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT",
    "Link: </a>; rel=preload",
    "Location: /there",
    "Pragma: no-cache",
    "Public-Key-Pins: a",
    "Retry-After: 5",
    "Server: someone",
    "Set-Cookie: a=b; Path=/",
    "Set-Cookie2: a=b",
    "Strict-Transport-Security: max-age=1",
    "Vary: Accept-Encoding",
    "WWW-Authenticate: Basic realm=x",
    'Warning: 199 a "b"',
    "X-Frame-Options: deny",
    "X-Empty:",
    "CDN-Cache-Control: max-age=3600",
    "Surrogate-Control: max-age=3600",
    "Surrogate-Key: a b",
    "Cache-Tag: a,b",
    'Cache-Groups: "a"',
    "Allow: GET",
    "Accept-Ranges: none",
    "Alt-Svc: clear",
    "NEL: {}",
)


@pytest.mark.parametrize("line", KEPT)
@shows("9111/3.1-1")
def test_fields_are_stored_whatever_they_are(site: Site, line: str) -> None:
    name, _, value = line.partition(":")
    again = site.holding(HOUR, line).get().hit()
    assert name.lower() in again
    assert again[name] == value.strip()


@shows("9111/3.1-1", "9110/5.3-1")
def test_fields_of_several_lines_come_back_in_their_order(site: Site) -> None:
    lines = [
        "Set-Cookie: a=1",
        "X-List: 1",
        "Set-Cookie: b=2",
        "X-List: 2",
        "x-list: 3",
        "Set-Cookie: c=3; Expires=x, y",
    ]
    page = site.holding(HOUR, *lines)
    again = page.get().hit()
    assert again.all("set-cookie") == ["a=1", "b=2", "c=3; Expires=x, y"]
    assert again["x-list"] == "1, 2, 3"


@shows("9111/3.1-1")
def test_a_value_of_odd_bytes_comes_back_as_it_was(site: Site) -> None:
    value = 'caf\xe9 "q\\"" \t; x=\xff'
    again = site.holding(HOUR, f"X-Odd: {value}").get().hit()
    assert again["x-odd"] == value


@shows("9111/3.1-1", "9111/4-2")
def test_a_body_comes_back_byte_for_byte(site: Site) -> None:
    body = bytes(range(256)) * 300
    for framing in ("length", "chunked", "close"):
        again = site.holding(HOUR, body=body, framing=framing).get().hit()
        assert again.body == body


@pytest.mark.parametrize(
    "line",
    [
        "Connection: x-hop",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "TE: trailers",
        "Upgrade: foo",
        "Proxy-Authenticate: Basic realm=x",
        "Proxy-Authentication-Info: a=b",
        "Proxy-Authorization: Basic x",
    ],
)
@shows("9111/3.1-2", "9111/3.1-3", "9110/7.6.1-1")
def test_fields_of_one_connection_go_no_further(site: Site, line: str) -> None:
    name = line.partition(":")[0]
    page = site.page()
    first = page.get(answer=answer(HOUR, line, "X-Kept: 1")).fetched()
    again = page.get().hit()
    for reply in (first, again):
        assert line.partition(": ")[2] not in reply.all(name)
        assert reply["x-kept"] == "1"


@shows("9111/3.1-2", "9110/7.6.1-1")
def test_fields_that_connection_names_go_no_further(site: Site) -> None:
    page = site.page()
    first = page.get(
        answer=answer(HOUR, "Connection: X-A, x-b", "Connection: X-C", "X-A: 1", "x-B: 2", "X-C: 3", "X-D: 4")
    )
    again = page.get().hit()
    for reply in (first, again):
        assert not {"x-a", "x-b", "x-c"} & {name for name, _ in reply.fields}
        assert reply["x-d"] == "4"


@shows("9110/7.6.1-1")
def test_fields_of_the_clients_connection_do_not_reach_the_origin(site: Site) -> None:
    page = site.page()
    page.get(
        "Connection: x-a, keep-alive", "X-A: 1", "X-B: 2", "Keep-Alive: 5", "TE: trailers", answer=answer()
    )
    asked = page.asked[0]
    assert not {"x-a", "keep-alive", "te"} & {name for name, _ in asked.fields}
    assert asked["x-b"] == "2"


@shows("9111/3.1-4")
def test_trailers_do_not_become_header_fields(site: Site) -> None:
    page = site.holding(
        HOUR, "Trailer: X-Late", framing="chunked", trailers=("X-Late: 1", "Cache-Control: no-store")
    )
    again = page.get().hit()
    assert "x-late" not in again
    assert again["cache-control"] == "max-age=3600"


@shows("9111/5.2.2.7-2")
@pytest.mark.parametrize(
    "value", ['private="x-mine"', "private=X-Mine", 'private="X-Mine, x-other"', 'PRIVATE=" x-other ,X-MINE"']
)
def test_private_fields_are_never_reused(site: Site, value: str) -> None:
    page = site.page()
    first = page.get(answer=answer(f"Cache-Control: max-age=3600, {value}", "X-Mine: secret", "X-Ours: 1"))
    assert first["x-mine"] == "secret"
    again = page.get(answer=answer(HOUR, "X-Ours: 1"))
    assert "x-mine" not in again
    assert again["x-ours"] == "1"


@shows("9111/5.2.2.7-2")
def test_what_remains_beside_private_fields_is_stored(site: Site) -> None:
    page = site.holding('Cache-Control: max-age=3600, private="X-Mine"', "X-Mine: secret", "X-Ours: 1")
    page.get().hit()


@shows("9111/5.2.2.4-2")
@pytest.mark.parametrize(
    "value",
    ['no-cache="x-mine"', "no-cache=X-Mine", 'no-cache="X-Mine, x-other"', 'No-Cache="x-other,X-MINE"'],
)
def test_fields_under_no_cache_are_not_reused_without_validation(site: Site, value: str) -> None:
    page = site.holding(f"Cache-Control: max-age=3600, {value}", "X-Mine: old", "X-Ours: 1", 'ETag: "1"')
    again = page.get(answer=unmodified('ETag: "1"', "X-Mine: new"))
    assert again["x-ours"] == "1"
    assert again["x-mine"] == ("new" if again.asked else "")


@shows("9111/5.2.2.4-2")
def test_what_remains_beside_fields_under_no_cache_is_reused(site: Site) -> None:
    page = site.holding('Cache-Control: max-age=3600, no-cache="X-Mine"', "X-Mine: old", "X-Ours: 1")
    again = page.get().hit()
    assert "x-mine" not in again
    assert again["x-ours"] == "1"


# -- who asked -------------------------------------------------------------------------------------------------------


@shows("9111/7.3-1")
def test_a_response_that_sets_a_cookie_is_reused(site: Site) -> None:
    again = site.holding(HOUR, "Set-Cookie: a=b").get().hit()
    assert again["set-cookie"] == "a=b"


@shows("9111/7.3-1", "9111/4-2")
def test_a_cookie_in_the_request_changes_nothing(site: Site) -> None:
    page = site.holding(HOUR, ask=("Cookie: a=b",))
    page.get("Cookie: a=c").hit()
    page.get().hit()


@pytest.mark.parametrize(
    "lifetime", ["max-age=3600", "max-age=3600, proxy-revalidate", "max-age=3600, immutable"]
)
@shows("9111/3-6", "9111/3.5-1")
def test_what_was_fetched_with_authorization_is_not_reused(site: Site, lifetime: str) -> None:
    page = site.holding(f"Cache-Control: {lifetime}", "Expires: {+3600}", ask=("Authorization: Basic a",))
    page.get(answer=answer(HOUR)).fetched()


@shows("9111/3.5-1", "9111/3-6")
def test_nor_is_it_for_the_same_user(site: Site) -> None:
    page = site.holding(HOUR, ask=("Authorization: Basic a",))
    page.get("Authorization: Basic a", answer=answer()).fetched()


@pytest.mark.parametrize(
    "lifetime",
    ["public, max-age=3600", "s-maxage=3600", "max-age=3600, must-revalidate", "max-age=1, s-maxage=3600"],
)
@pytest.mark.parametrize("who", [(), ("Authorization: Basic b",)])
@shows("9111/3.5-2", "9111/5.2.2.9-1")
def test_what_is_open_to_all_is_reused(site: Site, lifetime: str, who: tuple[str, ...]) -> None:
    page = site.holding(f"Cache-Control: {lifetime}", ask=("Authorization: Basic a",))
    page.get(*who).hit()


@shows("9111/3.5-2")
def test_authorization_reaches_the_origin(site: Site) -> None:
    page = site.page()
    page.get("Authorization: Basic a", answer=answer(HOUR))
    assert page.asked[0]["authorization"] == "Basic a"


@shows("9111/3.5-1")
def test_a_stale_response_is_not_fetched_for_all_with_one_users_authorization(site: Site) -> None:
    page = site.holding("Cache-Control: public, max-age=10", "Age: 20", 'ETag: "1"')
    page.get("Authorization: Basic a", answer=answer(HOUR, 'ETag: "2"')).fetched()
    page.get(answer=answer(HOUR)).fetched()


# -- keys ------------------------------------------------------------------------------------------------------------


@shows("9111/4-1")
def test_another_query_path_or_host_is_another_target(site: Site) -> None:
    page = site.holding(HOUR)
    for other in (
        page.at("?"),
        page.at("?a=1"),
        page.at("?a=2"),
        page.at("/"),
        page.at("x"),
        page.at("", host="other.example"),
    ):
        other.get(answer=answer(HOUR)).fetched()
    page.at("?a=1").get().hit()
    page.get().hit()


@shows("9111/4-1")
def test_case_counts_in_paths_and_not_in_hosts(site: Site) -> None:
    page = site.holding(HOUR, suffix="/path")
    site_twin = page.at("", host="SHOP.example")
    site_twin.get().hit()
    upper = page.at("")
    upper.target = page.target.replace("/path", "/PATH")
    upper.get(answer=answer()).fetched()


@shows("9111/4-1")
def test_the_absolute_form_of_a_target_is_the_same_target(site: Site) -> None:
    page = site.holding(HOUR)
    absolute = Page(site, f"http://shop.example{page.target}", "other.example")
    again = absolute.get()
    assert (again.status, again.body, again["age"] != "") == (200, page.last, True)
    assert len(page.asked) == 1


@shows("9111/4-2", "9110/9.3.2-1")
def test_a_stored_get_answers_get_and_head_only(site: Site) -> None:
    page = site.holding(HOUR)
    page.head().hit()
    for method in ("POST", "PUT", "PATCH", "DELETE", "PROPFIND", "FOO"):
        page.get(answer=answer(HOUR))
        page.ask(method, answer=answer(status=500), body=b"").fetched()


# -- bodies that do not end ------------------------------------------------------------------------------------------


@shows("9111/3.3-1")
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("extra", [(), ('ETag: "1"', "Last-Modified: {-864000}")])
def test_a_body_that_is_cut_short_is_not_reused_as_the_whole(
    site: Site, framing: str, extra: tuple[str, ...]
) -> None:
    page = site.page()
    first = page.get(answer=answer(HOUR, *extra, body=b"0123456789", framing=framing, cut=4))
    assert not first.whole or first.status >= 500
    again = page.get(answer=answer(HOUR, *extra, body=b"0123456789"))
    assert again.asked
    assert (again.status, again.body, again.whole) == (200, b"0123456789", True)
    assert page.get().hit().body == b"0123456789"
