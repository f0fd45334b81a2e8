"""Framing: every way to say a length twice, badly, or beside a coding."""

from __future__ import annotations

import pytest

from cdnlab.wire.errors import Malformed, Why
from cdnlab.wire.fields import Field
from cdnlab.wire.framing import CHUNKED, UNTIL_CLOSE, request_length, response_length


def fields(lengths: list[bytes], codings: list[bytes]) -> tuple[Field, ...]:
    found = [(b"content-length", value) for value in lengths]
    return (*found, *((b"transfer-encoding", value) for value in codings))


READ = [
    # lengths, codings, of a request, of a response
    ([], [], 0, UNTIL_CLOSE),
    ([b"0"], [], 0, 0),
    ([b"5"], [], 5, 5),
    ([b"007"], [], 7, 7),
    ([b"9" * 18], [], int("9" * 18), int("9" * 18)),
    ([], [b"chunked"], CHUNKED, CHUNKED),
    ([], [b"Chunked"], CHUNKED, CHUNKED),
]


@pytest.mark.parametrize("lengths, codings, request_, response", READ)
def test_read(lengths: list[bytes], codings: list[bytes], request_: int, response: int) -> None:
    assert request_length(fields(lengths, codings), 11) == request_
    assert response_length(fields(lengths, codings), 11) == response


BAD_LENGTHS = [
    b"", b"+5", b"-5", b"-0", b"5_0", b"1_0", b"0x5", b"0b1", b"0o7", b"5 5", b"5,5", b"5, 5", b"5, 6", b",5",
    b"5,", b"5;", b"5.0", b"1e3", b"a", b"five", b"9" * 19, b"\xd9\xa5", b"\xef\xbc\x95", b'"5"', b"5\x0b", b"\x005",
]  # fmt: skip


@pytest.mark.parametrize("value", BAD_LENGTHS)
def test_bad_lengths(value: bytes) -> None:
    with pytest.raises(Malformed) as refusal:
        request_length(fields([value], []), 11)
    assert (refusal.value.code, refusal.value.status) == (Why.LENGTH_INVALID, 400)
    with pytest.raises(Malformed) as refusal:
        response_length(fields([value], []), 11)
    assert (refusal.value.code, refusal.value.status) == (Why.LENGTH_INVALID, 502)


@pytest.mark.parametrize("values", [[b"5", b"5"], [b"5", b"6"], [b"0", b"0"], [b"", b"5"], [b"5"] * 3])
def test_several_lengths(values: list[bytes]) -> None:
    with pytest.raises(Malformed) as refusal:
        request_length(fields(values, []), 11)
    assert (refusal.value.code, refusal.value.status) == (Why.LENGTH_MANY, 400)
    with pytest.raises(Malformed) as refusal:
        response_length(fields(values, []), 11)
    assert (refusal.value.code, refusal.value.status) == (Why.LENGTH_MANY, 502)


BAD_CODINGS = [
    # codings, of a request, of a response (a Why, or what is read)
    ([b""], Why.CODING_INVALID, Why.CODING_INVALID),
    ([b","], Why.CODING_INVALID, Why.CODING_INVALID),
    ([b", chunked"], Why.CODING_INVALID, Why.CODING_INVALID),
    ([b"chunked,"], Why.CODING_INVALID, Why.CODING_INVALID),
    ([b",chunked"], Why.CODING_INVALID, Why.CODING_INVALID),
    ([b"chunked, chunked"], Why.CODING_INVALID, Why.CODING_INVALID),
    ([b"chunked", b"chunked"], Why.CODING_INVALID, Why.CODING_INVALID),
    ([b"chunked, gzip, chunked"], Why.CODING_INVALID, Why.CODING_INVALID),
    ([b"chunked;q=1"], Why.CODING_INVALID, Why.CODING_INVALID),
    ([b"chunked;"], Why.CODING_INVALID, Why.CODING_INVALID),
    ([b'"chunked"'], Why.CODING_INVALID, Why.CODING_INVALID),
    ([b"'chunked'"], Why.CODING_INVALID, UNTIL_CLOSE),  # apostrophes are token bytes: an unknown coding
    ([b"chunked\x0b"], Why.CODING_INVALID, Why.CODING_INVALID),
    ([b"chunked chunked"], Why.CODING_INVALID, Why.CODING_INVALID),
    ([b"x chunked"], Why.CODING_INVALID, Why.CODING_INVALID),
    ([b"xchunked"], Why.CODING_INVALID, UNTIL_CLOSE),
    ([b"identity"], Why.CODING_INVALID, UNTIL_CLOSE),
    ([b"gzip"], Why.CODING_INVALID, UNTIL_CLOSE),
    ([b"chunked, gzip"], Why.CODING_INVALID, UNTIL_CLOSE),
    ([b"chunked", b"identity"], Why.CODING_INVALID, UNTIL_CLOSE),
    ([b"gzip, chunked"], Why.CODING_UNKNOWN, Why.CODING_UNKNOWN),
    ([b"gzip", b"chunked"], Why.CODING_INVALID, Why.CODING_UNKNOWN),
    ([b"identity, chunked"], Why.CODING_UNKNOWN, Why.CODING_UNKNOWN),
]


@pytest.mark.parametrize("codings, request_, response", BAD_CODINGS)
def test_codings(codings: list[bytes], request_: Why, response: Why | int) -> None:
    with pytest.raises(Malformed) as refusal:
        request_length(fields([], codings), 11)
    assert (refusal.value.code, refusal.value.status) == (request_, request_.status)
    if isinstance(response, int):
        assert response_length(fields([], codings), 11) == response
        return
    with pytest.raises(Malformed) as refusal:
        response_length(fields([], codings), 11)
    assert (refusal.value.code, refusal.value.status) == (response, 502)


@pytest.mark.parametrize("length", [b"5", b"0", b""])
@pytest.mark.parametrize("coding", [b"chunked", b"gzip", b"identity", b""])
def test_a_length_beside_a_coding(length: bytes, coding: bytes) -> None:
    with pytest.raises(Malformed) as refusal:
        request_length(fields([length], [coding]), 11)
    assert (refusal.value.code, refusal.value.status) == (Why.LENGTH_AND_CODING, 400)
    with pytest.raises(Malformed) as refusal:
        response_length(fields([length], [coding]), 11)
    assert (refusal.value.code, refusal.value.status) == (Why.LENGTH_AND_CODING, 502)


@pytest.mark.parametrize("lengths", [[], [b"5"]])
def test_a_coding_in_http_10(lengths: list[bytes]) -> None:
    with pytest.raises(Malformed) as refusal:
        request_length(fields(lengths, [b"chunked"]), 10)
    assert (refusal.value.code, refusal.value.status) == (Why.CODING_VERSION, 400)
    with pytest.raises(Malformed) as refusal:
        response_length(fields(lengths, [b"chunked"]), 10)
    assert (refusal.value.code, refusal.value.status) == (Why.CODING_VERSION, 502)
