"""The hash that nodes agree on, the ring made of it, and `ring_hash`: shares, disruption, order, cost."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdnlab.pool.algorithms.registry import Settings
from cdnlab.pool.backend import Backend
from cdnlab.pool.hashing import SPACE, Hasher
from cdnlab.pool.pool import Pool
from cdnlab.pool.reasons import Reason
from cdnlab.pool.ring import MOST, POINTS, Ring

SECRET = bytes(range(32))
KEYS = [b"http://shop.example/%d" % number for number in range(4000)]


def ring(members: dict[str, int], secret: bytes = SECRET) -> Ring:
    made = Ring(Hasher(secret))
    made.rebuild(members)
    return made


def pool(secret: bytes = SECRET, **weights: int) -> Pool:
    backends = [Backend(name, "127.0.0.1", 80, weight=weight) for name, weight in weights.items()]
    return Pool("test", backends, "ring_hash", Settings(secret=secret))


def owners(made: Pool) -> dict[bytes, str]:
    return {key: next(made.candidates(key=key)).name for key in KEYS}


def drain(made: Pool, name: str, draining: bool = True) -> None:
    made.backend(name).draining = draining
    made.usable_changed()


# -- what nodes of any version have to agree on: these come from another implementation of RFC 7693 ----------------


@pytest.mark.parametrize(
    "secret,key,point",
    [
        (SECRET, b"", 0xE1EEB2C1DBFBEE45),
        (SECRET, b"http://shop.example/", 0x247DE06A9D1FC64D),
        (SECRET, b"http://shop.example/?a=1", 0x08AEE470DDF2CA16),
        (bytes(32), b"http://shop.example/", 0x8C514E0B88A3495F),
        (SECRET, 300 * b"x", 0x1D8361561E121C19),
    ],
)
def test_the_point_of_a_key(secret: bytes, key: bytes, point: int) -> None:
    assert Hasher(secret).point(key) == point


def test_the_points_of_a_member() -> None:
    found = Hasher(SECRET).points("edge-icn", 9)
    assert found[:2] == [0x3B95E6D627984F81, 0x7F5DCD9135293FEB]
    assert found[8] == 0x942C61812D7CC56A
    assert Hasher(SECRET).points("edge-icn", 3) == found[:3]


@pytest.mark.parametrize(
    "key,order",
    [
        (b"http://shop.example/", "2 3 1"),
        (b"http://shop.example/a", "1 3 2"),
        (b"http://shop.example/b", "3 1 2"),
        (b"https://shop.example/", "1 3 2"),
    ],
)
def test_the_order_for_a_key(key: bytes, order: str) -> None:
    names = {f"edge-icn-{number}": 1 for number in (1, 2, 3)}
    assert [name[-1] for name in ring(names).order(key)] == order.split()


def test_a_secret_of_any_length_will_do_and_each_makes_another_ring() -> None:
    points = {
        Hasher(bytes([n]) * size).point(b"a") for n, size in ((0, 0), (1, 16), (1, 64), (1, 65), (2, 200))
    }
    assert len(points) == 5
    members = dict.fromkeys("abc", 1)
    here, there = ring(members), ring(members, bytes(32))
    assert any(here.owner(key) != there.owner(key) for key in KEYS)


# -- shares -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 10, 40])
@pytest.mark.parametrize("seed", range(5))
def test_shares_are_even_within_what_the_points_promise(count: int, seed: int) -> None:
    made = ring({f"edge-{number}": 1 for number in range(count)}, bytes([seed]) * 32)
    shares = [made.share(f"edge-{number}") * count for number in range(count)]
    assert sum(shares) == pytest.approx(count)
    four_sigma = 4 / POINTS**0.5  # 32 %; with 10 points for each, half of these cases fail
    assert all(abs(share - 1) < four_sigma for share in shares)


def test_weight_sets_the_share() -> None:
    made = ring({"a": 1, "b": 2, "c": 5})
    assert made.share("a") == pytest.approx(1 / 8, rel=0.3)
    assert made.share("b") == pytest.approx(2 / 8, rel=0.2)
    assert made.share("c") == pytest.approx(5 / 8, rel=0.1)


def test_what_a_share_says_is_what_keys_find() -> None:
    made = pool(a=1, b=3)
    found = Counter(owners(made).values())
    assert found["a"] / len(KEYS) == pytest.approx(ring({"a": 1, "b": 3}).share("a"), abs=0.03)


# -- disruption ---------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)  # 12,000 look-ups each: a busy machine needs its time
@given(
    st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.integers(1, 9), min_size=2, max_size=9)
)
def test_who_leaves_takes_only_its_own_keys_along_and_gets_them_back(weights: dict[str, int]) -> None:
    made = pool(**weights)
    before = owners(made)
    gone = min(weights)
    drain(made, gone)
    without = owners(made)
    assert all(without[key] == owner for key, owner in before.items() if owner != gone)
    assert gone not in without.values()
    drain(made, gone, draining=False)
    assert owners(made) == before


def test_who_comes_takes_its_share_and_nothing_else_moves() -> None:
    few = {f"edge-{number}": 1 for number in range(9)}
    old, new = ring(few), ring({**few, "edge-new": 1})
    moved = [key for key in KEYS if old.owner(key) != new.owner(key)]
    assert all(new.owner(key) == "edge-new" for key in moved)
    assert len(moved) / len(KEYS) == pytest.approx(new.share("edge-new"), abs=0.03)


def test_who_is_away_is_followed_by_the_next_on_the_ring() -> None:
    made = pool(a=1, b=1, c=1, d=1)
    for key in KEYS[:200]:
        first, second, *_ = [backend.name for backend in made.candidates(key=key)]
        drain(made, first)
        assert next(made.candidates(key=key)).name == second
        drain(made, first, draining=False)


def test_weights_that_would_make_too_many_points_are_scaled_for_all_and_for_ever() -> None:
    made = pool(a=1000, b=1000, c=500)
    before = owners(made)
    assert len(made.algorithm.owners._points) <= MOST  # type: ignore[attr-defined]
    drain(made, "b")
    without = owners(made)
    assert all(without[key] == owner for key, owner in before.items() if owner != "b")


# -- order and cost -----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 12), st.binary(max_size=20))
def test_every_backend_is_a_candidate_once(count: int, key: bytes) -> None:
    made = pool(**{f"b{number}": 1 + number % 3 for number in range(count)})
    found = [backend.name for backend in made.candidates(key=key)]
    assert sorted(found) == sorted(f"b{number}" for number in range(count))


def test_the_declared_order_plays_no_part() -> None:
    assert owners(pool(a=1, b=1, c=1)) == owners(pool(c=1, a=1, b=1))


def test_the_wrap_round_the_circle() -> None:
    class Fixed(Hasher):
        def point(self, key: bytes) -> int:
            return int(key, 16)

        def points(self, name: str, count: int) -> list[int]:
            return {"a": [10, 100], "b": [50], "c": [100]}[name]

    made = Ring(Fixed(SECRET))
    made.rebuild({"c": 1, "b": 1, "a": 1})
    cases = {0: "a", 9: "a", 10: "b", 49: "b", 50: "a", 99: "a", 100: "a", SPACE - 1: "a"}
    assert {point: made.owner(b"%x" % point) for point in cases} == cases


def test_a_pick_looks_at_few_points_and_at_no_backend() -> None:
    class Counting(int):
        looks = 0

        def __gt__(self, other: int) -> bool:
            Counting.looks += 1
            return int.__gt__(self, other)

        def __lt__(self, other: int) -> bool:
            Counting.looks += 1
            return int.__lt__(self, other)

    made = ring({f"edge-{number}": 1 for number in range(100)})
    made._points = [Counting(point) for point in made._points]
    assert len(made._points) == 100 * POINTS
    made.owner(b"a")
    assert 0 < Counting.looks <= 15  # log2(16,000) is 14


def test_an_empty_ring_owns_nothing() -> None:
    assert ring({}).owner(b"a") is None
    assert list(ring({}).order(b"a")) == []
    assert list(pool().candidates(key=b"a")) == []


def test_one_backend_needs_no_key() -> None:
    assert not pool(a=1).keyed
    assert pool(a=1, b=1).keyed
    assert [backend.name for backend in pool(a=1).candidates()] == ["a"]


def test_the_reason_of_the_others() -> None:
    made = pool(a=1, b=1, c=1)
    key = KEYS[0]
    drain(made, "c")
    chosen = next(made.candidates(key=key))
    assert dict(made.explain("", chosen, key)) == {
        name: Reason.DRAINING if name == "c" else Reason.NOT_OWNER for name in "abc" if name != chosen.name
    }
