"""Heads and bodies against h11 and llhttp (httptools): where we differ, the difference has a name and a
reason.

Messages are put together from pieces that are often nearly right. Whatever both readers take, they must read
alike. What only one of them takes must be an entry below whose condition holds; an entry that no message ever
needed would be a lie, so each has an example that shows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import h11
import httptools
import pytest
from h11._connection import _body_framing
from hypothesis import given, settings
from hypothesis import strategies as st

from cdnlab.wire.chunked import ChunkedDecoder, sendable_trailers
from cdnlab.wire.errors import Malformed, Why
from cdnlab.wire.fields import Field
from cdnlab.wire.request import RequestBlock, RequestLine, RequestMemo
from cdnlab.wire.response import ResponseBlock, ResponseMemo, body_framing

Condition = Callable[[bytes], object]


class Difference:
    """One named place where we take less (or more) than h11: when it applies, why, and a message that shows
    it."""

    def __init__(self, why: Why | None, applies: Condition, reason: str, example: bytes) -> None:
        self.why = why
        self.applies = applies
        self.reason = reason
        self.example = example


def seen(pattern: bytes) -> Condition:
    return re.compile(pattern, re.DOTALL | re.IGNORECASE | re.MULTILINE).search


def values(head: bytes, name: bytes) -> list[bytes]:
    lines = re.split(rb"\r?\n", head)[1:]
    pairs = (line.partition(b":") for line in lines)
    return [value.strip() for found, _, value in pairs if found.lower() == name]


GET = b"GET / HTTP/1.1\r\nHost: a\r\n"

STRICTER_REQUESTS = {
    "control bytes in fields": Difference(
        Why.FIELD_BYTES,
        seen(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]"),
        "h11 lets them pass for the sake of cookies seen in 2016; RFC 9110 §5.5 calls them dangerous",
        GET + b"A: \x01\r\n\r\n",
    ),
    "bare LF": Difference(
        Why.FIELD_BYTES,
        seen(rb"(?<!\r)\n"),
        "h11 ends lines at LF alone (RFC 9112 §2.2 allows it); a hop behind us may not",
        GET + b"A: 1\nB: 2\r\n\r\n",
    ),
    "bare LF before a line that is none": Difference(
        None,
        seen(rb"(?<!\r)\n"),
        "the same, met as a line without colon, an odd name or a fold",
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    ),
    "folded lines": Difference(
        Why.FIELD_FOLD,
        seen(rb"\n[ \t]"),
        "h11 unfolds them; RFC 9112 §5.2 lets a server refuse, and hops differ in what they make of them",
        GET + b"A: 1\r\n 2\r\n\r\n",
    ),
    "hosts": Difference(
        Why.HOST_INVALID,
        lambda head: any(
            not re.fullmatch(rb"[a-z0-9.-]+(:\d+)?", v, re.IGNORECASE) for v in values(head, b"host")
        ),
        "h11 looks only at their number; RFC 9112 §3.2 wants 400 for an invalid one",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    ),
    "hosts in the target": Difference(
        Why.HOST_INVALID,
        seen(rb"^(CONNECT |\S+ https?://)"),
        "h11 does not read targets; RFC 9110 §4.2.4 wants user information refused",
        b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    "a length beside a coding": Difference(
        Why.LENGTH_AND_CODING,
        lambda head: values(head, b"content-length") and values(head, b"transfer-encoding"),
        "h11 lets the coding win (RFC 9112 §6.3 allows it); this is how requests are smuggled",
        GET + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    "a coding in HTTP/1.0": Difference(
        Why.CODING_VERSION,
        seen(rb"HTTP/1\.0"),
        "RFC 9112 §6.1: to be treated as faulty framing",
        b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    "equal lengths in a list": Difference(
        Why.LENGTH_INVALID,
        lambda head: any(b"," in value for value in values(head, b"content-length")),
        "h11 makes one of `5, 5` (RFC 9110 §8.6 allows it); a hop behind us may not",
        GET + b"Content-Length: 5, 5\r\n\r\n",
    ),
    "equal lengths in several lines": Difference(
        Why.LENGTH_MANY,
        lambda head: len(values(head, b"content-length")) > 1,
        "the same, in two lines",
        GET + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    ),
    "lengths of more than eighteen digits": Difference(
        Why.LENGTH_INVALID,
        lambda head: any(len(value) > 18 for value in values(head, b"content-length")),
        "h11 takes twenty; eighteen digits are below 2^60, and nobody's counter overflows",
        GET + b"Content-Length: 0000000000000000005\r\n\r\n",
    ),
    "expectations": Difference(
        Why.EXPECTATION,
        lambda head: values(head, b"expect"),
        "h11 leaves them to the application; RFC 9110 §10.1.1 has 417",
        GET + b"Expect: x\r\n\r\n",
    ),
    "versions": Difference(
        Why.VERSION,
        lambda head: not re.match(rb"[^\r\n]* HTTP/1\.[01]\r?\n", head),
        "h11 takes HTTP/1.2 and HTTP/0.9 for 1.1 or 1.0; a version we don't speak is answered 505",
        b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    ),
    "target forms": Difference(
        Why.TARGET_FORM,
        lambda head: not re.match(rb"\S+ /", head),
        "h11 does not read targets; RFC 9112 §3.2 has four forms",
        b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    "target bytes": Difference(
        Why.TARGET_BYTES,
        seen(rb"\A\S+ [^\r\n]*[\"<>#\\]"),
        "h11 takes every visible byte; RFC 3986 does not",
        b"GET /# HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    "target escapes": Difference(
        Why.TARGET_ESCAPE,
        seen(rb"\A\S+ [^\r\n]*%"),
        "h11 does not read targets; a broken escape has no canonical form",
        b"GET /% HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    "long methods": Difference(
        Why.METHOD_LONG,
        seen(rb"\A\S{33}"),
        "RFC 9112 §3: 501 for a method longer than any that is known",
        b"A" * 33 + b" / HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
}

LAXER_REQUESTS: dict[str, Difference] = {}


# ---- requests ----------------------------------------------------------------------------------------------


def our_request(
    head: bytes, memo: RequestMemo | None = None
) -> tuple[RequestLine, RequestBlock, tuple[Field, ...]]:
    """Cut as a connection does: the line ends at the first CRLF, the head at the first CRLFCRLF."""
    head = head[: head.index(b"\r\n\r\n")]
    raw, line_end, rest = head.partition(b"\r\n")
    memo = memo or RequestMemo()
    line = memo.line(raw)
    block, volatile = memo.block(line_end + rest, line.version)
    return line, block, volatile


def their_request(head: bytes) -> h11.Request:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(head)
    event = connection.next_event()
    if not isinstance(event, h11.Request):
        raise h11.RemoteProtocolError(f"{event!r}")
    return event


def named(differences: dict[str, Difference], why: Why | None, head: bytes) -> list[str]:
    return [name for name, entry in differences.items() if entry.why in (why, None) and entry.applies(head)]


T = TypeVar("T")


def attempt(read: Callable[[], T]) -> tuple[T | None, Malformed | h11.RemoteProtocolError | None]:
    try:
        return read(), None
    except (Malformed, h11.RemoteProtocolError) as refusal:
        return None, refusal


def explain(
    refusal: Malformed | None,
    error: object,
    stricter: dict[str, Difference],
    laxer: dict[str, Difference],
    head: bytes,
) -> str:
    """The name of the difference where only one reader refuses; fails where no entry names it."""
    if refusal is not None and error is not None:
        return "neither"
    table, why = (laxer, None) if refusal is None else (stricter, refusal.code)
    names = named(table, why, head)
    assert names, f"we say {refusal or 'yes'!r}, h11 says {error or 'yes'!r}, no entry says why: {head!r}"
    return names[0]


def compare_requests(head: bytes) -> str:
    """'both', 'neither', or the name of the difference."""
    ours, refusal = attempt(lambda: our_request(head))
    theirs, error = attempt(lambda: their_request(head))
    if ours is None or theirs is None:
        assert refusal is None or isinstance(refusal, Malformed)
        return explain(refusal, error, STRICTER_REQUESTS, LAXER_REQUESTS, head)
    line, block, volatile = ours
    assert (line.method, line.target.raw) == (theirs.method, theirs.target)
    assert line.version == int(theirs.http_version.replace(b".", b""))
    compare_fields(block, volatile, theirs)
    kind, detail = _body_framing(theirs.method, theirs)
    assert block.length == (-1 if kind == "chunked" else sum(detail))
    return "both"


def compare_fields(
    block: RequestBlock | ResponseBlock,
    volatile: tuple[Field, ...],
    theirs: h11.Request | h11.Response | h11.InformationalResponse,
) -> None:
    """The same fields, and within the volatile ones and the others the same order. (h11 lowers codings.)"""
    away = {name for name, _ in volatile}
    expected = [(bytes(name), bytes(value)) for name, value in theirs.headers]
    ours = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in block.fields]
    assert ours == [field for field in expected if field[0] not in away]
    assert list(volatile) == [field for field in expected if field[0] in away]


METHODS = st.sampled_from([b"GET", b"POST", b"OPTIONS", b"CONNECT", b"get", b"M-X", b"G(", b"", b"A" * 33])
TARGETS = st.sampled_from(
    [b"/", b"/a?b", b"/%41", b"/%", b"/%2", b"*", b"a:443", b"a", b"http://a/", b"http://u@a/", b"http://", b"/ ",
     b"/#", b"/\"", b"/\x01", b"/\xff", b"", b"//", b"/{"]
)  # fmt: skip
PROTOCOLS = st.sampled_from(
    [b"HTTP/1.1"] * 8
    + [b"HTTP/1.0"] * 3
    + [b"HTTP/1.2", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/11", b"http/1.1", b"", b"HTTP/1.1 "]
)
NAMES = st.sampled_from(
    [b"Host"] * 3 + [b"Content-Length", b"content-length", b"Transfer-Encoding", b"Connection", b"Expect", b"Cookie",
     b"X-A", b"TE", b"X_a", b"Upgrade", b"", b"X A", b"X\x00", b"X(", b"\xff", b" X", b"X\t", b"COOKIE", b"traceparent"]
)  # fmt: skip
COLONS = st.sampled_from([b": "] * 6 + [b":", b":\t", b" :", b"", b": \t "])
VALUES = st.sampled_from(
    [b"a", b"a", b"5", b"0", b"chunked", b"Chunked", b"", b"a b", b"5, 5", b"5,6", b"+5", b"-5", b"0x5", b"1_0", b"05",
     b"9" * 18, b"9" * 20, b"9" * 21, b", chunked", b"chunked, chunked", b"gzip, chunked", b"gzip", b"identity",
     b"100-continue", b"close", b"keep-alive, x", b"a:80", b"a@b", b"[::1]", b"a\x01", b"a\x00", b"a\x7f", b"a\x0b",
     b"\xff", b"a ", b"\xa05", b"5\x0c", b"a,b"]
)  # fmt: skip
ENDS = st.sampled_from([b"\r\n"] * 24 + [b"\n", b"\r", b"\r\r\n", b"\r\n ", b"\r\n\t", b"\n\r\n", b"\n\n"])

FIELD_LINES = st.tuples(NAMES, COLONS, VALUES, ENDS).map(b"".join)
GOOD_LINES = st.tuples(
    st.sampled_from([b"Cookie", b"X-A", b"x-b", b"Connection", b"Accept"]),
    st.sampled_from([b": ", b":"]),
    st.sampled_from([b"a", b"b, c", b"", b"close"]),
    st.just(b"\r\n"),
).map(b"".join)
FRAMING_LINES = st.sampled_from(
    [b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"content-length:7\r\n",
     b"transfer-encoding: CHUNKED\r\n", b"Content-Length: 5, 5\r\n", b"Transfer-Encoding: x\r\n"]
)  # fmt: skip
HEADS = st.tuples(
    st.one_of(
        st.sampled_from([b"GET / HTTP/1.1\r\n", b"POST /a HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n"]),
        st.tuples(METHODS, st.just(b" "), TARGETS, st.just(b" "), PROTOCOLS, ENDS).map(b"".join),
    ),
    st.one_of(st.just(b"Host: a\r\n"), st.just(b"Host: a\r\n"), st.just(b"")),
    st.lists(st.one_of(GOOD_LINES, GOOD_LINES, FRAMING_LINES, FIELD_LINES), max_size=5).map(b"".join),
    st.just(b"\r\n\r\n"),  # the first CRLF ends a line that an odd end left open, or is the empty line itself
).map(b"".join)


@settings(max_examples=600, deadline=None)
@given(HEADS)
def test_requests_are_read_as_h11_reads_them(head: bytes) -> None:
    compare_requests(head)


@settings(max_examples=300, deadline=None)
@given(HEADS, st.data())
def test_requests_with_a_byte_changed(head: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(head) - 5))
    byte = data.draw(st.integers(0, 255))
    compare_requests(head[:place] + bytes((byte,)) + head[place + 1 :])


@pytest.mark.parametrize("name", STRICTER_REQUESTS)
def test_each_place_where_we_are_stricter_exists(name: str) -> None:
    entry = STRICTER_REQUESTS[name]
    assert compare_requests(entry.example) in named(STRICTER_REQUESTS, entry.why, entry.example)
    with pytest.raises(Malformed) as refusal:
        our_request(entry.example)
    assert entry.why in (refusal.value.code, None)


# ---- llhttp ------------------------------------------------------------------------------------------------


class Llhttp:
    """What httptools makes of bytes."""

    def __init__(self) -> None:
        self.fields: list[Field] = []
        self.url = b""
        self.body = b""
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


LLHTTP_METHODS = (b"GET", b"POST", b"OPTIONS")


@settings(max_examples=300, deadline=None)
@given(HEADS)
def test_what_we_take_llhttp_reads_alike(head: bytes) -> None:
    """llhttp takes far more than we do, but whatever we take it must take, and end where we end."""
    try:
        line, block, volatile = our_request(head)
    except Malformed:
        return
    if line.method not in LLHTTP_METHODS or block.index.get(b"upgrade"):
        return  # it knows a list of methods only, and stops at an upgrade
    head = head[: head.index(b"\r\n\r\n") + 4]
    body = b"5\r\nhello\r\n0\r\n\r\n" if block.chunked else b"x" * min(block.length, 10)
    reader = Llhttp()
    httptools.HttpRequestParser(reader).feed_data(head + body)
    assert reader.url == line.target.raw
    assert sorted(reader.fields) == sorted((*block.fields, *volatile))
    assert reader.complete is (block.length <= 10)
    assert reader.body == (b"hello" if block.chunked else body)


# ---- responses ---------------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\n"

STRICTER_RESPONSES = {
    "control bytes": Difference(
        Why.FIELD_BYTES,
        seen(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]"),
        "as in requests",
        OK + b"A: \x01\r\n\r\n",
    ),
    "bare LF": Difference(None, seen(rb"(?<!\r)\n"), "as in requests", OK + b"A: 1\nB: 2\r\n\r\n"),
    "folded lines": Difference(
        Why.FIELD_FOLD,
        seen(rb"\n[ \t]"),
        "RFC 9112 §5.2 lets a gateway answer 502",
        OK + b"A: 1\r\n 2\r\n\r\n",
    ),
    "control bytes in the reason": Difference(
        Why.STATUS_LINE,
        seen(rb"\A[^\r\n]*[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]"),
        "as in fields",
        b"HTTP/1.1 200 O\x01K\r\n\r\n",
    ),
    "versions": Difference(
        Why.STATUS_LINE,
        lambda head: not re.match(rb"HTTP/1\.[01] ", head),
        "a version we don't speak cannot be framed",
        b"HTTP/1.2 200 OK\r\n\r\n",
    ),
    "a length beside a coding": Difference(
        Why.LENGTH_AND_CODING,
        lambda head: values(head, b"content-length") and values(head, b"transfer-encoding"),
        "h11 lets the coding win; this is how responses are split",
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    "a coding in HTTP/1.0": Difference(
        Why.CODING_VERSION,
        seen(rb"\AHTTP/1\.0"),
        "RFC 9112 §6.1: faulty framing",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    "equal lengths in a list": Difference(
        Why.LENGTH_INVALID,
        lambda head: any(b"," in value for value in values(head, b"content-length")),
        "as in requests",
        OK + b"Content-Length: 5, 5\r\n\r\n",
    ),
    "equal lengths in several lines": Difference(
        Why.LENGTH_MANY,
        lambda head: len(values(head, b"content-length")) > 1,
        "as in requests",
        OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
    ),
    "lengths of more than eighteen digits": Difference(
        Why.LENGTH_INVALID,
        lambda head: any(len(value) > 18 for value in values(head, b"content-length")),
        "as in requests",
        OK + b"Content-Length: 0000000000000000005\r\n\r\n",
    ),
}

LAXER_RESPONSES = {
    "unknown codings": Difference(
        None,
        lambda head: [v for v in values(head, b"transfer-encoding") if v.lower() != b"chunked"],
        "RFC 9112 §6.3: a body with an unknown last coding ends with the connection; h11 refuses it",
        OK + b"Transfer-Encoding: x\r\n\r\n",
    ),
    "codings in several lines": Difference(
        None,
        lambda head: len(values(head, b"transfer-encoding")) > 1,
        "the same, the list written in two lines",
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
    ),
}


def our_response(head: bytes) -> tuple[ResponseBlock, tuple[Field, ...]]:
    return ResponseMemo().head(head[: head.index(b"\r\n\r\n")])


def their_response(head: bytes, method: bytes) -> h11.Response | h11.InformationalResponse:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(head)
    event = connection.next_event()
    if not isinstance(event, h11.Response | h11.InformationalResponse):
        raise h11.RemoteProtocolError(f"{event!r}")
    return event


def compare_responses(head: bytes, method: bytes) -> str:
    ours, refusal = attempt(lambda: our_response(head))
    theirs, error = attempt(lambda: their_response(head, method))
    if ours is None or theirs is None:
        assert refusal is None or (isinstance(refusal, Malformed) and refusal.status == 502)
        return explain(refusal, error, STRICTER_RESPONSES, LAXER_RESPONSES, head)
    block, volatile = ours
    assert (block.status, block.reason) == (theirs.status_code, bytes(theirs.reason))
    compare_fields(block, volatile, theirs)
    if isinstance(theirs, h11.Response):
        kind, detail = _body_framing(method, theirs)
        length = {"chunked": -1, "http/1.0": -2}.get(kind)
        assert body_framing(block, method) == (sum(detail) if length is None else length)
    else:
        assert body_framing(block, method) == 0
    return "both"


STATUS_LINES = st.one_of(
    st.sampled_from([OK, b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 304 Not Modified\r\n", b"HTTP/1.1 204 x\r\n"]),
    st.tuples(
        PROTOCOLS,
        st.just(b" "),
        st.sampled_from(
            [b"200", b"404", b"100", b"103", b"599", b"999", b"099", b"20", b"2000", b"+20", b""]
        ),
        st.sampled_from([b" OK", b" ", b"", b"\tOK", b" \xff", b" a\x01", b" a\x00"]),
        ENDS,
    ).map(b"".join),
)
RESPONSES = st.tuples(
    STATUS_LINES,
    st.lists(st.one_of(GOOD_LINES, GOOD_LINES, FRAMING_LINES, FIELD_LINES), max_size=5).map(b"".join),
    st.just(b"\r\n\r\n"),
).map(b"".join)


@settings(max_examples=600, deadline=None)
@given(RESPONSES, st.sampled_from([b"GET", b"HEAD", b"POST"]))
def test_responses_are_read_as_h11_reads_them(head: bytes, method: bytes) -> None:
    compare_responses(head, method)


@pytest.mark.parametrize("name", [*STRICTER_RESPONSES, *LAXER_RESPONSES])
def test_each_difference_in_responses_exists(name: str) -> None:
    table = STRICTER_RESPONSES if name in STRICTER_RESPONSES else LAXER_RESPONSES
    entry = table[name]
    assert compare_responses(entry.example, b"GET") in named(table, entry.why, entry.example)


# ---- chunked bodies ----------------------------------------------------------------------------------------

STRICTER_BODIES = {
    "white space after a size": Difference(
        Why.CHUNK_SIZE,
        seen(rb"^[0-9a-f]+[ \t]+[\r;]"),
        "h11 takes it for the sake of old servers; readers that differ here read different bodies",
        b"3 \r\nabc\r\n0\r\n\r\n",
    ),
    "sizes of more than fifteen digits": Difference(
        Why.CHUNK_SIZE, seen(rb"^[0-9a-f]{16}"), "h11 takes twenty", b"0000000000000003\r\nabc\r\n0\r\n\r\n"
    ),
    "bytes in extensions": Difference(
        Why.CHUNK_EXTENSION,
        seen(rb";[^\n]*[\x00-\x08\x0b-\x1f\x7f]"),
        "h11 takes any byte but LF there, a CR too",
        b"3;\x01\r\nabc\r\n0\r\n\r\n",
    ),
    "bytes in trailers": Difference(
        Why.FIELD_BYTES,
        seen(rb"^0+(;[^\n]*)?\r\n.*([\x01-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n)"),
        "control bytes and bare LF, as in heads",
        b"0\r\nA: \x01\r\n\r\n",
    ),
    "folded trailers": Difference(
        Why.FIELD_FOLD, seen(rb"\n[ \t]"), "as in heads", b"0\r\nA: 1\r\n 2\r\n\r\n"
    ),
    "bare LF in trailers": Difference(
        None,
        seen(rb"(?<!\r)\n"),
        "h11 ends lines and the section at LF alone; we wait for the CRLF, or meet a line that is none",
        b"0\r\nA: 1\n\n",
    ),
}

LAXER_BODIES = {
    "framing fields in trailers": Difference(
        None,
        seen(rb"^(content-length|transfer-encoding):"),
        "h11 checks and mends their values; in trailers they mean nothing (RFC 9110 §6.5.1) and are not sent on",
        b"0\r\nContent-Length: a\r\n\r\n",
    ),
    "white space before an extension": Difference(
        None,
        seen(rb"^[0-9a-f]+[ \t]+;"),
        "RFC 9112 §7.1.1 has it as bad white space that must be parsed; h11 refuses it",
        b"3 ;a\r\nabc\r\n0\r\n\r\n",
    ),
}

Body = tuple[bytes, tuple[Field, ...], bytes]


def our_body(raw: bytes, step: int) -> Body | None:
    """(body, trailers, what follows), None if more is needed."""
    decoder = ChunkedDecoder()
    body = b""
    for at in range(0, len(raw), step):
        body += b"".join(decoder.feed(raw[at : at + step]))
        if decoder.done:
            return body, decoder.trailers, decoder.rest + raw[at + step :]
    return None


def their_body(raw: bytes) -> Body | None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(GET + b"Transfer-Encoding: chunked\r\n\r\n" + raw)
    connection.next_event()
    body = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            trailers = tuple((bytes(name), bytes(value)) for name, value in event.headers)
            return body, trailers, connection.trailing_data[0]
        else:
            return None


def compare_bodies(raw: bytes, step: int) -> str:
    ours, refusal = attempt(lambda: our_body(raw, step))
    theirs, _ = attempt(lambda: their_body(raw))
    if ours is not None and theirs is None:
        names = named(LAXER_BODIES, None, raw)
        assert names, f"we read {ours!r}, h11 does not, no entry says why: {raw!r}"
        return names[0]
    if ours is not None:
        assert theirs is not None
        assert (ours[0], ours[2]) == (theirs[0], theirs[2])
        assert sendable_trailers(ours[1]) == sendable_trailers(theirs[1])
        return "both"
    if theirs is None:  # refused or unfinished by both; which of the two is a matter of how early one looks
        return "neither"
    assert refusal is None or isinstance(refusal, Malformed)
    why = refusal.code if refusal else None
    names = [
        name for name, entry in STRICTER_BODIES.items() if entry.why in (why, None) and entry.applies(raw)
    ]
    assert names, f"we say {refusal or 'more'!r}, h11 reads {theirs!r}, no entry says why: {raw!r}"
    return names[0]


SIZES = st.sampled_from(
    [b"3", b"3", b"03", b"3;a", b'3;a="b"', b"3 ;a", b"3 ", b"3\t", b"0x3", b"+3", b"", b" 3", b"3;\x01", b"3;a\rb",
     b"4", b"2", b"0", b"0" * 15 + b"3", b"0" * 20 + b"3", b"3\x00"]
)  # fmt: skip
CHUNKS = st.tuples(
    SIZES,
    st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r"]),
    st.just(b"abc"),
    st.sampled_from([b"\r\n"] * 12 + [b"\n", b""]),
).map(b"".join)
ENDINGS = st.tuples(
    st.sampled_from([b"0", b"0", b"000", b"0;a", b"0 "]),
    st.sampled_from([b"\r\n"] * 8 + [b"\n"]),
    st.lists(FIELD_LINES, max_size=2).map(b"".join),
    st.sampled_from([b"\r\n", b"\r\n", b"\n", b"\r\n\r\n"]),
    st.sampled_from([b"", b"GET / HTTP/1.1\r\n\r\n"]),
).map(b"".join)


@settings(max_examples=600, deadline=None)
@given(st.lists(CHUNKS, max_size=3).map(b"".join), ENDINGS, st.sampled_from([1, 2, 5, 1000]))
def test_bodies_are_read_as_h11_reads_them(chunks: bytes, ending: bytes, step: int) -> None:
    compare_bodies(chunks + ending, step)


@pytest.mark.parametrize("name", [*STRICTER_BODIES, *LAXER_BODIES])
def test_each_difference_in_bodies_exists(name: str) -> None:
    table = STRICTER_BODIES if name in STRICTER_BODIES else LAXER_BODIES
    entry = table[name]
    names = [key for key, other in table.items() if other.applies(entry.example)]
    assert name in names
    assert compare_bodies(entry.example, 1000) in names


# ---- the memo against itself -------------------------------------------------------------------------------


def facts(thing: object) -> list[tuple[str, object]]:
    """Everything a line or block says, targets included."""
    found: list[tuple[str, object]] = []
    for slot in type(thing).__slots__:  # type: ignore[attr-defined]
        value = getattr(thing, slot)
        found.append((slot, facts(value) if slot == "target" else value))
    return found


@settings(max_examples=300, deadline=None)
@given(st.lists(HEADS, min_size=2, max_size=6), st.sampled_from([1 << 12, 1 << 16, 1 << 22]))
def test_a_memo_full_of_others_says_what_an_empty_one_says(heads: list[bytes], budget: int) -> None:
    memo = RequestMemo(budget)
    for head in heads * 3:
        fresh, refusal = attempt(lambda head=head: our_request(head))  # type: ignore[misc]
        known, again = attempt(lambda head=head: our_request(head, memo))  # type: ignore[misc]
        assert type(refusal) is type(again)
        if fresh is None or known is None:
            assert str(refusal) == str(again)
            continue
        assert facts(fresh[0]) == facts(known[0])
        assert facts(fresh[1]) == facts(known[1])
        assert fresh[2] == known[2]
