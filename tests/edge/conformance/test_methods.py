"""Methods, interim responses, and what a gateway adds to messages (RFC 9110 §7, §9, §15.2)."""

from __future__ import annotations

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.scripted import answer
from tests.edge.conformance.site import Page, Site

HOUR = "Cache-Control: max-age=3600"


@pytest.mark.parametrize("method", ["FOO", "M-SEARCH", "PROPFIND", "foo", "X-A.b~c", "REPORT", "LOCK"])
@pytest.mark.parametrize("body", [None, b"", b"some content"])
@shows("9110/9.1-1")
def test_a_method_that_is_not_known_passes(site: Site, method: str, body: bytes | None) -> None:
    page = site.page()
    reply = page.ask(
        method, "Content-Type: text/x-odd", answer=answer(HOUR, status=207, body=b"it was"), body=body
    )
    assert (reply.status, reply.body) == (207, b"it was")
    asked = page.asked[0]
    assert (asked.method, asked.body, asked["content-type"]) == (method, body or b"", "text/x-odd")
    page.ask(method, answer=answer(HOUR), body=body).fetched()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "FOO"])
@shows("9111/3-1", "9110/9.3.4-1", "9110/9.3.7-1", "9110/9.3.3-2", "9111/4-6")
def test_answers_to_other_methods_are_not_reused(site: Site, method: str) -> None:
    page = site.page()
    page.ask(method, answer=answer(HOUR, "Expires: {+3600}"), body=b"x").fetched()
    page.ask(method, answer=answer(HOUR), body=b"x").fetched()
    page.get(answer=answer(HOUR)).fetched()


@shows("9110/9.3.8-1")
def test_trace_is_neither_forwarded_nor_stored(site: Site) -> None:
    page = site.page()
    reply = page.ask("TRACE", "Cookie: secret", answer=answer(HOUR, body=b"echo"))
    assert reply.status in (405, 501)
    assert not reply.asked
    page.get(answer=answer(HOUR)).fetched()


@pytest.mark.parametrize("form", ["{target}", "http://shop.example{target}"])
@pytest.mark.parametrize("fresh", [HOUR, "Cache-Control: s-maxage=3600", "Expires: {+3600}"])
@shows("9110/9.3.3-1", "9111/3-1")
def test_a_post_that_names_its_own_target_answers_a_later_get(site: Site, form: str, fresh: str) -> None:
    page = site.page()
    place = f"Content-Location: {form.format(target=page.target)}"
    first = page.ask("POST", answer=answer(fresh, place, "X-A: 1"), body=b"x").fetched()
    again = page.get().hit()
    assert (again.status, again.body, again["x-a"]) == (200, first.body, "1")
    assert page.head().hit()["content-length"] == str(len(first.body))
    page.ask("POST", answer=answer(fresh, place), body=b"x").fetched()


def own(page: Page) -> str:
    return f"Content-Location: {page.target}"


@shows("9110/9.3.3-2", "9111/3-1")
@pytest.mark.parametrize(
    "case", ["elsewhere", "nowhere", "not fresh", "guessed", "no-store", "private", "201", "404"]
)
def test_other_answers_to_post_do_not(site: Site, case: str) -> None:
    page = site.page()
    fields, status = {
        "elsewhere": ((HOUR, f"Content-Location: {page.target}x"), 200),
        "nowhere": ((HOUR,), 200),
        "not fresh": ((own(page),), 200),
        "guessed": ((own(page), "Last-Modified: {-864000}"), 200),
        "no-store": ((own(page), "Cache-Control: no-store, max-age=60"), 200),
        "private": ((own(page), "Cache-Control: private, max-age=60"), 200),
        "201": ((own(page), HOUR), 201),
        "404": ((own(page), HOUR), 404),
    }[case]
    page.ask("POST", answer=answer(*fields, status=status), body=b"x").fetched()
    page.get(answer=answer(HOUR)).fetched()


@shows("9110/9.3.3-1", "9111/4.4-1")
def test_a_post_that_is_stored_replaces_what_was_there(site: Site) -> None:
    page = site.holding(HOUR)
    first = page.ask("POST", answer=answer(HOUR, own(page)), body=b"x").fetched()
    again = page.get()
    assert again.body in (first.body, b"unplanned")


# -- interim responses -----------------------------------------------------------------------------------------------

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


