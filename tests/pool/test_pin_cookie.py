"""The pin's cookie: good for one route, pool and backend, and for nothing that anybody makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdnlab.pool.pin_cookie import (
    LONGEST,
    MOST,
    Refused,
    Signer,
    attributes,
    is_set,
    parse,
    signed_by,
    values_of,
    without,
)

KEYS = {"1": b"k" * 32, "2": b"l" * 32}
NAMES = ("server-1", "server-2", "server-3")
RANDOM = bytes(range(8))
ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def signer(kid: str = "2", route: str = "/", pool: str = "servers", **keys: bytes) -> Signer:
    return Signer(keys or KEYS, kid, route, pool)


def said(one: Signer, value: bytes, names: tuple[str, ...] = NAMES) -> str | Refused:
    word = parse(value)
    return Refused.MALFORMED if word is None else one.backend(word, names)


@given(st.binary(min_size=8, max_size=8), st.sampled_from(NAMES))
def test_it_leads_back_to_its_backend_and_names_none(random: bytes, name: str) -> None:
    value = signer().value(name, random)
    assert said(signer(), value) == name
    assert name.encode() not in value
    assert len(value) <= LONGEST
    assert signed_by(value) == "2"


def test_two_clients_of_one_backend_have_two_cookies() -> None:
    assert signer().value("server-1", RANDOM) != signer().value("server-1", bytes(8))


def test_what_it_looks_like_stays_so() -> None:
    """Nodes of two versions may run side by side: they must understand each other's."""
    assert signer().value("server-1", RANDOM) == b"2.AAECAwQFBgc.sP2CPdLVTpk3bJw2UofnUA"


@given(st.integers(0, 200), st.sampled_from(ALPHABET), st.sampled_from(NAMES))
def test_one_byte_changed_and_it_fits_no_backend(position: int, byte: int, name: str) -> None:
    value = bytearray(signer().value(name, RANDOM))
    position %= len(value)
    before = value[position]
    value[position] = byte
    if byte != before:
        assert said(signer(), bytes(value)) in set(Refused)


@given(st.integers(0, 60))
def test_cut_short_it_has_not_the_form(length: int) -> None:
    value = signer().value("server-1", RANDOM)
    if length < len(value):
        assert parse(value[:length]) is None


@given(st.binary(max_size=80))
def test_any_bytes_are_refused(value: bytes) -> None:
    assert said(signer(), value) in set(Refused)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"..",
        b"2.",
        b"2.x.y",
        b"2.AAECAwQFBgc.",
        b"2.AAECAwQFBgc=.sP2CPdLVTpk3bJw2UofnUA",
        b"2" * 5000,
        b"\xff\x00",
    ],
)
def test_what_has_not_the_form(value: bytes) -> None:
    assert parse(value) is None


def test_a_foreign_key_s_cookie_is_refused() -> None:
    value = Signer({"2": b"x" * 32}, "2", "/", "servers").value("server-1", RANDOM)
    assert said(signer(), value) is Refused.NO_MATCH
    value = Signer({"9": b"x" * 32}, "9", "/", "servers").value("server-1", RANDOM)
    assert said(signer(), value) is Refused.UNKNOWN_KEY


def test_replayed_on_another_route_or_pool_it_pins_nobody() -> None:
    value = signer().value("server-1", RANDOM)
    assert said(signer(route="/api"), value) is Refused.NO_MATCH
    assert said(signer(pool="others"), value) is Refused.NO_MATCH


def test_parts_do_not_run_into_each_other() -> None:
    value = signer(route="/a", pool="b").value("c", RANDOM)
    for route, pool, name in (("/", "ab", "c"), ("/ab", "", "c"), ("/a", "bc", ""), ("/a", "", "bc")):
        assert said(signer(route=route, pool=pool), value, (name,)) is Refused.NO_MATCH


def test_replayed_by_another_client_it_pins_that_one_too() -> None:
    """It is nobody's identity."""
    value = signer().value("server-2", RANDOM)
    assert said(signer(), value) == said(signer(), value) == "server-2"


def test_rotation_both_keys_verify_and_the_newer_signs() -> None:
    old = signer("1").value("server-1", RANDOM)
    assert said(signer("2"), old) == "server-1"
    assert signed_by(old) == "1"
    assert said(
        signer("2", k2=b"").__class__({"2": KEYS["2"], "3": b"m" * 32}, "3", "/", "servers"), old
    ) is (Refused.UNKNOWN_KEY)


def test_a_backend_that_is_gone_matches_no_other() -> None:
    value = signer().value("server-2", RANDOM)
    assert said(signer(), value, ("server-1", "server-3")) is Refused.NO_MATCH


def test_long_keys_are_taken() -> None:
    long = Signer({"1": b"z" * 200}, "1", "/", "servers")
    assert said(long, long.value("server-1", RANDOM)) == "server-1"


@pytest.mark.parametrize(
    ("cookies", "values"),
    [
        (b"", []),
        (b"pin=1", [b"1"]),
        (b"a=b; pin=1; c=d", [b"1"]),
        (b"pin=1; pin=2", [b"1", b"2"]),
        (b"pin =1;pin= 2 ;", [b"1", b"2"]),
        (b"xpin=1; pinx=2; a=pin=3", []),
        (b"pin; pin=", [b""]),
        (b"pin=a=b", [b"a=b"]),
        (b"pin=1;" * 50, [b"1"] * MOST),
    ],
)
def test_values_of_a_cookie(cookies: bytes, values: list[bytes]) -> None:
    assert values_of(cookies, b"pin") == values


@pytest.mark.parametrize(
    ("cookies", "left"),
    [
        (b"a=b", b"a=b"),
        (b"pin=1", b""),
        (b"pin=1; a=b", b"a=b"),
        (b"a=b; pin=1; c=d", b"a=b; c=d"),
        (b"a=b; pin=1", b"a=b"),
        (b"xpin=1; a=pin", b"xpin=1; a=pin"),
        (b"pin=1; pin=2", b""),
    ],
)
def test_what_is_left_without_it(cookies: bytes, left: bytes) -> None:
    assert without(cookies, b"pin") == left


@given(st.lists(st.tuples(st.sampled_from([b"pin", b"a", b"b"]), st.binary(max_size=5).map(bytes.hex))))
def test_without_takes_all_of_it_and_nothing_else(pairs: list[tuple[bytes, str]]) -> None:
    field = b"; ".join(b"%b=%b" % (name, value.encode()) for name, value in pairs)
    left = without(field, b"pin")
    assert values_of(left, b"pin") == []
    for name in (b"a", b"b"):
        assert values_of(left, name) == values_of(field, name)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"sid=abc; Path=/; HttpOnly", b"abc"),
        (b"sid=abc", b"abc"),
        (b" sid = abc ;x", b"abc"),
        (b"sid=; Max-Age=0", None),
        (b"other=abc", None),
        (b"sid", None),
        (b"", None),
    ],
)
def test_what_the_application_sets(field: bytes, value: bytes | None) -> None:
    assert is_set(field, b"sid") == value


def test_scripts_never_see_it_and_other_sites_do_not_send_it() -> None:
    assert attributes("/", "lax", False) == b"; Path=/; HttpOnly; SameSite=Lax"
    assert attributes("/api", "strict", True) == b"; Path=/api; HttpOnly; SameSite=Strict; Secure"
    assert attributes("/", "none", False).endswith(b"SameSite=None; Secure")  # browsers take no other
