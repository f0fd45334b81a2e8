"""The chunked coding: what ends a body, what is refused, and that cuts between reads change nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdnlab.wire.chunked import (
    EXTENSION_BYTES,
    EXTENSIONS_TOTAL,
    LAST_CHUNK,
    TRAILER_BYTES,
    TRAILER_COUNT,
    ChunkedDecoder,
    encode_chunk,
    last_chunk,
    sendable_trailers,
)
from cdnlab.wire.errors import Malformed, Why
from cdnlab.wire.fields import Field

READ = [
    # bytes, body, trailers, what follows
    (b"0\r\n\r\n", b"", (), b""),
    (b"3\r\nabc\r\n0\r\n\r\n", b"abc", (), b""),
    (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde", (), b""),
    (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", (), b""),
    (b"00a\r\n0123456789\r\n000\r\n\r\n", b"0123456789", (), b""),
    (b"3;a\r\nabc\r\n0;b=c\r\n\r\n", b"abc", (), b""),
    (b'3 ;a="b;c"\r\nabc\r\n0\r\n\r\n', b"abc", (), b""),
    (b"3\t; a = b\r\nabc\r\n0\r\n\r\n", b"abc", (), b""),
    (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", (), b""),
    (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n", (), b""),
    (b"0\r\nA: 1\r\n\r\n", b"", ((b"a", b"1"),), b""),
    (b"0\r\nA: 1\r\nB:2 \r\n\r\n", b"", ((b"a", b"1"), (b"b", b"2")), b""),
    (b"0\r\n\r\nGET / HTTP/1.1\r\n", b"", (), b"GET / HTTP/1.1\r\n"),
    (b"1\r\na\r\n0\r\nA: 1\r\n\r\nmore", b"a", ((b"a", b"1"),), b"more"),
]


@pytest.mark.parametrize("raw, body, trailers, rest", READ)
@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_read(raw: bytes, body: bytes, trailers: tuple[Field, ...], rest: bytes, step: int) -> None:
    decoder = ChunkedDecoder()
    pieces: list[bytes] = []
    at = 0
    while not decoder.done:
        assert at < len(raw)
        pieces += decoder.feed(raw[at : at + step])
        at += step
    assert b"".join(pieces) == body
    assert all(pieces)
    assert decoder.trailers == trailers
    assert decoder.rest + raw[at:] == rest


REFUSED = [
    (b"\r\n", Why.CHUNK_SIZE),
    (b"\n", Why.CHUNK_SIZE),
    (b"g\r\n", Why.CHUNK_SIZE),
    (b"0x3\r\n", Why.CHUNK_SIZE),
    (b"+3\r\n", Why.CHUNK_SIZE),
    (b"-3\r\n", Why.CHUNK_SIZE),
    (b"1_0\r\n", Why.CHUNK_SIZE),
    (b" 3\r\n", Why.CHUNK_SIZE),
    (b"3 \r\n", Why.CHUNK_SIZE),
    (b"3\t\r\n", Why.CHUNK_SIZE),
    (b"3 3\r\n", Why.CHUNK_SIZE),
    (b"3\n", Why.CHUNK_SIZE),
    (b"3\nabc\n0\n\n", Why.CHUNK_SIZE),
    (b"3\r", None),  # the LF may still come
    (b"3\rabc", Why.CHUNK_SIZE),
    (b"3\x00\r\n", Why.CHUNK_SIZE),
    (b";a\r\n", Why.CHUNK_SIZE),
    (b"1000000000000000\r\n", Why.CHUNK_SIZE),
    (b"fffffffffffffffff", Why.CHUNK_SIZE),
    (b"0000000000000003\r\n", Why.CHUNK_SIZE),
    (b"\xef\xbc\x93\r\n", Why.CHUNK_SIZE),
    (b"3;a\nb\r\nabc", Why.CHUNK_EXTENSION),
    (b"3;a\rb\r\nabc", Why.CHUNK_EXTENSION),
    (b"3;\x00\r\nabc", Why.CHUNK_EXTENSION),
    (b"3;a\x7f", Why.CHUNK_EXTENSION),
    (b"3;" + b"a" * EXTENSION_BYTES + b"\r\n", Why.CHUNK_EXTENSION),
    (b"3;" + b"a" * 1000, Why.CHUNK_EXTENSION),
    ((b"1;" + b"a" * 200 + b"\r\nx\r\n") * (EXTENSIONS_TOTAL // 200 + 1), Why.CHUNK_EXTENSION),
    (b"3\r\nabcd\r\n", Why.CHUNK_END),
    (b"3\r\nabc\n0\r\n\r\n", Why.CHUNK_END),
    (b"3\r\nabc\rx", Why.CHUNK_END),
    (b"3\r\nabc0\r\n\r\n", Why.CHUNK_END),
    (b"0\r\nA\r\n\r\n", Why.FIELD_LINE),
    (b"0\r\nA : 1\r\n\r\n", Why.FIELD_NAME),
    (b"0\r\n A: 1\r\n\r\n", Why.FIELD_FOLD),
    (b"0\r\nA: 1\nB: 2\r\n\r\n", Why.FIELD_BYTES),
    (b"0\r\nA: \x00\r\n\r\n", Why.FIELD_BYTES),
    (b"0\r\nA: " + b"x" * (TRAILER_BYTES + 10), Why.TRAILERS),
    (b"0\r\n" + b"A: x\r\n" * (TRAILER_COUNT + 1) + b"\r\n", Why.TRAILERS),
]


@pytest.mark.parametrize("raw, why", REFUSED)
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_refused(raw: bytes, why: Why | None, step: int) -> None:
    decoder = ChunkedDecoder(502)
    if why is None:
        assert decoder.feed(raw) == []
        assert not decoder.done
        return
    with pytest.raises(Malformed) as refusal:
        feed_in_steps(decoder, raw, step)
    assert (refusal.value.code, refusal.value.status) == (why, 502)


def feed_in_steps(decoder: ChunkedDecoder, raw: bytes, step: int) -> None:
    for at in range(0, len(raw), step):
        decoder.feed(raw[at : at + step])


def test_a_request_is_refused_with_400() -> None:
    with pytest.raises(Malformed) as refusal:
        ChunkedDecoder().feed(b"x\r\n")
    assert refusal.value.status == 400


def test_a_chunk_just_below_two_to_the_sixty_is_begun() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"f" * 15 + b"\r\nabc") == [b"abc"]
    assert decoder.feed(b"def") == [b"def"]


def test_a_large_chunk_comes_in_the_pieces_it_was_read_in() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"8\r\nab") == [b"ab"]
    assert decoder.feed(b"cdef") == [b"cdef"]
    assert decoder.feed(b"gh\r\n0\r\n\r\n") == [b"gh"]
    assert decoder.done


TRAILERS = [
    (b"x-checksum", True),
    (b"server-timing", True),
    (b"grpc-status", True),
    (b"etag", True),
    (b"content-length", False),
    (b"transfer-encoding", False),
    (b"host", False),
    (b"authorization", False),
    (b"cookie", False),
    (b"set-cookie", False),
    (b"content-type", False),
    (b"cache-control", False),
    (b"connection", False),
    (b"trailer", False),
    (b"x-forwarded-for", False),
    (b"cdnlab-place", False),
    (b"if-match", False),
]


@pytest.mark.parametrize("name, sent", TRAILERS)
def test_which_trailers_are_sent(name: bytes, sent: bool) -> None:
    field = (name, b"v")
    assert sendable_trailers((field,)) == ((field,) if sent else ())
    assert last_chunk((field,)) == (b"0\r\n" + name + b": v\r\n\r\n" if sent else LAST_CHUNK)


def test_no_trailers() -> None:
    assert last_chunk(()) == LAST_CHUNK


def test_an_empty_piece_does_not_end_the_body() -> None:
    assert encode_chunk(b"") == b""


@given(
    st.lists(st.binary(max_size=40), max_size=8),
    st.lists(st.tuples(st.sampled_from([b"x-a", b"x-b"]), st.sampled_from([b"", b"1", b"a b"])), max_size=3),
    st.lists(st.integers(1, 30), min_size=1, max_size=10),
    st.binary(max_size=10),
)
def test_what_is_written_is_read_back(
    pieces: list[bytes], trailers: list[Field], steps: list[int], rest: bytes
) -> None:
    raw = b"".join(map(encode_chunk, pieces)) + last_chunk(tuple(trailers)) + rest
    decoder = ChunkedDecoder()
    body = b""
    at = turn = 0
    while not decoder.done:
        step = steps[turn % len(steps)]
        body += b"".join(decoder.feed(raw[at : at + step]))
        at += step
        turn += 1
    assert body == b"".join(pieces)
    assert decoder.trailers == tuple(trailers)
    assert decoder.rest + raw[at:] == rest
