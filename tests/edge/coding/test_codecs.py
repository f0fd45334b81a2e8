"""Bytes there and back: the three codings, decoded by whoever else can."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable
from io import BytesIO

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.coding.codecs import CODECS, WINDOW_MAX


def decode(coding: bytes, body: bytes) -> bytes:
    """By code that is not ours."""
    if coding == b"gzip":
        return gzip.decompress(body)
    if coding == b"br":
        found: bytes = brotli.decompress(body)
        return found
    with zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_MAX).stream_reader(BytesIO(body)) as stream:
        return stream.read()


LEVELS = [
    (coding, level) for coding, top in ((b"gzip", 9), (b"br", 11), (b"zstd", 19)) for level in (1, 5, top)
]
BODIES = st.one_of(
    st.binary(max_size=3000),
    st.text(max_size=1000).map(str.encode),
    st.builds(lambda piece, times: piece * times, st.binary(min_size=1, max_size=50), st.integers(0, 500)),
)


@pytest.mark.parametrize(("coding", "level"), LEVELS)
@settings(max_examples=15, deadline=None)
@given(body=BODIES)
def test_what_is_coded_comes_back_and_comes_out_the_same_each_time(
    coding: bytes, level: int, body: bytes
) -> None:
    coded = CODECS[coding](body, level)
    assert decode(coding, coded) == body
    assert CODECS[coding](body, level) == coded


def test_gzip_bears_no_time_and_no_name() -> None:
    head = CODECS[b"gzip"](b"x" * 5000, 6)[:10]
    assert head[:3] == b"\x1f\x8b\x08"
    assert head[3] == 0, "no name, no comment"
    assert head[4:8] == bytes(4), "no time"


@pytest.mark.parametrize("level", [1, 9, 19])
@pytest.mark.parametrize("size", [5000, (8 << 20) + 1, 12 << 20])
def test_zstd_stays_in_the_window_that_every_browser_has(level: int, size: int) -> None:
    body = random.Random(7).randbytes(4096) * (size // 4096 + 1)
    found = zstandard.get_frame_parameters(CODECS[b"zstd"](body[:size], level))
    assert found.window_size <= 8 << 20
    assert found.content_size == size


def test_a_gzip_form_is_one_member_and_nothing_after_it() -> None:
    decoder = zlib.decompressobj(wbits=31)
    assert decoder.decompress(CODECS[b"gzip"](b"hello" * 1000, 6)) == b"hello" * 1000
    assert decoder.eof
    assert decoder.unused_data == b""


def test_all_three_are_there() -> None:
    codecs: dict[bytes, Callable[[bytes, int], bytes]] = CODECS
    assert set(codecs) == {b"gzip", b"br", b"zstd"}
