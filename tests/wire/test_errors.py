"""Every reason to refuse has a status, a sentence, and shows no more of the message than an excerpt."""

from __future__ import annotations

import pytest

from cdnlab.wire.errors import Malformed, Why, excerpt


@pytest.mark.parametrize("why", list(Why))
def test_every_reason_has_a_status_and_a_sentence(why: Why) -> None:
    assert 400 <= why.status <= 505
    assert why.sentence.endswith(".")
    assert why.sentence[0].isupper()
    assert str(why) == why.value == why.name.lower()


def test_a_refusal_says_what_was_seen() -> None:
    refusal = Malformed(Why.HOST_INVALID, b"a b")
    assert (refusal.status, refusal.code) == (400, Why.HOST_INVALID)
    assert str(refusal) == refusal.text == f"{Why.HOST_INVALID.sentence} Seen: 'a b'"


def test_a_refused_response_is_a_bad_gateway() -> None:
    assert Malformed(Why.LENGTH_MANY, status=502).status == 502


def test_an_excerpt_is_short_and_printable() -> None:
    shown = excerpt(b"\x00\x1b[31m" + b"x" * 100_000)
    assert shown.isprintable()
    assert shown.isascii() is False  # the ellipsis
    assert len(shown) < 80
