"""The trail: who was passed, whatever stands in the comments."""

from __future__ import annotations

import pytest

from cdnlab.wire.via import append, append_loop, loop_names, members, names

APPENDED = [
    (None, 11, b"lb-a", b"1.1 lb-a"),
    (b"", 11, b"lb-a", b"1.1 lb-a"),
    (b"1.0 fred", 11, b"lb-a", b"1.0 fred, 1.1 lb-a"),
    (b"1.1 lb-a", 10, b"edge-icn", b"1.1 lb-a, 1.0 edge-icn"),
]


@pytest.mark.parametrize("existing, version, node, value", APPENDED)
def test_append(existing: bytes | None, version: int, node: bytes, value: bytes) -> None:
    assert append(existing, version, node) == value


@pytest.mark.parametrize("node", [b"", b"a b", b"a,b", b"a\r\nb", b"a(b)"])
def test_a_pseudonym_is_a_token(node: bytes) -> None:
    with pytest.raises(ValueError):
        append(None, 11, node)


MEMBERS = [
    (None, []),
    (b"", []),
    (b" , ", []),
    (b"1.1 a", [(b"1.1", b"a")]),
    (b"1.1 a, 1.0 b:80", [(b"1.1", b"a"), (b"1.0", b"b:80")]),
    (b"HTTP/1.1 a\t(comment)", [(b"HTTP/1.1", b"a")]),
    (b"1.1 a (x, 1.1 lb-a), 1.1 b", [(b"1.1", b"a"), (b"1.1", b"b")]),
    (b"1.1 a (x (y, z), w), 1.1 b", [(b"1.1", b"a"), (b"1.1", b"b")]),
    (b"1.1 a (x\\), y), 1.1 b", [(b"1.1", b"a"), (b"1.1", b"b")]),
    (b"1.1 a (never closed, 1.1 b", [(b"1.1", b"a")]),
    (b"1.1 a ), 1.1 b", [(b"1.1", b"a"), (b"1.1", b"b")]),
    (b"1.1", []),
    (b"1.1   a", [(b"1.1", b"a")]),
]


@pytest.mark.parametrize("value, found", MEMBERS)
def test_members(value: bytes | None, found: list[tuple[bytes, bytes]]) -> None:
    assert members(value) == found


def test_names_are_lower_case_so_that_a_loop_is_seen() -> None:
    assert names(b"1.1 LB-A, 1.1 edge-icn, 1.0 lb-a") == [b"lb-a", b"edge-icn", b"lb-a"]


LOOPS = [
    (None, []),
    (b"", []),
    (b"cdn.example", [b"cdn.example"]),
    (b"Foo123.foocdn.example, barcdn.example; trace=\"abcdef\"", [b"foo123.foocdn.example", b"barcdn.example"]),
    (b"a; x=\"b, c\", d", [b"a", b"d"]),
    (b"AnotherCDN; abc=123; def=\"456\", a:80", [b"anothercdn", b"a:80"]),
]  # fmt: skip


@pytest.mark.parametrize("value, found", LOOPS)
def test_cdn_loop(value: bytes | None, found: list[bytes]) -> None:
    assert loop_names(value) == found


def test_our_own_name_is_added_to_cdn_loop() -> None:
    assert append_loop(None, b"lab-1.edge-icn") == b"lab-1.edge-icn"
    assert append_loop(b"a; x=y", b"lab-1.edge-icn") == b"a; x=y, lab-1.edge-icn"
    assert loop_names(append_loop(b"a; x=y", b"lab-1.edge-icn")) == [b"a", b"lab-1.edge-icn"]