@shows("9110/15.2-1", "9111/3-2")
def test_interim_responses_are_forwarded_and_not_stored(site: Site) -> None:
    page = site.page()
    first = page.get(answer=answer(HOUR, "X-A: 1", before=HINTS + b"HTTP/1.1 199 Odd\r\nX-B: 2\r\n\r\n"))
    assert [interim.split(b" ")[1] for interim in first.interims] == [b"103", b"199"]
    assert b"link: </a.css>; rel=preload" in first.interims[0]
    assert first.status == 200
    assert "link" not in first
    again = page.get().hit()
    assert (again.interims, again.status, again["x-a"]) == ([], 200, "1")
    assert "link" not in again


@shows("9111/3-2")
@pytest.mark.parametrize("control", ["max-age=3600", "no-store"])
def test_the_fields_of_an_interim_response_are_not_the_finals(site: Site, control: str) -> None:
    page = site.page()
    page.get(
        answer=answer(
            HOUR, before=b"HTTP/1.1 103 Hints\r\nCache-Control: %b\r\nX-C: 1\r\n\r\n" % control.encode()
        )
    )
    assert "x-c" not in page.get().hit()
    page = site.page()
    page.get(answer=answer(before=b"HTTP/1.1 103 Hints\r\nCache-Control: max-age=3600\r\n\r\n"))
    page.get(answer=answer()).fetched()


@shows("9110/15.2-1")
def test_an_interim_response_before_one_to_an_unsafe_method(site: Site) -> None:
    reply = site.page().ask("POST", answer=answer(before=HINTS * 3), body=b"x")
    assert len(reply.interims) == 3
    assert reply.status == 200


@shows("9110/15.2-2")
def test_a_client_of_http_1_0_gets_no_interim_response_and_no_chunks(site: Site) -> None:
    page = site.page()
    site.origin.answers[page.target] = answer(HOUR, before=HINTS, framing="chunked", body=b"whole")
    for _ in range(2):
        with site.connect() as sock:
            sock.sendall(f"GET {page.target} HTTP/1.0\r\nHost: {page.host}\r\n\r\n".encode())
            got = b"".join(iter(lambda: sock.recv(65536), b""))
        head, _, body = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"transfer-encoding" not in head.lower()
        assert body == b"whole"


@shows("9110/10.1.1-1")
def test_expect_100_continue_is_met(site: Site) -> None:
    page = site.page()
    reply = page.ask("POST", "Expect: 100-continue", answer=answer(), body=b"content")
    assert reply.status == 200
    assert page.asked[0].body == b"content"
    assert all(interim.split(b" ")[1] == b"100" for interim in reply.interims)


# -- Via, Max-Forwards -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "came", [[], ["Via: 1.0 fred"], ["Via: 1.0 fred", "Via: 1.1 p.example (x)"]], ids=str
)
@pytest.mark.parametrize("method", ["GET", "POST", "FOO"])
@shows("9110/7.6.3-1", "9110/7.6.3-2")
def test_via(site: Site, came: list[str], method: str) -> None:
    page = site.page()
    reply = page.ask(
        method, *came, answer=answer(HOUR, "Via: 1.1 far"), body=b"" if method != "GET" else None
    )
    before = ", ".join(line.partition(": ")[2] for line in came)
    assert page.asked[0]["via"] == (f"{before}, 1.1 edge" if before else "1.1 edge")
    assert reply["via"] == "1.1 far, 1.1 edge"
    if method == "GET":
        assert page.get().hit()["via"] == "1.1 far, 1.1 edge"


@shows("9110/7.6.2-1")
def test_max_forwards_of_options(site: Site) -> None:
    page = site.page()
    reply = page.ask("OPTIONS", "Max-Forwards: 0", answer=answer())
    assert reply.status in (200, 204)
    assert not reply.asked
    page.ask("OPTIONS", "Max-Forwards: 3", answer=answer()).fetched()
    assert page.asked[0]["max-forwards"] == "2"


@shows("9110/7.6.2-1")
def test_max_forwards_of_other_methods_passes(site: Site) -> None:
    page = site.page()
    page.get("Max-Forwards: 0", answer=answer()).fetched()
    assert page.asked[0]["max-forwards"] in ("0", "")


@shows("9110/8.6-1", "9110/9.3.2-2")
def test_a_head_that_goes_forward_keeps_the_origins_length(site: Site) -> None:
    page = site.page()
    reply = page.head(answer=answer("Cache-Control: no-store", "Content-Length: 12345"))
    assert (reply["content-length"], reply.body) == ("12345", b"")
