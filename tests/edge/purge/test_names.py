"""Tags, groups, and what a purge names: every spelling, every refusal."""

from __future__ import annotations

from typing import Any

import pytest

from cdnlab.forward.key import key_rules
from cdnlab.plan.routes import RouteSpec
from edge.purge.asked import RULES_MAX, BadPurge, packed, prefix_key, rules_of, target_rule, unpacked, url_key
from edge.purge.rules import Kind, Rule
from edge.purge.tags import EVERY, MEMBERS_MAX, groups, invalidated_groups, tags


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ()),
        ({b"surrogate-key": b"a b  a\tc"}, (b"a", b"b", b"c")),
        ({b"cache-tag": b"a, b,, a b ,"}, (b"a", b"b", b"a b")),
        ({b"surrogate-key": b"x", b"cache-tag": b"x,y"}, (b"x", b"y")),
        ({b"surrogate-key": b"a b, c"}, (b"a", b"b", b"c")),
        ({b"surrogate-key": b"", b"cache-tag": b" , "}, ()),
    ],
)
def test_tags(fields: dict[bytes, bytes], expected: tuple[bytes, ...]) -> None:
    assert tags(fields) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ()),
        (b'"a", "B b", "a"', (b"a", b"B b")),
        (b'"a";x=1', (b"a",)),
        (b'"a", b', ()),
        (b'"a", 1', ()),
        (b'("a" "b")', ()),
        (b'"a', ()),
        (b"", ()),
        (b'""', ()),
        (b":YQ==:", ()),
        (b'%"a"', ()),
    ],
)
def test_groups(value: bytes | None, expected: tuple[bytes, ...]) -> None:
    index = {} if value is None else {b"cache-groups": value, b"cache-group-invalidation": value}
    assert groups(index) == expected
    assert invalidated_groups(index) == expected


def test_as_many_names_as_the_rfc_wants_are_told_apart_and_more_than_we_take_mean_all() -> None:
    many = [f'"{number:032}"' for number in range(32)]
    assert len(groups({b"cache-groups": ", ".join(many).encode()})) == 32
    too_many = " ".join(map(str, range(MEMBERS_MAX + 1))).encode()
    assert tags({b"surrogate-key": too_many}) == (EVERY,)


# -- URLs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.example/caf%C3%A9/a",
        "HTTP://Shop.Example/caf%c3%a9/a",
        "http://shop.example/caf%C3%A9/./a",
        "http://shop.example/caf%C3%A9/x/../a",
        "http://shop.example/%63af%C3%A9/%61",
        "http://shop.example/caf%C3%A9/a#part",
        "http://shop.example/café/a",
        "  http://shop.example/café/a\n",
    ],
)
def test_every_spelling_of_a_url_is_one_key(url: str) -> None:
    assert url_key(url) == b"http://shop.example/caf%C3%A9/a"


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://h", b"http://h/"),
        ("http://h?x=1", b"http://h/?x=1"),
        ("http://h/?", b"http://h/?"),
        ("https://h/", b"https://h/"),
        ("http://h:80/", b"http://h:80/"),
        ("http://[2001:DB8::1]:8080/a", b"http://[2001:db8::1]:8080/a"),
        ("http://bücher.example/ü", b"http://xn--bcher-kva.example/%C3%BC"),
        ("http://h/a%2Fb?x=%7e", b"http://h/a%2Fb?x=~"),
    ],
)
def test_what_a_url_is_keyed_on(url: str, key: bytes) -> None:
    assert url_key(url) == key


@pytest.mark.parametrize(
    "url",
    ["", "/a", "shop.example/a", "ftp://h/a", "http:///a", "http://u@h/", "http://h/%zz", "http://h/a b", "http://h:x/",
     "http://h/%00", "http://a,b/", "http://h/\x00", "http://\udcff/"],
)  # fmt: skip
def test_what_is_no_url_is_refused_with_a_remedy(url: str) -> None:
    for ask in ({"urls": [url]}, {"prefixes": [url]}, {"groups": [url + " g"]}):
        with pytest.raises(BadPurge) as refused:
            rules_of(ask)
        assert refused.value.remedy
        assert "\n" not in refused.value.error


def test_the_query_rules_of_a_route_are_applied_to_what_is_purged() -> None:
    specs = [RouteSpec(host="shop.example", path="/", pool="p", query={"sort": True, "drop": ["utm_*"]})]  # type: ignore[arg-type]
    target = target_rule(key_rules(specs))
    assert url_key("http://shop.example/a?b=1&utm_x=2&a=3", target) == b"http://shop.example/a?a=3&b=1"
    assert url_key("http://other.example/a?b=1&a=3", target) == b"http://other.example/a?b=1&a=3"


# -- purges as they are posted ---------------------------------------------------------------------------------------


def test_a_purge_may_name_everything_at_once() -> None:
    found = rules_of(
        {
            "url": "http://h/one",
            "urls": ["http://h/a", "http://h/a"],
            "tags": [" t "],
            "prefixes": ["http://h/p/"],
            "groups": ["https://H:443 my group"],
            "all": True,
            "soft": True,
        }
    )
    assert found == (
        Rule(Kind.URL, b"http://h/one", True),
        Rule(Kind.URL, b"http://h/a", True),
        Rule(Kind.TAG, b"t", True),
        Rule(Kind.PREFIX, b"http://h/p/", True),
        Rule(Kind.GROUP, b"https://h:443 my group", True),
        Rule(Kind.ALL, b"", True),
    )


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"all": False},
        {"all": 1},
        {"soft": True},
        {"soft": "yes", "all": True},
        {"urls": "http://h/"},
        {"urls": [1]},
        {"urls": [""]},
        {"tags": ["a,b"]},
        {"tags": [" "]},
        {"tags": ["é"]},
        {"tags": ["x" * 10_000]},
        {"prefixes": ["http://h/a?b"]},
        {"groups": ["http://h"]},
        {"groups": ["http://h/path g"]},
        {"groups": ["h g"]},
        {"groups": ["http://h é"]},
        {"everything": True},
        {"tags": [str(number) for number in range(RULES_MAX + 1)]},
    ],
)
def test_what_a_purge_cannot_be(asked: dict[str, Any]) -> None:
    with pytest.raises(BadPurge):
        rules_of(asked)


def test_a_prefix_is_a_path_in_its_canonical_form() -> None:
    assert prefix_key("http://H/a/../b%2f") == b"http://h/b%2F"
    assert prefix_key("http://h") == b"http://h/"


def test_what_the_stream_carries_comes_back_and_what_nobody_understands_is_an_error() -> None:
    rules = (Rule(Kind.URL, b"http://h/\xff"), Rule(Kind.ALL, b"", True))
    assert unpacked(packed(rules, by="me", wall=12.5)) == (rules, "me", 12.5)
    for raw in (
        b"",
        b"{}",
        b"[]",
        b"7",
        b'{"rules": [["newer", "x", 0]], "by": "", "wall": 1}',
        b"\xff",
        b"[" * 9999,
    ):
        with pytest.raises(ValueError):
            unpacked(raw)
