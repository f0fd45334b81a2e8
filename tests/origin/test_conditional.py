from __future__ import annotations

import pytest

from origin.conditional import Verdict, evaluate, range_applies

DATE = "Thu, 01 Jan 2026 00:00:00 GMT"
LATER = "Fri, 02 Jan 2026 00:00:00 GMT"
EARLIER = "Wed, 31 Dec 2025 00:00:00 GMT"
MODIFIED = 1767225600
GO, SAME, FAILED = Verdict.PROCEED, Verdict.NOT_MODIFIED, Verdict.FAILED


@pytest.mark.parametrize(
    "method, fields, etag, verdict",
    [
        ("GET", {}, '"a"', GO),
        ("GET", {"If-None-Match": '"a"'}, '"a"', SAME),
        ("HEAD", {"If-None-Match": '"a"'}, '"a"', SAME),
        ("GET", {"If-None-Match": 'W/"a"'}, '"a"', SAME),
        ("GET", {"If-None-Match": '"b", "a"'}, '"a"', SAME),
        ("GET", {"If-None-Match": '"b,a"'}, '"a"', GO),
        ("GET", {"If-None-Match": '"b"'}, '"a"', GO),
        ("GET", {"If-None-Match": "*"}, '"a"', SAME),
        ("GET", {"If-None-Match": "a"}, '"a"', GO),
        ("PUT", {"If-None-Match": "*"}, '"a"', FAILED),
        ("PUT", {"If-None-Match": "*"}, None, GO),
        ("PUT", {"If-Match": '"a"'}, '"a"', GO),
        ("PUT", {"If-Match": '"b"'}, '"a"', FAILED),
        ("PUT", {"If-Match": "*"}, None, FAILED),
        ("PUT", {"If-Match": "*"}, '"a"', GO),
        ("PUT", {"If-Match": 'W/"a"'}, '"a"', FAILED),
        ("GET", {"If-Modified-Since": DATE}, '"a"', SAME),
        ("GET", {"If-Modified-Since": LATER}, '"a"', SAME),
        ("GET", {"If-Modified-Since": EARLIER}, '"a"', GO),
        ("GET", {"If-Modified-Since": "yesterday"}, '"a"', GO),
        ("POST", {"If-Modified-Since": DATE}, '"a"', GO),
        ("GET", {"If-None-Match": '"b"', "If-Modified-Since": DATE}, '"a"', GO),
        ("GET", {"If-Unmodified-Since": EARLIER}, '"a"', FAILED),
        ("GET", {"If-Unmodified-Since": DATE}, '"a"', GO),
    ],
)
def test_each_condition(method: str, fields: dict[str, str], etag: str | None, verdict: Verdict) -> None:
    assert evaluate(method, fields, etag=etag, modified=MODIFIED, wall=MODIFIED + 9e6) is verdict


@pytest.mark.parametrize(
    "field, applies",
    [
        (None, True),
        ('"a"', True),
        ('"b"', False),
        ('W/"a"', False),
        (DATE, True),
        (LATER, False),
        ("junk", False),
    ],
)
def test_if_range(field: str | None, applies: bool) -> None:
    assert range_applies(field, etag='"a"', modified=MODIFIED, wall=MODIFIED + 9e6) is applies
