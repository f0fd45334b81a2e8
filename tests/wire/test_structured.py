"""Structured fields: the examples of RFC 9651, what it forbids, and a way there and back."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdnlab.wire.structured import (
    BareItem,
    Date,
    DisplayString,
    Item,
    Member,
    Token,
    parse_dictionary,
    parse_item,
    parse_list,
    serialise_dictionary,
    serialise_item,
    serialise_list,
)

ITEMS: list[tuple[bytes, Item, bytes | None]] = [
    # text, what it means, how we write it (None: the same)
    (b"42", (42, {}), None),
    (b"-0", (0, {}), b"0"),
    (b"007", (7, {}), b"7"),
    (b"-999999999999999", (-999999999999999, {}), None),
    (b"4.5", (4.5, {}), None),
    (b"-1.500", (-1.5, {}), b"-1.5"),
    (b"5.0", (5.0, {}), None),
    (b"123456789012.123", (123456789012.123, {}), None),
    (b'"hello world"', ("hello world", {}), None),
    (b'"a\\"b\\\\c"', ('a"b\\c', {}), None),
    (b'"\\\\\\""', ('\\"', {}), None),
    (b'""', ("", {}), None),
    (b"foo123/456", (Token("foo123/456"), {}), None),
    (b"*a:b", (Token("*a:b"), {}), None),
    (b"Token!#$%&'*+-.^_`|~", (Token("Token!#$%&'*+-.^_`|~"), {}), None),
    (b":cHJldGVuZCB0aGlzIGlzIGJpbmFyeSBjb250ZW50Lg==:", (b"pretend this is binary content.", {}), None),
    (b":aGVsbG8:", (b"hello", {}), b":aGVsbG8=:"),
    (b"::", (b"", {}), None),
    (b"?1", (True, {}), None),
    (b"?0", (False, {}), None),
    (b"@1659578233", (Date(1659578233), {}), None),
    (b"@-1", (Date(-1), {}), None),
    (
        b'%"This is intended for display to %c3%bcsers."',
        (DisplayString("This is intended for display to üsers."), {}),
        None,
    ),
    (b'%"%25%22"', (DisplayString('%"'), {}), None),
    (b"  2  ", (2, {}), b"2"),
    (b"5; foo=bar", (5, {"foo": Token("bar")}), b"5;foo=bar"),
    (b"a;x;y=?0;z=?1", (Token("a"), {"x": True, "y": False, "z": True}), b"a;x;y=?0;z"),
    (b"a;x=1;y=2;x=3", (Token("a"), {"x": 3, "y": 2}), b"a;x=3;y=2"),
    (b"a;*k.-_=1", (Token("a"), {"*k.-_": 1}), None),
]


@pytest.mark.parametrize("text, meaning, written", ITEMS)
def test_items(text: bytes, meaning: Item, written: bytes | None) -> None:
    found = parse_item(text)
    assert found == meaning
    assert type(found[0]) is type(meaning[0])
    assert serialise_item(*found) == (text if written is None else written)


BAD_ITEMS = [
    b"", b" ", b"a b", b"a, b", b"1000000000000000", b"1234567890123.1", b"1.1234", b"1.", b".1", b"--1", b"-", b"+1",
    b"1e3", b"0x1", b"1_0", b"1.1.1", b"'a'", b'"a', b'"a\\b"', b'"a\x7f"', b'"\xc3\xbc"', b'"a\tb"', b"a\t", b"\ta",
    b":a", b":a!:", b":aGV sbG8=:", b":=:", b":a:", b"?2", b"?", b"?true", b"@", b"@1.5", b"@a", b'%"', b'%"%C3%BC"',
    b'%"%c3"', b'%"%g0"', b'%"%2"', b"%a", b'% "a"', b"a;", b"a;A=1", b"a;1", b"a ;b", b"a;b =1", b"a;b= 1", b"(a)",
    b"{", b"a\x00", b"1 2", b"\xef\xbc\x91",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_ITEMS)
def test_bad_items(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_item(text)


LISTS: list[tuple[bytes, Any, bytes | None]] = [
    (b"", [], None),
    (b"  ", [], b""),
    (b"sugar, tea, rum", [(Token("sugar"), {}), (Token("tea"), {}), (Token("rum"), {})], None),
    (b"a,b\t,\tc", [(Token("a"), {}), (Token("b"), {}), (Token("c"), {})], b"a, b, c"),
    (
        b'("foo" "bar"), ("baz"), ("bat" "one"), ()',
        [([("foo", {}), ("bar", {})], {}), ([("baz", {})], {}), ([("bat", {}), ("one", {})], {}), ([], {})],
        None,
    ),
    (
        b'("foo"; a=1;b=2);lvl=5, ("bar" "baz");lvl=1',
        [([("foo", {"a": 1, "b": 2})], {"lvl": 5}), ([("bar", {}), ("baz", {})], {"lvl": 1})],
        b'("foo";a=1;b=2);lvl=5, ("bar" "baz");lvl=1',
    ),
    (b"(  a   b )", [([(Token("a"), {}), (Token("b"), {})], {})], b"(a b)"),
    (
        b'ExampleCache; hit; ttl=376, edge-icn; fwd=uri-miss; stored',
        [(Token("ExampleCache"), {"hit": True, "ttl": 376}),
         (Token("edge-icn"), {"fwd": Token("uri-miss"), "stored": True})],
        b"ExampleCache;hit;ttl=376, edge-icn;fwd=uri-miss;stored",
    ),
]  # fmt: skip


@pytest.mark.parametrize("text, meaning, written", LISTS)
def test_lists(text: bytes, meaning: list[Member], written: bytes | None) -> None:
    found = parse_list(text)
    assert found == meaning
    assert serialise_list(found) == (text if written is None else written)


@pytest.mark.parametrize(
    "text",
    [
        b",",
        b"a,",
        b"a, ",
        b",a",
        b"a,,b",
        b"a b",
        b"(a",
        b"(a,b)",
        b'("a""b")',
        b"((a))",
        b"(a\tb)",
        b"a;b,;",
    ],
)
def test_bad_lists(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_list(text)


DICTIONARIES: list[tuple[bytes, Any, bytes | None]] = [
    (b"", {}, None),
    (
        b'en="Applepie", da=:w4ZibGV0w6ZydGU=:',
        {"en": ("Applepie", {}), "da": ("Æbletærte".encode(), {})},
        None,
    ),
    (b"a=?0, b, c; foo=bar", {"a": (False, {}), "b": (True, {}), "c": (True, {"foo": Token("bar")})},
     b"a=?0, b, c;foo=bar"),
    (b"rating=1.5, feelings=(joy sadness)",
     {"rating": (1.5, {}), "feelings": ([(Token("joy"), {}), (Token("sadness"), {})], {})}, None),
    (b"a=(1 2), b=3, c=4;aa=bb, d=(5 6);valid",
     {"a": ([(1, {}), (2, {})], {}), "b": (3, {}), "c": (4, {"aa": Token("bb")}),
      "d": ([(5, {}), (6, {})], {"valid": True})}, None),
    (b"a=1, b=2, a=3", {"a": (3, {}), "b": (2, {})}, b"a=3, b=2"),
    (b"u=2, i", {"u": (2, {}), "i": (True, {})}, None),
    (b"a=?1", {"a": (True, {})}, b"a"),
]  # fmt: skip


@pytest.mark.parametrize("text, meaning, written", DICTIONARIES)
def test_dictionaries(text: bytes, meaning: dict[str, Member], written: bytes | None) -> None:
    found = parse_dictionary(text)
    assert found == meaning
    assert list(found) == list(meaning)
    assert serialise_dictionary(found) == (text if written is None else written)


@pytest.mark.parametrize(
    "text", [b"A=1", b"a=", b"a=1,", b"=1", b"a =1", b"a= 1", b"1=a", b'"a"=1', b"a=1 b=2", b"a b"]
)
def test_bad_dictionaries(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_dictionary(text)


UNWRITABLE: list[BareItem] = [
    10**15, -(10**15), 1e12, -1e12, math.nan, math.inf, "ü", "a\n", "a\x7f", Token("a b"), Token(""), Token("1"),
    Token("ü"), Date(10**15), DisplayString("\ud800"),
]  # fmt: skip


@pytest.mark.parametrize("bare", UNWRITABLE)
def test_unwritable(bare: BareItem) -> None:
    with pytest.raises(ValueError):
        serialise_item(bare)


@pytest.mark.parametrize("key", ["", "A", "1", "a b", "ü"])
def test_unwritable_keys(key: str) -> None:
    with pytest.raises(ValueError):
        serialise_dictionary({key: (1, {})})
    with pytest.raises(ValueError):
        serialise_item(1, {key: 1})


@pytest.mark.parametrize(
    "number, text",
    [(0.0625, b"0.062"), (0.1875, b"0.188"), (1.25, b"1.25"), (-0.0004, b"-0.0"), (100.0, b"100.0")],
)
def test_decimals_are_rounded_to_three_digits(number: float, text: bytes) -> None:
    assert serialise_item(number) == text


KEYS = st.from_regex(r"[a-z*][a-z0-9_.*-]{0,6}", fullmatch=True)
BARE: st.SearchStrategy[BareItem] = st.one_of(
    st.integers(-(10**15) + 1, 10**15 - 1),
    st.integers(-(10**14), 10**14).map(lambda number: number / 1000),
    st.text(st.characters(min_codepoint=32, max_codepoint=126)),
    st.binary(),
    st.booleans(),
    st.from_regex(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]{0,8}", fullmatch=True).map(Token),
    st.integers(-(10**12), 10**12).map(Date),
    st.text(st.characters(exclude_categories=["Cs"])).map(DisplayString),
)
PARAMETERS = st.dictionaries(KEYS, BARE, max_size=3)
ITEM = st.tuples(BARE, PARAMETERS)
MEMBER = st.one_of(ITEM, st.tuples(st.lists(ITEM, max_size=3), PARAMETERS))


@given(st.lists(MEMBER, max_size=4))
def test_lists_come_back(members: list[Member]) -> None:
    assert parse_list(serialise_list(members)) == members


@given(st.dictionaries(KEYS, MEMBER, max_size=4))
def test_dictionaries_come_back(members: dict[str, Member]) -> None:
    assert parse_dictionary(serialise_dictionary(members)) == members


@given(st.binary(max_size=40) | st.text('"(),;=:?@%\\ab1.- \t', max_size=30).map(str.encode))
def test_no_bytes_raise_anything_else(text: bytes) -> None:
    for parse in (parse_item, parse_list, parse_dictionary):
        try:
            parse(text)
        except ValueError:
            pass
