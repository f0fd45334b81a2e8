"""Response heads: what is read, what is a 502, how long the body is, and that Date is never remembered."""

from __future__ import annotations

import pytest

from cdnlab.wire.errors import Malformed, Why
from cdnlab.wire.response import ResponseBlock, ResponseMemo, body_framing


def read(status_line: bytes, *lines: bytes) -> ResponseBlock:
    return ResponseMemo().head(b"\r\n".join((status_line, *lines)))[0]


STATUS_LINES = [
    (b"HTTP/1.1 200 OK", (11, 200, b"OK")),
    (b"HTTP/1.0 404 Not Found", (10, 404, b"Not Found")),
    (b"HTTP/1.1 200 ", (11, 200, b"")),
    (b"HTTP/1.1 200", (11, 200, b"")),  # servers in use leave the space out
    (b"HTTP/1.1 200 \xec\x98\xa4\xec\xbc\x80\t!", (11, 200, b"\xec\x98\xa4\xec\xbc\x80\t!")),
    (b"HTTP/1.1 100 Continue", (11, 100, b"Continue")),
    (b"HTTP/1.1 999 x", (11, 999, b"x")),
    (b"", None),
    (b"HTTP/1.1", None),
    (b"HTTP/1.1 ", None),
    (b"HTTP/1.1 20", None),
    (b"HTTP/1.1 2000", None),
    (b"HTTP/1.1 099 x", None),
    (b"HTTP/1.1 -20 x", None),
    (b"HTTP/1.1 +20 x", None),
    (b"HTTP/1.1 2_0 x", None),
    (b"HTTP/1.1  200 OK", None),
    (b"HTTP/1.1\t200 OK", None),
    (b"HTTP/1.1 200\tOK", None),
    (b"HTTP/1.1 200OK", None),
    (b"HTTP/1.2 200 OK", None),
    (b"HTTP/2.0 200 OK", None),
    (b"HTTP/1 200 OK", None),
    (b"http/1.1 200 OK", None),
    (b"ICY 200 OK", None),
    (b" HTTP/1.1 200 OK", None),
    (b"HTTP/1.1 200 O\x00K", None),
    (b"HTTP/1.1 200 OK\n", None),
    (b"HTTP/1.1 200 OK\nA: 1", None),
    (b"HTTP/1.1 200 O\rK", None),
    (b"<html>", None),
    (b"\x16\x03\x01\x02\x00", None),
]


@pytest.mark.parametrize("line, read_as", STATUS_LINES)
def test_status_lines(line: bytes, read_as: tuple[int, int, bytes] | None) -> None:
    if read_as is None:
        with pytest.raises(Malformed) as refusal:
            read(line)
        assert (refusal.value.code, refusal.value.status) == (Why.STATUS_LINE, 502)
        return
    block = read(line)
    assert (block.version, block.status, block.reason) == read_as


REFUSED = [
    ("length and coding", [b"Content-Length: 5", b"Transfer-Encoding: chunked"], Why.LENGTH_AND_CODING),
    ("length and unknown coding", [b"Content-Length: 5", b"Transfer-Encoding: gzip"], Why.LENGTH_AND_CODING),
    ("repeated coding", [b"Transfer-Encoding: chunked, chunked"], Why.CODING_INVALID),
    (
        "coding in two lines",
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        Why.CODING_INVALID,
    ),
    ("empty coding", [b"Transfer-Encoding:"], Why.CODING_INVALID),
    ("coding nobody asked for", [b"Transfer-Encoding: gzip, chunked"], Why.CODING_UNKNOWN),
    ("two lengths", [b"Content-Length: 5", b"Content-Length: 6"], Why.LENGTH_MANY),
    ("two equal lengths", [b"Content-Length: 5", b"Content-Length: 5"], Why.LENGTH_MANY),
    ("list of lengths", [b"Content-Length: 5, 5"], Why.LENGTH_INVALID),
    ("empty length", [b"Content-Length:"], Why.LENGTH_INVALID),
    ("plus", [b"Content-Length: +5"], Why.LENGTH_INVALID),
    ("minus", [b"Content-Length: -1"], Why.LENGTH_INVALID),
    ("space before the colon", [b"Content-Length : 5"], Why.FIELD_NAME),
    ("folded line", [b"A: 1", b" 2"], Why.FIELD_FOLD),
    ("bare LF", [b"A: 1\nB: 2"], Why.FIELD_BYTES),
    ("bare CR", [b"A: 1\rB: 2"], Why.FIELD_BYTES),
    ("NUL", [b"A: \x00"], Why.FIELD_BYTES),
    ("date with NUL", [b"Date: \x00"], Why.FIELD_BYTES),
    ("folded date", [b"Date: x", b" y"], Why.FIELD_FOLD),
    ("many options", [b"Connection: " + b"a," * 65], Why.OPTIONS_MANY),
    ("no colon", [b"A"], Why.FIELD_LINE),
    ("no name", [b": x"], Why.FIELD_NAME),
]


