"""Where a Location leads, and what is advised."""

from __future__ import annotations

import pytest

from cdnlab.lab.redirects import Around, Kind, authority, judge

LAB = frozenset({"127.0.0.1:8080", "localhost:8080"})
HERE = "http://127.0.0.1:8080/shop?a=1"


def around(**facts: str) -> Around:
    return Around(url=HERE, lab=LAB, origins=frozenset({"127.0.0.1:3000", "www.example.com:80"}), **facts)


@pytest.mark.parametrize(
    ("location", "kind", "remedy"),
    [
        ("/login", Kind.WITHIN, ""),
        ("login", Kind.WITHIN, ""),
        ("http://127.0.0.1:8080/login", Kind.WITHIN, ""),
        ("http://localhost:8080/login", Kind.WITHIN, ""),
        ("//127.0.0.1:8080/x", Kind.WITHIN, ""),
        ("/shop?a=1", Kind.LOOP, "--forwarded-proto https"),
        ("/shop?a=1#top", Kind.LOOP, "--forwarded-proto https"),
        ("/shop?a=2", Kind.WITHIN, ""),
        ("http://127.0.0.1:8080/shop?a=1", Kind.LOOP, "--origin-host"),
        ("https://127.0.0.1:8080/shop?a=1", Kind.TO_HTTPS, "--forwarded-proto https"),
        ("https://127.0.0.1/shop?a=1", Kind.TO_HTTPS, "--forwarded-proto https"),
        ("https://www.example.com/shop?a=1", Kind.TO_HTTPS, "--forwarded-proto https"),
        ("https://127.0.0.1/other", Kind.TO_HTTPS, "--forwarded-proto https"),
        ("http://127.0.0.1:3000/login", Kind.TO_ORIGIN, "--origin-host 127.0.0.1:3000"),
        ("http://www.example.com/login", Kind.TO_ORIGIN, "--origin-host www.example.com"),
        ("http://WWW.Example.com/login", Kind.TO_ORIGIN, "--origin-host www.example.com"),
        ("http://shop.test/shop?a=1", Kind.ELSEWHERE, "--origin-host shop.test"),
        ("https://accounts.test/login", Kind.ELSEWHERE, ""),
        ("http://127.0.0.1:bad/x", Kind.ELSEWHERE, ""),
    ],
)
def test_where_a_location_leads(location: str, kind: Kind, remedy: str) -> None:
    verdict = judge(location, around())
    assert verdict.kind is kind
    assert remedy in verdict.remedy
    assert bool(remedy) == bool(verdict.remedy)


def test_the_remedy_changes_once_it_was_taken() -> None:
    past = judge("http://www.example.com/login", around(origin_host="www.example.com"))
    assert "X-Forwarded-Host" in past.remedy
    https = judge("https://127.0.0.1:8080/shop?a=1", around(forwarded_proto="https"))
    assert "trust" in https.remedy


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://A.test/x", "a.test:80"), ("https://a.test", "a.test:443"), ("http://[::1]:8080/", "::1:8080")],
)
def test_authority_always_has_a_port(url: str, expected: str) -> None:
    assert authority(url) == expected


def test_every_kind_has_a_sentence() -> None:
    assert all(kind.sentence for kind in Kind)
