"""No-Vary-Search: the draft's own tables, an independent reading of its algorithm, and bounded memory."""

from __future__ import annotations

from time import process_time
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.no_vary_search import LONGEST, Place, Searches, Variation, variation, variation_of

EVERY = Variation(only=False, names=frozenset(), any_order=True)


@pytest.mark.parametrize(
    ("value", "only", "names", "any_order"),
    [
        (b"key-order", False, [], True),
        (b"key-order=?1", False, [], True),
        (b'params=("a")', False, [b"a"], False),
        (b'params=("a" "b"), key-order', False, [b"a", b"b"], True),
        (b'except=("x")', True, [b"x"], False),
        (b'except=("x"), key-order', True, [b"x"], True),
        (b"except=()", True, [], False),
        (b'params=("a");p=1;q, key-order;r', False, [b"a"], True),
        (b'params=("a";x "b";y=2)', False, [b"a", b"b"], False),
        (b'params=("a"), future=(1 2), later="x"', False, [b"a"], False),
        (b'params=("%C3%A9+%E6%B0%97")', False, ["é 気".encode()], False),
        (b'params=("%2B%zz")', False, [b"+%zz"], False),
        (b'params=("a"), params=("b")', False, [b"b"], False),
        (b'params=("")', False, [b""], False),
    ],
)
def test_what_the_field_says(value: bytes, only: bool, names: list[bytes], any_order: bool) -> None:
    assert variation(value) == Variation(only, frozenset(names), any_order)
    start = b"HTTP/1.1 200 OK\r\nX: y\r\nNO-vary-Search:\t%b \r\nZ: no-vary-search: except=()\r\n" % value
    assert variation_of(start) == variation(value)


@pytest.mark.parametrize(
    "value",
    [
        None, b"", b" ", b"unknown-key", b'key-order="not a boolean"', b"key-order=1", b"key-order=(?1)",
        b'params="not an inner list"', b"params=(not-a-string)", b"params=?0", b"params=?1", b"params",
        b'params=?1, except=("x")', b'params, except=("x")', b'params=("a"), except=("x")', b"params=(), except=()",
        b'except="not an inner list"', b"except=(not-a-string)", b"except=?1", b"except", b'except=(%"x")',
        b'key-order, params=("a" 1)', b'params=("a"', b"params=()", b"key-order=?0", b"params=(), key-order=?0",
        b'params=("\xc3\xa9")', b'params=("a"),', b'params=("%b")' % (b"a" * LONGEST),
    ],
)  # fmt: skip
def test_what_is_invalid_or_says_nothing(value: bytes | None) -> None:
    assert variation(value) is None


def test_several_lines_are_one_dictionary() -> None:
    start = b'HTTP/1.1 200 OK\r\nNo-Vary-Search: key-order\r\nA: b\r\nno-vary-search: params=("a")\r\n'
    assert variation_of(start) == Variation(False, frozenset([b"a"]), True)
    assert variation_of(b"HTTP/1.1 200 No-Vary-Search: key-order\r\nA: b\r\n") is None


@pytest.mark.parametrize(
    ("value", "one", "two", "same"),
    [
        (b"key-order", b"", b"&&", True),
        (b"key-order", b"a=x", b"%61=%78", True),
        (b"key-order", b"a=x&&&&", b"a=x", True),
        (b"key-order", b"a=", b"a", True),
        (b"key-order", b"a=%20", b"a=+", True),
        (b"key-order", b"a=%C3%A9", b"a=e%CC%81", False),
        (b"key-order", b"a=%f6", b"a=%ef%bf%bd", False),  # the draft allows more: see the module
        (b"key-order", b"b=1&a=2", b"a=2&b=1", True),
        (b"key-order", b"a=1&a=2", b"a=2&a=1", False),
        (b"key-order", b"a=1&b=2", b"a=1", False),
        (b"key-order", b"a=1=2", b"a=1%3D2", True),
        (b"key-order", b"ab=c", b"a=bc", False),
        (b"key-order", b"a=b&c=d", b"a=b%26c=d", False),
        (b"key-order", b"a;b", b"b;a", False),
        (b'params=("u")', b"u=1&a=1", b"a=1&u=2&u=3", True),
        (b'params=("u")', b"u", b"", True),
        (b'params=("u")', b"%75=1", b"", True),
        (b'params=("u")', b"U=1", b"", False),
        (b'params=("u")', b"a=1&b=1", b"b=1&a=1", False),
        (b'params=("a b")', b"a+b=1", b"a%20b=2", True),
        (b'params=("a b")', b"a%2Bb=1", b"a%2Bb=2", False),
        (b'except=("id")', b"id=1&x=2", b"y=3&id=1", True),
        (b'except=("id")', b"id=1", b"id=2", False),
        (b'except=("id")', b"id=1", b"", False),
        (b"except=()", b"id=1", b"", True),
        (b'except=("a" "b"), key-order', b"b=1&c=2&a=3", b"a=3&b=1", True),
        (b'except=("a" "b")', b"b=1&a=3", b"a=3&b=1", False),
        (b'params=("")', b"=1&a", b"a", True),
    ],
)
def test_which_queries_mean_the_same(value: bytes, one: bytes, two: bytes, same: bool) -> None:
    said = variation(value)
    assert said is not None
    assert (said.meaning(one) == said.meaning(two)) is same


