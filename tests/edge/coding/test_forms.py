"""The heads of forms, and the digests in them."""

from __future__ import annotations

import base64
import hashlib

import pytest

from edge.coding import digests
from edge.coding.forms import dated, form_of, renewed, weak, with_vary
from edge.directives import response_control
from edge.freshness import Source
from edge.object import StoredObject

BODY = b"hello " * 500


def stored(*fields: str, status: int = 200, body: bytes = BODY) -> StoredObject:
    lines = [f"HTTP/1.1 {status} OK", *fields, f"Content-Length: {len(body)}", "Via: 1.1 edge", ""]
    return StoredObject(
        key=b"http://shop.example/", variant=None, status=status, start="\r\n".join(lines).encode(), chain=b"",
        body=body, born=1000.0, fresh_until=1060.0, control=response_control(b"max-age=60"), source=Source.MAX_AGE,
        open=True, tags=(b"a",), groups=(b"g",), mark="mark",
    )  # fmt: skip


def fields(head: bytes) -> dict[str, str]:
    lines = head.decode().split("\r\n")[1:-1]
    pairs = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
    assert len(dict(pairs)) == len(pairs), "a field twice"
    return dict(pairs)


VARIES: list[tuple[str, str]] = [
    ("", "Vary: Accept-Encoding\r\n"),
    ("A: 1\r\n", "A: 1\r\nVary: Accept-Encoding\r\n"),
    ("Vary: Accept-Encoding\r\n", "Vary: Accept-Encoding\r\n"),
    ("vary: accept-encoding , Cookie\r\n", "vary: accept-encoding , Cookie\r\n"),
    ("Vary: *\r\n", "Vary: *\r\n"),
    ("Vary: Cookie, *\r\n", "Vary: Cookie, *\r\n"),
    ("Vary: Cookie\r\nA: 1\r\n", "Vary: Cookie, Accept-Encoding\r\nA: 1\r\n"),
    ("A: 1\r\nvary:Cookie\r\n", "A: 1\r\nVary: Cookie, Accept-Encoding\r\n"),
    ("Vary: A\r\nB: 2\r\nVary: C, a\r\nD: 3\r\n", "Vary: A, C, Accept-Encoding\r\nB: 2\r\nD: 3\r\n"),
    ("Vary: A\r\nVary: Accept-Encoding\r\n", "Vary: A\r\nVary: Accept-Encoding\r\n"),
    ("Vary:\r\nA: 1\r\n", "Vary: Accept-Encoding\r\nA: 1\r\n"),
    ("Not-Vary: A\r\nX: Vary: B\r\n", "Not-Vary: A\r\nX: Vary: B\r\nVary: Accept-Encoding\r\n"),
]


@pytest.mark.parametrize(("lines", "result"), VARIES)
def test_accept_encoding_joins_vary(lines: str, result: str) -> None:
    assert with_vary(lines.encode()) == result.encode()
    assert with_vary(result.encode()) == result.encode(), "and joins once"


@pytest.mark.parametrize(
    ("etag", "result"),
    [(b'"a"', b'W/"a"'), (b'W/"a"', b'W/"a"'), (b'""', b'W/""'), (b"a", None), (b"", None), (None, None)],
)
def test_a_forms_tag_is_weak(etag: bytes | None, result: bytes | None) -> None:
    assert weak(etag) == result


def test_what_a_coding_changes_and_what_it_leaves() -> None:
    parent = stored(
        'ETag: "1"', "Content-Type: text/html", "Accept-Ranges: bytes", "Content-Encoding: identity", "Vary: Cookie",
        "Last-Modified: Sat, 21 Nov 2026 10:00:00 GMT", "Cache-Control: max-age=60", "X-Own: 1", "Content-Location: /a",
    )  # fmt: skip
    form = form_of(parent, b"br", b"coded", {})
    assert form.start.startswith(b"HTTP/1.1 200 OK\r\n")
    assert form.start.endswith(b"\r\n")
    assert fields(form.start) == {
        "content-type": "text/html",
        "last-modified": "Sat, 21 Nov 2026 10:00:00 GMT",
        "cache-control": "max-age=60",
        "x-own": "1",
        "content-location": "/a",
        "via": "1.1 edge",
        "content-encoding": "br",
        "etag": 'W/"1"',
        "content-length": "5",
        "vary": "Cookie, Accept-Encoding",
    }
    assert (form.body, form.status, form.key, form.tags, form.mark) == (
        b"coded",
        200,
        parent.key,
        (b"a",),
        "mark",
    )
    assert (form.born, form.fresh_until, form.open) == (1000.0, 1060.0, True)


