"""What each of the three choices does about cookies, and what is said where one was stored."""

from __future__ import annotations

import pytest

from cdnlab.forward.key import RouteRule
from cdnlab.plan.topology import RouteSpec
from cdnlab.wire.response import ResponseBlock, ResponseMemo
from edge.cookies import (
    Cookies,
    CookieWarning,
    bears_cookie,
    refusal,
    warnings,
    without_cookie,
    without_set_cookie,
)
from edge.response import ResponseFacts, response_facts
from edge.storable import NotStored


def response(*fields: str) -> ResponseFacts:
    block: ResponseBlock = ResponseMemo().head("\r\n".join(["HTTP/1.1 200 OK", *fields]).encode())[0]
    return response_facts(block)


@pytest.mark.parametrize(
    ("cookies", "cookie", "sets_cookie", "reason"),
    [
        ("rfc", False, False, None),
        ("rfc", True, True, None),
        ("strip", True, True, None),
        ("pass", False, False, None),
        ("pass", True, False, NotStored.COOKIE),
        ("pass", False, True, NotStored.SET_COOKIE),
        ("pass", True, True, NotStored.COOKIE),
    ],
)
def test_what_goes_past_the_cache(
    cookies: str, cookie: bool, sets_cookie: bool, reason: NotStored | None
) -> None:
    assert refusal(Cookies(cookies), cookie=cookie, sets_cookie=sets_cookie) is reason


def test_every_choice_of_the_topology_is_known_here() -> None:
    words = RouteSpec.model_json_schema()["properties"]["cookies"]["enum"]
    assert {Cookies(word) for word in words} == set(Cookies)
    assert Cookies(RouteRule(RouteSpec(pool="p")).cookies) is Cookies.RFC


@pytest.mark.parametrize(
    ("fields", "cookie", "expected"),
    [
        ([], False, ()),
        (["Set-Cookie: a=b"], False, (CookieWarning.STORED_SET_COOKIE,)),
        (["A: b", "set-COOKIE:a=b"], False, (CookieWarning.STORED_SET_COOKIE,)),
        (["X-Set-Cookie: a=b", "Set-Cookie2: c", "A: Set-Cookie: b"], False, ()),
        ([], True, (CookieWarning.STORED_FOR_COOKIE,)),
        (["Vary: Accept"], True, (CookieWarning.STORED_FOR_COOKIE,)),
        (["Vary: accept, COOKIE"], True, ()),
        (["Vary: Cookie", "Set-Cookie: a=b"], True, (CookieWarning.STORED_SET_COOKIE,)),
        (["Set-Cookie: a=b"], True, (CookieWarning.STORED_SET_COOKIE, CookieWarning.STORED_FOR_COOKIE)),
        (['Cache-Control: no-cache="set-cookie"', "Set-Cookie: a=b"], False, ()),  # it is not stored
    ],
)
def test_what_is_said_of_a_stored_response(
    fields: list[str], cookie: bool, expected: tuple[CookieWarning, ...]
) -> None:
    facts = response(*fields)
    assert facts.vary is not None
    assert warnings(facts.kept, cookie=cookie, vary=facts.vary) == expected


def test_every_warning_has_a_sentence() -> None:
    assert all(warning.sentence for warning in CookieWarning)
    assert len({warning.sentence for warning in CookieWarning}) == len(CookieWarning)


def test_stripping_a_request() -> None:
    volatile = ((b"cookie", b"a=b"), (b"authorization", b"x"), (b"cookie", b"c=d"))
    assert bears_cookie(volatile)
    assert without_cookie(volatile) == ((b"authorization", b"x"),)
    assert not bears_cookie(without_cookie(volatile))
    assert without_cookie(()) == ()


def test_stripping_a_response() -> None:
    """Every Set-Cookie line goes and nothing else, and the record that other requests share stays as it is."""
    facts = response("Set-Cookie: a=b", "ETag: x", "SET-COOKIE: c=d", "X-Set-Cookie: e", "Vary: Cookie")
    bare = without_set_cookie(facts)
    assert bare.lines == bare.kept == b"ETag: x\r\nX-Set-Cookie: e\r\nVary: Cookie\r\n"
    assert not bare.sets_cookie
    assert b"set-cookie" not in bare.index
    assert facts.sets_cookie
    assert facts.lines.count(b"a=b") == facts.lines.count(b"c=d") == 1
    assert without_set_cookie(bare) is bare
    only = without_set_cookie(response("Set-Cookie: a=b"))
    assert only.lines == b""
