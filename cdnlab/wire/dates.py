"""Dates on the wire: the three forms of RFC 9110 §5.6.7 read, the one form written.

Decides what second a date means. Must not read a clock: the year of the RFC 850 form needs the wall time, and
the caller gives it.
"""

from __future__ import annotations

import re
from datetime import date

_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_MONTH_NUMBER = {name: number for number, name in enumerate(_MONTHS, 1)}
_EPOCH = date(1970, 1, 1).toordinal()
_LAST = (date.max.toordinal() + 1 - _EPOCH) * 86400 - 1

_CLOCK = rb"([0-2][0-9]):([0-5][0-9]):([0-6][0-9])"
_MONTH = rb"(" + b"|".join(_MONTHS) + rb")"
_DAY = rb"(?:" + b"|".join(_DAYS) + rb")"
_DAY_LONG = rb"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_IMF_FIXDATE = re.compile(
    _DAY + rb", ([0-3][0-9]) " + _MONTH + rb" ([0-9]{4}) " + _CLOCK + rb" GMT", re.IGNORECASE
)
_RFC_850 = re.compile(
    _DAY_LONG + rb", ([0-3][0-9])-" + _MONTH + rb"-([0-9]{2}) " + _CLOCK + rb" GMT", re.IGNORECASE
)
_ASCTIME = re.compile(_DAY + rb" " + _MONTH + rb" ([ 0-3][0-9]) " + _CLOCK + rb" ([0-9]{4})", re.IGNORECASE)


def parse_date(value: bytes, wall: float) -> int | None:
    """Seconds since 1970 of an HTTP date, None if it is none. `wall`, in the same unit, settles two-digit years.

    A wrong day of the week is overlooked: the other numbers say what was meant, and nothing else reads it. Case does
    not matter, and a zone other than GMT makes it no date (RFC 9111 §4.2).
    """
    if match := _IMF_FIXDATE.fullmatch(value):
        day, month, year, *clock = match.groups()
        return _seconds(int(year), month, day, clock)
    if match := _RFC_850.fullmatch(value):
        day, month, year, *clock = match.groups()
        return _two_digit_year(int(year), month, day, clock, wall)
    if match := _ASCTIME.fullmatch(value):
        month, day, *clock, year = match.groups()
        return _seconds(int(year), month, day, clock)
    return None


def _seconds(year: int, month: bytes, day: bytes, clock: list[bytes]) -> int | None:
    hours, minutes, seconds = map(int, clock)
    if hours > 23 or seconds > 60:  # 60 is a leap second, and the same instant as the next :00
        return None
    try:
        days = date(year, _MONTH_NUMBER[month.title()], int(day)).toordinal() - _EPOCH
    except ValueError:
        return None
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def _two_digit_year(year: int, month: bytes, day: bytes, clock: list[bytes], wall: float) -> int | None:
    """RFC 9110 §5.6.7: what seems to lie more than 50 years ahead lies in the past, with the same last
    digits."""
    now = date.fromordinal(_EPOCH + min(max(int(wall), 0), _LAST) // 86400)
    year += now.year - now.year % 100
    limit = _fifty_years_after(wall, now)
    for century in (100, 0, -100):
        seconds = _seconds(year + century, month, day, clock)
        if seconds is not None and seconds <= limit:
            return seconds
    return None


def _fifty_years_after(wall: float, now: date) -> float:
    ahead = min(now.year + 50, 9999)
    last = date(ahead, now.month, min(now.day, 28))  # 29 February has no anniversary in every year
    return (last.toordinal() - now.toordinal() + now.day - last.day) * 86400 + wall


_last_written: tuple[int, bytes] = (0, b"Thu, 01 Jan 1970 00:00:00 GMT")


def format_date(seconds: int) -> bytes:
    """IMF-fixdate of `seconds` since 1970, such as b"Sun, 06 Nov 1994 08:49:37 GMT". The last one is
    remembered, so that a server's Date costs one rendering a second. What lies outside the years 1970 to 9999
    is clamped to them."""
    global _last_written
    known, text = _last_written
    if seconds == known:
        return text
    text = _render(min(max(seconds, 0), _LAST))
    _last_written = (seconds, text)
    return text


def _render(seconds: int) -> bytes:
    days, rest = divmod(seconds, 86400)
    day = date.fromordinal(_EPOCH + days)
    return b"%b, %02d %b %04d %02d:%02d:%02d GMT" % (
        _DAYS[day.weekday()],
        day.day,
        _MONTHS[day.month - 1],
        day.year,
        rest // 3600,
        rest // 60 % 60,
        rest % 60,
    )
