"""Codings that the edge applies itself: what they may not break (RFC 9110 §8.4, §8.8.3, §12.5.3)."""

from __future__ import annotations

import gzip

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.site import Page, Reply, Site, until

HOUR = "Cache-Control: max-age=3600"
TAG = 'ETag: "1"'
TEXT = b"the same words again and again, " * 500
GZIP = "Accept-Encoding: gzip"


def coded(site: Site, *fields: str, ask: str = GZIP) -> tuple[Page, Reply]:
    """A page of which the edge has made a coded form, and the first reply in it."""
    page = site.holding(HOUR, "Content-Type: text/plain", *fields, body=TEXT, ask=(ask,))
    found: list[Reply] = []

    def ready() -> bool:
        found[:] = [page.ask("GET", ask)]
        return "content-encoding" in found[0]

    until(ready, "no coded form was made")
    return page, found[0]


@shows("9110/8.4-1", "9110/8.8.3-1", "9110/12.5.5-2", "9110/8.6-1")
def test_a_coded_form_says_what_it_is(site: Site) -> None:
    page, reply = coded(site, TAG)
    assert reply["content-encoding"] == "gzip"
    assert gzip.decompress(reply.body) == TEXT
    assert reply["content-length"] == str(len(reply.body))
    assert "accept-encoding" in reply["vary"].lower()
    plain = page.get().hit()
    assert (plain.body, plain["etag"], "content-encoding" in plain) == (TEXT, '"1"', False)
    assert "accept-encoding" in plain["vary"].lower()
    assert reply["etag"].startswith("W/") or reply["etag"] != plain["etag"]
    assert len(page.asked) == 1


@pytest.mark.parametrize(
    "ask", ["", "identity", "gzip;q=0", "*;q=0, identity", "gzip;q=0, identity;q=1", "x-odd", "gzip;q=0.000"]
)
@shows("9110/12.5.3-1")
def test_who_does_not_accept_it_does_not_get_it(site: Site, ask: str) -> None:
    page, _ = coded(site, TAG)
    reply = page.get(f"Accept-Encoding: {ask}").hit()
    assert (reply.body, "content-encoding" in reply) == (TEXT, False)


@shows("9110/13.1.2-1", "9110/8.8.3.2-1")
def test_the_tag_of_a_coded_form_is_recognised(site: Site) -> None:
    page, reply = coded(site, TAG)
    again = page.ask("GET", GZIP, f"If-None-Match: {reply['etag']}").hit()
    assert (again.status, again.body) == (304, b"")
    assert "accept-encoding" in again["vary"].lower()


@shows("9110/9.3.2-1", "9110/8.6-1")
def test_a_head_for_a_coded_form_says_the_same(site: Site) -> None:
    page, reply = coded(site, TAG)
    head = page.head(GZIP).hit()
    for name in ("content-encoding", "content-length", "etag", "vary"):
        assert head.all(name) == reply.all(name)


@pytest.mark.parametrize("fields", [(GZIP,), (GZIP, 'If-Range: "1"'), (GZIP, 'If-Range: W/"1"'), ()])
@shows("9110/15.3.7-1", "9110/13.1.5-1", "9110/8.8.3-1")
def test_a_part_is_of_the_form_that_its_tag_names(site: Site, fields: tuple[str, ...]) -> None:
    page, whole = coded(site, TAG)
    reply = page.get("Range: bytes=10-19", *fields)
    assert not reply.asked
    of = whole.body if "content-encoding" in reply else TEXT
    if reply.status == 206:
        assert reply.body == of[10:20]
        assert reply["content-range"] == f"bytes 10-19/{len(of)}"
        assert "content-encoding" not in reply or reply["etag"] != '"1"'
    else:
        assert (reply.status, reply.body) == (200, of)
    if "if-range" in str(fields).lower() and "W/" in str(fields):
        assert reply.status == 200


@pytest.mark.parametrize(
    "field",
    ["Content-Encoding: x-odd", "Cache-Control: no-transform, max-age=3600", "Content-Range: bytes 0-1/2"],
)
@shows("9111/5.2.2.6-1", "9110/8.4-1")
def test_what_is_coded_or_must_stay_as_it_is_is_left_alone(site: Site, field: str) -> None:
    page = site.holding(field, HOUR, "Content-Type: text/plain", TAG, body=TEXT, ask=(GZIP,))
    for _ in range(3):
        reply = page.get(GZIP).hit()
        assert reply.body == TEXT
        assert reply["etag"] == '"1"'
        assert reply["content-encoding"] in ("", "x-odd")
