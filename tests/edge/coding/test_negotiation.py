"""What Accept-Encoding says (RFC 9110 §12.5.3), row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.coding.negotiation import BARE, preference, wanted, weights

OFFERED = (b"br", b"zstd", b"gzip")

ROWS: list[tuple[str | None, str]] = [
    # Accept-Encoding, what is sent in order of liking
    (None, ""),
    ("", ""),
    ("  ", ""),
    (",,", ""),
    ("gzip", "gzip"),
    ("x-gzip", "gzip"),
    ("GZip, BR", "br gzip"),
    ("gzip, deflate, br, zstd", "br zstd gzip"),
    ("zstd, br, gzip", "br zstd gzip"),
    ("deflate", ""),
    ("compress, x-compress", ""),
    ("identity", ""),
    ("*", "br zstd gzip"),
    ("*;q=0", ""),
    ("*;q=0.001", "br zstd gzip"),
    # weights
    ("gzip;q=1.0, br;q=0.5", "gzip br"),
    ("gzip;q=0.5, br;q=0.501", "br gzip"),
    ("gzip;q=0.5, br;q=0.50", "br gzip"),
    ("gzip;q=0.999, zstd;q=1", "zstd gzip"),
    ("gzip;q=0", ""),
    ("gzip;q=0.0, br", "br"),
    ("gzip;q=0.000, *;q=0.3", "br zstd"),
    ("gzip ; q=0.2 ,\tbr;Q=0.1", "gzip br"),
    # identity has a weight too
    ("identity;q=0.5, gzip;q=0.4", ""),
    ("identity;q=0.5, gzip;q=0.5", "gzip"),
    ("identity, *;q=0.5", ""),
    ("identity;q=0, gzip;q=0.1", "gzip"),
    ("identity;q=0, *;q=0", ""),
    ("*;q=0, gzip", "gzip"),
    ("*;q=0.8, gzip;q=0.5", "br zstd"),
    ("br;q=0.2, identity;q=0", "br"),
    # the same coding twice: the lowest weight counts
    ("gzip;q=0, gzip", ""),
    ("gzip, gzip;q=0.2, br;q=0.3", "br gzip"),
    ("gzip, x-gzip;q=0", ""),
    # malformed anywhere: it says nothing
    ("gzip;q=1.1", ""),
    ("gzip;q=0.1234", ""),
    ("gzip;q=-1", ""),
    ("gzip;q=", ""),
    ("gzip;q", ""),
    ("gzip;", ""),
    ("gzip;q=1;q=1", ""),
    ("gzip;level=9", ""),
    ("gzip;q = 1", ""),
    ("gzip;q=.5", ""),
    ('gzip;q="1"', ""),
    ("gzip br", ""),
    ('"gzip"', ""),
    ("br, gzip;q=2", ""),
    ("br;q=1e0", ""),
    (";q=1", ""),
]


@pytest.mark.parametrize(("value", "codings"), ROWS, ids=[str(value) for value, _ in ROWS])
def test_rows(value: str | None, codings: str) -> None:
    assert preference(value if value is None else value.encode(), OFFERED) == tuple(codings.encode().split())


def test_among_equals_our_order_counts_whatever_theirs_is() -> None:
    for value in (b"gzip, br, zstd", b"zstd, gzip, br", b"*"):
        assert preference(value, (b"gzip", b"br")) == (b"gzip", b"br")
        assert preference(value, (b"br", b"gzip")) == (b"br", b"gzip")
    assert preference(b"*", ()) == ()


@given(st.binary(max_size=60), st.permutations(OFFERED))
def test_any_bytes_give_an_order_without_doubles(value: bytes, offered: list[bytes]) -> None:
    found = preference(value, tuple(offered))
    assert len(set(found)) == len(found)
    assert set(found) <= set(offered)
    assert found == preference(value, tuple(offered))


_NAMES = st.sampled_from([b"gzip", b"br", b"zstd", b"identity", b"*", b"deflate", b"x-gzip"])


@given(st.lists(st.tuples(_NAMES, st.integers(0, 1000)), min_size=1, max_size=8), st.randoms())
def test_the_order_of_members_says_nothing_and_nobody_gets_what_they_refuse(
    members: list[tuple[bytes, int]], random: object
) -> None:
    value = b", ".join(b"%b;q=%d.%03d" % (name, weight // 1000, weight % 1000) for name, weight in members)
    backwards = b",".join(reversed(value.split(b", ")))
    found = preference(value, OFFERED)
    assert found == preference(backwards, OFFERED)
    given_weights = weights(value)
    assert given_weights is not None
    for coding in found:
        assert given_weights.get(coding, given_weights.get(b"*", 0)) > 0


def test_a_request_that_says_no_transform_gets_none() -> None:
    index = {b"accept-encoding": b"gzip, br"}
    assert wanted(index, OFFERED) == (b"br", b"gzip")
    assert wanted(index | {b"cache-control": b"max-age=0, No-Transform"}, OFFERED) == ()
    assert wanted(index | {b"cache-control": b"max-age=0"}, OFFERED) == (b"br", b"gzip")
    assert wanted({}, OFFERED) == ()
    assert wanted(index, ()) == ()


@pytest.mark.parametrize(
    ("via", "bare"),
    [
        ("1.1 lb-a", False),
        ("1.1 edge-fra", True),
        ("1.1 lb-a, 1.1 EDGE-FRA", True),
        ("1.1 edge-fra, 1.1 lb-a", False),
        ("1.1 edge-fra (a, b)", True),
        ("edge-fra", False),
        ("", False),
    ],
)
def test_an_edge_that_asks_for_itself_gets_identity_and_no_word_of_it(via: str, bare: bool) -> None:
    index = {b"accept-encoding": b"gzip, br", b"via": via.encode()}
    edges = frozenset({b"edge-fra", b"edge-icn"})
    assert wanted(index, OFFERED, edges) == ((BARE,) if bare else (b"br", b"gzip"))
    for_its_client = index | {b"cdnlab-sibling": b"edge-fra"}
    assert wanted(for_its_client, OFFERED, edges) == (b"br", b"gzip")
    assert wanted(index, OFFERED) == (b"br", b"gzip")
