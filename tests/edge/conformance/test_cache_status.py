"""What Cache-Status says of each answer (RFC 9211)."""

from __future__ import annotations

import re

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.scripted import GONE, answer, unmodified, whole_or_part
from tests.edge.conformance.site import Reply, Site

HOUR = "Cache-Control: max-age=3600"
STALE = ("Cache-Control: max-age=10", "Age: 20")
TAG = 'ETag: "1"'
_MEMBER = re.compile(
    r"""([A-Za-z*][\w!#$%&'*+.^`|~:/-]*|"(?:[^"\\]|\\.)*")((?: *; *[a-z*][a-z0-9_.*-]*(?:=[^;,]+)?)*)"""
)


def member(reply: Reply) -> dict[str, str | bool]:
    """The parameters of the edge's own member; a flag is True. It is held to the grammar on the way."""
    found = _MEMBER.fullmatch(reply.said)
    assert found, reply.said
    assert found[1] == "edge"
    parameters: dict[str, str | bool] = {}
    for piece in filter(None, (each.strip() for each in found[2].split(";"))):
        name, _, value = piece.partition("=")
        assert name not in parameters
        parameters[name] = value or True
    if parameters.get("hit") is True:
        assert "fwd" not in parameters
    else:
        assert "fwd" in parameters
    return parameters


@shows("9211/2.1-1", "9211/2-3", "9211/2.4-1")
def test_a_hit(site: Site) -> None:
    said = member(site.holding(HOUR, "Age: 600").get().hit())
    assert said["hit"] is True
    assert "stored" not in said
    assert "fwd-status" not in said
    assert 2990 <= int(said["ttl"]) <= 3000


@shows("9211/2.1-1")
def test_what_the_store_answers_with_304_206_and_416_is_a_hit(site: Site) -> None:
    page = site.holding(HOUR, TAG)
    for field, status in (('If-None-Match: "1"', 304), ("Range: bytes=0-1", 206)):
        reply = page.get(field).hit()
        assert reply.status == status
        assert member(reply)["hit"] is True
    assert member(page.head().hit())["hit"] is True


@shows("9211/2.2-1", "9211/2.3-1", "9211/2.5-1", "9211/2.1-1", "9211/2.4-1")
def test_a_miss_that_is_stored(site: Site) -> None:
    said = member(site.page().get(answer=answer(HOUR, status=404)))
    assert (said["fwd"], said["fwd-status"], said["stored"]) == ("uri-miss", "404", True)
    assert 3590 <= int(said["ttl"]) <= 3600


@pytest.mark.parametrize("control", ["no-store", "private", "no-store, max-age=60"])
@shows("9211/2.5-1", "9211/2.8-1")
def test_a_miss_that_is_not_stored_says_why(site: Site, control: str) -> None:
    said = member(site.page().get(answer=answer(f"Cache-Control: {control}")))
    assert said["fwd"] == "uri-miss"
    assert said.get("stored") in (None, "?0")
    assert said["detail"]


@shows("9211/2.2-1")
def test_a_variant_that_is_missing(site: Site) -> None:
    page = site.holding(HOUR, "Vary: Foo")
    assert member(page.get("Foo: 1", answer=answer(HOUR, "Vary: Foo")))["fwd"] == "vary-miss"


@shows("9211/2.2-1", "9211/2.3-1")
def test_a_stale_response_that_is_validated(site: Site) -> None:
    page = site.holding(*STALE, TAG)
    said = member(page.get(answer=unmodified(TAG, HOUR)))
    assert (said["fwd"], said["fwd-status"]) == ("stale", "304")
    assert 3590 <= int(said["ttl"]) <= 3600
    page = site.holding(*STALE, TAG)
    said = member(page.get(answer=answer(HOUR)))
    assert (said["fwd"], said["fwd-status"], said["stored"]) == ("stale", "200", True)


@pytest.mark.parametrize("ask", ["no-cache", "max-age=0", "min-fresh=9999"])
@shows("9211/2.2-1")
def test_a_fresh_response_that_the_request_does_not_want(site: Site, ask: str) -> None:
    page = site.holding(HOUR, TAG)
    assert member(page.get(f"Cache-Control: {ask}", answer=unmodified(TAG)))["fwd"] == "request"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "FOO", "OPTIONS"])
@shows("9211/2.2-1", "9211/2.3-1")
def test_a_method_that_goes_forward(site: Site, method: str) -> None:
    page = site.holding(HOUR)
    said = member(page.ask(method, answer=answer(status=202), body=b""))
    assert said["fwd"] == "method"
    assert said.get("fwd-status", "202") == "202"


@shows("9211/2.2-1")
def test_a_part_that_is_not_all_there(site: Site) -> None:
    text = b"0123456789abcdefghij"
    page = site.page()
    page.get(
        "Range: bytes=0-9",
        answer=answer(HOUR, TAG, "Content-Range: bytes 0-9/20", status=206, body=text[:10]),
    )
    assert member(page.get("Range: bytes=5-15", answer=whole_or_part(text, HOUR, TAG)))["fwd"] == "partial"


@shows("9211/2.4-1", "9211/2.1-1")
def test_a_stale_hit_has_negative_ttl(site: Site) -> None:
    reply = site.holding(*STALE).get("Cache-Control: max-stale").hit()
    said = member(reply)
    assert said["hit"] is True
    assert -20 <= int(said["ttl"]) <= -10


@shows("9211/2.4-1", "9211/2.8-1")
@pytest.mark.parametrize("failing", [GONE, answer(status=503)], ids=["gone", "503"])
def test_a_stale_response_in_place_of_an_error_says_so(site: Site, failing: object) -> None:
    page = site.holding("Cache-Control: max-age=10, stale-if-error=600", "Age: 20", TAG)
    said = member(page.get(answer=failing))  # type: ignore[arg-type]
    assert said.get("hit") is True or said["fwd"] == "stale"
    assert int(said["ttl"]) < 0


@pytest.mark.parametrize(
    "came", ["OriginCache; hit; ttl=1100", '"CDN Company Here"; fwd=miss; stored, b; hit', "not a [list"]
)
@shows("9211/2-2")
def test_members_that_came_are_kept(site: Site, came: str) -> None:
    page = site.page()
    first = page.get(answer=answer(HOUR, f"Cache-Status: {came}"))
    again = page.get().hit()
    for reply in (first, again):
        assert reply["cache-status"].startswith(f"{came}, edge;")
        member(reply)


@shows("9211/2-2")
def test_members_do_not_pile_up(site: Site) -> None:
    page = site.holding(HOUR, "Cache-Status: a; hit")
    for _ in range(3):
        assert page.get().hit()["cache-status"].count("edge;") == 1


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("GET", ["Cache-Control: only-if-cached"]),
        ("TRACE", []),
        ("GET", ["Bad Name: 1"]),
        ("GET", ["Content-Length: x"]),
    ],
    ids=str,
)
@shows("9211/2-1")
def test_what_is_answered_here_alone_has_no_member(site: Site, method: str, fields: list[str]) -> None:
    reply = site.page().ask(method, *fields)
    assert reply.status >= 400
    assert not reply.asked
    assert "cache-status" not in reply


@shows("9211/2-4")
def test_an_error_made_here_has_no_member(site: Site) -> None:
    reply = site.page().get(answer=GONE)
    assert reply.status == 502
    assert "cache-status" not in reply
