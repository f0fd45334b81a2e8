"""The memo: bounded, two generations, and slicing that neither loses a line nor takes one that is not well-formed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cdnlab.wire.memo import Generations, LowerNames, volatile_splitter


def test_what_is_kept_is_found() -> None:
    memo: Generations[int] = Generations(2000)
    memo.keep(b"a", 1, 10)
    assert memo.young == {b"a": 1}
    assert memo.recall(b"b", lambda _: 10) is None


def test_a_full_generation_grows_old_and_the_old_one_is_forgotten() -> None:
    memo: Generations[int] = Generations(320)  # 160 bytes a generation: sixteen entries of ten
    for number in range(16):
        memo.keep(b"%d" % number, number, 10)
    assert len(memo.young) == 16
    memo.keep(b"x", 99, 10)
    assert (len(memo.old), memo.young) == (16, {b"x": 99})
    assert memo.recall(b"3", lambda _: 10) == 3
    assert memo.young == {b"x": 99, b"3": 3}
    assert b"3" not in memo.old
    for number in range(100, 115):
        memo.keep(b"%d" % number, number, 10)
    assert memo.recall(b"4", lambda _: 10) is None
    assert memo.recall(b"3", lambda _: 10) == 3


def test_what_is_too_large_is_not_kept() -> None:
    memo: Generations[int] = Generations(3200)
    memo.keep(b"a", 1, 101)
    assert memo.young == {}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 200)), max_size=200))
def test_the_budget_holds_whatever_comes(work: list[tuple[int, int]]) -> None:
    budget = 2000
    costs: dict[bytes, int] = {}
    memo: Generations[bytes] = Generations(budget)
    for number, cost in work:
        key = b"%d" % number
        if key not in memo.young and memo.recall(key, costs.__getitem__) is None:
            costs[key] = cost
            memo.keep(key, key, cost)
        held = {*memo.young, *memo.old}
        assert sum(costs[key] for key in held) <= budget
        assert memo.used == sum(costs[key] for key in memo.young)


SPLIT = volatile_splitter((b"cookie", b"x-request-id", b"age"))
NAMES = (b"cookie", b"x-request-id", b"age")


def test_lines_are_cut_in_any_spelling() -> None:
    block = b"\r\nA: 1\r\nCookie: x\r\nX-REQUEST-ID:y\r\nB: 2\r\naGE: \t7 \t\r\nC: 3"
    assert SPLIT(block) == [
        b"\r\nA: 1", b"Cookie", b"x", b"", b"X-REQUEST-ID", b"y", b"\r\nB: 2", b"aGE", b"7 \t", b"\r\nC: 3",
    ]  # fmt: skip


def test_what_only_resembles_a_line_stays() -> None:
    for block in (
        b"\r\nCookies: x",
        b"\r\nX-Cookie: x",
        b"\r\nCookie : x",
        b"\r\n Cookie: x",
        b"\nCookie: x",
        b"\rCookie: x",
        b"A: b Cookie: x",
        b"\r\nCookie: x\x00",
        b"\r\nCookie: x\ny",
        b"\r\nCookie: x\ry",
        b"\r\nCookie: x\r",
        b"\r\nCookie: x\x7f",
        b"\r\nCookie",
    ):
        assert SPLIT(block) == [block]


LINES = st.sampled_from(
    [b"Cookie: a", b"COOKIE:b", b"cookie:", b"X-Request-Id: 1", b"Age: 3 ", b"A: 1", b"Cookie : c", b"Cookie: \x01",
     b" fold", b"", b"Age", b"a\rb", b"Cookie: \n"]
)  # fmt: skip


@given(st.lists(LINES, max_size=12))
def test_cutting_loses_nothing_and_orders_nothing_anew(lines: list[bytes]) -> None:
    block = b"".join(b"\r\n" + line for line in lines)
    parts = SPLIT(block)
    assert len(parts) % 3 == 1
    wanted = [
        line
        for line in block.split(b"\r\n")
        if line.lower().startswith(tuple(name + b":" for name in NAMES)) and line.isascii()
        if not line.translate(None, bytes(range(0x20, 0x7F)))
    ]
    cut = list(zip(parts[1::3], parts[2::3], strict=True))
    assert [(name, value.rstrip()) for name, value in cut] == [
        (name, value.strip()) for name, _, value in (line.partition(b":") for line in wanted)
    ]
    assert b"".join(parts[::3]) == b"".join(
        b"\r\n" + line for line in block.split(b"\r\n")[1:] if line not in wanted
    )


def test_a_long_line_costs_its_length_once() -> None:
    """Quadratic scanning of 200,000 spaces would take minutes."""
    block = b"\r\nCookie:" + b" " * 200_000 + b"\x00"
    assert SPLIT(block) == [block]


def test_odd_spellings_are_lowered_and_not_kept() -> None:
    lower = LowerNames((b"cookie",))
    size = len(lower)
    assert [lower[name] for name in (b"Cookie", b"COOKIE", b"cOOkie")] == [b"cookie"] * 3
    assert len(lower) == size
