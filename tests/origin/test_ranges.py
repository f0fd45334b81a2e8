from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.ranges import Span, Unsatisfiable, content_range, parse


@pytest.mark.parametrize(
    "field, spans",
    [
        (None, None),
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-99", [(0, 100)]),
        ("bytes=0-100", [(0, 100)]),
        ("bytes=50-", [(50, 100)]),
        ("bytes=-10", [(90, 100)]),
        ("bytes=-1000", [(0, 100)]),
        ("Bytes = 1-2", [(1, 3)]),
        ("bytes=0-1, 5-6", [(0, 2), (5, 7)]),
        ("bytes=5-6,0-1", [(5, 7), (0, 2)]),
        ("bytes=0-50,25-75", [(0, 76)]),
        ("bytes=0-9,10-19", [(0, 20)]),
        ("bytes=0-1,200-300", [(0, 2)]),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(0, 40, 2)), None),
        ("bytes=0-,0-,0-,0-", [(0, 100)]),
        ("bytes=5-2", None),
        ("bytes=a-b", None),
        ("bytes=-", None),
        ("bytes=+1-2", None),
        ("bytes=1_0-20", None),
        ("bytes=", None),
        ("bytes", None),
        ("lines=0-1", None),
    ],
)
def test_each_form(field: str | None, spans: list[Span] | None) -> None:
    assert parse(field, 100) == spans


@pytest.mark.parametrize("field", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=200-300,400-"])
def test_nothing_of_it_is_there(field: str) -> None:
    with pytest.raises(Unsatisfiable):
        parse(field, 100)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=12), st.integers(0, 200))
def test_parts_never_add_up_to_more_than_the_whole(pairs: list[tuple[int, int]], size: int) -> None:
    try:
        spans = parse("bytes=" + ",".join(f"{first}-{last}" for first, last in pairs), size)
    except Unsatisfiable:
        return
    assert sum(end - first for first, end in spans or ()) <= size
    assert all(0 <= first < end <= size for first, end in spans or ())


def test_the_field_of_a_part() -> None:
    assert content_range((5, 10), 100) == "bytes 5-9/100"