VALUES = st.sampled_from(
    [
        b"key-order",
        b'params=("a")',
        b'except=("a" "b")',
        b'params=("b" "%61+"), key-order',
        b"except=(), key-order",
    ]
)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "%61", "a+", "a%20", ""]), st.sampled_from(["", "=", "=1", "=%31", "=1=2"])
    ).map("".join),
    max_size=5,
).map(lambda pieces: "&".join(pieces).encode())


@settings(deadline=None)
@given(VALUES, QUERIES, QUERIES)
def test_an_independent_reading_agrees(value: bytes, one: bytes, two: bytes) -> None:
    """The algorithm of the draft's section 6 over the standard library's reader of forms."""
    said = variation(value)
    assert said is not None

    def listed(query: bytes) -> list[tuple[str, str]]:
        pairs = parse_qsl(query.decode(), keep_blank_values=True)
        names = {name.decode() for name in said.names}
        pairs = [pair for pair in pairs if (pair[0] in names) == said.only]
        return sorted(pairs, key=lambda pair: pair[0]) if said.any_order else pairs

    assert (said.meaning(one) == said.meaning(two)) is (listed(one) == listed(two))


# -- what is remembered -------------------------------------------------------------------------------------------


def test_an_equal_query_is_found() -> None:
    searches = Searches()
    said = variation(b'params=("utm")')
    assert said is not None
    assert not searches
    searches.stored(b"http://h/p?id=1&utm=x", None)
    assert not searches
    searches.stored(b"http://h/p?id=1&utm=x", said)
    assert searches
    assert searches.find(b"http://h/p?utm=y&id=1") == Place(b"http://h/p?id=1&utm=x", said)
    assert searches.find(b"http://h/p?id=1") == Place(b"http://h/p?id=1&utm=x", said)
    assert searches.find(b"http://h/p?id=1&utm=x") is None  # that one was looked for already
    for other in (
        b"http://h/p?id=2",
        b"http://h/q?id=1",
        b"https://h/p?id=1",
        b"http://g/p?id=1",
        b"http://h/p",
    ):
        assert searches.find(other) is None
    searches.stored(b"http://h/p?id=1", said)
    assert searches.find(b"http://h/p?id=1&utm=x") == Place(b"http://h/p?id=1", said)


def test_the_latest_field_of_a_path_counts() -> None:
    searches = Searches()
    one, two = variation(b'params=("a")'), variation(b'params=("b")')
    searches.stored(b"http://h/p?a=1", one)
    searches.stored(b"http://h/p?b=1", two)
    assert searches.find(b"http://h/p?a=2") is None
    assert searches.find(b"http://h/p") == Place(b"http://h/p?b=1", two)
    searches.stored(b"http://h/p?c=1", None)  # says nothing about the others
    assert searches.find(b"http://h/p?b=2") == Place(b"http://h/p?b=1", two)
    searches.stored(b"http://h/p?a=1", one)
    assert searches.find(b"http://h/p") == Place(b"http://h/p?a=1", one)


def test_what_is_no_longer_true_is_not_found() -> None:
    searches = Searches()
    searches.stored(b"http://h/p?utm=1", variation(b'params=("utm")'))
    assert searches.forget(b"http://h/other") is None
    assert searches.forget(b"http://h/p") == b"http://h/p?utm=1"
    assert searches.find(b"http://h/p") is None
    assert searches.forget(b"http://h/p") is None


def test_memory_is_bounded_and_the_newest_stay() -> None:
    """A hundred thousand paths, and as many queries on one path, within the budget; each keeps what is new."""
    budget = 1 << 18
    searches = Searches(budget)
    for number in range(20_000):
        searches.stored(b"http://h/p%d?utm=1" % number, EVERY)
        searches.stored(b"http://h/one?n=%d&m=" % number, EVERY)
    for table in (searches._paths, searches._keys):
        assert 300 * (len(table.young) + len(table.old)) <= budget
    assert searches.find(b"http://h/p19999?utm=1&") is not None
    assert searches.find(b"http://h/one?m=&n=19999") is not None
    assert searches.find(b"http://h/one?m=&n=1") is None
    searches.stored(b"http://h/" + b"p" * budget, EVERY)  # too long to be worth it
    assert searches.find(b"http://h/" + b"p" * budget + b"?") is None


def test_what_is_used_stays_when_others_come() -> None:
    searches = Searches(1 << 18)
    searches.stored(b"http://h/used?a=1&b=2", EVERY)
    for number in range(20_000):
        searches.stored(b"http://h/p%d?" % number, EVERY)
        if number % 50 == 0:
            assert searches.find(b"http://h/used?b=2&a=1") is not None


def test_a_megabyte_of_query_costs_little() -> None:
    for query in (b"&" * 1_000_000, b"a&" * 500_000, b"%C3%A9" * 166_000, b"=" * 1_000_000):
        began = process_time()
        EVERY.meaning(query)
        assert process_time() - began < 6.0
