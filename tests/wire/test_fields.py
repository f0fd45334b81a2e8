"""Fields: what a line may hold, how lists split, and what Connection can and cannot take away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdnlab.wire.errors import Malformed, Why
from cdnlab.wire.fields import (
    HOP_BY_HOP,
    directives,
    hop_by_hop,
    is_protected,
    is_token,
    make_index,
    parse_lines,
    quote,
    split_list,
    split_parameters,
    unquote,
    valid_value,
)


@pytest.mark.parametrize(
    "name, token",
    [
        (b"Host", True),
        (b"X_Y", True),
        (b"!#$%&'*+-.^_`|~09azAZ", True),
        (b"", False),
        (b"a b", False),
        (b"a ", False),
        (b"a:", False),
        (b"a(", False),
        (b'a"', False),
        (b"a/", False),
        (b"a\x00", False),
        (b"a\x7f", False),
        (b"\xc3\xa9", False),
    ],
)
def test_tokens(name: bytes, token: bool) -> None:
    assert is_token(name) is token


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_of_a_value(byte: int) -> None:
    allowed = byte == 9 or 0x20 <= byte < 0x7F or byte >= 0x80
    assert valid_value(bytes((byte,))) is allowed


LINES = [
    (b"", ()),
    (b"A: 1", ((b"a", b"1"),)),
    (b"A:1", ((b"a", b"1"),)),
    (b"A:", ((b"a", b""),)),
    (b"A: \t 1 2\t ", ((b"a", b"1 2"),)),
    (b"A: b: c", ((b"a", b"b: c"),)),
    (b"A: 1\r\nB: 2\r\na: 3", ((b"a", b"1"), (b"b", b"2"), (b"a", b"3"))),
    (b"HOST: x\r\nhOsT: y", ((b"host", b"x"), (b"host", b"y"))),
    (b"X: \xec\x84\x9c", ((b"x", b"\xec\x84\x9c"),)),
]


@pytest.mark.parametrize("block, fields", LINES)
def test_lines_are_read(block: bytes, fields: tuple[tuple[bytes, bytes], ...]) -> None:
    lines, found = parse_lines(block)
    assert found == fields
    assert b"\r\n".join(lines) == block


REFUSED_LINES = [
    (b"A", Why.FIELD_LINE),
    (b"Host", Why.FIELD_LINE),
    (b"A: 1\r\n\r\nB: 2", Why.FIELD_LINE),
    (b": 1", Why.FIELD_NAME),
    (b"A : 1", Why.FIELD_NAME),
    (b"A\t: 1", Why.FIELD_NAME),
    (b"A(b): 1", Why.FIELD_NAME),
    (b"\xc3\xa9: 1", Why.FIELD_NAME),
    (b" A: 1", Why.FIELD_FOLD),
    (b"A: 1\r\n 2", Why.FIELD_FOLD),
    (b"A: 1\r\n\t2", Why.FIELD_FOLD),
    (b"A: 1\r\n ", Why.FIELD_FOLD),
    (b"A: 1\nB: 2", Why.FIELD_BYTES),
    (b"A: 1\rB: 2", Why.FIELD_BYTES),
    (b"A: 1\rB\n: 2", Why.FIELD_BYTES),
    (b"A: 1\r\r\nB: 2", Why.FIELD_BYTES),
    (b"A: 1\r\n\nB: 2", Why.FIELD_BYTES),
    (b"A: 1\n\r\nB: 2", Why.FIELD_BYTES),
    (b"A: 1\n", Why.FIELD_BYTES),
    (b"A: 1\r", Why.FIELD_BYTES),
    (b"A: \x00", Why.FIELD_BYTES),
    (b"A\x00: 1", Why.FIELD_BYTES),
    (b"A: \x01", Why.FIELD_BYTES),
    (b"A: \x0b", Why.FIELD_BYTES),
    (b"A: \x7f", Why.FIELD_BYTES),
    (b"A: \x1b[31m", Why.FIELD_BYTES),
]


@pytest.mark.parametrize("block, why", REFUSED_LINES)
def test_lines_are_refused(block: bytes, why: Why) -> None:
    with pytest.raises(Malformed) as refusal:
        parse_lines(block)
    assert (refusal.value.code, refusal.value.status) == (why, 400)
    with pytest.raises(Malformed) as refusal:
        parse_lines(block, 502)
    assert refusal.value.status == 502


def test_the_index_joins_values_in_order() -> None:
    fields = ((b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"a", b""))
    assert make_index(fields) == {b"a": b"1, 3, ", b"b": b"2"}


@pytest.mark.parametrize(
    "value, members",
    [
        (b"", []),
        (b" , ,, ", []),
        (b"a", [b"a"]),
        (b"a,b", [b"a", b"b"]),
        (b" a ,\tb ,", [b"a", b"b"]),
        (b'a="x,y", b', [b'a="x,y"', b"b"]),
        (b'a="x\\",y", b', [b'a="x\\",y"', b"b"]),
        (b'a="x, b', [b'a="x', b"b"]),  # a quote that never closes hides no comma
        (b'"', [b'"']),
        (b'"\\', [b'"\\']),
        (b'"a","b"', [b'"a"', b'"b"']),
    ],
)
def test_lists(value: bytes, members: list[bytes]) -> None:
    assert split_list(value) == members


@given(st.binary(max_size=60))
def test_a_list_without_quotes_is_what_splitting_gives(value: bytes) -> None:
    value = value.replace(b'"', b"")
    assert split_list(value) == [m.strip(b" \t") for m in value.split(b",") if m.strip(b" \t")]


@given(st.text('",\\ ab', max_size=40))
def test_no_byte_of_a_list_is_lost_or_moved(text: str) -> None:
    value = text.encode()
    joined = b"".join(split_list(value))
    assert joined.replace(b",", b"").replace(b" ", b"") == value.replace(b",", b"").replace(b" ", b"")


@pytest.mark.parametrize(
    "member, head, parameters",
    [
        (b"gzip", b"gzip", []),
        (b"gzip;q=0.5", b"gzip", [(b"q", b"0.5")]),
        (b"gzip ; Q = 0.5", b"gzip", [(b"q", b"0.5")]),
        (b'a;b="x;y";c', b"a", [(b"b", b"x;y"), (b"c", b"")]),
        (b'a;b="x\\"y"', b"a", [(b"b", b'x"y')]),
        (b";a=b", b"", [(b"a", b"b")]),
        (b"", b"", []),
        (b"a;;", b"a", []),
    ],
)
def test_parameters(member: bytes, head: bytes, parameters: list[tuple[bytes, bytes]]) -> None:
    assert split_parameters(member) == (head, parameters)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_quoting_comes_back(text: str) -> None:
    assert unquote(quote(text.encode())) == text.encode()


def test_a_control_byte_is_not_quoted() -> None:
    with pytest.raises(ValueError):
        quote(b"a\r\nb")


@pytest.mark.parametrize(
    "value, found",
    [
        (b"", {}),
        (b"no-store", {b"no-store": None}),
        (b"Max-Age=60, PUBLIC", {b"max-age": b"60", b"public": None}),
        (b'private="set-cookie, x"', {b"private": b"set-cookie, x"}),
        (b"max-age = 60", {b"max-age": b"60"}),
        (b"max-age=", {b"max-age": b""}),
        (b'max-age="60"', {b"max-age": b"60"}),
        (b"max-age=1, max-age=2", {b"max-age": b"1"}),
        (b"=1, a", {b"a": None}),
    ],
)
def test_directives(value: bytes, found: dict[bytes, bytes | None]) -> None:
    assert directives(value) == found


# ---- what ends at this hop ---------------------------------------------------------------------------------

CANNOT_BE_NAMED = b"""host content-length content-type content-encoding authorization cookie set-cookie via date
age expires cache-control vary etag if-none-match range x-forwarded-for x-forwarded-host x-forwarded-proto
forwarded cdnlab-place cdnlab-from cdnlab-explain cdnlab-hop cdn-loop cache-status traceparent tracestate
x-request-id accept-encoding accept-language origin access-control-request-method""".split()


@pytest.mark.parametrize("name", CANNOT_BE_NAMED)
def test_connection_cannot_remove(name: bytes) -> None:
    assert is_protected(name)
    assert name not in hop_by_hop(frozenset((name, b"x-mine")))


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_these_always_end_here(name: bytes) -> None:
    assert name in hop_by_hop(frozenset())
    assert name in hop_by_hop(frozenset((name, b"close")))


def test_a_field_named_by_connection_ends_here() -> None:
    assert hop_by_hop(frozenset((b"close", b"x-mine", b"http2-settings"))) == HOP_BY_HOP | {
        b"x-mine",
        b"http2-settings",
    }


@pytest.mark.parametrize("options", [(), (b"close",), (b"keep-alive",), (b"upgrade", b"te")])
def test_the_usual_options_name_nothing_more(options: tuple[bytes, ...]) -> None:
    assert hop_by_hop(frozenset(options)) is HOP_BY_HOP


def test_trailer_travels_on() -> None:
    assert b"trailer" not in hop_by_hop(frozenset((b"trailer",)))