def test_a_form_of_what_is_not_200_keeps_the_status() -> None:
    form = form_of(stored("Content-Type: text/html", status=404), b"gzip", b"coded", {})
    assert form.status == 404
    assert form.start.startswith(b"HTTP/1.1 404 ")


def _sum(body: bytes, algorithm: str = "sha256") -> str:
    return base64.b64encode(hashlib.new(algorithm, body).digest()).decode()


def test_digests_are_checked_and_taken_anew() -> None:
    index = {
        b"repr-digest": f"md5=:AAAA:, sha-256=:{_sum(BODY)}:, sha-512=:{_sum(BODY, 'sha512')}:".encode(),
        b"content-digest": f"sha-256=:{_sum(BODY)}:".encode(),
    }
    promises = digests.promised(index)
    assert promises is not None
    assert digests.kept(promises, BODY)
    assert not digests.kept(promises, BODY + b"!")
    again = digests.restated(promises, b"coded")
    assert again == {
        b"repr-digest": f"sha-256=:{_sum(b'coded')}:, sha-512=:{_sum(b'coded', 'sha512')}:".encode(),
        b"content-digest": f"sha-256=:{_sum(b'coded')}:".encode(),
    }
    parent = stored(
        f"Repr-Digest: {index[b'repr-digest'].decode()}", f"content-digest: sha-256=:{_sum(BODY)}:"
    )
    shown = fields(form_of(parent, b"br", b"coded", again).start)
    assert shown["repr-digest"] == again[b"repr-digest"].decode()
    assert shown["content-digest"] == again[b"content-digest"].decode()


@pytest.mark.parametrize("wrong", ["sha-256=:AAAA:", "sha-256=:AAAA:, sha-512=:%s:"])
def test_one_wrong_digest_is_enough(wrong: str) -> None:
    right = _sum(BODY, "sha512")
    promises = digests.promised({b"repr-digest": (wrong % right if "%" in wrong else wrong).encode()})
    assert promises is not None
    assert not digests.kept(promises, BODY)


def test_without_digests_there_is_nothing_to_keep_or_say() -> None:
    assert digests.promised({}) == {}
    assert digests.kept({}, BODY)
    assert digests.restated({}, b"coded") == {}


def test_a_renewed_form_has_the_new_head_the_old_bytes_and_the_digest_of_those() -> None:
    again = {b"repr-digest": b"sha-256=:AAAA:"}
    old = form_of(stored('ETag: "1"', "X-Own: 1", "Repr-Digest: sha-256=:BBBB:"), b"br", b"coded", again)
    parent = stored('ETag: "1"', "X-Own: 2", "Repr-Digest: sha-256=:BBBB:")
    parent.born, parent.fresh_until = 2000.0, 2060.0
    form = renewed(parent, b"br", old)
    shown = fields(form.start)
    assert (shown["x-own"], shown["repr-digest"], shown["content-encoding"]) == ("2", "sha-256=:AAAA:", "br")
    assert form.body is old.body
    assert (form.born, form.fresh_until) == (2000.0, 2060.0)
    assert "repr-digest" not in fields(renewed(stored('ETag: "1"'), b"br", old).start)


@pytest.mark.parametrize(
    ("value", "date"),
    [
        (None, False),
        (b'"a"', False),
        (b'W/"a"', False),
        (b"Sat, 21 Nov 2026 10:00:00 GMT", True),
        (b"nonsense", True),
    ],
)
def test_if_range_with_a_date(value: bytes | None, date: bool) -> None:
    assert dated(value) is date