@pytest.mark.parametrize("lines, why", [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(lines: list[bytes], why: Why) -> None:
    with pytest.raises(Malformed) as refusal:
        read(b"HTTP/1.1 200 OK", *lines)
    assert (refusal.value.code, refusal.value.status) == (why, 502)


def test_a_coding_in_http_10_is_refused() -> None:
    with pytest.raises(Malformed) as refusal:
        read(b"HTTP/1.0 200 OK", b"Transfer-Encoding: chunked")
    assert (refusal.value.code, refusal.value.status) == (Why.CODING_VERSION, 502)


FRAMING = [
    # method, status line, lines, bytes of body
    (b"GET", b"HTTP/1.1 200 OK", [b"Content-Length: 5"], 5),
    (b"GET", b"HTTP/1.1 200 OK", [b"Content-Length: 0"], 0),
    (b"GET", b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked"], -1),
    (b"GET", b"HTTP/1.1 200 OK", [b"Transfer-Encoding: CHUNKED"], -1),
    (b"GET", b"HTTP/1.1 200 OK", [], -2),
    (b"GET", b"HTTP/1.0 200 OK", [b"Connection: keep-alive"], -2),
    (b"GET", b"HTTP/1.1 200 OK", [b"Transfer-Encoding: x-unknown"], -2),
    (b"GET", b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked, x-unknown"], -2),
    (b"POST", b"HTTP/1.1 200 OK", [b"Content-Length: 5"], 5),
    (b"HEAD", b"HTTP/1.1 200 OK", [b"Content-Length: 5"], 0),
    (b"HEAD", b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked"], 0),
    (b"HEAD", b"HTTP/1.1 200 OK", [], 0),
    (b"head", b"HTTP/1.1 200 OK", [b"Content-Length: 5"], 5),  # methods are case-sensitive
    (b"GET", b"HTTP/1.1 204 No Content", [], 0),
    (b"GET", b"HTTP/1.1 204 No Content", [b"Content-Length: 5"], 0),
    (b"GET", b"HTTP/1.1 304 Not Modified", [b"Content-Length: 5"], 0),
    (b"GET", b"HTTP/1.1 304 Not Modified", [b"Transfer-Encoding: chunked"], 0),
    (b"GET", b"HTTP/1.1 100 Continue", [], 0),
    (b"GET", b"HTTP/1.1 103 Early Hints", [b"Content-Length: 5"], 0),
    (b"GET", b"HTTP/1.1 101 Switching Protocols", [], 0),
    (b"GET", b"HTTP/1.1 205 Reset Content", [b"Content-Length: 0"], 0),
    (b"GET", b"HTTP/1.1 404 Not Found", [b"Content-Length: 5"], 5),
    (b"GET", b"HTTP/1.1 206 Partial Content", [b"Content-Length: 5"], 5),
]


@pytest.mark.parametrize("method, status_line, lines, length", FRAMING)
def test_body_framing(method: bytes, status_line: bytes, lines: list[bytes], length: int) -> None:
    assert body_framing(read(status_line, *lines), method) == length


PERSISTENCE = [
    (b"HTTP/1.1 200 OK", [b"Content-Length: 1"], True),
    (b"HTTP/1.1 200 OK", [b"Content-Length: 1", b"Connection: close"], False),
    (b"HTTP/1.1 200 OK", [b"Content-Length: 1", b"Connection: keep-alive, CLOSE"], False),
    (b"HTTP/1.0 200 OK", [b"Content-Length: 1"], False),
    (b"HTTP/1.0 200 OK", [b"Content-Length: 1", b"Connection: Keep-Alive"], True),
    (b"HTTP/1.1 200 OK", [b"Transfer-Encoding: x"], False),
    (b"HTTP/1.1 304 Not Modified", [b"Transfer-Encoding: x"], False),
    (b"HTTP/1.1 304 Not Modified", [], True),  # no body, so nothing that ends by closing
]


@pytest.mark.parametrize("status_line, lines, lasts", PERSISTENCE)
def test_persistence(status_line: bytes, lines: list[bytes], lasts: bool) -> None:
    block = read(status_line, *lines)
    assert (block.keep_alive, block.close) == (lasts, not lasts)


def test_a_body_until_close_says_so() -> None:
    assert read(b"HTTP/1.1 200 OK").until_close
    assert not read(b"HTTP/1.1 200 OK", b"Content-Length: 0").until_close


def test_date_and_age_are_beside_the_block_in_any_spelling() -> None:
    memo = ResponseMemo()
    plain, none = memo.head(b"HTTP/1.1 200 OK\r\nETag: x\r\nContent-Length: 1")
    assert none == ()
    for date in (b"Date", b"date", b"DATE", b"dAtE"):
        for second in (b"1", b"2"):
            head = b"HTTP/1.1 200 OK\r\n%b: %b\r\nETag: x\r\nAge:%b \r\nContent-Length: 1" % (
                date,
                second,
                second,
            )
            block, volatile = memo.head(head)
            assert block is plain
            assert volatile == ((b"date", second), (b"age", second))
            block, volatile = memo.head(b"HTTP/1.1 200 OK\r\nETag: x\r\nContent-Length: 1\r\nAge: " + second)
            assert block is plain
            assert volatile == ((b"age", second),)
    assert plain.fields == ((b"etag", b"x"), (b"content-length", b"1"))
    assert plain.lines == (b"ETag: x", b"Content-Length: 1")


def test_a_known_head_does_not_let_a_bad_date_in() -> None:
    memo = ResponseMemo()
    memo.head(b"HTTP/1.1 200 OK\r\nA: 1")
    for line in (b"Date: \x00", b"Date : x", b"Date: a\nb", b"Age"):
        with pytest.raises(Malformed):
            memo.head(b"HTTP/1.1 200 OK\r\nA: 1\r\n" + line)


def test_other_heads_are_other_blocks() -> None:
    memo = ResponseMemo()
    first, _ = memo.head(b"HTTP/1.1 200 OK\r\nETag: x")
    second, _ = memo.head(b"HTTP/1.1 200 OK\r\nETag: y")
    assert first is not second
    assert (first.index, second.index) == ({b"etag": b"x"}, {b"etag": b"y"})


def test_limits() -> None:
    memo = ResponseMemo(header_bytes=100, header_count=3)
    memo.head(b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\nDate: 3")
    for head, why in (
        (b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4", Why.HEAD_MANY),
        (b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\nDate: 3\r\nAge: 4", Why.HEAD_MANY),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100, Why.HEAD_LARGE),
        (b"HTTP/1.1 200 OK\r\nDate: " + b"x" * 100, Why.HEAD_LARGE),
        (b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\nDate: " + b"x" * 100, Why.HEAD_LARGE),
    ):
        with pytest.raises(Malformed) as refusal:
            memo.head(head)
        assert (refusal.value.code, refusal.value.status) == (why, 502)


def test_ever_new_heads_do_not_grow_the_memo() -> None:
    memo = ResponseMemo(budget=1 << 17)
    for number in range(2000):
        memo.head(b"HTTP/1.1 200 OK\r\nETag: %d" % number)
    heads = {**memo._heads.young, **memo._heads.old}
    assert 0 < len(heads) < 200
    assert sum(block.size for block in heads.values()) <= 1 << 17
