"""Targets: the four forms, one canonical spelling, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdnlab.wire.errors import Malformed, Why
from cdnlab.wire.target import parse_host, parse_target, remove_dot_segments

CANONICAL = [
    (b"/", b"/"),
    (b"/a/b", b"/a/b"),
    (b"/a//b", b"/a//b"),
    (b"//a", b"//a"),
    (b"/a?b", b"/a?b"),
    (b"/a?", b"/a?"),
    (b"/a??b", b"/a??b"),
    (b"/%7euser/%2d%41", b"/~user/-A"),
    (b"/%c3%a9%2f", b"/%C3%A9%2F"),
    (b"/a%2Fb", b"/a%2Fb"),
    (b"/a%3fb?c%3fd", b"/a%3Fb?c%3Fd"),
    (b"/%25%32%66", b"/%252f"),  # decoded once, never twice
    (b"/a/./b/../c", b"/a/c"),
    (b"/a/%2e%2E/b", b"/b"),
    (b"/..", b"/"),
    (b"/../../etc", b"/etc"),
    (b"/a/..", b"/"),
    (b"/a/.", b"/a/"),
    (b"/a/b/..", b"/a/"),
    (b"/a//../b", b"/a/b"),
    (b"/.a/..b/c.", b"/.a/..b/c."),
    (b"/a?x=../b/./c", b"/a?x=../b/./c"),
    (b"/a?x=%7e%2f", b"/a?x=~%2F"),
    (b"/?a[b]=c&d|e", b"/?a[b]=c&d%7Ce"),
    (b"/{x}^`|", b"/%7Bx%7D%5E%60%7C"),
    (b"/?a\\b", b"/?a%5Cb"),
    (b"/a;b=c,d:e@f!$&'()*+", b"/a;b=c,d:e@f!$&'()*+"),
]


@pytest.mark.parametrize("raw, canonical", CANONICAL)
def test_canonical_form(raw: bytes, canonical: bytes) -> None:
    target = parse_target(raw, b"GET")
    assert (target.form, target.canonical, target.raw) == (b"origin", canonical, raw)
    path, mark, query = canonical.partition(b"?")
    assert (target.path, target.query) == (path, query if mark else None)
    assert target.authority is None


FORMS = [
    (b"GET", b"http://Example.com/A?b", b"absolute", b"/A", b"b", b"example.com", b"/A?b"),
    (b"GET", b"HTTP://a:80", b"absolute", b"/", None, b"a:80", b"/"),
    (b"GET", b"https://a?b", b"absolute", b"/", b"b", b"a", b"/?b"),
    (b"GET", b"http://[::1]:8080/..", b"absolute", b"/", None, b"[::1]:8080", b"/"),
    (b"OPTIONS", b"*", b"asterisk", b"*", None, None, b"*"),
    (b"OPTIONS", b"http://a", b"absolute", b"*", None, b"a", b"*"),
    (b"OPTIONS", b"http://a/", b"absolute", b"/", None, b"a", b"/"),
    (b"OPTIONS", b"/", b"origin", b"/", None, None, b"/"),
    (b"CONNECT", b"Example.com:443", b"authority", b"", None, b"example.com:443", b"example.com:443"),
    (b"CONNECT", b"[::1]:443", b"authority", b"", None, b"[::1]:443", b"[::1]:443"),
]


@pytest.mark.parametrize("method, raw, form, path, query, authority, canonical", FORMS)
def test_forms(
    method: bytes,
    raw: bytes,
    form: bytes,
    path: bytes,
    query: bytes | None,
    authority: bytes | None,
    canonical: bytes,
) -> None:
    target = parse_target(raw, method)
    assert (target.form, target.path, target.query) == (form, path, query)
    assert (target.authority, target.canonical) == (authority, canonical)


REFUSED = [
    (b"GET", b"a", Why.TARGET_FORM),
    (b"GET", b"*", Why.TARGET_FORM),
    (b"GET", b"?a", Why.TARGET_FORM),
    (b"GET", b"a:443", Why.TARGET_FORM),
    (b"GET", b"ftp://a/", Why.TARGET_FORM),
    (b"GET", b"http:/a/", Why.TARGET_FORM),
    (b"GET", b"http:///a", Why.HOST_INVALID),
    (b"GET", b"http://user@a/", Why.HOST_INVALID),
    (b"GET", b"http://user:pw@a/", Why.HOST_INVALID),
    (b"GET", b"http://a:b/", Why.HOST_INVALID),
    (b"GET", b"http://a\\@b/", Why.HOST_INVALID),
    (b"GET", b"http://a/#b", Why.TARGET_BYTES),
    (b"GET", b"/#", Why.TARGET_BYTES),
    (b"GET", b'/"', Why.TARGET_BYTES),
    (b"GET", b"/<", Why.TARGET_BYTES),
    (b"GET", b"/?>", Why.TARGET_BYTES),
    (b"GET", b"/a\\b", Why.TARGET_BYTES),
    (b"GET", b"/\xec\x84\x9c", Why.TARGET_BYTES),
    (b"GET", b"/\x00", Why.TARGET_BYTES),
    (b"GET", b"/\t", Why.TARGET_BYTES),
    (b"GET", b"/\x7f", Why.TARGET_BYTES),
    (b"GET", b"/\x1f", Why.TARGET_BYTES),
    (b"GET", b"/%", Why.TARGET_ESCAPE),
    (b"GET", b"/%4", Why.TARGET_ESCAPE),
    (b"GET", b"/%4g", Why.TARGET_ESCAPE),
    (b"GET", b"/%+1", Why.TARGET_ESCAPE),
    (b"GET", b"/?100%", Why.TARGET_ESCAPE),
    (b"GET", b"/?%zz", Why.TARGET_ESCAPE),
    (b"GET", b"/%%34%31", Why.TARGET_ESCAPE),
    (b"GET", b"/a%00b", Why.TARGET_ESCAPE),
    (b"CONNECT", b"/", Why.HOST_INVALID),
    (b"CONNECT", b"a", Why.TARGET_FORM),
    (b"CONNECT", b"[::1]", Why.TARGET_FORM),
    (b"CONNECT", b"http://a:443", Why.HOST_INVALID),
]


@pytest.mark.parametrize("method, raw, why", REFUSED)
def test_refused(method: bytes, raw: bytes, why: Why) -> None:
    with pytest.raises(Malformed) as refusal:
        parse_target(raw, method)
    assert (refusal.value.code, refusal.value.status) == (why, 400)


HOSTS = [
    (b"a", b"a"),
    (b"Example.COM:8080", b"example.com:8080"),
    (b"example.com.", b"example.com."),
    (b"xn--9n2bp8q.example", b"xn--9n2bp8q.example"),
    (b"under_score.example", b"under_score.example"),
    (b"127.0.0.1:1", b"127.0.0.1:1"),
    (b"[::1]", b"[::1]"),
    (b"[2001:DB8::1]:443", b"[2001:db8::1]:443"),
    (b"[::ffff:127.0.0.1]", b"[::ffff:127.0.0.1]"),
    (b"a:65535", b"a:65535"),
]


@pytest.mark.parametrize("value, host", HOSTS)
def test_hosts(value: bytes, host: bytes) -> None:
    assert parse_host(value) == host


BAD_HOSTS = [
    b"", b" ", b"a b", b"a,b", b"a, a", b"a/b", b"a?b", b"a#b", b"user@a", b"a:", b"a:b", b"a:-1", b"a:+1",
    b"a:65536", b"a:123456", b"a:80:80", b":80", b"[::1", b"::1", b"[::1]x", b"[:::1]", b"[1.2.3.4]", b"[]",
    b"[fe80::1%25eth0]", b"[v1.x]", b"%61", b"a\x00", b"a\t", b"\xc3\xa9", b"a;b", b"a'b", b"a\\b", b"<a>",
    b"a" * 256, b"http://a", b"a\xe2\x80\xa4b",
]  # fmt: skip


@pytest.mark.parametrize("value", BAD_HOSTS)
def test_bad_hosts(value: bytes) -> None:
    with pytest.raises(Malformed) as refusal:
        parse_host(value)
    assert (refusal.value.code, refusal.value.status) == (Why.HOST_INVALID, 400)


PIECES = st.sampled_from(
    [
        b"/",
        b".",
        b"..",
        b"%2e",
        b"%2E%2e",
        b"%2f",
        b"%25",
        b"%7E",
        b"a",
        b"?",
        b"|",
        b"\\",
        b"%c3",
        b"=",
        b"&",
    ]
)


@given(st.lists(PIECES, max_size=12).map(lambda pieces: b"/" + b"".join(pieces)))
def test_the_canonical_form_is_its_own(raw: bytes) -> None:
    try:
        target = parse_target(raw, b"GET")
    except Malformed:
        assert b"\\" in raw.partition(b"?")[0]
        return
    again = parse_target(target.canonical, b"GET")
    assert (again.canonical, again.path, again.query) == (target.canonical, target.path, target.query)
    assert not {b".", b".."} & set(target.path.split(b"/"))
    assert target.path.startswith(b"/")


@given(st.lists(st.sampled_from([b"", b".", b"..", b"a", b"b"]), min_size=1, max_size=8))
def test_dot_segments_against_the_letter_of_the_standard(segments: list[bytes]) -> None:
    path = b"/" + b"/".join(segments)
    assert remove_dot_segments(path) == by_the_letter(path)


def by_the_letter(path: bytes) -> bytes:
    """RFC 3986 §5.2.4, steps A to E as they stand there."""
    out = b""
    while path:
        if path.startswith(b"/./"):
            path = path[2:]
        elif path == b"/.":
            path = b"/"
        elif path.startswith(b"/../") or path == b"/..":
            path = b"/" + path[4:]
            out = out[: out.rfind(b"/")] if out else b""
        else:
            end = path.find(b"/", 1)
            end = len(path) if end < 0 else end
            out, path = out + path[:end], path[end:]
    return out
