"""Request heads: what is read, what is refused, and what the memo must never mix up."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdnlab.wire.errors import Malformed, Why
from cdnlab.wire.fields import Field
from cdnlab.wire.request import IDEMPOTENT, SAFE, VOLATILE, RequestBlock, RequestLine, RequestMemo, parse_line


def block_of(*lines: bytes) -> bytes:
    return b"".join(b"\r\n" + line for line in lines)


def read(*lines: bytes, version: int = 11) -> tuple[RequestBlock, tuple[Field, ...]]:
    return RequestMemo().block(block_of(*lines), version)


# ---- the request line --------------------------------------------------------------------------------------

LINES = [
    (b"GET / HTTP/1.1", b"GET", b"/", 11),
    (b"GET / HTTP/1.0", b"GET", b"/", 10),
    (b"POST /a/../b?c HTTP/1.1", b"POST", b"/b?c", 11),
    (b"PROPFIND / HTTP/1.1", b"PROPFIND", b"/", 11),
    (b"get / HTTP/1.1", b"get", b"/", 11),
    (b"M-SEARCH * HTTP/1.1", None, Why.TARGET_FORM, 400),
    (b"OPTIONS * HTTP/1.1", b"OPTIONS", b"*", 11),
    (b"CONNECT a:443 HTTP/1.1", b"CONNECT", b"a:443", 11),
    (b"GET http://a/ HTTP/1.1", b"GET", b"/", 11),
    (b"", None, Why.REQUEST_LINE, 400),
    (b"GET", None, Why.REQUEST_LINE, 400),
    (b"GET /", None, Why.REQUEST_LINE, 400),  # HTTP/0.9
    (b"GET  HTTP/1.1", None, Why.REQUEST_LINE, 400),
    (b"GET  / HTTP/1.1", None, Why.REQUEST_LINE, 400),
    (b"GET /  HTTP/1.1", None, Why.REQUEST_LINE, 400),
    (b"GET / HTTP/1.1 ", None, Why.REQUEST_LINE, 400),
    (b" GET / HTTP/1.1", None, Why.REQUEST_LINE, 400),
    (b"GET /a b HTTP/1.1", None, Why.REQUEST_LINE, 400),
    (b"GET\t/\tHTTP/1.1", None, Why.REQUEST_LINE, 400),
    (b"GET /\tHTTP/1.1 HTTP/1.1", None, Why.TARGET_BYTES, 400),
    (b"GET / http/1.1", None, Why.REQUEST_LINE, 400),
    (b"GET / HTTP/1.1\r", None, Why.REQUEST_LINE, 400),
    (b"GET / HTTP/1.1\nHost:a", None, Why.REQUEST_LINE, 400),
    (b"GET /\nHost: HTTP/1.1", None, Why.TARGET_BYTES, 400),
    (b"GET / HTTP/11", None, Why.REQUEST_LINE, 400),
    (b"GET / HTTP/1", None, Why.REQUEST_LINE, 400),
    (b"GET / HTTP/1.10", None, Why.REQUEST_LINE, 400),
    (b"GET / HTTP/a.b", None, Why.REQUEST_LINE, 400),
    (b"GET / FTP/1.1", None, Why.REQUEST_LINE, 400),
    (b"GET / HTTP/1.2", None, Why.VERSION, 505),
    (b"GET / HTTP/0.9", None, Why.VERSION, 505),
    (b"GET / HTTP/2.0", None, Why.VERSION, 505),
    (b"PRI * HTTP/2.0", None, Why.VERSION, 505),
    (b"G(T / HTTP/1.1", None, Why.METHOD, 400),
    (b"G\x00T / HTTP/1.1", None, Why.METHOD, 400),
    (b"\x16\x03\x01 / HTTP/1.1", None, Why.METHOD, 400),
    (b"G\xc3\x89T / HTTP/1.1", None, Why.METHOD, 400),
    (b"A" * 33 + b" / HTTP/1.1", None, Why.METHOD_LONG, 501),
    (b"GET /" + b"a" * 8192 + b" HTTP/1.1", None, Why.TARGET_LONG, 414),
    (b"GET / HTTP/1.1\x00", None, Why.REQUEST_LINE, 400),
]


@pytest.mark.parametrize("raw, method, second, third", LINES)
def test_request_lines(raw: bytes, method: bytes | None, second: bytes | Why, third: int) -> None:
    memo = RequestMemo()
    if method is None:
        with pytest.raises(Malformed) as refusal:
            memo.line(raw)
        assert (refusal.value.code, refusal.value.status) == (second, third)
        return
    line = memo.line(raw)
    assert (line.method, line.target.canonical, line.version, line.raw) == (method, second, third, raw)
    assert line.safe is (method in SAFE)
    assert line.idempotent is (method in IDEMPOTENT)
    assert memo.line(bytes(bytearray(raw))) is line


@pytest.mark.parametrize(
    "method, safe, idempotent",
    [
        (b"GET", True, True),
        (b"HEAD", True, True),
        (b"OPTIONS", True, True),
        (b"TRACE", True, True),
        (b"PUT", False, True),
        (b"DELETE", False, True),
        (b"POST", False, False),
        (b"PATCH", False, False),
        (b"BREW", False, False),
        (b"get", False, False),
    ],
)
def test_what_a_method_promises(method: bytes, safe: bool, idempotent: bool) -> None:
    line = RequestMemo().line(method + b" / HTTP/1.1")
    assert (line.safe, line.idempotent) == (safe, idempotent)


def test_the_target_limit_is_a_setting() -> None:
    memo = RequestMemo(target_bytes=4)
    assert memo.line(b"GET /abc HTTP/1.1").target.path == b"/abc"
    with pytest.raises(Malformed) as refusal:
        memo.line(b"GET /abcd HTTP/1.1")
    assert refusal.value.status == 414


# ---- refused blocks ----------------------------------------------------------------------------------------

HOST = b"Host: a"

REFUSED = [
    # what is wrong, version, lines, reason
    ("no Host", 11, [], Why.HOST_MISSING),
    ("no Host among others", 11, [b"A: 1"], Why.HOST_MISSING),
    ("two Hosts", 11, [HOST, b"Host: b"], Why.HOST_MANY),
    ("two equal Hosts", 11, [HOST, HOST], Why.HOST_MANY),
    ("two Hosts in HTTP/1.0", 10, [HOST, b"host: b"], Why.HOST_MANY),
    ("empty Host", 11, [b"Host:"], Why.HOST_INVALID),
    ("empty Host in HTTP/1.0", 10, [b"Host: "], Why.HOST_INVALID),
    ("list as Host", 11, [b"Host: a, b"], Why.HOST_INVALID),
    ("user in Host", 11, [b"Host: a@b"], Why.HOST_INVALID),
    ("path in Host", 11, [b"Host: a/b"], Why.HOST_INVALID),
    ("URL as Host", 11, [b"Host: http://a"], Why.HOST_INVALID),
    ("space in Host", 11, [b"Host: a b"], Why.HOST_INVALID),
    ("port that is none", 11, [b"Host: a:b"], Why.HOST_INVALID),
    ("length and coding", 11, [HOST, b"Content-Length: 5", b"Transfer-Encoding: chunked"], Why.LENGTH_AND_CODING),
    ("coding and length", 11, [HOST, b"transfer-encoding: chunked", b"content-length: 0"], Why.LENGTH_AND_CODING),
    ("two lengths", 11, [HOST, b"Content-Length: 5", b"Content-Length: 6"], Why.LENGTH_MANY),
    ("two equal lengths", 11, [HOST, b"Content-Length: 5", b"Content-length: 5"], Why.LENGTH_MANY),
    ("empty length", 11, [HOST, b"Content-Length:"], Why.LENGTH_INVALID),
    ("plus", 11, [HOST, b"Content-Length: +5"], Why.LENGTH_INVALID),
    ("minus", 11, [HOST, b"Content-Length: -5"], Why.LENGTH_INVALID),
    ("underscore", 11, [HOST, b"Content-Length: 1_0"], Why.LENGTH_INVALID),
    ("hexadecimal", 11, [HOST, b"Content-Length: 0x5"], Why.LENGTH_INVALID),
    ("list of lengths", 11, [HOST, b"Content-Length: 5, 5"], Why.LENGTH_INVALID),
    ("empty coding", 11, [HOST, b"Transfer-Encoding:"], Why.CODING_INVALID),
    ("comma before the coding", 11, [HOST, b"Transfer-Encoding: , chunked"], Why.CODING_INVALID),
    ("repeated coding", 11, [HOST, b"Transfer-Encoding: chunked, chunked"], Why.CODING_INVALID),
    ("two codings", 11, [HOST, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], Why.CODING_INVALID),
    ("two codings, one odd", 11, [HOST, b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"], Why.CODING_INVALID),
    ("unknown last coding", 11, [HOST, b"Transfer-Encoding: gzip"], Why.CODING_INVALID),
    ("coding we don't have", 11, [HOST, b"Transfer-Encoding: gzip, chunked"], Why.CODING_UNKNOWN),
    ("vertical tab at the coding", 11, [HOST, b"Transfer-Encoding:\x0bchunked"], Why.FIELD_BYTES),
    ("coding in HTTP/1.0", 10, [HOST, b"Transfer-Encoding: chunked"], Why.CODING_VERSION),
    ("bare LF", 11, [HOST, b"A: 1\nB: 2"], Why.FIELD_BYTES),
    ("bare CR", 11, [HOST, b"A: 1\rB: 2"], Why.FIELD_BYTES),
    ("NUL", 11, [HOST, b"A: \x00"], Why.FIELD_BYTES),
    ("space before the colon", 11, [HOST, b"Content-Length : 5"], Why.FIELD_NAME),
    ("tab before the colon", 11, [HOST, b"Transfer-Encoding\t: chunked"], Why.FIELD_NAME),
    ("folded line", 11, [HOST, b"A: 1", b" 2"], Why.FIELD_FOLD),
    ("folded first line", 11, [b" Host: a"], Why.FIELD_FOLD),
    ("name with a byte outside token", 11, [HOST, b"A\xff: 1"], Why.FIELD_NAME),
    ("name with brackets", 11, [HOST, b"A[0]: 1"], Why.FIELD_NAME),
    ("no name", 11, [HOST, b": 1"], Why.FIELD_NAME),
    ("no colon", 11, [HOST, b"A"], Why.FIELD_LINE),
    ("no colon, usual name", 11, [HOST, b"Accept"], Why.FIELD_LINE),
    ("empty line", 11, [HOST, b"", b"A: 1"], Why.FIELD_LINE),
    ("many options", 11, [HOST, b"Connection: " + b"a," * 65], Why.OPTIONS_MANY),
    ("unknown expectation", 11, [HOST, b"Expect: 200-ok"], Why.EXPECTATION),
    ("one of two expectations", 11, [HOST, b"Expect: 100-continue, x"], Why.EXPECTATION),
    ("cookie with NUL", 11, [HOST, b"Cookie: a\x00b"], Why.FIELD_BYTES),
    ("cookie with control byte", 11, [HOST, b"Cookie: a\x01b"], Why.FIELD_BYTES),
    ("cookie with DEL", 11, [HOST, b"cookie: a\x7fb"], Why.FIELD_BYTES),
    ("cookie with bare LF", 11, [HOST, b"Cookie: a\nTransfer-Encoding: chunked"], Why.FIELD_BYTES),
    ("cookie with bare CR", 11, [HOST, b"Cookie: a\rb"], Why.FIELD_BYTES),
    ("cookie that ends in CR", 11, [HOST, b"Cookie: a\r"], Why.FIELD_BYTES),
    ("folded cookie", 11, [HOST, b"Cookie: a", b" b"], Why.FIELD_FOLD),
    ("folded cookie before all", 11, [b"Cookie: a", b"\tb", HOST], Why.FIELD_FOLD),
    ("space before a cookie's colon", 11, [HOST, b"Cookie : a"], Why.FIELD_NAME),
    ("cookie without colon", 11, [HOST, b"Cookie"], Why.FIELD_LINE),
]  # fmt: skip


@pytest.mark.parametrize("version, lines, why", [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(version: int, lines: list[bytes], why: Why) -> None:
    memo = RequestMemo()
    for _ in range(2):  # a refusal must not be remembered as a block
        with pytest.raises(Malformed) as refusal:
            memo.block(block_of(*lines), version)
        assert (refusal.value.code, refusal.value.status) == (why, why.status)


def test_a_known_block_does_not_let_a_bad_cookie_in() -> None:
    memo = RequestMemo()
    memo.block(block_of(HOST), 11)
    for line in (b"Cookie: \x00", b"Cookie: a\nb", b"Cookie: a\r", b"Cookie : a"):
        with pytest.raises(Malformed):
            memo.block(block_of(HOST, line), 11)


# ---- what a block says -------------------------------------------------------------------------------------

PERSISTENCE = [
    (11, [], True),
    (11, [b"Connection: keep-alive"], True),
    (11, [b"Connection: close"], False),
    (11, [b"Connection: Close"], False),
    (11, [b"Connection: keep-alive, close"], False),
    (11, [b"Connection: x", b"Connection: close"], False),
    (11, [b"Connection: x,,close ,"], False),
    (11, [b"Proxy-Connection: close"], True),
    (10, [], False),
    (10, [b"Connection: keep-alive"], True),
    (10, [b"Connection: Keep-Alive"], True),
    (10, [b"Connection: keep-alive, close"], False),
]


@pytest.mark.parametrize("version, lines, lasts", PERSISTENCE)
def test_persistence(version: int, lines: list[bytes], lasts: bool) -> None:
    block, _ = read(HOST, *lines, version=version)
    assert (block.keep_alive, block.close) == (lasts, not lasts)


EXPECTATIONS = [
    (11, [b"Expect: 100-continue", b"Content-Length: 5"], True),
    (11, [b"expect: 100-Continue", b"Transfer-Encoding: chunked"], True),
    (11, [b"Expect: 100-continue, 100-continue", b"Content-Length: 5"], True),
    (11, [b"Expect:", b"Content-Length: 5"], False),  # an empty list asks for nothing
    (11, [b"Expect: 100-continue"], False),  # no body to wait with
    (11, [b"Expect: 100-continue", b"Content-Length: 0"], False),
    (10, [b"Expect: 100-continue", b"Content-Length: 5"], False),
    (10, [b"Expect: something", b"Content-Length: 5"], False),
    (11, [b"Content-Length: 5"], False),
]


@pytest.mark.parametrize("version, lines, expect", EXPECTATIONS)
def test_expectations(version: int, lines: list[bytes], expect: bool) -> None:
    block, _ = read(HOST, *lines, version=version)
    assert block.expect is expect


UPGRADES = [
    (11, [b"Connection: Upgrade", b"Upgrade: websocket"], b"websocket"),
    (11, [b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket"], b"WebSocket"),
    (11, [b"Upgrade: websocket"], None),
    (11, [b"Connection: Upgrade"], None),
    (10, [b"Connection: Upgrade", b"Upgrade: websocket"], None),
    (11, [b"Connection: upgrade", b"Upgrade: a", b"Upgrade: b"], b"a, b"),
]


@pytest.mark.parametrize("version, lines, upgrade", UPGRADES)
def test_upgrades(version: int, lines: list[bytes], upgrade: bytes | None) -> None:
    block, _ = read(HOST, *lines, version=version)
    assert block.upgrade == upgrade


def test_fields_lines_and_index_stand_parallel() -> None:
    block, volatile = read(b"Host: A.Example:80", b"Accept:x ", b"X-B: 1", b"x-b:2", b"Content-Length: 3")
    assert volatile == ()
    assert block.host == b"a.example:80"
    assert block.fields == (
        (b"host", b"A.Example:80"), (b"accept", b"x"), (b"x-b", b"1"), (b"x-b", b"2"), (b"content-length", b"3"),
    )  # fmt: skip
    assert block.lines == (b"Host: A.Example:80", b"Accept:x ", b"X-B: 1", b"x-b:2", b"Content-Length: 3")
    assert block.index[b"x-b"] == b"1, 2"
    assert (block.length, block.chunked, block.derived) == (3, False, None)


def test_http_10_may_go_without_host_and_without_fields() -> None:
    block, volatile = RequestMemo().block(b"", 10)
    assert (block.host, block.fields, block.lines, volatile) == (b"", (), (), ())
    block, volatile = RequestMemo().block(b"\r\nCookie: a", 10)
    assert (block.fields, volatile) == ((), ((b"cookie", b"a"),))


def test_options_that_are_no_tokens_name_nothing() -> None:
    block, _ = read(HOST, b'Connection: "x", a b, , X-Mine, keep-alive;x')
    assert block.connection == {b"x-mine"}


# ---- volatile fields ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(VOLATILE))
def test_a_volatile_field_is_beside_the_block_in_any_spelling(name: bytes) -> None:
    memo = RequestMemo()
    plain, _ = memo.block(block_of(HOST, b"B: 2"), 11)
    odd = bytes(letter ^ 0x20 if place % 2 and letter >= 97 else letter for place, letter in enumerate(name))
    for spelling in (name, name.title(), name.upper(), odd):
        for line in (spelling + b": v w", spelling + b":v w", spelling + b": \t v w \t"):
            for lines in ((line, HOST, b"B: 2"), (HOST, line, b"B: 2"), (HOST, b"B: 2", line)):
                block, volatile = memo.block(block_of(*lines), 11)
                assert block is plain
                assert volatile == ((name, b"v w"),)
    assert name not in plain.index
    assert all(name != field for field, _ in plain.fields)


def test_two_clients_get_their_own_cookies_and_share_a_block_without_any() -> None:
    memo = RequestMemo()
    first, one = memo.block(block_of(HOST, b"Cookie: id=alice", b"Accept: x"), 11)
    second, two = memo.block(block_of(HOST, b"Cookie: id=bob; longer", b"Accept: x"), 11)
    third, none = memo.block(block_of(HOST, b"Accept: x"), 11)
    again, back = memo.block(block_of(HOST, b"Cookie: id=alice", b"Accept: x"), 11)
    assert first is second is third is again
    assert one == back == ((b"cookie", b"id=alice"),)
    assert two == ((b"cookie", b"id=bob; longer"),)
    assert none == ()
    for held in (
        first.raw,
        *first.lines,
        *(part for field in first.fields for part in field),
        *first.index.values(),
    ):
        assert b"alice" not in held
        assert b"bob" not in held


def test_the_order_of_volatile_fields_is_kept_also_across_spellings() -> None:
    _, volatile = read(
        b"COOKIE: 1", HOST, b"Cookie: 2", b"X-Forwarded-For: 3", b"cOOKIE: 4", b"traceparent: 5", b"x-forwarded-for: 6"
    )  # fmt: skip
    assert volatile == (
        (b"cookie", b"1"), (b"cookie", b"2"), (b"x-forwarded-for", b"3"), (b"cookie", b"4"),
        (b"traceparent", b"5"), (b"x-forwarded-for", b"6"),
    )  # fmt: skip


def test_connection_may_name_a_volatile_field() -> None:
    block, volatile = read(HOST, b"Connection: cookie, x-request-id", b"Cookie: a", b"X-Request-Id: b")
    assert block.connection == {b"cookie", b"x-request-id"}
    assert volatile == ((b"cookie", b"a"), (b"x-request-id", b"b"))


def test_the_same_lines_in_two_versions_are_two_blocks() -> None:
    memo = RequestMemo()
    new, _ = memo.block(block_of(HOST), 11)
    old, _ = memo.block(block_of(HOST), 10)
    assert (new.keep_alive, old.keep_alive) == (True, False)
    assert new.raw == old.raw == block_of(HOST)
    assert memo.block(block_of(HOST), 11)[0] is new
    assert memo.block(block_of(HOST), 10)[0] is old
    memo.block(b"", 10)
    with pytest.raises(Malformed):
        memo.block(b"", 11)


# ---- limits ------------------------------------------------------------------------------------------------


def test_the_number_of_fields_is_limited_whichever_they_are() -> None:
    memo = RequestMemo(header_count=4)
    memo.block(block_of(HOST, b"A: 1", b"B: 2", b"C: 3"), 11)
    memo.block(block_of(HOST, b"A: 1", b"B: 2", b"Cookie: 3"), 11)
    for lines in (
        [HOST, b"A: 1", b"B: 2", b"C: 3", b"D: 4"],
        [HOST, b"A: 1", b"B: 2", b"C: 3", b"Cookie: 4"],
        [HOST, *[b"Cookie: 1"] * 4],
    ):
        with pytest.raises(Malformed) as refusal:
            memo.block(block_of(*lines), 11)
        assert (refusal.value.code, refusal.value.status) == (Why.HEAD_MANY, 431)


def test_the_bytes_of_a_block_are_limited_also_when_it_is_known() -> None:
    memo = RequestMemo(header_bytes=100)
    memo.block(block_of(HOST), 11)
    for lines in ([HOST, b"A: " + b"x" * 100], [HOST, b"Cookie: " + b"x" * 100]):
        with pytest.raises(Malformed) as refusal:
            memo.block(block_of(*lines), 11)
        assert (refusal.value.code, refusal.value.status) == (Why.HEAD_LARGE, 431)


def test_ever_new_blocks_and_lines_do_not_grow_the_memo() -> None:
    memo = RequestMemo(budget=1 << 18)
    for number in range(2000):
        memo.block(block_of(HOST, b"X-New: %d" % number), 11)
        memo.line(b"GET /%d HTTP/1.1" % number)
    blocks = {**memo._blocks.young, **memo._blocks.old}
    lines = {**memo.lines.young, **memo.lines.old}
    assert 0 < len(blocks) < 200
    assert 0 < len(lines) < 500
    assert sum(block.size for block in blocks.values()) <= 1 << 17


def weight(*roots: object) -> int:
    """Bytes of everything that hangs on `roots` and is not shared with the whole process."""
    seen: set[int] = set()
    total = 0
    waiting = list(roots)
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or thing is None or isinstance(thing, bool | type):
            continue
        seen.add(id(thing))
        total += sys.getsizeof(thing)
        if isinstance(thing, tuple | frozenset):
            waiting += thing
        elif isinstance(thing, dict):
            waiting += [*thing, *thing.values()]
        elif hasattr(thing, "__slots__"):
            waiting += [getattr(thing, slot) for slot in type(thing).__slots__]
    return total


@pytest.mark.parametrize(
    "lines",
    [
        [HOST],
        [HOST, *[b"X-%d: y" % number for number in range(100)]],
        [HOST, b"X: " + b"y" * 5000],
        [HOST, b"Connection: " + b",".join(b"%x" % number for number in range(64))],
    ],
)
def test_a_block_reckons_what_it_holds(lines: list[bytes]) -> None:
    block, _ = read(*lines)
    assert weight(block) <= block.size


def test_the_block_of_a_browser_leaves_half_its_reckoning_to_what_is_derived() -> None:
    lines = [
        HOST,
        b"User-Agent: " + b"x" * 110,
        b"Accept: " + b"y" * 90,
        *[b"Sec-Thing-%d: z" % n for n in range(9)],
    ]
    block, _ = read(*lines)
    assert weight(block) * 1.5 <= block.size


@pytest.mark.parametrize(
    "raw", [b"GET / HTTP/1.1", b"GET /" + b"%41" * 900 + b"?" + b"{" * 900 + b" HTTP/1.1"]
)
def test_a_line_reckons_what_it_holds(raw: bytes) -> None:
    memo = RequestMemo(budget=64 << 20)
    line = memo.line(raw)
    assert weight(line) <= memo.lines.used


def outcome(parse: Callable[[bytes], RequestLine], raw: bytes) -> RequestLine | Why:
    try:
        return parse(raw)
    except Malformed as refusal:
        return refusal.code


TARGETS = st.text("/.a%~:?#[0-_", max_size=8).map(str.encode)


@given(
    TARGETS,
    st.sampled_from([b"GET", b"HEAD", b"get"]),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.10"]),
)
@example(b"/.well-known/cdnlab/alive", b"GET", b"HTTP/1.1")
@example(b"/a b", b"GET", b"HTTP/1.1")
@example(b"/a\xff", b"GET", b"HTTP/1.1")
def test_the_short_way_for_plain_lines_says_what_the_long_one_says(
    target: bytes, method: bytes, version: bytes
) -> None:
    raw = (
        b"%b /%b %b" % (method, target, version)
        if target[:1] != b"/"
        else b"%b %b %b" % (method, target, version)
    )
    slow, fast = outcome(parse_line, raw), outcome(RequestMemo().line, raw)
    if isinstance(slow, Why) or isinstance(fast, Why):
        assert fast is slow
        return
    for name in ("method", "version", "safe", "idempotent", "gets", "raw", "start", "ordinary", "derived"):
        assert getattr(fast, name) == getattr(slow, name), name
    for name in ("raw", "form", "path", "query", "authority", "canonical"):
        assert getattr(fast.target, name) == getattr(slow.target, name), name
