"""The mark that asks for an explanation, and the members that give it."""

from __future__ import annotations

import pytest

from cdnlab.forward.explain import LONGEST_LIFE, Hop, check, hop_member, mark, parse_hops
from cdnlab.wire.fields import valid_value

KEY, WALL = b"k" * 32, 1_790_000_000.0
GOOD = mark(KEY, b"GET", b"/a?b", int(WALL) + 60)


@pytest.mark.parametrize(
    "key, value, method, target, wall, valid",
    [
        (KEY, GOOD, b"GET", b"/a?b", WALL, True),
        (KEY, GOOD, b"GET", b"/a?b", WALL + 60, True),
        (KEY, GOOD, b"GET", b"/a?b", WALL + 61, False),
        (KEY, GOOD, b"GET", b"/a?b", WALL + 60 - LONGEST_LIFE - 1, False),
        (KEY, GOOD, b"HEAD", b"/a?b", WALL, False),
        (KEY, GOOD, b"GET", b"/a", WALL, False),
        (b"other", GOOD, b"GET", b"/a?b", WALL, False),
        (KEY, GOOD[:-1], b"GET", b"/a?b", WALL, False),
        (KEY, b"1" + GOOD, b"GET", b"/a?b", WALL, False),
        (KEY, GOOD.replace(b".", b""), b"GET", b"/a?b", WALL, False),
        (KEY, b"", b"GET", b"/a?b", WALL, False),
        (KEY, b".", b"GET", b"/a?b", WALL, False),
        (KEY, b"\xff.\xff", b"GET", b"/a?b", WALL, False),
        (KEY, b"9" * 4000 + b".x", b"GET", b"/a?b", WALL, False),
    ],
)
def test_marks(key: bytes, value: bytes, method: bytes, target: bytes, wall: float, valid: bool) -> None:
    assert check(key, value, method, target, wall) is valid


HOPS = [
    Hop("origin-1", tier="origin", place="iad", total=120),
    Hop(
        "edge-gru",
        tier="edge",
        place="gru",
        client_place="gru",
        total=5000,
        upstream=4000,
        choice="origin-1",
        result="miss",
        cache='nothing stored; "quoted", \\ and comma',
    ),
    Hop(
        "lb-a", tier="lb", total=9, choice="edge-gru", passed=[("edge-icn", "down"), ("edge-fra", "farther")]
    ),
]


def test_members_come_back_as_they_were() -> None:
    value = b", ".join(map(hop_member, HOPS))
    assert valid_value(value)
    assert parse_hops(value) == HOPS


def test_what_a_field_cannot_carry_is_replaced() -> None:
    member = hop_member(Hop("n", cache="서울\r\nX: y\x00"))
    assert valid_value(member)
    assert parse_hops(member)[0].cache == "????X: y?"


@pytest.mark.parametrize("value", [b'"a', b"a b", b'"a";us=', b"\xff"])
def test_what_is_no_list_is_an_error(value: bytes) -> None:
    with pytest.raises(ValueError):
        parse_hops(value)
