"""The table of pins against a plain dict in order of use, and what a million of them take."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given, settings
from hypothesis import strategies as st

from cdnlab.pool.pin_table import NAMES_MAX, PinTable


def key(number: int) -> bytes:
    return (number * 0x9E3779B97F4A7C15 % (1 << 64)).to_bytes(8, "big")


@settings(deadline=None)
@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.sampled_from("pfrx"), st.integers(0, 9), st.integers(0, 3)), max_size=80),
)
def test_it_does_what_a_dict_in_order_of_use_does(most: int, turns: list[tuple[str, int, int]]) -> None:
    table, model, evicted = PinTable(most, 100.0), OrderedDict[bytes, tuple[str, float]](), 0
    now = 0.0
    for what, number, ahead in turns:
        now += ahead * 20
        if what == "p":
            assert table.put(key(number), f"b{number}", now)
            if key(number) not in model and len(model) == most:
                model.popitem(last=False)
                evicted += 1
            model[key(number)] = (f"b{number}", now)
            model.move_to_end(key(number))
        elif what == "r":
            table.remove(key(number))
            model.pop(key(number), None)
        elif what == "x":
            table.expire(now)
            for each in [each for each, (_, used) in model.items() if used + 100 <= now]:
                del model[each]
        known = model.get(key(number))
        expected = known[0] if known and known[1] + 100 > now else None
        assert table.find(key(number), now) == expected
    assert table.count == len(model)
    assert table.evicted == evicted
    live = {each: name for each, (name, used) in model.items() if used + 100 > now}
    assert {each: name for each, name, _ in table.each(now)} == live


def test_the_longest_unused_goes_first() -> None:
    table = PinTable(3, 1000.0)
    for number in range(3):
        table.put(key(number), "b", number)
    table.put(key(0), "b", 5)
    table.put(key(3), "b", 6)
    assert [table.find(key(number), 6) for number in range(4)] == ["b", None, "b", "b"]
    assert table.evicted == 1


def test_keys_that_share_a_bucket_are_kept_apart() -> None:
    table = PinTable(100, 1000.0)
    same = [(number << 32).to_bytes(8, "big") for number in range(100)]
    for number, each in enumerate(same):
        table.put(each, f"b{number % 7}", 0)
    for each in same[::2]:
        table.remove(each)
    assert [table.find(each, 1) for each in same] == [
        None if not number % 2 else f"b{number % 7}" for number in range(100)
    ]


def test_a_smaller_bound_takes_the_oldest_out() -> None:
    table = PinTable(100, 1000.0)
    for number in range(100):
        table.put(key(number), "b", 0)
    table.bound(10, 1000.0)
    assert table.expire(1) == 90
    assert [table.find(key(number), 1) for number in (89, 90)] == [None, "b"]


def test_backends_that_others_name_do_not_fill_memory() -> None:
    table = PinTable(10, 1000.0)
    for number in range(NAMES_MAX):
        assert table.put(key(number), f"b{number}", 0)
    assert not table.put(key(1), "one too many", 0)
    assert table.put(key(1), "b0", 0)


def test_a_million_pins_stay_within_their_memory_and_the_oldest_goes() -> None:
    table = PinTable(1_000_000, 3600.0)
    for number in range(1_000_500):
        table.put(key(number), "b", 1.0)
    assert table.count == 1_000_000
    assert table.evicted == 500
    assert table.bytes < 35_000_000
    assert table.find(key(499), 1.0) is None
    assert table.find(key(500), 1.0) == "b"
