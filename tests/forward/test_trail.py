"""Via, CDN-Loop, and the answers in a node's own name."""

from __future__ import annotations

import pytest

from cdnlab.forward.answers import own_answer
from cdnlab.forward.trail import MOST_MEMBERS, Trail

MINE = Trail("edge-icn")


def others(count: int) -> bytes:
    return b", ".join(b'cdnlab;node="n%d";id=%012d' % (number, number) for number in range(count))


LOOPS = (
    (None, False),
    (b"", False),
    (b"other", False),
    (MINE.member, True),
    (b"other, " + MINE.member + b", another; x=y", True),
    (MINE.member.replace(b"cdnlab", b"CDNLAB"), True),
    (b'cdnlab;node="edge-icn";id=000000000000', False),
    (Trail("edge-icn").member, False),
    (others(MOST_MEMBERS - 1), False),
    (others(MOST_MEMBERS), True),
    (b", ".join(b"other%d" % number for number in range(50)), False),
    (b'other;note="' + MINE.member.replace(b'"', b'\\"') + b'"', False),
)


@pytest.mark.parametrize("value, loops", LOOPS, ids=map(str, range(len(LOOPS))))  # the values are random
def test_loops(value: bytes | None, loops: bool) -> None:
    assert MINE.loops({} if value is None else {b"cdn-loop": value}) is loops


def test_what_a_request_and_a_response_leave_with() -> None:
    lines = MINE.request_lines({}, 11)
    assert lines == b"Via: 1.1 edge-icn\r\nCDN-Loop: " + MINE.member + b"\r\n"
    lines = MINE.request_lines({b"via": b"1.0 a", b"cdn-loop": b"b"}, 10)
    assert lines == b"Via: 1.0 a, 1.0 edge-icn\r\nCDN-Loop: b, " + MINE.member + b"\r\n"
    assert MINE.response_line({b"via": b"1.1 x"}, 11) == b"Via: 1.1 x, 1.1 edge-icn\r\n"


def test_an_answer_of_our_own_says_who_and_why() -> None:
    status, head, body = own_answer(
        "lb-a", 503, "no backend", 0.0, request_id="r1", extra=b"Retry-After: 1\r\n"
    )
    assert status == 503
    assert body == b"lb-a: 503 Service Unavailable: no backend (request r1)\n"
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n")
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head
    assert head.endswith(b"Via: 1.1 lb-a\r\nRetry-After: 1\r\n")
    assert b"\r\n\r\n" not in head
