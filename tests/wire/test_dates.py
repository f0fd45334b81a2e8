"""Dates: three forms read, one written, nothing guessed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdnlab.wire.dates import format_date, parse_date

WALL = 1_700_000_000.0  # 2023-11-14
SUNDAY = 784111777  # the example of RFC 9110 §5.6.7


def at(year: int, month: int = 1, day: int = 1) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp())


READ = [
    (b"Sun, 06 Nov 1994 08:49:37 GMT", SUNDAY),
    (b"Sunday, 06-Nov-94 08:49:37 GMT", SUNDAY),
    (b"Sun Nov  6 08:49:37 1994", SUNDAY),
    (b"Mon, 06 Nov 1994 08:49:37 GMT", SUNDAY),  # a wrong day of the week is overlooked
    (b"Thu, 01 Jan 1970 00:00:00 GMT", 0),
    (b"Fri, 31 Dec 1999 23:59:60 GMT", at(2000)),  # a leap second
    (b"Tue, 29 Feb 2000 00:00:00 GMT", at(2000, 2, 29)),
    (b"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799),
    (b"Wed, 01 Jan 1969 00:00:00 GMT", -31536000),
    (b"Sun Nov 16 08:49:37 1994", SUNDAY + 10 * 86400),
    (b"", None),
    (b"0", None),
    (b"-1", None),
    (b"784111777", None),
    (b"Sun, 06 Nov 1994 08:49:37", None),
    (b"Sun, 06 Nov 1994 08:49:37 UTC", None),
    (b"Sun, 06 Nov 1994 08:49:37 +0000", None),
    (b"Sun, 06 Nov 1994 08:49:37 GMT ", None),
    (b"Sun, 06 Nov 1994 08:49:37 GMT\n", None),
    (b"Sun, 6 Nov 1994 08:49:37 GMT", None),
    (b"sun, 06 nov 1994 08:49:37 gmt", SUNDAY),  # RFC 9111 §4.2
    (b"06 Nov 1994 08:49:37 GMT", None),
    (b"Sun, 06 Nov 94 08:49:37 GMT", None),
    (b"Sun, 30 Feb 2000 00:00:00 GMT", None),
    (b"Sun, 29 Feb 1900 00:00:00 GMT", None),
    (b"Sun, 00 Nov 1994 08:49:37 GMT", None),
    (b"Sun, 06 Foo 1994 08:49:37 GMT", None),
    (b"Sun, 06 Nov 0000 08:49:37 GMT", None),
    (b"Sun, 06 Nov 1994 24:00:00 GMT", None),
    (b"Sun, 06 Nov 1994 08:60:00 GMT", None),
    (b"Sun, 06 Nov 1994 08:49:61 GMT", None),
    (b"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", None),
    (b"Sun, 06-Nov-94 08:49:37 GMT", None),
    (b"Sun Nov 6 08:49:37 1994", None),
    (b"\xd9\xa0\xd9\xa6 Nov 1994", None),
]


@pytest.mark.parametrize("value, seconds", READ)
def test_read(value: bytes, seconds: int | None) -> None:
    assert parse_date(value, WALL) == seconds


TWO_DIGITS = [
    # now, two digits, year
    (at(2023, 11, 14), 23, 2023),
    (at(2023, 11, 14), 24, 2024),
    (at(2023, 11, 14), 73, 2073),
    (at(2023, 11, 14), 74, 1974),
    (at(2023, 11, 14), 99, 1999),
    (at(2023, 11, 14), 0, 2000),
    (at(2023, 11, 14), 22, 2022),
    (at(2098, 6, 1), 10, 2110),
    (at(2098, 6, 1), 97, 2097),
    (at(2098, 6, 1), 48, 2148),
    (at(2098, 6, 1), 49, 2049),
    (0, 70, 1970),
    (0, 19, 2019),
    (0, 21, 1921),
]


@pytest.mark.parametrize("now, digits, year", TWO_DIGITS)
def test_two_digits_lie_at_most_fifty_years_ahead(now: int, digits: int, year: int) -> None:
    assert parse_date(b"Monday, 01-Jan-%02d 00:00:00 GMT" % digits, float(now)) == at(year)


def test_the_fifty_years_end_to_the_second() -> None:
    now = datetime(2023, 5, 6, 7, 8, 9, tzinfo=UTC).timestamp()
    assert parse_date(b"Saturday, 06-May-73 07:08:09 GMT", now) == int(
        datetime(2073, 5, 6, 7, 8, 9, tzinfo=UTC).timestamp()
    )
    assert parse_date(b"Saturday, 06-May-73 07:08:10 GMT", now) == int(
        datetime(1973, 5, 6, 7, 8, 10, tzinfo=UTC).timestamp()
    )


def test_29_february_in_two_digits_finds_a_leap_year() -> None:
    assert parse_date(b"Tuesday, 29-Feb-00 00:00:00 GMT", WALL) == at(2000, 2, 29)
    assert parse_date(b"Monday, 29-Feb-23 00:00:00 GMT", WALL) is None


@pytest.mark.parametrize("wall", [-1e18, -1.0, 0.0, 1e18])
def test_no_wall_time_is_too_odd(wall: float) -> None:
    parse_date(b"Sunday, 06-Nov-94 08:49:37 GMT", wall)


@given(st.integers(0, 253402300799))
def test_what_is_written_is_read_back(seconds: int) -> None:
    text = format_date(seconds)
    assert len(text) == 29
    assert parse_date(text, WALL) == seconds
    moment = datetime.fromtimestamp(seconds, UTC)
    assert text.decode() == moment.strftime("%a, %d %b ") + f"{moment.year:04d}" + moment.strftime(
        " %H:%M:%S GMT"
    )


def test_a_second_is_written_once() -> None:
    assert format_date(SUNDAY) is format_date(SUNDAY)
    assert format_date(SUNDAY + 1) == b"Sun, 06 Nov 1994 08:49:38 GMT"
    assert format_date(SUNDAY) == b"Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    "seconds, text",
    [(-5, b"Thu, 01 Jan 1970 00:00:00 GMT"), (10**15, b"Fri, 31 Dec 9999 23:59:59 GMT")],
)
def test_what_no_year_holds_is_clamped(seconds: int, text: bytes) -> None:
    assert format_date(seconds) == text


@given(st.binary(max_size=40))
def test_no_bytes_raise(value: bytes) -> None:
    parse_date(value, WALL)
