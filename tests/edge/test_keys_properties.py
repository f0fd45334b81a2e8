"""Whatever the rules and the query: nobody gets a body that the origin would not have made for its own request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdnlab.forward.key import key_rules
from cdnlab.plan.topology import RouteSpec
from edge.no_vary_search import variation
from tests.edge.support import FakeExchange, Lab

SAFE = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
QUERIES = st.sampled_from(["id=1&b", "b&id=1", "id=1&utm=1&b", "b&utm=2&id=1"]) | st.lists(
    st.sampled_from(
        ["id=1", "id=2", "utm=1", "utm=2", "%75tm=3", "b", "b=", "a+=1", "a%20=1", "", "id=1&id=2"]
    ),
    max_size=4,
).map("&".join)
FIELDS = st.sampled_from(
    [
        'params=("utm")', "key-order", 'key-order, params=("utm" "b")', 'except=("id")', "except=()",
        'params=("a+")', 'params, except=("id")', "",
    ]
)  # fmt: skip
RULES = st.sampled_from(
    [
        {},
        {"sort": True},
        {"drop": ["u*"]},
        {"keep": ["id", "a "]},
        {"keep": "none"},
        {"sort": True, "drop": ["b"]},
    ]
)
LANGUAGES = st.sampled_from(
    [None, "ko, en;q=0.5", "EN;q=0.50, ko", "en", "en;q=0", "en;q=0.5, ko;q=0.5", "*"]
)
COOKIES = st.sampled_from(["rfc", "pass", "strip"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["GET", "GET", "GET", "HEAD", "no-cache", "POST"]),
        QUERIES,
        LANGUAGES,
        st.sampled_from([None, "id=me", "id=you"]),
        st.sampled_from([0.0, 1.0, 40.0]),
    ),
    min_size=2,
    max_size=10,
)


@pytest.fixture
def patch() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patcher:
        yield patcher


class Site:
    """An origin for which the query means what its No-Vary-Search says, and the language what a careful reader of
    Accept-Language makes of it. Each body says for whom it was made."""

    def __init__(self, field: str) -> None:
        self.field = field
        self.said = variation(field.encode())
        self.version = 0

    def meaning(self, target: str) -> str:
        query = urlsplit(target).query
        if self.said is None:
            return query
        names = {name.decode() for name in self.said.names}
        pairs = [pair for pair in parse_qsl(query, True) if (pair[0] in names) == self.said.only]
        return repr(sorted(pairs, key=lambda pair: pair[0]) if self.said.any_order else pairs)

    @staticmethod
    def language(value: str | None) -> str:
        if value is None:
            return "none"
        members = [one.strip().lower().partition(";q=") for one in value.split(",")]
        weighted = [(-float(weight or 1), name) for name, _, weight in members]
        return repr(sorted(weighted, key=lambda one: one[0]))

    def body(self, fields: dict[str, str], target: str) -> bytes:
        return (
            f"{self.meaning(target)}|{self.language(fields.get('accept-language'))}|{self.version}".encode()
        )


@SAFE
@given(FIELDS, RULES, COOKIES, STEPS)
def test_everybody_gets_what_was_made_for_such_a_request(
    patch: Any, field: str, query: dict[str, Any], cookies: str, steps: Any
) -> None:
    spec = RouteSpec.model_validate({"pool": "origins", "query": query, "cookies": cookies})
    rules = key_rules([spec])
    host = rules.host(b"shop.example") if rules is not None else None
    edge, site = Lab(patch, rules=rules), Site(field)
    changed: dict[str, int] = {}
    for kind, said, language, cookie, pause in steps:
        edge.sleep(pause)
        target = f"/p?{said}"
        brought = canonical(edge, target)  # RFC 3986 §6.2.2.2: %75 is u, with and without rules
        ruled = (brought if host is None else host.target(brought)).decode()
        x, asked = ask(edge, kind, target, language, cookie)
        if asked:
            forward = edge.origin.last
            sent = forward.request.head.split(b" ")[1].decode()
            assert host is None or sent == ruled
            assert forward.head.get("accept-language") == language
            assert forward.head.get("cookie") == (None if cookies == "strip" else cookie)
            if kind == "POST":
                site.version += 1
                changed[ruled] = site.version
                forward.answer(200)
                continue
            body = b"" if kind == "HEAD" else site.body(forward.head, sent)
            lines = (f"No-Vary-Search: {field}",) if field else ()
            forward.answer(
                200,
                "Cache-Control: max-age=60",
                "Vary: Accept-Language",
                "Set-Cookie: x=y",
                *lines,
                body=body,
            )
        assert x.done
        if kind == "HEAD":
            continue
        meaning, spoken, version = x.got.decode().rsplit("|", 2)
        assert meaning == site.meaning(ruled)
        assert spoken == site.language(language)
        assert int(version) >= changed.get(ruled, 0)
        if cookies == "strip":
            assert b"set-cookie" not in x.head.lower()
        if cookies == "pass":
            assert asked, "Set-Cookie keeps every response out of the store"


def canonical(edge: Lab, target: str) -> bytes:
    return edge.memo.line(f"GET {target} HTTP/1.1".encode()).target.canonical


def ask(
    edge: Lab, kind: str, target: str, language: str | None, cookie: str | None
) -> tuple[FakeExchange, bool]:
    """(the exchange, whether the origin was asked)"""
    fields = ["Cache-Control: no-cache"] if kind == "no-cache" else []
    fields += [] if language is None else [f"Accept-Language: {language}"]
    fields += [] if cookie is None else [f"Cookie: {cookie}"]
    fields += ["Content-Length: 0"] if kind == "POST" else []
    before = edge.asked
    method = kind if kind in ("HEAD", "POST") else "GET"
    return edge.ask(target, *fields, method=method), edge.asked > before
