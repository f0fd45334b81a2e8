"""Which responses may be coded, and each reason why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.coding.codable import NotCoded, refusal, useful
from edge.coding.rules import Rules
from edge.coding.types import LEFT, TYPES, WORTH, Types

PAGE = Path(__file__).parents[3] / "docs" / "compression.md"
RULES = Rules()
SHA = b"sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"
HTML = {b"content-type": b"text/html"}

KINDS: list[tuple[str | None, bool]] = [
    ("text/html", True),
    ("text/html; charset=utf-8", True),
    ("Text/HTML ;charset=utf-8", True),
    ("text/plain;", True),
    ("text/vtt", True),
    ("text/anything-new", True),
    ("text/event-stream", False),
    ("Text/Event-Stream;charset=utf-8", False),
    ("application/json", True),
    ("application/problem+json", True),
    ("application/atom+xml", True),
    ("image/svg+xml", True),
    ("application/wasm", True),
    ("application/javascript", True),
    ("font/ttf", True),
    ("font/woff2", False),
    ("image/png", False),
    ("image/jpeg", False),
    ("video/mp4", False),
    ("application/zip", False),
    ("application/gzip", False),
    ("application/octet-stream", False),
    ("application/pdf", False),
    ("application/xml+zip", False),
    ("application/json-patch", False),
    ("application/x+json2", False),
    ("application/json, text/html", False),
    ("json", False),
    ("/", False),
    ("text/", False),
    ("", False),
    (None, False),
]


@pytest.mark.parametrize(("value", "worth"), KINDS)
def test_media_types(value: str | None, worth: bool) -> None:
    assert Types(TYPES).holds(value if value is None else value.encode()) is worth


def test_the_topology_may_name_others() -> None:
    types = Types(("application/pdf", "image/*", "*/*+zip", "text/event-stream"))
    assert types.holds(b"application/pdf")
    assert types.holds(b"image/png")
    assert types.holds(b"application/epub+zip")
    assert types.holds(b"text/event-stream"), "who names it means it"
    assert not types.holds(b"text/html")


def test_each_type_has_its_reason_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for pattern, reason in (*WORTH, *LEFT):
        shown = ", ".join(f"`{each}`" for each in pattern.split(", "))
        assert f"| {shown} | {reason} |" in page


CASES: list[tuple[dict[bytes, bytes], int | None, NotCoded | None]] = [
    ({}, 5000, None),
    ({}, None, None),
    ({}, 1024, None),
    ({}, 1023, NotCoded.SMALL),
    ({}, 0, NotCoded.SMALL),
    ({}, 10 << 20, None),
    ({}, (10 << 20) + 1, NotCoded.LARGE),
    ({b"content-encoding": b"gzip"}, 5000, NotCoded.CODED),
    ({b"content-encoding": b"BR"}, 5000, NotCoded.CODED),
    ({b"content-encoding": b"what-is-this"}, 5000, NotCoded.CODED),
    ({b"content-encoding": b"identity, gzip"}, 5000, NotCoded.CODED),
    ({b"content-encoding": b"Identity"}, 5000, None),
    ({b"content-encoding": b""}, 5000, None),
    ({b"cache-control": b"max-age=60, no-transform"}, 5000, NotCoded.NO_TRANSFORM),
    ({b"cache-control": b"NO-TRANSFORM=1"}, 5000, NotCoded.NO_TRANSFORM),
    ({b"cache-control": b'x="no-transform"'}, 5000, None),
    ({b"cdn-cache-control": b"max-age=60, no-transform"}, 5000, NotCoded.NO_TRANSFORM),
    ({b"content-type": b"image/png"}, 5000, NotCoded.TYPE),
    ({b"content-md5": b"Q2hlY2sgSW50ZWdyaXR5IQ=="}, 5000, NotCoded.DIGEST),
    ({b"digest": b"sha-256=abc"}, 5000, NotCoded.DIGEST),
    ({b"repr-digest": b"md5=:AAAA:"}, 5000, NotCoded.DIGEST),
    ({b"repr-digest": b"not a dictionary!"}, 5000, NotCoded.DIGEST),
    ({b"repr-digest": b"sha-256=1"}, 5000, NotCoded.DIGEST),
    ({b"repr-digest": SHA, b"content-digest": b"md5=:AAAA:"}, 5000, NotCoded.DIGEST),
    ({b"repr-digest": SHA}, 5000, None),
    ({b"content-digest": b"md5=:AAAA:, " + SHA}, 5000, None),
    ({b"signature-input": b'sig=("content-digest")', b"signature": b"sig=:AA==:"}, 5000, NotCoded.SIGNED),
    ({b"content-range": b"bytes 0-4999/5000"}, 5000, NotCoded.STATUS),
]


@pytest.mark.parametrize(("fields", "length", "reason"), CASES)
def test_fields_and_length(fields: dict[bytes, bytes], length: int | None, reason: NotCoded | None) -> None:
    assert refusal(200, HTML | fields, length, RULES) is reason


@pytest.mark.parametrize("status", [200, 203, 300, 404, 410, 500])
def test_whatever_has_a_whole_body_may_be_coded(status: int) -> None:
    assert refusal(status, HTML, 5000, RULES) is None


@pytest.mark.parametrize("status", [101, 204, 205, 206, 304])
def test_no_body_or_a_part_is_not(status: int) -> None:
    assert refusal(status, HTML, 5000, RULES) is NotCoded.STATUS


def test_a_tenth_is_the_least_that_is_saved() -> None:
    assert useful(1000, 900, RULES)
    assert not useful(1000, 901, RULES)


def test_every_no_has_a_sentence_and_a_row_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for reason in NotCoded:
        assert f"| `{reason}` | {reason.sentence} |" in page
