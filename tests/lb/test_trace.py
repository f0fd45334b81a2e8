"""Request ids and traceparents, as tables."""

from __future__ import annotations

import pytest

from lb.trace import Ids, good_request_id, good_traceparent

TRACE, SPAN = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"


@pytest.mark.parametrize(
    "value, good",
    [
        (b"00-%b-%b-01" % (TRACE, SPAN), True),
        (b"00-%b-%b-ff" % (TRACE, SPAN), True),
        (b"cc-%b-%b-01" % (TRACE, SPAN), True),
        (b"cc-%b-%b-01-what-ever" % (TRACE, SPAN), True),
        (b"cc-%b-%b-01what" % (TRACE, SPAN), False),
        (b"00-%b-%b-01-more" % (TRACE, SPAN), False),
        (b"ff-%b-%b-01" % (TRACE, SPAN), False),
        (b"00-%b-%b-01" % (b"0" * 32, SPAN), False),
        (b"00-%b-%b-01" % (TRACE, b"0" * 16), False),
        (b"00-%b-%b-01" % (TRACE.upper(), SPAN), False),
        (b"00-%b-%b" % (TRACE, SPAN), False),
        (b"00-%b-%b-1" % (TRACE, SPAN), False),
        (b"00-%b-%b-01\n" % (TRACE, SPAN), False),
        (b"", False),
    ],
)
def test_traceparents(value: bytes, good: bool) -> None:
    assert good_traceparent(value) is good


@pytest.mark.parametrize(
    "value, good",
    [
        (b"a", True),
        (b"7f9c-1/2+3=4:5@6.7~8_9", True),
        (b"x" * 128, True),
        (b"x" * 129, False),
        (b"", False),
        (b"a b", False),
        (b"a,b", False),
        (b"a\n", False),
        (b"<a>", False),
        (b"\xc3\xa9", False),
    ],
)
def test_request_ids(value: bytes, good: bool) -> None:
    assert good_request_id(value) is good


def test_made_ids_are_good_and_differ() -> None:
    one, other = Ids(), Ids()
    ids = [ids.request_id() for ids in (one, other) for _ in range(1000)]
    parents = [ids.traceparent() for ids in (one, other) for _ in range(1000)]
    assert len(set(ids)) == len(set(parents)) == 2000
    assert all(map(good_request_id, ids))
    assert all(map(good_traceparent, parents))
